//! `run` and its like against a scripted daemon: which requests, in which order, and how the
//! program ends.

mod scripted;

use std::io::Write as _;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use scripted::{Daemon, Line, Request, program, text};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Answers what `run` asks. `output` speaks on the connection that was handed over, once the
/// container has started; the end comes after it, with `status`.
fn container(
    status: i64,
    output: impl Fn(&mut Line) + Send + Sync + 'static,
) -> impl Fn(&Request, &mut Line) + Send + Sync + 'static {
    // 1: started, 2: ended.
    let phase = (Mutex::new(0), Condvar::new());
    let reach = |phase: &(Mutex<i32>, Condvar), to: i32| {
        *phase.0.lock().expect("unpoisoned") = to;
        phase.1.notify_all();
    };
    move |request, line| {
        let wait = |to: i32| {
            let guard = phase.0.lock().expect("unpoisoned");
            drop(phase.1.wait_while(guard, |now| *now < to).expect("unpoisoned"));
        };
        if request.target.contains("/create") {
            line.answer("201 Created", &format!("{{\"Id\":\"{ID}\",\"Warnings\":[\"careful\"]}}"));
        } else if request.target.contains("/attach") {
            line.hijack();
            wait(1);
            output(line);
            reach(&phase, 2);
            line.close();
        } else if request.target.contains("/wait") {
            line.stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .expect("written");
            wait(2);
            writeln!(line.stream, "{{\"StatusCode\":{status}}}").expect("written");
            line.close();
        } else if request.target.contains("/start") {
            line.answer("204 No Content", "");
            reach(&phase, 1);
        } else {
            line.answer("204 No Content", "");
        }
    }
}

#[test]
fn run_opens_everything_before_the_start_and_ends_as_the_container_does() {
    let daemon = Daemon::new(container(7, |line| {
        line.frame(1, b"out\n");
        line.frame(2, b"err\n");
    }));
    let output = daemon.run(&["run", "--rm", "--name", "web", "busybox", "sh", "-c", "x"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout), "out\n");
    assert_eq!(text(&output.stderr), "WARNING: careful\nerr\n");
    let log = daemon.log();
    let at = |part: &str| {
        log.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {log:?}"))
    };
    assert!(at("/create?name=web") < at("/attach?stream=1&stdout=1&stderr=1"));
    assert!(at("/attach") < at("/start"));
    assert!(at("/wait?condition=removed") < at("/start"));
    assert_eq!(log.iter().filter(|line| *line == "connect").count(), 3, "{log:?}");
    assert_eq!(log.iter().filter(|line| *line != "connect").count(), 4, "{log:?}");
}

#[test]
fn input_goes_in_whole_and_its_end_is_told() {
    let daemon = Daemon::new(container(0, |line| {
        let typed = line.typed();
        line.frame(1, format!("{} bytes", typed.len()).as_bytes());
    }));
    let mut child = daemon
        .program(&["run", "-i", "busybox", "wc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ran");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&vec![b'x'; 1 << 20]).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert_eq!(text(&output.stdout), "1048576 bytes");
    assert!(daemon.log().iter().any(|line| line.contains("attach?stream=1&stdin=1")));
}

#[test]
fn in_the_background_nothing_is_attached() {
    let daemon = Daemon::new(container(0, |_| {}));
    let output = daemon.run(&["run", "-d", "busybox"]);
    assert_eq!(text(&output.stdout), format!("{ID}\n"));
    let log = daemon.log();
    assert_eq!(log.len(), 3, "{log:?}");
    let both = daemon.run(&["run", "-d", "-a", "stdin", "busybox"]);
    assert_eq!(both.status.code(), Some(1));
}

