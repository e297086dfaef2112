//! Containers in virtual machines beside dockerd's plain ones: how long one takes in a machine that is
//! ready, from a template and booted, what a clone costs in memory, and many at once.

use super::contestants::{Contestant, client_with, daemon_with};
use super::{Request, measure, median, memory, shown};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};
use testkit::{Container, Daemon, Kind};

/// How many machines run at once.
const CROWD: usize = 30;
/// Clones whose memory is looked at.
const LOOKED_AT: usize = 8;
/// How many the daemon has ready at most, and are started at once.
const READY: usize = 3;
/// dockerd's plain container on the machine that the design was made for.
const BUDGET: Duration = Duration::from_millis(345);
/// How long it may take until another machine is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// Behind the second wall.
const VM: [&str; 2] = ["--isolation", "vm"];
/// The same with a volume: a directory of the host keeps a machine from being cloned, but not from being
/// ready.
const VOLUME: [&str; 4] = ["--isolation", "vm", "-v", "bench:/data"];
/// What one may take that is booted.
const BOOT: Duration = Duration::from_millis(1600);
/// KiB of the host that a machine may take besides its guest's memory.
const OVERHEAD: u64 = 60 << 10;

pub(super) fn run(request: &Request, binary: &Path) -> Result<()> {
    let kernel = Kernel::find()?;
    let mut arguments = kernel.arguments("make");
    arguments.push("--vm-spares=0".to_owned());
    let cloning = Rc::new(daemon_with(Kind::Isopod, Some(binary), &arguments)?);
    starts(request, binary, &kernel, &cloning)?;
    memory_of_clones(&cloning)?;
    crowd(&cloning)?;
    println!("\nGuests run {}.", release(&cloning)?);
    Ok(())
}

/// What a guest calls its kernel.
fn release(daemon: &Daemon) -> Result<String> {
    let engine = daemon.engine();
    let host = json!({"Isolation": "vm", "NetworkMode": "none"});
    let output = engine.run(json!({"Cmd": ["uname", "-sr"], "HostConfig": host}));
    ensure!(output.code == 0, "{output:?}");
    Ok(output.stdout.trim().to_owned())
}

/// A kernel for guests, from the environment or Debian's newest.
struct Kernel {
    path: PathBuf,
    _fetched: Option<tempfile::TempDir>,
}

