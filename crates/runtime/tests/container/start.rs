//! Starting, ending, streams, terminals, namespaces, error messages.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use runtime::{CreateOptions, Error, Root, Stdio, Step};
use serde_json::json;
use sys::process::Exit;

use crate::fixture::{Fixture, kill, pipes};

#[test]
fn privileged_exit_codes() {
    assert_eq!(Fixture::new(&["true"]).run().exit, Exit::Code(0));
    assert_eq!(Fixture::new(&["/bin/false"]).run().exit, Exit::Code(1));
    assert_eq!(Fixture::sh("exit 42").run().exit, Exit::Code(42));
    let killed = Fixture::new(&["sleep", "100"]);
    assert_eq!(kill(killed.start()), Exit::Signal { signal: 9, core: false });
}

#[test]
fn privileged_output_env_cwd_and_home() {
    let out = Fixture::sh("echo $A; echo $HOME; pwd; echo err >&2; umask")
        .with(|s| s["process"]["cwd"] = json!("/made/up"))
        .run();
    assert_eq!(out.stderr, "err\n");
    assert_eq!(out.ok(), "b\n/root\n/made/up\n0022\n");
}

#[test]
fn privileged_namespaces_are_separate() {
    let all = ["mnt", "net", "uts", "pid", "ipc", "cgroup"];
    let script = all.map(|ns| format!("readlink /proc/self/ns/{ns};")).concat();
    let out = Fixture::sh(&format!("{script} hostname; echo $$; ls /sys/class/net")).run().ok();
    let lines: Vec<&str> = out.lines().collect();
    for (ns, line) in all.iter().zip(&lines) {
        let host = std::fs::read_link(format!("/proc/self/ns/{ns}")).unwrap();
        assert!(line.starts_with(ns), "{line}");
        assert_ne!(*line, host.to_str().unwrap());
    }
    assert_eq!(lines[6..], ["box", "1", "lo"]);
}

