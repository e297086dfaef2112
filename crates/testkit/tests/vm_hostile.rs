//! Guests that use up what they have: their disk, their memory, their processes. Each harms itself,
//! and nobody else. Dockerd has no machines, so these run on us alone.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, Instant};

use testkit::daemon::Daemon;
use testkit::engine::isopod_binary;
use testkit::{Container, Engine, eventually, json};

use crate::vm::start;

const LIMIT: Duration = Duration::from_secs(90);

/// MiB of every machine: a container with 32 MiB needs as much, so that one template is enough.
const MEMORY: &str = "128m";
const LIMITED: u64 = 32 << 20;

const DISK: u64 = 64 << 20;

/// A container in a machine that runs a script.
fn script(engine: &Engine, script: &str, mut host: testkit::Value) -> Container {
    host["Isolation"] = json!("vm");
    let container = engine.create(json!({"Cmd": ["sh", "-c", script], "HostConfig": host}));
    container.start();
    container
}

#[test]
fn privileged_guests_that_use_up_what_they_have_harm_nobody_else() {
    let size = DISK.to_string();
    let daemon = start(None, &["--vm-spares=0", "--vm-memory", MEMORY, "--vm-disk-size", &size]);
    let engine = daemon.engine();
    let one = script(&engine, "exec sleep 1000", json!({}));
    fills_its_disk(&daemon, &one);
    fills_its_memory(&one);
    let unharmed = |whom: &str| assert_eq!(one.sh("cat /more"), "more", "beside {whom}");
    is_killed_for_its_memory(&engine);
    unharmed("one that ended for its memory");
    forks_up_to_its_limit(&engine);
    unharmed("as many processes as may be");
    forks_without_a_limit(&engine, &one);
    unharmed("endless forks");
    let own = daemon.folder().join("data/containers").join(&one.id);
    assert!(own.join("disk.ext4").exists());
    one.remove();
    assert!(!own.exists(), "its disk is there");
    daemon.stop().unwrap();
}

fn fills_its_disk(daemon: &Daemon, container: &Container) {
    let own = daemon.folder().join("data/containers").join(&container.id);
    let output = container.exec(&["dd", "if=/dev/zero", "of=/full", "bs=64k"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("No space left on device"), "{output:?}");
    let _ = container.sh("sync");
    let file = std::fs::metadata(own.join("disk.ext4")).unwrap();
    assert_eq!(file.len(), DISK, "the host's file has grown");
    assert!((DISK / 2..=DISK).contains(&(file.blocks() * 512)), "{} blocks", file.blocks());
    // It may go on as soon as there is room, and need not be started again.
    assert_eq!(container.sh("rm /full; echo more > /more; sync; cat /more"), "more");
    assert_eq!(container.status(), "running");
}

/// A process of it, not its first, takes all that the machine has.
fn fills_its_memory(container: &Container) {
    let output = container.exec(&["tail", "/dev/zero"]);
    assert_eq!(output.code, 137, "{output:?}");
    eventually("its kernel has told", LIMIT, || {
        (container.inspect()["State"]["OOMKilled"] == true).then_some(())
    });
    assert_eq!(container.status(), "running");
}

/// The first process takes more than the container may have.
fn is_killed_for_its_memory(engine: &Engine) {
    let container = script(engine, "exec tail /dev/zero", json!({"Memory": LIMITED}));
    assert_eq!(container.wait(), 137);
    let state = container.inspect()["State"].clone();
    assert_eq!(
        (&state["OOMKilled"], &state["Status"]),
        (&json!(true), &json!("exited")),
        "{state}"
    );
}

fn forks_up_to_its_limit(engine: &Engine) {
    // The shell that forks ends when it cannot any more; what it has made stays, until the first
    // process, which can make none either, ends it all.
    let container = script(
        engine,
        "trap 'kill -9 -1' USR1; (while :; do sleep 1000 & done); echo over; while :; do wait; done",
        json!({"PidsLimit": 30}),
    );
    eventually("it can fork no more", LIMIT, || {
        (container.logs().stdout == b"over\n").then_some(())
    });
    // Execs take the rest, and are told when there is none.
    let said = eventually("there is no room", LIMIT, || {
        let exec = container.exec_create(json!({"Cmd": ["sleep", "1000"]}));
        let answer = engine.post(&format!("/exec/{exec}/start"), &json!({"Detach": true}));
        (answer.status != 200).then(|| answer.text())
    });
    assert!(said.contains("cannot create the container's process"), "{said}");
    container.kill("USR1");
    eventually("there is room again", LIMIT, || {
        (container.exec(&["echo", "in"]).stdout == "in\n").then_some(())
    });
    assert_eq!(container.status(), "running");
}

fn forks_without_a_limit(engine: &Engine, other: &Container) {
    let bomb = script(engine, "fork() { echo one more; fork & fork; }; fork", json!({}));
    eventually("it is at it", LIMIT, || {
        (bomb.logs().stdout.split(|byte| *byte == b'\n').count() > 200).then_some(())
    });
    assert_eq!(other.sh("echo meanwhile"), "meanwhile");
    assert_eq!(bomb.status(), "running");
    let since = Instant::now();
    let id = bomb.id.clone();
    bomb.remove();
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assert!(!engine.knows(&id));
}

#[test]
fn privileged_without_qemu_the_error_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    // A host without the emulator.
    let without = folder.path().join("without");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind /dev/null \
         /usr/bin/qemu-system-x86_64 && exec \"$@\"' sh {} \"$@\"\n",
        isopod_binary().display()
    );
    std::fs::write(&without, script).unwrap();
    std::fs::set_permissions(&without, std::fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = start(Some(without), &[]);
    let engine = daemon.engine();
    let expected = "running a container in a virtual machine needs qemu-system-x86_64, which is \
                    not installed (Debian, Ubuntu: apt-get install qemu-system-x86)";
    let run = engine.isopod_cli(&["run", "--rm", "--isolation", "vm", "busybox", "true"]);
    assert_eq!(run.code, 125, "{run:?}");
    assert!(run.stderr.contains(expected), "{run:?}");
    assert_eq!(engine.get("/containers/json?all=1").json(), json!([]));
    assert_eq!(daemon.cgroups(), [] as [std::path::PathBuf; 0]);
    // The other wall does not need it.
    assert_eq!(engine.sh("echo fine", json!({})), "fine\n");
    daemon.stop().unwrap();
}