impl Kernel {
    fn find() -> Result<Self> {
        if let Some(path) = std::env::var_os("ISOPOD_VM_KERNEL") {
            return Ok(Self { path: path.into(), _fetched: None });
        }
        let folder = tempfile::TempDir::new()?;
        let script = "set -e; package=$(apt-cache depends linux-image-cloud-$(dpkg --print-architecture) \
                      | sed -n 's/^ *Depends: //p' | head -n 1); \
                      apt-get -q -o APT::Sandbox::User=root download \"$package\"; \
                      dpkg-deb -x ./*.deb root";
        let output = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output()?;
        ensure!(
            output.status.success(),
            "fetching a kernel: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(Self { path: folder.path().join("root"), _fetched: Some(folder) })
    }

    fn arguments(&self, templates: &str) -> Vec<String> {
        let kernel = self.path.display().to_string();
        ["--vm-kernel", &kernel, "--vm-templates", templates].map(str::to_owned).to_vec()
    }
}

fn starts(request: &Request, binary: &Path, kernel: &Kernel, cloning: &Rc<Daemon>) -> Result<()> {
    let mut arguments = kernel.arguments("make");
    arguments.push(format!("--vm-spares={READY}"));
    let sparing = Rc::new(daemon_with(Kind::Isopod, Some(binary), &arguments)?);
    let booting = Rc::new(daemon_with(Kind::Isopod, Some(binary), &kernel.arguments("never"))?);
    let mut spare = client_with("isopod, vm that is ready", binary.into(), &sparing, &VM);
    let first = Rc::clone(&sparing);
    spare.after = Some(Box::new(move || spares_of(&first, 1)));
    // A daemon has machines of one kind ready.
    let lending = Rc::new(daemon_with(Kind::Isopod, Some(binary), &arguments)?);
    let mut volume =
        client_with("isopod, vm with a volume that is ready", binary.into(), &lending, &VOLUME);
    volume.after = Some(Box::new(move || spares_of(&lending, 1)));
    let mut booted = client_with("isopod, vm booted", binary.into(), &booting, &VM);
    booted.budget = Some(BOOT);
    let mut all = vec![
        spare,
        volume,
        client_with("isopod, vm from a template", binary.into(), cloning, &VM),
        booted,
        client_with("isopod, process", binary.into(), cloning, &[]),
    ];
    let mut together = client_with("isopod, vms that are ready", binary.into(), &sparing, &VM);
    together.after = Some(Box::new(move || spares_of(&sparing, READY)));
    let mut together = vec![together, client_with("isopod, process", binary.into(), cloning, &[])];
    if request.wants("dockerd") {
        let theirs = Rc::new(daemon_with(Kind::Dockerd, None, &[])?);
        for all in [&mut all, &mut together] {
            all.push(client_with("docker CLI on dockerd, process", "docker".into(), &theirs, &[]));
        }
    }
    measure(request, &all, "run --rm /bin/true", Some(BUDGET), Contestant::start)?;
    println!();
    let what = format!("run --rm /bin/true, {READY} at once");
    measure(request, &together, &what, None, |contestant| contestant.start_several(READY))
}

/// Waits until a daemon has so many machines ready.
fn spares_of(daemon: &Daemon, wanted: usize) -> Result<()> {
    let netns = daemon.netns().context("the daemon has no namespace of its own")?;
    let began = Instant::now();
    let ready = |pid: &i32| memory::is_called(*pid, "isopod-spare");
    while netns.processes().iter().filter(|pid| ready(pid)).count() < wanted {
        ensure!(began.elapsed() < PATIENCE, "too few machines are ready after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn sleeper(daemon: &Daemon) -> Container {
    daemon.engine().create(json!({
        "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": "bridge", "Isolation": "vm"},
    }))
}

/// The processes of machines that a daemon's monitors have.
fn machines(daemon: &Daemon) -> Vec<i32> {
    let ours = |pid: &i32| {
        let monitor = memory::parent(*pid);
        memory::is_called(monitor, "isopod-monitor") && memory::names(*pid, Path::new("virtio"))
    };
    let inside = daemon.netns().map(testkit::netns::Netns::processes).unwrap_or_default();
    memory::processes()
        .into_iter()
        .filter(ours)
        .filter(|pid| inside.contains(&memory::parent(*pid)))
        .collect()
}

fn memory_of_clones(daemon: &Daemon) -> Result<()> {
    let containers: Vec<Container> = (0..LOOKED_AT).map(|_| sleeper(daemon)).collect();
    for container in &containers {
        let answer = daemon.engine().act(&container.path("/start"));
        ensure!(answer.status == 204, "start: {}", answer.text());
    }
    let machines = machines(daemon);
    ensure!(machines.len() == LOOKED_AT, "{} machines of {LOOKED_AT}", machines.len());
    let looked: Vec<Held> = machines.into_iter().map(Held::of).collect::<Result<_>>()?;
    let middle = |of: fn(&Held) -> u64| {
        let mut all: Vec<u64> = looked.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (own, shared, beyond) = (middle(|h| h.own), middle(|h| h.shared), middle(|h| h.beyond));
    println!("\nMemory of {LOOKED_AT} clones of one template, median, MiB:\n");
    println!(
        "| guest's own pages | its share of the template's pages | the machine's process beyond |"
    );
    println!("| ---: | ---: | ---: |");
    let mebibytes = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    println!("| {} | {} | {} |", mebibytes(own), mebibytes(shared), mebibytes(beyond));
    let verdict = if beyond <= OVERHEAD { "kept" } else { "missed" };
    println!("\nBudget {} MiB beyond the guest's own use: {verdict}.", OVERHEAD >> 10);
    Ok(())
}

/// What a machine's process holds, KiB by proportional share.
struct Held {
    /// The guest's memory that the guest has changed.
    own: u64,
    /// The guest's memory that is the template's.
    shared: u64,
    /// Everything else.
    beyond: u64,
}

impl Held {
    fn of(pid: i32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).context("smaps")?;
        let mut held = Self { own: 0, shared: 0, beyond: 0 };
        let mut guest = false;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let value = || line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
            match first {
                "Pss:" if !guest => held.beyond += value().unwrap_or(0),
                "Pss:" => held.shared += value().unwrap_or(0),
                // Pages that were copied when they were written to: they are nobody else's.
                "Anonymous:" if guest => {
                    let own = value().unwrap_or(0);
                    held.own += own;
                    held.shared = held.shared.saturating_sub(own);
                }
                _ if first.contains('-') && !first.ends_with(':') => {
                    guest = line.ends_with("/ram") || line.ends_with("/ram (deleted)");
                }
                _ => {}
            }
        }
        ensure!(held.own + held.shared > 0, "process {pid} has no template");
        Ok(held)
    }
}

fn crowd(daemon: &Daemon) -> Result<()> {
    let containers: Vec<Container> = (0..CROWD).map(|_| sleeper(daemon)).collect();
    let engine = daemon.engine();
    let began = Instant::now();
    let mut times: Vec<Option<Duration>> = std::thread::scope(|scope| {
        let start = |container: &Container| {
            let (engine, path) = (&engine, container.path("/start"));
            scope.spawn(move || (engine.act(&path).status == 204).then(|| began.elapsed()))
        };
        let threads: Vec<_> = containers.iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    let all = began.elapsed();
    let failed = times.iter().filter(|time| time.is_none()).count();
    times.retain(Option::is_some);
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort();
    ensure!(!times.is_empty(), "none of {CROWD} machines started");
    println!(
        "\n{CROWD} machines started at once: {failed} failed, the last ran after {}, the median after {}.",
        shown(all),
        shown(median(&times))
    );
    ensure!(failed == 0, "{failed} of {CROWD} machines did not start");
    Ok(())
}
