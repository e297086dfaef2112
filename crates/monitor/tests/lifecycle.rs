//! A monitor's life with real containers: start, streams, end, and what is left (nothing).

mod support;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use proto::control::{Notice, Phase, Reply, Request};
use proto::launch::{Stdin, WindowSize};
use proto::log::Stream;
use serde_json::json;
use support::{ALL, OUTPUT, World, demultiplex, eventually, is_alive, read_until, rest};
use types::{ErrorKind, Timestamp};

#[test]
fn privileged_monitor_keeps_output_and_exit_status() {
    let world = World::new();
    let before = Timestamp::now();
    let mut container = world.sh("echo out; echo err >&2; echo -n end; exit 3").log().start();
    let record = container.exited();
    assert_eq!((record.exit_code, record.oom_killed, record.dropped), (3, false, 0));
    assert!(before < record.started_at && record.started_at < record.finished_at);
    let mut lines: Vec<_> = container
        .log()
        .into_iter()
        .map(|entry| (entry.stream, String::from_utf8(entry.text).expect("text")))
        .collect();
    // Two pipes: their order among each other is not known.
    lines.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    let expected = [
        (Stream::Stdout, "out\n".to_owned()),
        (Stream::Stdout, "end".to_owned()),
        (Stream::Stderr, "err\n".to_owned()),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn privileged_monitor_counts_signals_from_128() {
    let world = World::new();
    let mut container = world.sh("kill -9 $$; sleep 100").start();
    // Process 1 is not killed from inside; the shell goes on to sleep.
    std::thread::sleep(Duration::from_millis(50));
    assert!(is_alive(container.pid));
    assert!(matches!(container.control.ask(Request::Signal(9)), Reply::Done));
    assert_eq!(container.exited().exit_code, 137);
}

#[test]
fn privileged_monitor_gives_output_to_every_client() {
    let world = World::new();
    let mut container = world.sh("echo out; echo err >&2").create();
    let both = container.control.attach(OUTPUT);
    let only_errors = container.control.attach(proto::control::Attach {
        stdin: false,
        stdout: false,
        stderr: true,
    });
    container.start();
    assert_eq!(container.exited().exit_code, 0);
    assert_eq!(demultiplex(&rest(both)), ("out\n".into(), "err\n".into()));
    assert_eq!(demultiplex(&rest(only_errors)), (String::new(), "err\n".into()));
}

#[test]
fn privileged_monitor_passes_the_end_of_input_on() {
    let world = World::new();
    let mut container = world.container(&["cat"]).stdin(Stdin::Once).create();
    let mut client = container.control.attach(ALL);
    container.start();
    let text = "x".repeat(300_000);
    let mut writer = client.try_clone().expect("clones");
    let feeder = std::thread::spawn({
        let text = text.clone();
        move || {
            writer.write_all(text.as_bytes()).expect("writes");
            writer.shutdown(Shutdown::Write).expect("half-closes");
        }
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("reads");
    feeder.join().expect("joins");
    assert_eq!(demultiplex(&got).0, text);
    assert_eq!(container.exited().exit_code, 0);
}

#[test]
fn privileged_monitor_keeps_open_input_open() {
    let world = World::new();
    let mut container = world.container(&["cat"]).stdin(Stdin::Open).log().start();
    for word in ["one\n", "two\n"] {
        let mut client = container.control.attach(ALL);
        client.write_all(word.as_bytes()).expect("writes");
        client.shutdown(Shutdown::Write).expect("half-closes");
        // Let go, as Docker does.
        let _ = rest(client);
        eventually("it is in the log", || container.log_text().ends_with(word));
    }
    assert!(is_alive(container.pid));
    container.kill();
}

#[test]
fn privileged_monitor_drives_a_terminal() {
    let world = World::new();
    let mut container = world.container(&["sh"]).terminal(33, 111).create();
    let mut client = container.control.attach(ALL);
    container.start();
    client.write_all(b"stty size; tty\n").expect("writes");
    let text = read_until(&mut client, "/dev/pts/0\r\n");
    assert!(text.contains("33 111\r\n"), "{text:?}");
    let size = WindowSize { rows: 10, cols: 20 };
    container.control.ask(Request::Resize { exec: None, size });
    client.write_all(b"stty size\n").expect("writes");
    read_until(&mut client, "10 20\r\n");
    client.write_all(b"exit 5\n").expect("writes");
    assert_eq!(container.exited().exit_code, 5);
    let _ = rest(client);
}

#[test]
fn privileged_monitor_says_what_cannot_be_executed() {
    let world = World::new();
    let cases = [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/bin/nosuch", 127, "no such file or directory"),
        ("/bin/noexec", 126, "permission denied"),
        ("/bin", 126, "directory"),
    ];
    for (program, code, words) in cases {
        let mut container = world.container(&[program]).launch();
        let error = match container.control.notice() {
            // Found out at the creation already.
            Notice::Failed(error) => error,
            Notice::Created { pid, .. } => {
                container.pid = pid;
                let error = container.control.try_ask(Request::Start, None);
                container.control.gone();
                let record = container.record().expect("a record");
                assert_eq!(record.exit_code, code, "{program}");
                assert!(record.started_at.is_never());
                error.expect_err("cannot start")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(error.kind, ErrorKind::Invalid, "{program}: {error}");
        assert!(error.message.contains(words), "{program}: {error}");
        container.control.gone();
        eventually("nothing is left", || container.cgroups().is_empty());
    }
}

#[test]
fn privileged_monitor_undoes_what_cannot_be_created() {
    let world = World::new();
    let mut plan = world.sh("true");
    plan.spec["mounts"].as_array_mut().expect("an array").push(json!({
        "destination": "/tmp", "type": "nosuchfs", "source": "none",
    }));
    let mut container = plan.launch();
    let Notice::Failed(error) = container.control.notice() else { panic!("not created") };
    assert!(error.message.contains("/tmp"), "{error}");
    container.control.gone();
    assert!(container.record().is_none());
    container.assert_clean();
}

#[test]
fn privileged_monitor_gives_up_what_is_not_started() {
    let world = World::new();
    let mut container = world.sh("true").create();
    let mut client = container.control.attach(OUTPUT);
    assert!(is_alive(container.pid));
    assert!(matches!(container.control.ask(Request::Abandon), Reply::Done));
    container.control.gone();
    assert!(container.record().is_none());
    container.assert_clean();
    assert_eq!(client.read(&mut [0]).expect("reads"), 0, "the client is closed");
    // The same container can be launched again at once.
    let mut again = world.sh("exit 4").start();
    assert_eq!(again.exited().exit_code, 4);
}

#[test]
fn privileged_monitor_freezes_and_kills_the_frozen() {
    let world = World::new();
    let mut container = world.sh("while true; do echo tick; sleep 0.02; done").log().start();
    eventually("it runs", || container.log_text().contains("tick"));
    container.control.ask(Request::Pause);
    assert_eq!(container.control.hello().phase, Phase::Paused);
    // What is in the pipe is still written.
    std::thread::sleep(Duration::from_secs(1));
    let length = container.log().len();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(container.log().len(), length, "it stands still");
    let (_, refused) = container.control.try_exec("x", &["true"], OUTPUT, false);
    assert_eq!(refused.expect_err("paused").kind, ErrorKind::Conflict);
    let again = container.control.try_ask(Request::Pause, None);
    assert_eq!(again.expect_err("paused").kind, ErrorKind::Conflict);
    container.control.ask(Request::Resume);
    eventually("it goes on", || container.log().len() > length);
    container.control.ask(Request::Pause);
    container.kill();
}

#[test]
fn privileged_monitor_kills_a_paused_container_altogether() {
    let world = World::new();
    let mut container = world.sh("sleep 100 & sleep 100").start();
    container.control.ask(Request::Pause);
    container.control.ask(Request::KillAll);
    assert_eq!(container.exited().exit_code, 137);
}

#[test]
fn privileged_monitor_sees_that_memory_ran_out() {
    let world = World::new();
    // dd's buffer is touched as a whole.
    let script = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    let mut plan = world.sh(script).log().resources(json!({
        "memory": {"limit": 16 << 20, "swap": 16 << 20},
    }));
    plan.spec["linux"]["devices"] = json!([
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 438},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438},
    ]);
    let mut container = plan.start();
    let notice = container.control.notice();
    assert_eq!(notice, Notice::OutOfMemory);
    let record = container.exited();
    assert!(record.oom_killed);
    assert_eq!(record.exit_code, 137, "{}", container.log_text());
}

#[test]
fn privileged_monitor_counts_and_limits() {
    let world = World::new();
    let mut container = world.sh("sleep 100 & sleep 100; true").start();
    eventually("three processes", || {
        matches!(container.control.ask(Request::Pids), Reply::Pids(pids)
            if pids.len() == 3 && pids.contains(&container.pid))
    });
    let Reply::Sample(sample) = container.control.ask(Request::Stats) else { panic!("a sample") };
    assert!(sample.stats.memory.usage > 0);
    assert_eq!(sample.stats.pids.current, 3);
    let resources = serde_json::from_value(json!({"pids": {"limit": 7}})).expect("resources");
    let Reply::Warnings(warnings) = container.control.ask(Request::Update(Box::new(resources)))
    else {
        panic!("warnings")
    };
    assert!(warnings.is_empty(), "{warnings:?}");
    let Reply::Sample(sample) = container.control.ask(Request::Stats) else { panic!("a sample") };
    assert_eq!(sample.stats.pids.limit, Some(7));
    container.kill();
}

#[test]
fn privileged_monitor_ends_what_outlives_the_first_process() {
    let world = World::new();
    // Without a process namespace nothing dies with it, and the pipe stays open.
    let mut container = world.sh("sleep 1000 & echo $!; exit 6").host_pids().log().start();
    let began = Instant::now();
    assert_eq!(container.exited().exit_code, 6);
    assert!(began.elapsed() < Duration::from_secs(30));
    let sleeper = container.log_text().trim().parse().expect("a pid");
    assert!(!is_alive(sleeper));
}

#[test]
fn privileged_monitor_runs_our_init() {
    let world = World::new();
    let mut plan = world.sh("trap 'exit 9' TERM; echo ready; while true; do sleep 0.05; done");
    plan.launch.init = true;
    let mut container = plan.log().start();
    eventually("it is ready", || container.log_text().contains("ready"));
    container.control.ask(Request::Signal(15));
    assert_eq!(container.exited().exit_code, 9);
}

#[test]
fn privileged_monitor_holds_descriptors_as_long_as_the_container_lives() {
    let world = World::new();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("pair");
    let mut plan = world.sh("sleep 0.2");
    plan.held.push(theirs.into());
    let mut container = plan.start();
    ours.set_nonblocking(true).expect("non-blocking");
    let error = ours.read(&mut [0]).expect_err("it is held");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    container.exited();
    assert_eq!(ours.read(&mut [0]).expect("reads"), 0, "it was let go");
}

#[test]
fn privileged_monitor_mounts_what_comes_along() {
    let world = World::new();
    let mut plan = world.sh("cat /tmp/one /root/two").log();
    for (number, (name, destination)) in [("one", "/tmp"), ("two", "/root")].into_iter().enumerate()
    {
        let dir = world.path(name);
        std::fs::create_dir_all(&dir).expect("directory");
        std::fs::write(dir.join(name), format!("{name}\n")).expect("writes");
        plan.trees.push(sys::mount::clone_tree_at(sys::fs::CWD, &dir, true).expect("a tree"));
        plan.spec["mounts"].as_array_mut().expect("an array").push(json!({
            "destination": destination, "type": "bind",
            "source": proto::launch::mount_source(number), "options": ["bind"],
        }));
    }
    let mut container = plan.start();
    assert_eq!(container.exited().exit_code, 0);
    assert_eq!(container.log_text(), "one\ntwo\n");
}

#[test]
fn privileged_monitor_launches_a_hundred_at_once() {
    let world = World::new();
    let mut containers: Vec<_> =
        (0..100).map(|number| world.sh(&format!("exit {number}")).launch()).collect();
    for container in &mut containers {
        let Notice::Created { pid, .. } = container.control.notice() else { panic!("not created") };
        container.pid = pid;
        container.start();
    }
    for (number, container) in containers.iter_mut().enumerate() {
        assert_eq!(container.exited().exit_code as usize, number);
    }
}