#[test]
fn privileged_host_namespaces_are_shared() {
    let out = Fixture::sh("readlink /proc/self/ns/net; readlink /proc/self/ns/uts")
        .with(|s| {
            s["hostname"] = json!("");
            s["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}]);
            // A sysfs of one's own needs a network namespace of one's own to differ; this one is
            // the host's and works as well.
        })
        .run()
        .ok();
    let own = |ns: &str| {
        format!("{}\n", std::fs::read_link(format!("/proc/self/ns/{ns}")).unwrap().display())
    };
    assert_eq!(out, own("net") + &own("uts"));
}

#[test]
fn privileged_namespaces_of_another_container_are_joined() {
    let first = Fixture::new(&["sleep", "100"]);
    let running = first.start();
    let path = |ns: &str| json!(format!("/proc/{}/ns/{ns}", running.pid));
    let second =
        Fixture::sh("hostname; ps | grep -c [s]leep; readlink /proc/self/ns/net").with(|s| {
            s["hostname"] = json!("");
            s["linux"]["namespaces"] = json!([
                {"type": "mount"}, {"type": "ipc"}, {"type": "cgroup"},
                {"type": "uts", "path": path("uts")}, {"type": "pid", "path": path("pid")},
                {"type": "network", "path": path("net")}
            ]);
        });
    let out = second.run().ok();
    let net = std::fs::read_link(format!("/proc/{}/ns/net", running.pid)).unwrap();
    assert_eq!(out, format!("box\n1\n{}\n", net.display()));
    kill(running);
}

#[test]
fn privileged_network_namespace_is_handed_in() {
    let first = Fixture::new(&["sleep", "100"]);
    let running = first.start();
    let netns = File::open(format!("/proc/{}/ns/net", running.pid)).unwrap();
    let fixture = Fixture::sh("readlink /proc/self/ns/net");
    let spec = fixture.parsed();
    let (stdio, streams) = pipes();
    let cgroup = fixture.cgroup.as_ref().unwrap();
    let mut options = CreateOptions::new("x", &spec, Root::Path(fixture.root()), stdio, cgroup);
    options.netns = Some(netns.into());
    let running2 = runtime::create(options).unwrap().start().unwrap();
    let (out, _) = streams.read();
    sys::process::wait_pidfd(&running2.pidfd).unwrap();
    let net = std::fs::read_link(format!("/proc/{}/ns/net", running.pid)).unwrap();
    assert_eq!(out.trim(), net.to_str().unwrap());
    kill(running);
}

#[test]
fn privileged_created_container_waits() {
    let fixture = Fixture::sh("echo started");
    let (stdio, streams) = pipes();
    let created = fixture.create(Root::Path(fixture.root()), stdio).unwrap();
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", created.pid)).unwrap();
    assert_ne!(comm.trim(), "sh");
    let pid = created.pid;
    let running = created.start().unwrap();
    assert_eq!(running.pid, pid);
    assert_eq!(streams.read().0, "started\n");
    assert_eq!(sys::process::wait_pidfd(&running.pidfd).unwrap(), Exit::Code(0));
}

#[test]
fn privileged_created_container_holds_nothing_of_its_caller() {
    let fixture = Fixture::new(&["true"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let null = || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
    let created =
        fixture.create(Root::Path(fixture.root()), Stdio::Fds([null(), null(), null()])).unwrap();
    let fds = std::fs::read_dir(format!("/proc/{}/fd", created.pid)).unwrap().count();
    assert_eq!(fds, 4, "three streams and the channel");
    drop(writer);
    let mut text = String::new();
    (&reader).read_to_string(&mut text).unwrap();
    let running = created.start().unwrap();
    sys::process::wait_pidfd(running.pidfd).unwrap();
}

#[test]
fn privileged_dropped_container_ends() {
    let fixture = Fixture::sh("echo started");
    let (stdio, streams) = pipes();
    let created = fixture.create(Root::Path(fixture.root()), stdio).unwrap();
    let pidfd = created.pidfd.try_clone().unwrap();
    drop(created);
    assert_eq!(sys::process::wait_pidfd(pidfd).unwrap(), Exit::Code(1));
    assert_eq!(streams.read().0, "");
}

#[test]
fn privileged_programs_that_cannot_run() {
    let error = Fixture::new(&["nonesuch"]).fails();
    assert_eq!(error.to_string(), "exec: \"nonesuch\": executable file not found in $PATH");
    assert!(matches!(error, Error::NotInPath { .. }));
    let error = Fixture::new(&["/nonesuch"]).fails();
    assert_eq!(error.to_string(), "exec: \"/nonesuch\": stat /nonesuch: no such file or directory");
    let error = Fixture::new(&["/etc/passwd"]).fails();
    assert_eq!(error.to_string(), "exec: \"/etc/passwd\": permission denied");
    let error = Fixture::new(&["/etc"]).fails();
    assert_eq!(error.to_string(), "exec: \"/etc\": is a directory: permission denied");
    let error = Fixture::new(&[]).fails();
    assert_eq!(error.step(), Step::Spec);
}

#[test]
fn privileged_exec_format_and_missing_interpreter() {
    use std::os::unix::fs::PermissionsExt;
    let write = |text: &str| {
        let fixture = Fixture::new(&["/script"]);
        let path = fixture.root().join("script");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        fixture
    };
    let error = write("#!/no/such/shell\n").fails();
    assert_eq!(error.to_string(), "exec /script: no such file or directory");
    let error = write("echo no magic\n").fails();
    assert_eq!(error.to_string(), "exec /script: exec format error");
    assert_eq!(write("#!/bin/sh\necho fine\n").run().ok(), "fine\n");
}

#[test]
fn privileged_own_program_is_not_executed_in_the_container() {
    let error = Fixture::new(&["/proc/self/exe"]).fails();
    assert!(error.to_string().contains("own program"), "{error}");
}

#[test]
fn privileged_init_reaps_forwards_and_reports() {
    let mut fixture = Fixture::sh("echo $$; exit 7");
    fixture.init = true;
    let out = fixture.run();
    assert_eq!(out.exit, Exit::Code(7));
    assert_ne!(out.stdout, "1\n");
    let mut killed = Fixture::sh("kill -9 $$");
    killed.init = true;
    assert_eq!(killed.run().exit, Exit::Code(137));
    let mut missing = Fixture::new(&["/script"]);
    missing.init = true;
    assert!(matches!(missing.fails(), Error::NoSuchProgram { .. }));

    let mut fixture = Fixture::sh(
        "trap 'echo got; exit 3' TERM; (sleep 0.01 &); echo ready; while :; do sleep 0.05; done",
    );
    fixture.init = true;
    let (stdio, mut streams) = pipes();
    let running = fixture.create(Root::Path(fixture.root()), stdio).unwrap().start().unwrap();
    assert_eq!(streams.line(), "ready\n");
    // The orphan does not stay a zombie: of init's children only the shell is there.
    let parents = "cat /proc/[0-9]*/stat 2>/dev/null | cut -d' ' -f4";
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let parents = fixture.exec(&running, &["sh", "-c", parents]).unwrap().ok();
        if parents.lines().filter(|parent| *parent == "1").count() == 1 {
            break;
        }
        assert!(Instant::now() < end, "{parents}");
    }
    sys::process::pidfd_signal(&running.pidfd, 15).unwrap();
    assert_eq!(sys::process::wait_pidfd(&running.pidfd).unwrap(), Exit::Code(3));
    assert!(streams.read().0.ends_with("got\n"));
}

#[test]
fn privileged_terminal() {
    let fixture = Fixture::sh("tty; stty size; ls -l /dev/console; read x; echo got $x");
    let created = fixture
        .create(Root::Path(fixture.root()), Stdio::Terminal { rows: 40, cols: 120 })
        .unwrap();
    let mut console = File::from(created.console.as_ref().unwrap().try_clone().unwrap());
    let running = created.start().unwrap();
    console.write_all(b"hello\n").unwrap();
    let mut text = Vec::new();
    let _ = console.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    // What is typed is echoed at once, between any two lines.
    assert!(text.contains("/dev/pts/0\r\n") && text.contains("40 120\r\n"), "{text}");
    assert!(text.contains("got hello"), "{text}");
    assert_eq!(sys::process::wait_pidfd(running.pidfd).unwrap(), Exit::Code(0));
}

#[test]
fn privileged_terminal_interrupts_the_program() {
    for init in [false, true] {
        // As process 1 it must handle the signal to be ended by it.
        let mut fixture = Fixture::sh("trap 'exit 9' INT; echo ready; while :; do sleep 1; done");
        fixture.init = init;
        let created = fixture
            .create(Root::Path(fixture.root()), Stdio::Terminal { rows: 0, cols: 0 })
            .unwrap();
        let mut console = File::from(created.console.as_ref().unwrap().try_clone().unwrap());
        let running = created.start().unwrap();
        let mut seen = String::new();
        while !seen.contains("ready") {
            let mut buf = [0u8; 64];
            let n = console.read(&mut buf).unwrap();
            seen.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
        console.write_all(b"\x03").unwrap();
        assert_eq!(sys::process::wait_pidfd(running.pidfd).unwrap(), Exit::Code(9));
    }
}

#[test]
fn privileged_extra_descriptors_and_no_others() {
    let fixture = Fixture::sh("cat <&3; cat <&4; ls /proc/self/fd");
    let file = |text: &str| {
        let path = fixture.dir.path().join(text);
        std::fs::write(&path, text).unwrap();
        OwnedFd::from(File::open(path).unwrap())
    };
    // Descriptors without close-on-exec, as a careless caller has them.
    let leak = file("leak");
    sys::process::place_fds(&[leak.as_fd(); 1], 77).unwrap();
    let spec = fixture.parsed();
    let (stdio, streams) = pipes();
    let cgroup = fixture.cgroup.as_ref().unwrap();
    let mut options = CreateOptions::new("x", &spec, Root::Path(fixture.root()), stdio, cgroup);
    options.extra_fds = vec![file("three "), file("four\n")];
    let running = runtime::create(options).unwrap().start().unwrap();
    let (out, err) = streams.read();
    assert_eq!(out, "three four\n0\n1\n2\n3\n4\n5\n", "{err}");
    sys::process::wait_pidfd(running.pidfd).unwrap();
}

#[test]
fn privileged_parent_death_ends_the_container() {
    let fixture = Fixture::new(&["sleep", "100"]);
    // Creating from a thread that ends: PDEATHSIG is about threads.
    let pidfd = std::thread::scope(|scope| scope.spawn(|| fixture.start().pidfd).join().unwrap());
    assert_eq!(sys::process::wait_pidfd(pidfd).unwrap(), Exit::Signal { signal: 9, core: false });
}

#[test]
fn privileged_bad_specifications() {
    let error = Fixture::new(&["true"])
        .with(|s| s["linux"]["namespaces"] = json!([{"type": "pid"}]))
        .fails();
    assert!(error.to_string().contains("mount namespace"), "{error}");
    let error = Fixture::new(&["true"])
        .with(|s| s["linux"]["namespaces"] = json!([{"type": "mount"}]))
        .fails();
    assert!(error.to_string().contains("UTS"), "{error}");
    let error = Fixture::new(&["true"])
        .with(|s| {
            s["linux"]["namespaces"] =
                json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc", "path": "/nonesuch"}]);
        })
        .fails();
    assert_eq!(
        error.to_string(),
        "cannot open the ipc namespace /nonesuch: no such file or directory"
    );
    let error =
        Fixture::new(&["true"]).with(|s| s["process"]["cwd"] = json!("/etc/passwd")).fails();
    assert_eq!(error.step(), Step::Cwd, "{error}");
    assert_eq!(error.errno(), Some(sys::errno::ENOTDIR));
}

#[test]
fn privileged_what_is_not_supported_is_refused() {
    let error =
        Fixture::new(&["true"]).with(|s| s["linux"]["intelRdt"] = json!({"closID": "x"})).fails();
    assert_eq!(error.to_string(), "linux.intelRdt is not supported");
}
