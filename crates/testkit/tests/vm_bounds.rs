//! What guests cannot do to others, whatever goes on in them. Dockerd has no such wall, so these run on
//! us alone.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::daemon::Daemon;
use testkit::engine::{filters, target_dir};
use testkit::{Container, Engine, eventually, json};

use crate::limits::{hybrid, limit};
use crate::vm::{daemon, daemon_with, put_hostile_agent, sleeper};

const LIMIT: Duration = Duration::from_secs(90);

/// A daemon whose machines have an agent that breaks its word in this way.
fn with_hostile_agent(mode: &str) -> (Daemon, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let agent: PathBuf = folder.path().join("agent");
    std::fs::copy(target_dir().join("guest-agent"), &agent).unwrap();
    put_hostile_agent(mode, &agent);
    let agent = agent.to_str().unwrap();
    let arguments = ["--vm-templates", "never", "--vm-disk-size", "64m", "--vm-agent", agent];
    (daemon_with(&arguments), folder)
}

fn job(engine: &Engine) -> Container {
    engine.create(json!({
        "Cmd": ["true"],
        "HostConfig": {"Isolation": "vm", "RestartPolicy": {"Name": "on-failure"}},
    }))
}

#[test]
fn privileged_processes_with_long_command_lines_are_shown_and_end_no_machine() {
    let daemon = daemon();
    let engine = daemon.engine();
    // Children that have their parent's command line: a control character has six bytes of JSON.
    let script = "mkfifo /f; n=0; while [ $n -lt 900 ]; do { read x < /f; } & n=$((n+1)); done; \
                  echo all; wait";
    let container = engine.create(json!({
        "Cmd": ["sh", "-c", script, "\u{1}".repeat(1000)], "HostConfig": {"Isolation": "vm"},
    }));
    container.start();
    eventually("all of them run", LIMIT, || (container.logs().stdout == b"all\n").then_some(()));
    let top = engine.get(&container.path("/top")).expect(200).json();
    let lines = top["Processes"].as_array().unwrap();
    assert_eq!(lines.len(), 901);
    assert!(lines.iter().all(|line| line[7].as_str().unwrap().starts_with("sh -c mkfifo")));
    assert_eq!(container.status(), "running");
    daemon.stop().unwrap();
}

