//! Many containers at once: how long a hundred take to start in parallel, whether any fails, and
//! what each costs while it does nothing.

use super::{Request, contestants, memory, shown};
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::{Container, Daemon, Kind};

/// How many containers run at once.
const CROWD: usize = 100;

pub(super) fn run(request: &Request, binary: &Path) -> Result<()> {
    let mut rows = Vec::new();
    let ours = contestants::daemon(Kind::Isopod, Some(binary))?;
    rows.push(one("isopod", &ours));
    ours.stop().map_err(anyhow::Error::msg)?;
    if request.wants("dockerd") {
        let theirs = contestants::daemon(Kind::Dockerd, None)?;
        rows.push(one("dockerd + containerd", &theirs));
        let _ = theirs.stop();
    }
    println!(
        "| engine | idle, resident | {CROWD} started in parallel | failed | each container's parent, private | daemon with {CROWD}, resident |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for row in &rows {
        println!(
            "| {} | {} | {} | {} | {} (largest {}) | {} |",
            row.name,
            mebibytes(row.idle),
            shown(row.started),
            row.failed,
            kibibytes(row.parent),
            kibibytes(row.largest_parent),
            mebibytes(row.busy)
        );
    }
    println!("\nBudgets: idle 20 MiB, parent 400 KiB, none failed.");
    Ok(())
}

struct Row {
    name: &'static str,
    /// KiB.
    idle: u64,
    started: Duration,
    failed: usize,
    /// Median, KiB.
    parent: u64,
    largest_parent: u64,
    /// KiB.
    busy: u64,
}

fn one(name: &'static str, daemon: &Daemon) -> Row {
    let engine = daemon.engine();
    // One container first: what is allocated once does not count for each.
    let _ = engine.run(json!({"Cmd": ["true"], "HostConfig": {"NetworkMode": "bridge"}}));
    std::thread::sleep(Duration::from_secs(2));
    let idle = together(daemon);

    let containers: Vec<Container> = (0..CROWD)
        .map(|_| {
            engine.create(json!({
                "Cmd": ["sleep", "1000"],
                "HostConfig": {"NetworkMode": "bridge"},
            }))
        })
        .collect();
    let began = Instant::now();
    let failed = std::thread::scope(|scope| {
        let threads: Vec<_> = containers
            .iter()
            .map(|container| {
                let engine = &engine;
                scope.spawn(move || engine.act(&container.path("/start")).status != 204)
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(true))
            .filter(|failed| *failed)
            .count()
    });
    let started = began.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let busy = together(daemon);
    let mut parents: Vec<u64> = parents(daemon).into_iter().map(memory::private).collect();
    parents.sort_unstable();
    Row {
        name,
        idle,
        started,
        failed,
        parent: parents.get(parents.len() / 2).copied().unwrap_or(0),
        largest_parent: parents.last().copied().unwrap_or(0),
        busy,
    }
}

/// The processes that run however few containers there are: ours is the daemon and its launcher,
/// Docker's are dockerd and containerd.
fn daemons(daemon: &Daemon) -> Vec<i32> {
    let own = daemon.pid();
    let folder = daemon.folder();
    memory::processes()
        .into_iter()
        .filter(|pid| {
            *pid == own
                || memory::parent(*pid) == own
                    && (memory::is_called(*pid, "isopod")
                        || memory::is_called(*pid, "containerd") && memory::names(*pid, folder))
        })
        .collect()
}

/// What the processes of an engine hold together: all that the daemon has, and of the others what
/// they do not share, so that no page counts twice.
fn together(daemon: &Daemon) -> u64 {
    let others = daemons(daemon).into_iter().filter(|pid| *pid != daemon.pid());
    memory::resident(daemon.pid()) + others.map(memory::private).sum::<u64>()
}

/// The process that each container has for a parent: our monitors, Docker's shims.
fn parents(daemon: &Daemon) -> Vec<i32> {
    let daemons = daemons(daemon);
    let inside = daemon.netns().map(testkit::netns::Netns::processes).unwrap_or_default();
    inside
        .into_iter()
        .filter(|pid| !daemons.contains(pid))
        .filter(|pid| {
            memory::is_called(*pid, "isopod-monitor") || memory::is_called(*pid, "containerd-shim")
        })
        .collect()
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

fn kibibytes(kib: u64) -> String {
    format!("{kib} KiB")
}
