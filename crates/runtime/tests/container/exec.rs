//! Further processes in a running container.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use runtime::{Error, Stdio};
use serde_json::json;
use sys::process::Exit;

use crate::fixture::{Fixture, kill};

#[test]
fn privileged_exec_is_inside() {
    let fixture = Fixture::new(&["sleep", "100"]);
    let running = fixture.start();
    let script = "hostname; ps | grep -c '[s]leep 100'; cat /proc/self/cgroup; \
                  for n in mnt net uts pid ipc cgroup; do readlink /proc/self/ns/$n; done; \
                  ls /; grep -E 'CapEff|NoNewPrivs' /proc/self/status; pwd; echo $A";
    let out = fixture.exec(&running, &["sh", "-c", script]).unwrap().ok();
    assert!(out.starts_with("box\n1\n"), "{out}");
    for ns in ["mnt", "net", "uts", "pid", "ipc", "cgroup"] {
        let link = std::fs::read_link(format!("/proc/{}/ns/{ns}", running.pid)).unwrap();
        assert!(out.contains(link.to_str().unwrap()), "{ns}: {out}");
    }
    for line in out.lines().filter(|l| l.contains(":/") && !l.starts_with("CapEff")) {
        assert!(line.ends_with(":/"), "in the container's cgroup: {line}");
    }
    assert!(out.contains("CapEff:\t00000000a80425fb") && out.ends_with("/\nb\n"), "{out}");
    kill(running);
}

#[test]
fn privileged_exec_exit_codes_and_errors() {
    let fixture = Fixture::new(&["sleep", "100"]);
    let running = fixture.start();
    assert_eq!(fixture.exec(&running, &["sh", "-c", "exit 9"]).unwrap().exit, Exit::Code(9));
    assert_eq!(
        fixture.exec(&running, &["sh", "-c", "kill -15 $$"]).unwrap().exit.status(),
        128 + 15
    );
    let error = fixture.exec(&running, &["nonesuch"]).err().unwrap();
    assert!(matches!(error, Error::NotInPath { .. }), "{error}");
    let mut process = fixture.spec["process"].clone();
    process["cwd"] = json!("/none/such");
    let (stdio, _streams) = crate::fixture::pipes();
    let error = fixture.exec_process(&running, process, stdio).err().unwrap();
    assert_eq!(
        error.to_string(),
        "chdir to cwd (\"/none/such\") set in config.json failed: no such file or directory"
    );
    assert_eq!(fixture.cgroup.as_ref().unwrap().pids().unwrap(), [running.pid]);
    kill(running);
}

#[test]
fn privileged_exec_on_a_terminal() {
    let fixture = Fixture::new(&["sleep", "100"]);
    let running = fixture.start();
    let mut process = fixture.spec["process"].clone();
    process["args"] = json!(["sh", "-c", "tty; stty size; read x; echo got $x; id -u; exit 4"]);
    process["user"] = json!({"uid": 1000, "gid": 1000});
    let stdio = Stdio::Terminal { rows: 11, cols: 22 };
    let exec = fixture.exec_process(&running, process, stdio).unwrap();
    let mut console = File::from(exec.console.unwrap());
    let mut text = Vec::new();
    // What is typed earlier is echoed between what the commands say.
    while !text.ends_with(b"11 22\r\n") {
        let mut more = [0; 64];
        let read = console.read(&mut more).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&more[..read]);
    }
    console.write_all(b"hi\n").unwrap();
    let _ = console.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("/dev/pts/0\r\n11 22\r\n"), "{text}");
    assert!(text.contains("got hi\r\n1000"), "{text}");
    assert_eq!(sys::process::wait_pidfd(&exec.pidfd).unwrap(), Exit::Code(4));
    kill(running);
}

#[test]
fn privileged_exec_has_the_seccomp_filter_unless_privileged() {
    let fixture = Fixture::new(&["sleep", "100"]).with(|s| {
        s["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
        ]});
    });
    let running = fixture.start();
    let out = fixture.exec(&running, &["mkdir", "/tmp/a"]).unwrap();
    assert!(out.stderr.contains("not permitted"), "{}", out.stderr);
    kill(running);
}

/// Nothing can be made any more in a container that ends, however long that takes: an init waits
/// for everybody in its namespace, and whoever was executed there waits for its parent.
#[test]
fn privileged_exec_dies_with_the_container_and_none_comes_after() {
    let fixture = Fixture::new(&["sleep", "100"]);
    let running = fixture.start();
    let mut process = fixture.spec["process"].clone();
    process["args"] = json!(["sleep", "100"]);
    let (stdio, _streams) = crate::fixture::pipes();
    let exec = fixture.exec_process(&running, process, stdio).unwrap();
    assert!(exec.pid > 1 && exec.pid != running.pid);
    sys::process::pidfd_signal(&running.pidfd, 9).unwrap();
    assert!(sys::poll::readable_within(&exec.pidfd, Duration::from_secs(60)).unwrap());
    assert!(!sys::poll::readable_within(&running.pidfd, Duration::ZERO).unwrap());
    let error = fixture.exec(&running, &["true"]).err().unwrap();
    assert_eq!(error.errno(), Some(sys::errno::ESRCH), "{error}");
    let exit = sys::process::wait_pidfd(&exec.pidfd).unwrap();
    assert_eq!(exit, Exit::Signal { signal: 9, core: false });
    sys::process::wait_pidfd(&running.pidfd).unwrap();
}