#[test]
fn privileged_dockers_client_chooses_the_wall_and_the_size_of_a_machine() {
    let daemon = daemon();
    let engine = daemon.engine();
    let host = rustix::system::uname().release().to_string_lossy().into_owned();
    for wall in [["--isolation", "vm"], ["--runtime", "vm"]] {
        let script = "uname -r; nproc; sed -n 's/^MemTotal: *//p' /proc/meminfo; \
                      cat /sys/fs/cgroup/memory.max";
        let size = ["-m", "192m", "--cpus", "2", "busybox", "sh", "-c", script];
        let shown = engine.docker(&[&["run", "--rm"], &wall[..], &size].concat()).success();
        let [kernel, processors, memory, most] = shown.lines().collect::<Vec<_>>()[..] else {
            panic!("{shown}")
        };
        assert_ne!(kernel, host, "{wall:?}");
        assert_eq!((processors, most), ("2", "201326592"));
        // That, and what the guest's kernel needs.
        let memory: u64 = memory.trim_end_matches(" kB").parse().unwrap();
        assert!((192 << 10..=320 << 10).contains(&memory), "{memory} KiB");
    }
    // On the host the machine has what QEMU needs besides, and no more.
    let container = sleeper(&engine, json!({"Memory": 192 << 20, "NanoCpus": 2_000_000_000_u64}));
    let most = limit(&container, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(most.trim().parse::<u64>().unwrap(), (320 + 256) << 20);
    daemon.stop().unwrap();
}

#[test]
fn privileged_limits_of_the_hosts_disks_are_changed_while_a_machine_runs() {
    let daemon = daemon();
    let engine = daemon.engine();
    // Some disk of the host, which is left alone: only the machine's rate is limited.
    let disks = std::fs::read_dir("/sys/block").unwrap().flatten();
    let names = disks.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut devices = names.map(|name| format!("/dev/{name}"));
    let device = devices.find(|path| std::path::Path::new(path).exists());
    let device = device.expect("the host has a block device with a node in /dev");
    let rate = |rate: u64| json!({"BlkioDeviceReadBps": [{"Path": device, "Rate": rate}]});
    let container = sleeper(&engine, rate(1 << 20));
    let read = || limit(&container, "blkio", "blkio.throttle.read_bps_device", "io.max");
    assert!(read().contains("1048576"), "{}", read());
    let path = format!("/v1.55{}", container.path("/update"));
    let headers = [("Content-Type", "application/json")];
    let body = rate(3 << 20).to_string();
    let _ = engine.client().request("POST", &path, &headers, body.as_bytes()).expect(200);
    assert!(read().contains("3145728"), "{} (v1: {})", read(), hybrid());
    assert_eq!(container.sh("echo there"), "there");
    daemon.stop().unwrap();
}

#[test]
fn privileged_an_agent_that_tells_of_kills_without_end_is_heard_once_a_second() {
    let (daemon, _folder) = with_hostile_agent("dying");
    let engine = daemon.engine();
    let began = Instant::now();
    let container = sleeper(&engine, json!({}));
    std::thread::sleep(Duration::from_secs(4));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let query = filters(&json!({"event": ["oom"], "container": [container.id]}));
    let past =
        engine.get(&format!("/events?since=1&until={}&{query}", now.as_secs() + 1)).expect(200);
    let told = past.text().lines().count();
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((1..=most).contains(&told), "{told} events, {most} at most");
    let state = container.inspect()["State"].clone();
    assert!(state["OOMKilled"] == true && state["Status"] == "running", "{state}");
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_removal_waits_for_no_guest_that_hangs_over_files() {
    let (daemon, _folder) = with_hostile_agent("deaf");
    let engine = daemon.engine();
    let container = job(&engine);
    container.start();
    assert_eq!(container.wait(), 0);
    eventually("its own has gone", LIMIT, || {
        daemon.process("isopod-monitor").is_none().then_some(())
    });
    let path = container.path("/archive?path=/etc/hosts");
    let asked = std::thread::spawn({
        let engine = engine.clone();
        move || engine.get(&path)
    });
    eventually("a machine is asked for", LIMIT, || daemon.process("isopod-monitor"));
    let since = Instant::now();
    let removed = engine.delete(&container.path("?force=1"));
    assert_eq!(removed.status, 204, "{}", removed.text());
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    let answer = asked.join().unwrap();
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains("nobody wants the files any more"), "{}", answer.text());

    // Nor for a client that has announced files and sends none.
    let container = job(&engine);
    eventually("the one before has gone", LIMIT, || {
        daemon.process("isopod-monitor").is_none().then_some(())
    });
    let mut silent = engine.client().connect();
    let path = container.path("/archive?path=/");
    let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1024\r\n\r\n");
    silent.write_all(head.as_bytes()).unwrap();
    eventually("a machine is asked for", LIMIT, || daemon.process("isopod-monitor"));
    let removed = engine.delete(&container.path("?force=1"));
    assert_eq!(removed.status, 204, "{}", removed.text());
    daemon.stop().unwrap();
}

#[test]
fn privileged_an_agent_that_lies_about_files_is_not_believed() {
    let (daemon, _folder) = with_hostile_agent("lying");
    let engine = daemon.engine();
    let other = engine.sleeper(json!({}));
    let container = sleeper(&engine, json!({}));
    let (id, image) = (&container.id, "lies:latest");
    for (answer, why) in [
        (
            engine.get(&container.path("/archive?path=/name")),
            "\\\"../../name\\\", which is no name",
        ),
        (engine.get(&container.path("/changes")), "list of changes is longer than 67108864 bytes"),
        (
            engine.act(&format!("/commit?container={id}&repo=lies")),
            "more than 134217728 bytes of files, and its disk has 67108864",
        ),
    ] {
        assert_eq!(answer.status, 500, "{why}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    assert_eq!(engine.get(&format!("/images/{image}/json")).status, 404);
    let folder = tempfile::tempdir().unwrap();
    type Client = fn(&Engine, &[&str]) -> testkit::Output;
    for (name, client) in [("docker", Engine::docker as Client), ("isopod", Engine::isopod_cli)] {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        let copied = client(&engine, &["cp", &format!("{id}:/files"), place.to_str().unwrap()]);
        assert_ne!(copied.code, 0, "{name}: {copied:?}");
        let outside = [folder.path().join("through"), folder.path().join("above")];
        for path in outside.iter().chain([&PathBuf::from("/tmp/isopod-absolute")]) {
            assert!(!path.exists(), "{name}: {}", path.display());
        }
    }
    // It runs on, and goes when it is told to.
    assert_eq!(container.status(), "running");
    assert_eq!(other.sh("echo there"), "there");
    let removed = engine.delete(&container.path("?force=1"));
    assert_eq!(removed.status, 204, "{}", removed.text());
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_daemon_that_is_killed_while_files_are_let_go_of_leaves_containers_as_they_were() {
    let (mut daemon, _folder) = with_hostile_agent("deaf");
    let engine = daemon.engine();
    let (done, never) = (job(&engine), job(&engine));
    done.start();
    assert_eq!(done.wait(), 0);
    let all = [done, never];
    let states = || all.each_ref().map(|container| container.inspect()["State"].clone());
    let before = states();
    assert_eq!([&before[0]["Status"], &before[1]["Status"]], ["exited", "created"]);
    let mut streams = all.each_ref().map(|container| engine.stream(&container.path("/export")));
    for stream in &mut streams {
        let mut piece = [0; 5];
        stream.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"files");
    }
    // All was sent, and their machines have been told to end.
    std::thread::sleep(Duration::from_secs(1));
    daemon.restart();
    assert_eq!(states(), before);
    assert_eq!(all[0].inspect()["RestartCount"], 0);
    daemon.stop().unwrap();
}
