//! What guests cannot do to others, whatever goes on in them. Dockerd has no such wall, so these run on
//! us alone.

use std::time::Duration;

use testkit::{eventually, json};

use crate::limits::{hybrid, limit};
use crate::vm::{daemon, sleeper};

const LIMIT: Duration = Duration::from_secs(90);

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
