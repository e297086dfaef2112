//! What happens when somebody dies, does not read, or has no room.

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proto::control::{Phase, Reply, Request};
use proto::launch::{LogFile, Stdin};
use support::{ALL, OUTPUT, World, demultiplex, entries, eventually, is_alive};

fn log_file(path: &Path, max_size: Option<u64>, max_file: u32) -> LogFile {
    let attributes = BTreeMap::new();
    LogFile { path: path.to_owned(), max_size, max_file, compress: false, attributes }
}

fn kill_9(pid: i32) {
    sys::process::kill(pid, 9).expect("kills");
}

#[test]
fn privileged_monitor_takes_its_container_along() {
    let world = World::new();
    let mut container = world.sh("sleep 1000 & sleep 1000").start();
    let Reply::Pids(pids) = container.control.ask(Request::Pids) else { panic!("pids") };
    kill_9(container.monitor_pid());
    container.control.gone();
    eventually("the container is dead", || pids.iter().all(|pid| !is_alive(*pid)));
    assert!(container.record().is_none());
    assert!(!container.cgroups().is_empty(), "this is left to be reaped");
    assert_eq!(world.reap(&container.id).failures, Vec::<String>::new());
    assert!(container.cgroups().is_empty());
    assert_eq!(world.reap(&container.id).failures, Vec::<String>::new(), "nothing to do");
}

#[test]
fn privileged_monitor_that_dies_leaves_processes_that_reap_finds() {
    let world = World::new();
    let container = world.sh("sleep 1000 & echo $!; sleep 1000").host_pids().log().start();
    eventually("the pid is told", || container.log.exists() && !container.log().is_empty());
    let sleeper: i32 = container.log_text().trim().parse().expect("a pid");
    kill_9(container.monitor_pid());
    eventually("the first process is dead", || !is_alive(container.pid));
    assert_eq!(world.reap(&container.id).failures, Vec::<String>::new());
    eventually("all are dead", || !is_alive(sleeper));
    assert!(container.cgroups().is_empty());
}

#[test]
fn privileged_monitor_of_a_created_container_takes_it_along() {
    let world = World::new();
    let container = world.sh("sleep 1000").create();
    kill_9(container.monitor_pid());
    eventually("the container is dead", || !is_alive(container.pid));
    assert_eq!(world.reap(&container.id).failures, Vec::<String>::new());
}

#[test]
fn privileged_monitor_survives_launcher_and_engine() {
    let mut world = World::new();
    let script = "while [ ! -e /tmp/stop ]; do echo tick; sleep 0.02; done; exit 11";
    let mut container = world.sh(script).log().start();
    let nothing = proto::control::Attach::default();
    drop(container.control.exec("quick", &["true"], nothing, false));
    assert_eq!(container.control.exec_exited("quick"), 0);
    drop(container.control.exec("late", &["sh", "-c", "sleep 0.2; exit 5"], nothing, false));
    world.drop_launcher();
    let (_, unused) = std::os::unix::net::UnixStream::pair().expect("pair");
    container.control = support::Control::new(unused);
    eventually("the second has ended with nobody there", || {
        let hello = container.connect().hello();
        hello.execs.iter().all(|exec| exec.exit_code.is_some())
    });
    let mut again = container.connect();
    let hello = again.hello();
    assert_eq!((hello.phase, hello.pid), (Phase::Running, container.pid));
    assert!(!hello.started_at.is_never());
    let told: Vec<_> = hello.execs.iter().map(|e| (e.id.as_str(), e.exit_code)).collect();
    // Also what has been told: whoever was told may have died of it.
    assert_eq!(told, [("quick", Some(0)), ("late", Some(5))]);
    let mut client = again.attach(OUTPUT);
    support::read_until(&mut client, "tick");
    drop(client);
    drop(again.exec("stop", &["touch", "/tmp/stop"], OUTPUT, false));
    container.control = again;
    assert_eq!(container.exited().exit_code, 11);
}

#[test]
fn privileged_monitor_tells_a_lost_client_from_a_lost_daemon() {
    let world = World::new();
    let plan = || world.container(&["cat"]).stdin(Stdin::Once);
    let mut container = plan().create();
    let client = container.control.attach(ALL);
    container.start();
    drop(client);
    assert_eq!(container.exited().exit_code, 0, "its input has ended with its client");

    let mut container = plan().create();
    let client = container.control.attach(ALL);
    container.start();
    let (_, unused) = std::os::unix::net::UnixStream::pair().expect("pair");
    // As in a dying process: first the one, then the other.
    drop(client);
    container.control = support::Control::new(unused);
    std::thread::sleep(Duration::from_millis(800));
    assert!(is_alive(container.pid), "a daemon's death ends no container");
    container.control = container.connect();
    let mut client = container.control.attach(ALL);
    client.write_all(b"still here").expect("writes");
    support::read_until(&mut client, "still here");
    client.shutdown(std::net::Shutdown::Write).expect("half-closes");
    assert_eq!(container.exited().exit_code, 0);
}

#[test]
fn privileged_monitor_writes_its_record_for_nobody() {
    let world = World::new();
    let mut container = world.sh("sleep 0.2; exit 12").log().start();
    let monitor = container.monitor_pid();
    let (_, unused) = std::os::unix::net::UnixStream::pair().expect("pair");
    container.control = support::Control::new(unused);
    eventually("the monitor has ended", || !is_alive(monitor));
    assert_eq!(container.record().map(|record| record.exit_code), Some(12));
    container.assert_clean();
}

