//! What guests cannot do to others, whatever goes on in them. Dockerd has no such wall, so these run on
//! us alone.

use std::time::Duration;

use testkit::{eventually, json};

use crate::vm::daemon;

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
