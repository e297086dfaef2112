//! Execs with real containers.

mod support;

use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use proto::control::{Attach, Reply, Request};
use proto::launch::WindowSize;
use support::{ALL, OUTPUT, World, demultiplex, eventually, is_alive, read_until, rest};
use types::ErrorKind;

#[test]
fn privileged_monitor_execs_with_all_streams() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let script = "cat; echo err >&2; exit 7";
    let mut stream = container.control.exec("e1", &["sh", "-c", script], ALL, false);
    stream.write_all(b"in and out").expect("writes");
    stream.shutdown(Shutdown::Write).expect("half-closes");
    assert_eq!(demultiplex(&rest(stream)), ("in and out".into(), "err\n".into()));
    assert_eq!(container.control.exec_exited("e1"), 7);
    // Who connects later is told of it too.
    let execs = container.control.hello().execs;
    let [exec] = execs.as_slice() else { panic!("one exec: {execs:?}") };
    assert_eq!((exec.id.as_str(), exec.exit_code), ("e1", Some(7)));
    container.kill();
}

#[test]
fn privileged_monitor_execs_inside_of_the_container() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let stream = container.control.exec("ps", &["ps", "-o", "pid,args"], OUTPUT, false);
    let (text, _) = demultiplex(&rest(stream));
    assert!(text.contains("1 sleep 1000") || text.contains("1 sh -c sleep"), "{text}");
    assert_eq!(container.control.exec_exited("ps"), 0);
    let Reply::Pids(pids) = container.control.ask(Request::Pids) else { panic!("pids") };
    let stream = container.control.exec("cg", &["sleep", "1000"], OUTPUT, false);
    eventually("it is in the cgroup", || {
        matches!(container.control.ask(Request::Pids), Reply::Pids(now)
            if now.len() == pids.len() + 1)
    });
    container.control.ask(Request::SignalExec { exec: "cg".into(), signal: 15 });
    assert_eq!(container.control.exec_exited("cg"), 128 + 15);
    drop(stream);
    container.kill();
}

#[test]
fn privileged_monitor_confines_container_and_exec_with_the_same_filter() {
    let world = World::new();
    for (default_seccomp, mode) in [(true, "2"), (false, "0")] {
        let script = "cat /proc/self/status; mkdir -p /tmp/x; sleep 1000";
        let mut plan = world.sh(script).log();
        plan.launch.default_seccomp = default_seccomp;
        let mut container = plan.start();
        let status = format!("\nSeccomp:\t{mode}\n");
        eventually("it has its filter", || container.log_text().contains(&status));
        let args = ["cat", "/proc/self/status"];
        let stream = container.control.exec("e", &args, OUTPUT, false);
        let (text, _) = demultiplex(&rest(stream));
        assert!(text.contains(&status), "{text}");
        assert_eq!(container.control.exec_exited("e"), 0);
        container.kill();
    }
}

#[test]
fn privileged_monitor_execs_on_a_terminal() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let mut stream = container.control.exec("t", &["sh"], ALL, true);
    stream.write_all(b"stty size; tty\n").expect("writes");
    let text = read_until(&mut stream, "/dev/pts/0\r\n");
    assert!(text.contains("5 55\r\n"), "{text:?}");
    let size = WindowSize { rows: 44, cols: 99 };
    container.control.ask(Request::Resize { exec: Some("t".into()), size });
    stream.write_all(b"stty size; exit 3\n").expect("writes");
    read_until(&mut stream, "44 99\r\n");
    assert_eq!(container.control.exec_exited("t"), 3);
    container.kill();
}

#[test]
fn privileged_monitor_lets_an_exec_live_without_its_client() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let script = "i=0; while [ $i -lt 50 ]; do echo line; sleep 0.01; i=$((i+1)); done; exit 8";
    let stream = container.control.exec("e", &["sh", "-c", script], OUTPUT, false);
    drop(stream);
    assert_eq!(container.control.exec_exited("e"), 8);
    container.kill();
}

#[test]
fn privileged_monitor_loses_nothing_of_a_slow_execs_output() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let script = "yes 0123456789abcde | head -c 3000000";
    let stream = container.control.exec("e", &["sh", "-c", script], OUTPUT, false);
    std::thread::sleep(Duration::from_millis(300));
    // The monitor is not held up meanwhile.
    assert_eq!(container.control.hello().execs.len(), 1);
    assert_eq!(demultiplex(&rest(stream)).0.len(), 3_000_000);
    assert_eq!(container.control.exec_exited("e"), 0);
    container.kill();
}

#[test]
fn privileged_monitor_does_not_wait_for_an_execs_children() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let began = Instant::now();
    let script = "sleep 500 & echo started; exit 2";
    let stream = container.control.exec("e", &["sh", "-c", script], OUTPUT, false);
    assert_eq!(container.control.exec_exited("e"), 2);
    assert_eq!(demultiplex(&rest(stream)).0, "started\n");
    assert!(began.elapsed() < Duration::from_secs(8));
    container.kill();
}

#[test]
fn privileged_monitor_says_what_an_exec_cannot() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let (_, reply) = container.control.try_exec("e", &["nosuch"], OUTPUT, false);
    let error = reply.expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("executable file not found"), "{error}");
    let resize = Request::Resize { exec: Some("e".into()), size: WindowSize::default() };
    let error = container.control.try_ask(resize, None).expect_err("not running");
    assert_eq!(error.kind, ErrorKind::NotFound);
    container.kill();
}

#[test]
fn privileged_monitor_ends_execs_with_the_container() {
    let world = World::new();
    let mut container = world.sh("sleep 1000").start();
    let nothing = Attach::default();
    let _one = container.control.exec("one", &["sleep", "1000"], nothing, false);
    let two = container.control.exec("two", &["cat"], ALL, false);
    let Reply::Pids(pids) = container.control.ask(Request::Pids) else { panic!("pids") };
    assert_eq!(pids.len(), 3);
    container.control.ask(Request::Signal(9));
    let mut codes =
        [container.control.notice(), container.control.notice()].map(|notice| match notice {
            proto::control::Notice::ExecExited { exec, exit_code } => (exec, exit_code),
            other => panic!("{other:?}"),
        });
    codes.sort();
    assert_eq!(codes, [("one".to_owned(), 137), ("two".to_owned(), 137)]);
    assert!(rest(two).is_empty());
    assert_eq!(container.exited().exit_code, 137);
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
}