#[test]
fn privileged_monitor_disregards_signals() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    for signal in [1, 2, 3, 10, 12, 13, 15] {
        sys::process::kill(container.monitor_pid(), signal).expect("sends");
    }
    assert_eq!(container.control.hello().phase, Phase::Running);
    let stream = container.control.exec("e", &["sh", "-c", "kill -TERM $$"], OUTPUT, false);
    assert_eq!(container.control.exec_exited("e"), 143, "they are not ignored inside");
    drop(stream);
    container.kill();
}

#[test]
fn privileged_monitor_is_not_held_up_for_good_by_a_stopped_reader() {
    let world = World::new();
    let script = "yes 0123456789abcde | head -n 200000; echo done";
    let mut container = world.sh(script).log().create();
    let mut stopped = container.control.attach(OUTPUT);
    container.start();
    eventually("it has begun", || container.log.metadata().is_ok_and(|log| log.len() > 0));
    std::thread::sleep(Duration::from_secs(2));
    assert!(is_alive(container.pid), "output waits for the reader");
    let length = container.log.metadata().expect("a log").len();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(container.log.metadata().expect("a log").len(), length);
    eventually("it has ended", || container.record().is_some());
    let dropped = container.record().expect("a record").dropped;
    assert!(dropped > 1_000_000, "{dropped}");
    let lines = container.log();
    assert_eq!(lines.len(), 200_001, "the log has everything");
    // What the client had been sent before is whole.
    let mut got = Vec::new();
    stopped.read_to_end(&mut got).expect("reads");
    assert_eq!(demultiplex(&got).0.len() as u64 + dropped, 200_000 * 16 + 5);
    assert_eq!(container.exited().exit_code, 0);
}

#[test]
fn privileged_monitor_tells_an_end_before_a_slow_client_has_all() {
    let world = World::new();
    // More than the socket takes, but no more than that and a pipe.
    let script = "yes 0123456789abcde | head -c 290000";
    let mut container = world.sh(script).log().create();
    let mut slow = container.control.attach(OUTPUT);
    container.start();
    let began = Instant::now();
    let proto::control::Notice::Exited(record) = container.control.notice() else {
        panic!("the end")
    };
    // Less than the monitor would wait for such a client.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert_eq!((record.exit_code, record.dropped), (0, 0));
    container.assert_clean();
    let mut got = Vec::new();
    slow.read_to_end(&mut got).expect("reads");
    assert_eq!(demultiplex(&got).0.len(), 290_000, "nothing is lost");
    container.control.gone();
}

/// A small file system that is unmounted whatever happens.
struct Small(std::path::PathBuf);

impl Small {
    fn new(path: std::path::PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).expect("directory");
        let options = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options.as_str(), "none"])
            .arg(&path)
            .status();
        assert!(status.expect("mount runs").success());
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn privileged_monitor_goes_on_when_the_disk_is_full() {
    let world = World::new();
    let small = Small::new(world.path("small"), "64k");
    let log = small.0.join("x.log");
    let script = "seq 1 20000; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo after; exit 3";
    let mut container = world.sh(script).log_at(log_file(&log, None, 1)).start();
    eventually("the disk is full", || log.metadata().is_ok_and(|log| log.len() > 30_000));
    // Room again, for what comes later.
    std::thread::sleep(Duration::from_millis(100));
    let full = std::fs::read(&log).expect("a log");
    let kept = entries(&full).len();
    let resized = Command::new("mount").args(["-o", "remount,size=1m"]).arg(&small.0).status();
    assert!(resized.expect("mount runs").success());
    drop(container.control.exec("go", &["touch", "/tmp/go"], OUTPUT, false));
    let record = container.exited();
    assert_eq!(record.exit_code, 3, "the container did not notice");
    let lines = entries(&std::fs::read(&log).expect("a log"));
    assert_eq!(lines.last().map(|entry| entry.text.as_slice()), Some(&b"after\n"[..]));
    assert!(kept > 100 && lines.len() < 20_001);
    let text: usize = lines.iter().map(|entry| entry.text.len()).sum();
    let written: usize = (1..=20_000).map(|number: u32| number.to_string().len() + 1).sum();
    assert_eq!(text as u64 + record.dropped, written as u64 + 6, "what is missing was counted");
}

#[test]
fn privileged_monitor_rotates_under_load() {
    let world = World::new();
    let path = world.path("rotated.log");
    let mut container = world.sh("seq 1 30000").log_at(log_file(&path, Some(1 << 20), 10)).start();
    assert_eq!(container.exited().exit_code, 0);
    let mut all = Vec::new();
    for number in (0..10).rev() {
        let suffix = if number == 0 { String::new() } else { format!(".{number}") };
        if let Ok(bytes) = std::fs::read(world.path(&format!("rotated.log{suffix}"))) {
            assert!(bytes.len() <= (1 << 20) + 200);
            all.extend(entries(&bytes));
        }
    }
    assert_eq!(all.len(), 30_000);
    for (number, entry) in all.iter().enumerate() {
        assert_eq!(entry.text, format!("{}\n", number + 1).into_bytes());
    }
    assert!(path.with_extension("log.2").exists());
}

#[test]
fn privileged_launcher_ends_with_its_engine() {
    let mut world = World::new();
    let own = std::process::id();
    let find = || {
        let children = format!("/proc/{own}/task");
        std::fs::read_dir(children)
            .expect("tasks")
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| {
                text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
            })
            .find(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.trim() == "isopod-launcher")
            })
    };
    eventually("it has its name", || find().is_some());
    let launcher = find().expect("a launcher");
    for signal in [1, 2, 15] {
        sys::process::kill(launcher, signal).expect("sends");
    }
    assert_eq!(world.sh("exit 1").start().exited().exit_code, 1);
    world.drop_launcher();
    eventually("it has ended", || !is_alive(launcher));
}