#[test]
fn signals_reach_the_container() {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let (end, ended) = channel();
    let (end, ended) = (Mutex::new(end), Mutex::new(ended));
    let inner = container(143, move |line| {
        line.frame(1, b"ready\n");
        // It ends of the signal, however long that takes to come.
        ended.lock().expect("unpoisoned").recv_timeout(PATIENCE).expect("a signal");
    });
    let daemon = Daemon::new(move |request, line| {
        let kill = request.target.contains("/kill");
        if kill {
            let target = request.target.clone();
            sender.lock().expect("unpoisoned").send(target).expect("heard");
        }
        inner(request, line);
        if kill {
            end.lock().expect("unpoisoned").send(()).expect("heard");
        }
    });
    let mut child = daemon
        .program(&["run", "busybox"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ran");
    let mut ready = [0; 6];
    let mut stdout = child.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut stdout, &mut ready).expect("ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).expect("sent");
    let target = receiver.recv_timeout(PATIENCE).expect("passed on");
    assert_eq!(target, format!("/containers/{ID}/kill?signal=SIGTERM"));
    assert_eq!(child.wait().expect("ended").code(), Some(143));
}

#[test]
fn the_third_request_to_end_is_obeyed_at_once() {
    let daemon = Daemon::new(|request, line| match request.target.as_str() {
        "/containers/create" => line.answer("201 Created", &format!("{{\"Id\":\"{ID}\"}}")),
        target if target.ends_with("/json") => {
            let state = "{\"Running\":true}";
            line.answer("200 OK", &format!("{{\"Id\":\"{ID}\",\"State\":{state}}}"));
        }
        target if target.contains("/attach") => {
            line.hijack();
            line.frame(1, b"ready\n");
        }
        target if target.contains("/wait") => {
            line.stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("written");
        }
        target if target.ends_with("/start") => line.answer("204 No Content", ""),
        // A signal is never answered.
        _ => {}
    });
    for args in [&["run", "busybox"][..], &["attach", "--no-stdin", "web"]] {
        let mut command = daemon.program(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("ran");
        let mut ready = [0; 6];
        let stdout = child.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(stdout, &mut ready).expect("ready");
        let pid = rustix::process::Pid::from_child(&child);
        for signal in [Signal::INT, Signal::TERM, Signal::INT] {
            rustix::process::kill_process(pid, signal).expect("sent");
            // Two that are waiting to be seen may be seen as one.
            std::thread::sleep(Duration::from_secs(1));
        }
        let output = child.wait_with_output().expect("ended");
        let words = "\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), words));
    }
}

#[test]
fn a_start_that_fails_has_dockers_status() {
    for (message, status) in [
        ("exec: \\\"x\\\": executable file not found in $PATH", 127),
        ("exec: \\\"/x\\\": stat /x: no such file or directory", 127),
        ("exec: \\\"/etc\\\": permission denied", 126),
        ("no space left on device", 125),
    ] {
        let daemon = Daemon::new(move |request, line| {
            if request.target.contains("/create") {
                line.answer("201 Created", &format!("{{\"Id\":\"{ID}\"}}"));
            } else {
                line.answer("400 Bad Request", &format!("{{\"message\":\"{message}\"}}"));
            }
        });
        let output = daemon.run(&["run", "-d", "busybox", "x"]);
        assert_eq!(output.status.code(), Some(status), "{message}");
        let shown = text(&output.stderr);
        assert!(shown.starts_with("isopod: Error response from daemon: "), "{shown}");
        assert!(shown.ends_with("Run 'isopod run --help' for more information\n"), "{shown}");
    }
}

#[test]
fn a_missing_image_is_pulled_once() {
    let daemon = Daemon::new(|request, line| {
        if request.target.contains("/containers/create") {
            line.answer("404 Not Found", "{\"message\":\"No such image: nope:latest\"}");
        } else {
            line.answer(
                "200 OK",
                "{\"status\":\"Pulling\"}\n{\"errorDetail\":{\"message\":\"no registry\"},\"error\":\"no registry\"}\n",
            );
        }
    });
    let output = daemon.run(&["run", "nope"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "Unable to find image 'nope:latest' locally\nPulling\nisopod: no registry\n\n\
         Run 'isopod run --help' for more information\n"
    );
    let pulls = |daemon: &Daemon| {
        daemon.log().iter().filter(|l| l.contains("fromImage=nope&tag=latest")).count()
    };
    assert_eq!(pulls(&daemon), 1);
    let never = daemon.run(&["run", "--pull", "never", "nope"]);
    assert_eq!(
        text(&never.stderr).lines().next(),
        Some("isopod: Error response from daemon: No such image: nope:latest")
    );
    assert_eq!(pulls(&daemon), 1);
}

#[test]
fn the_id_file_is_written_once_and_never_left_empty() {
    let daemon = Daemon::new(container(0, |_| {}));
    let path = daemon.directory.path().join("cid");
    let cid = path.to_str().expect("text");
    assert!(daemon.run(&["create", "--cidfile", cid, "busybox"]).status.success());
    assert_eq!(std::fs::read_to_string(&path).expect("written"), ID);
    let again = daemon.run(&["create", "--cidfile", cid, "busybox"]);
    assert!(text(&again.stderr).contains("container ID file found"));
    let lost = daemon.run(&["run", "--cidfile", "/nonexistent/cid", "busybox"]);
    let words = "isopod: failed to create the container ID file: open /nonexistent/cid: ";
    assert!(text(&lost.stderr).starts_with(words), "{}", text(&lost.stderr));
    assert_eq!(lost.status.code(), Some(127));
    let refusing = Daemon::new(|_, line| line.answer("500 Oops", "{\"message\":\"no\"}"));
    let path = refusing.directory.path().join("cid");
    refusing.run(&["create", "--cidfile", path.to_str().expect("text"), "busybox"]);
    assert!(!path.exists());
}

#[test]
fn without_a_daemon_the_error_says_how_to_start_one() {
    let lost = |args: &[&str]| {
        let mut command = program(args);
        command.env("DOCKER_CONFIG", "/nonexistent").env("DOCKER_HOST", "unix:///nonexistent/s");
        command.stdin(Stdio::null()).output().expect("ran")
    };
    let words = "Cannot connect to the Isopod daemon at unix:///nonexistent/s. \
        Is the isopod daemon running? If not, start one: sudo isopod daemon";
    let output = lost(&["ps"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("{words}\n")));
    let output = lost(&["rm", "a", "b"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("{words}\n")));
    let output = lost(&["run", "busybox"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).starts_with(&format!("isopod: {words}")));
}

#[test]
fn slips_of_the_hand_are_named() {
    for (args, status, first) in [
        (&["ps", "--foo"][..], 125, "unknown flag: --foo"),
        (&["ps", "-x"], 125, "unknown shorthand flag: 'x' in -x"),
        (&["run", "--name"], 125, "flag needs an argument: --name"),
        (
            &["run", "-m", "abc", "x"],
            125,
            "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
        ),
        (
            &["stop", "-t", "x", "y"],
            125,
            "invalid argument \"x\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            &["ps", "-f", "a"],
            125,
            "invalid argument \"a\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
        ),
        (&["rm"], 1, "isopod: 'isopod rm' requires at least 1 argument"),
        (&["rename", "a"], 1, "isopod: 'isopod rename' requires 2 arguments"),
        (&["ps", "a"], 1, "isopod: 'isopod ps' accepts no arguments"),
        (&["exec", "x"], 1, "isopod: 'isopod exec' requires at least 2 arguments"),
        (&["foo"], 1, "isopod: unknown command: isopod foo"),
        (&["container", "foo"], 1, "isopod: unknown command: isopod container foo"),
        (&["build"], 1, "isopod: 'isopod build' requires 1 argument"),
        (&["compose"], 1, "isopod: 'compose' is not available in this version"),
        (&["run", "-p", "abc", "x"], 125, "isopod: invalid containerPort: abc"),
        (&["run", "-it", "x"], 1, "the input device is not a TTY"),
    ] {
        let output = program(args)
            .env("DOCKER_CONFIG", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .expect("ran");
        assert_eq!(text(&output.stderr).lines().next(), Some(first), "{args:?}");
        assert_eq!(output.status.code(), Some(status), "{args:?}");
    }
}

/// SHA-256 of `near`.
const NEAR: &str = "46ba34770bccfde756708d47d83fb7c8257fe8a4b3a35f25d385a8284021f476";

#[test]
fn contexts_say_where_the_daemon_is() {
    let daemon = Daemon::new(|_, line| line.answer("200 OK", "[]"));
    let config = daemon.directory.path().join("config");
    let meta = config.join("contexts/meta/00ff");
    std::fs::create_dir_all(&meta).expect("made");
    let socket = daemon.directory.path().join("s");
    std::fs::write(
        meta.join("meta.json"),
        format!(
            r#"{{"Name":"far","Metadata":{{"Description":"there"}},"Endpoints":{{"docker":{{"Host":"unix://{}","SkipTLSVerify":false}}}}}}"#,
            socket.display()
        ),
    )
    .expect("written");
    std::fs::write(config.join("config.json"), r#"{"detachKeys":"ctrl-a"}"#).expect("written");
    let run = |args: &[&str], context: &str| {
        let mut command = program(args);
        command.env("DOCKER_CONFIG", &config).env("DOCKER_CONTEXT", context);
        command.stdin(Stdio::null()).output().expect("ran")
    };
    assert!(run(&["ps"], "far").status.success());
    assert!(run(&["-c", "far", "ps"], "").status.success());
    assert_eq!(daemon.log().iter().filter(|line| line.contains("/containers/json")).count(), 2);
    assert_eq!(text(&run(&["context", "show"], "").stdout), "default\n");
    let near = run(&["-c", "near", "run", "busybox"], "");
    let words = format!(
        "Failed to initialize: unable to resolve docker endpoint: context \"near\": context not found: \
         open {}/contexts/meta/{NEAR}/meta.json: no such file or directory\n",
        config.display()
    );
    assert_eq!((near.status.code(), text(&near.stderr)), (Some(1), words));
    assert!(run(&["context", "use", "far"], "").status.success());
    assert_eq!(text(&run(&["context", "show"], "").stdout), "far\n");
    let kept = std::fs::read_to_string(config.join("config.json")).expect("read");
    assert!(kept.contains("detachKeys"), "{kept}");
    let list = text(&run(&["context", "ls", "--format", "{{.Name}} {{.Current}}"], "").stdout);
    assert_eq!(list, "default false\nfar true\n");
}
