//! What is left of machines, and what is not, when those who care for them are killed: a machine's
//! monitor, the daemon while it has something made for all machines. Ours only.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::engine::VERSION;
use testkit::{Container, Daemon, eventually, json};

use crate::vm::daemon_with;

const LIMIT: Duration = Duration::from_secs(90);

fn daemon() -> Daemon {
    daemon_with(&["--vm-spares=0", "--vm-memory", "128m"])
}

fn signal(pid: i32, signal: Signal) {
    // Some end with others.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Kills the monitor of a container; returns the process of the machine that it had.
fn kill_monitor(daemon: &Daemon, container: &Container) -> i32 {
    let machine = i32::try_from(container.inspect()["State"]["Pid"].as_i64().unwrap()).unwrap();
    assert_eq!(daemon.machines(), [machine]);
    let status = std::fs::read_to_string(format!("/proc/{machine}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let monitor = parent.trim().parse().unwrap();
    let comm = std::fs::read_to_string(format!("/proc/{monitor}/comm")).unwrap();
    assert_eq!(comm, "isopod-monitor\n");
    signal(monitor, Signal::KILL);
    machine
}

#[test]
fn privileged_a_killed_monitor_takes_its_machine_along_and_the_next_has_the_disk() {
    let daemon = daemon();
    let engine = daemon.engine();
    let script = "echo run >> /runs; sync; echo ready; exec sleep 1000";
    let container = engine.create(json!({
        "Cmd": ["sh", "-c", script],
        "HostConfig": {
            "Isolation": "vm", "NetworkMode": "bridge", "RestartPolicy": {"Name": "on-failure"},
        },
    }));
    container.start();
    let ready = |times: usize| {
        eventually("it has written", LIMIT, || {
            (container.logs().stdout == b"ready\n".repeat(times)).then_some(())
        });
    };
    ready(1);
    let first = kill_monitor(&daemon, &container);
    ready(2);
    let inspect = container.inspect();
    assert_eq!((&inspect["RestartCount"], container.status().as_str()), (&json!(1), "running"));
    // Never two that write on one disk.
    let machines = daemon.machines();
    assert!(machines.len() == 1 && machines[0] != first, "{first} of {machines:?} is there");
    assert_eq!(container.sh("cat /runs"), "run\nrun");

    let update = engine.post(&container.path("/update"), &json!({"RestartPolicy": {"Name": "no"}}));
    assert_eq!(update.status, 200, "{}", update.text());
    kill_monitor(&daemon, &container);
    assert_eq!(container.wait(), 137);
    eventually("its machine is gone", LIMIT, || daemon.machines().is_empty().then_some(()));
    eventually("its cgroups are gone", LIMIT, || daemon.cgroups().is_empty().then_some(()));
    let state = container.inspect()["State"].clone();
    assert_eq!(
        (&state["Status"], &state["OOMKilled"]),
        (&json!("exited"), &json!(false)),
        "{state}"
    );

    container.start();
    ready(3);
    assert_eq!(container.sh("cat /runs"), "run\nrun\nrun");
    daemon.stop().unwrap();
}

/// What is being made in a directory of the data root.
fn unfinished(daemon: &Daemon, place: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(daemon.folder().join(place)).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.file_name().unwrap().as_encoded_bytes()[0] == b'.').collect()
}

/// Starts a container, and kills the daemon while something is being made for its machine in that
/// place. What happens just before is up to the caller.
fn cut(daemon: &mut Daemon, container: &Container, place: &str, before: fn(&Daemon)) {
    let engine = daemon.engine();
    let path = format!("{VERSION}{}", container.path("/start"));
    std::thread::scope(|scope| {
        scope.spawn(|| engine.client().attempt("POST", &path, b""));
        let since = Instant::now();
        // It may be there for some hundredths of a second only.
        while unfinished(daemon, place).is_empty() {
            assert!(since.elapsed() < LIMIT, "nothing is made in {place}");
            std::thread::yield_now();
        }
        before(daemon);
        daemon.kill();
    });
    println!("{:?} is left in {place}", unfinished(daemon, place));
}

/// Everything that a daemon has started, as at a power cut.
fn kill_all(daemon: &Daemon) {
    daemon.netns().unwrap().processes().into_iter().for_each(|pid| signal(pid, Signal::KILL));
}

fn monitor(daemon: &Daemon) -> i32 {
    daemon.process("isopod-monitor").expect("a monitor")
}

#[test]
fn privileged_what_a_kill_leaves_half_made_for_machines_is_in_nobodys_way() {
    let mut daemon = daemon();
    let engine = daemon.engine();
    let sleeper = |mut host: testkit::Value| {
        host["Isolation"] = json!("vm");
        engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": host}))
    };
    let container = sleeper(json!({}));
    for place in ["data/vm/kernel", "data/vm/templates"] {
        cut(&mut daemon, &container, place, kill_all);
        daemon.restart();
        assert_eq!(container.status(), "created", "{place}");
    }
    container.start();
    assert_eq!(container.sh("echo there"), "there");
    container.remove();

    // A monitor that goes on without its daemon says nothing before its machine is there: the next
    // daemon must not have a second machine made with the disk of the first. It has another size than
    // the first, and needs a template of its own.
    let container = sleeper(json!({"Memory": 128 << 20, "NetworkMode": "bridge"}));
    cut(&mut daemon, &container, "data/vm/templates", |daemon| {
        signal(monitor(daemon), Signal::STOP)
    });
    daemon.restart();
    assert_eq!(container.status(), "created");
    let silent = monitor(&daemon);
    signal(silent, Signal::CONT);
    eventually("the start before is undone", LIMIT, || {
        (daemon.process("isopod-monitor") != Some(silent)).then_some(())
    });
    container.start();
    assert_eq!(daemon.machines().len(), 1);
    assert_eq!(container.sh("echo there"), "there");
    container.remove();

    assert!(!daemon.log_end().contains("was booted, not cloned"), "{}", daemon.log_end());
    for place in ["data/vm/kernel", "data/vm/templates", "data/vm/disks"] {
        assert_eq!(unfinished(&daemon, place), [] as [PathBuf; 0]);
    }
    daemon.stop().unwrap();
}
