//! Logs, attach and exec: what flows between a container and its clients, byte by byte.

use std::io::Write;
use std::time::{Duration, Instant};
use testkit::engine::{VERSION, filters};
use testkit::websocket::WebSocket;
use testkit::{Engine, eventually, frames, json, on_both};

const SOON: Duration = Duration::from_secs(15);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A container that copies its input to its output and says what it saw at the end of input.
fn echo(engine: &Engine, tty: bool) -> testkit::Container {
    engine.create(json!({
        "Cmd": ["sh", "-c", "echo ready; cat; echo end >&2"],
        "OpenStdin": true, "StdinOnce": true, "AttachStdin": true, "Tty": tty,
    }))
}

on_both! {
    fn privileged_logs_are_frames(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo one; echo two >&2; printf 'no line end'"]}));
        container.start();
        container.wait();
        let answer = engine.get(&container.path("/logs?stdout=1&stderr=1")).expect(200);
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        // Newer engines name the framing; 20.10 says nothing useful.
        assert!(engine.is_dockerd() || kind == "application/vnd.docker.multiplexed-stream" || kind == "application/vnd.docker.raw-stream", "{kind}");
        let streams = frames::split(&answer.body[..]);
        assert_eq!(text(&streams.stdout), "one\nno line end");
        assert_eq!(text(&streams.stderr), "two\n");
        assert_eq!(container.logs_with("stdout=1").stderr, b"");
        assert_eq!(container.logs_with("stderr=1").stdout, b"");
        let answer = engine.get(&container.path("/logs")).expect(400);
        assert!(answer.message().contains("you must choose at least one stream"), "{}", answer.text());
    }

    fn privileged_a_stream_ends_when_everybody_can_see_the_end(engine) {
        for code in 1..12 {
            let container = engine.create(json!({"Cmd": ["sh", "-c", format!("echo out; exit {code}")]}));
            let stream = engine.hijack(&container.path("/attach?stream=1&stdout=1"), true, &json!(null));
            container.start();
            let _ = stream.read_all();
            let state = &container.inspect()["State"];
            assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(code)), "{state}");
            let _ = engine.delete(&container.path("")).expect(204);
        }
    }

    fn privileged_logs_of_a_terminal_are_raw(engine) {
        let container = engine.create(json!({"Cmd": ["echo", "hello"], "Tty": true}));
        container.start();
        container.wait();
        assert_eq!(engine.get(&container.path("/logs?stdout=1")).expect(200).text(), "hello\r\n");
    }

    fn privileged_logs_tail_and_timestamps(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done"]}));
        container.start();
        container.wait();
        eventually("five lines", SOON, || (container.logs().stdout.ends_with(b"5\n")).then_some(()));
        assert_eq!(text(&container.logs_with("stdout=1&tail=2").stdout), "line 4\nline 5\n");
        assert_eq!(text(&container.logs_with("stdout=1&tail=0").stdout), "");
        assert_eq!(text(&container.logs_with("stdout=1&tail=all").stdout).lines().count(), 5);
        assert_eq!(text(&container.logs_with("stdout=1&tail=nonsense").stdout).lines().count(), 5);
        let stamped = text(&container.logs_with("stdout=1&timestamps=1&tail=1").stdout);
        let (stamp, rest) = stamped.split_once(' ').unwrap();
        assert_eq!(rest, "line 5\n");
        assert!(stamp.ends_with('Z') && stamp.len() == "2006-01-02T15:04:05.000000000Z".len(), "{stamp}");
    }

    fn privileged_logs_since_and_until(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo early; sleep 1.5; echo late"]}));
        container.start();
        container.wait();
        eventually("two lines", SOON, || (container.logs().stdout.ends_with(b"late\n")).then_some(()));
        let stamped = text(&container.logs_with("stdout=1&timestamps=1").stdout);
        let late = stamped.lines().last().unwrap().split(' ').next().unwrap().to_owned();
        let seconds = unix_time(&late);
        assert_eq!(text(&container.logs_with(&format!("stdout=1&since={seconds}")).stdout), "late\n");
        let before = format!("{}.{}", seconds.split('.').next().unwrap().parse::<u64>().unwrap() - 1, seconds.split('.').nth(1).unwrap());
        let until = text(&container.logs_with(&format!("stdout=1&until={before}")).stdout);
        assert_eq!(until, "early\n");
    }

    fn privileged_logs_follow_until_the_end(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done"]}));
        container.start();
        let mut stream = engine.stream(&container.path("/logs?stdout=1&follow=1"));
        let mut seen = Vec::new();
        while let Some((kind, payload)) = frames::next(&mut stream) {
            assert_eq!(kind, 1);
            seen.push(text(&payload));
        }
        assert_eq!(seen.concat(), "1\n2\n3\n");
        assert_eq!(container.wait(), 0);
    }

    fn privileged_logs_keep_long_lines_whole(engine) {
        // Longer than the 16 KiB after which json-file splits a line.
        let container = engine.create(json!({"Cmd": ["sh", "-c", "head -c 50000 /dev/zero | tr '\\0' x; echo; echo next"]}));
        container.start();
        container.wait();
        let out = eventually("all of it", SOON, || {
            let out = text(&container.logs().stdout);
            out.ends_with("next\n").then_some(out)
        });
        assert_eq!(out, format!("{}\nnext\n", "x".repeat(50_000)));
        assert_eq!(text(&container.logs_with("stdout=1&tail=1").stdout), "next\n");
    }

    fn privileged_logs_survive_any_bytes(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "printf 'a\\0b\\r\\n\\t\\\\\"<>&\\342\\200\\250 \\303\\244\\n'"]}));
        container.start();
        container.wait();
        let wanted = b"a\0b\r\n\t\\\"<>&\xe2\x80\xa8 \xc3\xa4\n";
        eventually("the line", SOON, || (!container.logs().stdout.is_empty()).then_some(()));
        assert_eq!(container.logs().stdout, wanted);
    }

    fn privileged_logs_of_driver_none_cannot_be_read(engine) {
        let container = engine.create(json!({"Cmd": ["echo", "x"], "HostConfig": {"LogConfig": {"Type": "none"}}}));
        container.start();
        container.wait();
        let answer = engine.get(&container.path("/logs?stdout=1"));
        assert!(answer.status >= 400, "{}", answer.status);
        assert!(answer.message().contains("configured logging driver does not support reading"), "{}", answer.text());
    }

    fn privileged_logs_of_driver_local(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo two >&2; sleep 0.3; echo one; echo three"], "HostConfig": {"LogConfig": {"Type": "local"}}}));
        container.start();
        container.wait();
        eventually("three", SOON, || (container.logs().stdout == b"one\nthree\n").then_some(()));
        assert_eq!(container.logs().stderr, b"two\n");
        assert_eq!(text(&container.logs_with("stdout=1&tail=1").stdout), "three\n");
    }

    fn privileged_logs_rotate(engine) {
        let config = json!({"Type": "json-file", "Config": {"max-size": "20k", "max-file": "2"}});
        let container = engine.create(json!({"Cmd": ["sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"], "HostConfig": {"LogConfig": config}}));
        container.start();
        container.wait();
        let out = eventually("the last line", SOON, || {
            let out = text(&container.logs().stdout);
            out.ends_with("line 1999\n").then_some(out)
        });
        let first: usize = out.lines().next().unwrap().trim_start_matches("line ").parse().unwrap();
        assert!(first > 0, "nothing was rotated away");
        for (offset, line) in out.lines().enumerate() {
            assert_eq!(line, format!("line {}", first + offset));
        }
    }

    fn privileged_log_options_are_checked(engine) {
        for log in [json!({"Type": "nonsense"}), json!({"Type": "json-file", "Config": {"nonsense": "1"}}), json!({"Type": "json-file", "Config": {"max-size": "many"}})] {
            let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"LogConfig": log}}));
            // 20.10 looks at some of it only when the container starts.
            if engine.is_dockerd() && answer.status == 201 {
                let id = answer.json()["Id"].as_str().unwrap().to_owned();
                assert!(engine.act(&format!("/containers/{id}/start")).status >= 400);
                let _ = engine.delete(&format!("/containers/{id}?force=1")).ok();
            } else {
                assert!(matches!(answer.status, 400 | 500), "{log}: {} {}", answer.status, answer.text());
                assert!(engine.is_dockerd() || answer.status == 400, "{log}: {}", answer.status);
            }
        }
    }

    fn privileged_attach_streams_both_ways(engine) {
        for upgrade in [true, false] {
            let container = echo(engine, false);
            let mut stream = engine.hijack(&container.path("/attach?stream=1&stdin=1&stdout=1&stderr=1"), upgrade, &json!(null));
            assert_eq!(stream.status, if upgrade { 101 } else { 200 });
            let kind = stream.header("content-type").unwrap().to_owned();
            assert!(kind.starts_with("application/vnd.docker."), "{kind}");
            if upgrade {
                assert_eq!(stream.header("upgrade").map(str::to_lowercase).as_deref(), Some("tcp"));
                assert_eq!(stream.header("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
            }
            container.start();
            stream.write_all(b"hello\n").unwrap();
            // Half-close: the end of our input, not of its output.
            stream.close_write();
            let streams = frames::split(stream);
            assert_eq!(text(&streams.stdout), "ready\nhello\n", "upgrade {upgrade}");
            assert_eq!(text(&streams.stderr), "end\n");
            assert_eq!(container.wait(), 0);
        }
    }

    fn privileged_attach_to_a_terminal_is_raw(engine) {
        let container = echo(engine, true);
        let mut stream = engine.hijack(&container.path("/attach?stream=1&stdin=1&stdout=1&stderr=1"), true, &json!(null));
        container.start();
        stream.read_until("ready\r\n");
        stream.write_all(b"hello\n").unwrap();
        let seen = stream.read_until("hello\r\nhello\r\n");
        assert!(seen.contains("hello\r\nhello\r\n"), "{seen:?}");
        stream.write_all(b"\x04").unwrap();
        assert_eq!(text(&stream.read_all()), "end\r\n");
        assert_eq!(container.wait(), 0);
    }

    fn privileged_attach_shows_what_was_logged_before(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo before; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo after"]}));
        container.start();
        eventually("before", SOON, || (!container.logs().stdout.is_empty()).then_some(()));
        let stream = engine.hijack(&container.path("/attach?logs=1&stream=1&stdout=1"), true, &json!(null));
        let _ = container.sh("touch /tmp/go");
        assert_eq!(text(&frames::split(stream).stdout), "before\nafter\n");
        let stream = engine.hijack(&container.path("/attach?logs=1&stdout=1"), true, &json!(null));
        assert_eq!(text(&frames::split(stream).stdout), "before\nafter\n");
    }

    fn privileged_two_clients_attach(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "read x; echo got $x; sleep 0.2"], "OpenStdin": true}));
        let path = container.path("/attach?stream=1&stdin=1&stdout=1");
        let mut first = engine.hijack(&path, true, &json!(null));
        let second = engine.hijack(&path, true, &json!(null));
        container.start();
        first.write_all(b"it\n").unwrap();
        assert_eq!(text(&frames::split(second).stdout), "got it\n");
        assert_eq!(text(&frames::split(first).stdout), "got it\n");
    }

    fn privileged_a_client_that_leaves_stops_nothing(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "i=0; while [ $i -lt 40000 ]; do echo $i; i=$((i+1)); done"]}));
        let stream = engine.hijack(&container.path("/attach?stream=1&stdout=1"), true, &json!(null));
        container.start();
        drop(stream);
        assert_eq!(container.wait(), 0);
        eventually("the last line", SOON, || (text(&container.logs_with("stdout=1&tail=1").stdout) == "39999\n").then_some(()));
    }

    fn privileged_detach_keys_leave_the_container_running(engine) {
        let container = engine.create(json!({"Cmd": ["sh"], "OpenStdin": true, "Tty": true}));
        container.start();
        for (query, keys) in [("", &b"\x10\x11"[..]), ("&detachKeys=ctrl-a,x", b"\x01x"), ("&detachKeys=q", b"q")] {
            let mut stream = engine.hijack(&container.path(&format!("/attach?stream=1&stdin=1&stdout=1{query}")), true, &json!(null));
            stream.write_all(b"echo $((40+2))\n").unwrap();
            stream.read_until("42");
            stream.write_all(keys).unwrap();
            let _ = stream.read_all();
            assert_eq!(container.status(), "running", "{query}");
        }
    }

    fn privileged_attach_over_a_websocket(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "read x; echo got $x; sleep 30"], "OpenStdin": true, "Tty": true}));
        container.start();
        let mut socket = WebSocket::open(&engine.client(), &format!("{VERSION}/containers/{}/attach/ws?stream=1&stdin=1&stdout=1", container.id));
        socket.send(b"words\n");
        let seen = socket.read_until("got words");
        assert!(seen.contains("got words"), "{seen:?}");
        socket.close();
        assert_eq!(container.status(), "running");
    }

    fn privileged_attach_refuses(engine) {
        let answer = engine.act("/containers/nonsense/attach?stream=1&stdout=1");
        assert_eq!(answer.status, 404);
        let container = engine.sleeper(json!({}));
        let _ = engine.act(&container.path("/pause")).expect(204);
        let answer = engine.client().hijack(&format!("{VERSION}{}", container.path("/attach?stream=1&stdout=1")), true, b"").map(|_| ()).unwrap_err();
        assert_eq!(answer.status, 409, "{}", answer.text());
        let _ = engine.act(&container.path("/unpause")).expect(204);
    }

    fn privileged_a_terminal_has_the_size_it_was_given(engine) {
        let container = engine.create(json!({"Cmd": ["sh"], "OpenStdin": true, "Tty": true}));
        container.start();
        let mut stream = engine.hijack(&container.path("/attach?stream=1&stdin=1&stdout=1"), true, &json!(null));
        let _ = engine.act(&container.path("/resize?h=33&w=101")).expect(200);
        stream.write_all(b"stty size\n").unwrap();
        let seen = stream.read_until("33 101");
        assert!(seen.contains("33 101"));
        assert!(engine.act(&container.path("/resize?h=x&w=1")).status >= 400);
        container.kill("KILL");
    }

    fn privileged_create_takes_a_console_size(engine) {
        let output = engine.create(json!({"Cmd": ["sh", "-c", "sleep 0.2; stty size"], "Tty": true, "HostConfig": {"ConsoleSize": [41, 99]}}));
        output.start();
        output.wait();
        let seen = engine.get(&output.path("/logs?stdout=1")).text();
        // 20.10 ignores it on Linux.
        assert!(engine.is_dockerd() || seen == "41 99\r\n", "{seen:?}");
    }

    fn privileged_exec_gives_output_and_status(engine) {
        let container = engine.sleeper(json!({"Env": ["OWN=1"], "WorkingDir": "/home"}));
        let output = container.exec(&["sh", "-c", "echo out; echo err >&2; exit 5"]);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (5, "out\n", "err\n"));
        assert_eq!(container.sh("pwd; echo $OWN; id -u"), "/home\n1\n0");
        let output = container.exec_with(json!({"Cmd": ["sh", "-c", "pwd; id -u; id -g; echo $A $OWN $HOME"], "WorkingDir": "/tmp", "User": "app", "Env": ["A=b"]}));
        assert_eq!(output.stdout, "/tmp\n1000\n1001\nb 1 /home\n");
        let output = container.exec_with(json!({"Cmd": ["id"], "User": "1000:29"}));
        assert!(output.stdout.contains("uid=1000(app) gid=29(audio)"), "{}", output.stdout);
        let output = container.exec_with(json!({"Cmd": ["sh", "-c", "id -G"], "User": "app"}));
        assert_eq!(output.stdout, "1001 29 44\n");
    }

    fn privileged_exec_without_upgrade_and_with_input(engine) {
        let container = engine.sleeper(json!({}));
        for upgrade in [true, false] {
            let id = container.exec_create(json!({"Cmd": ["sh", "-c", "cat; echo done >&2"], "AttachStdin": true}));
            let mut stream = engine.hijack(&format!("/exec/{id}/start"), upgrade, &json!({"Detach": false, "Tty": false}));
            assert_eq!(stream.status, if upgrade { 101 } else { 200 });
            stream.write_all(b"through\n").unwrap();
            stream.close_write();
            let streams = frames::split(stream);
            assert_eq!((text(&streams.stdout).as_str(), text(&streams.stderr).as_str()), ("through\n", "done\n"));
        }
    }

    fn privileged_exec_carries_much_data(engine) {
        let container = engine.sleeper(json!({}));
        let id = container.exec_create(json!({"Cmd": ["md5sum"], "AttachStdin": true}));
        let mut stream = engine.hijack(&format!("/exec/{id}/start"), true, &json!({}));
        let block = [b'z'; 65536];
        for _ in 0..160 {
            stream.write_all(&block).unwrap();
        }
        stream.close_write();
        let sum = text(&frames::split(stream).stdout);
        let wanted = container.sh("head -c 10485760 /dev/zero | tr '\\0' z | md5sum");
        assert_eq!(sum.trim(), wanted);
        let output = container.exec(&["sh", "-c", "head -c 20000000 /dev/zero"]);
        assert_eq!(output.stdout.len(), 20_000_000);
    }

    fn privileged_exec_with_a_terminal(engine) {
        let container = engine.sleeper(json!({}));
        let id = container.exec_create(json!({"Cmd": ["sh"], "Tty": true, "AttachStdin": true}));
        let mut stream = engine.hijack(&format!("/exec/{id}/start"), true, &json!({"Tty": true}));
        let _ = engine.act(&format!("/exec/{id}/resize?h=22&w=77")).ok();
        stream.write_all(b"tty; stty size\n").unwrap();
        let seen = stream.read_until("22 77");
        assert!(seen.contains("/dev/pts/"), "{seen:?}");
        stream.write_all(b"exit 3\n").unwrap();
        let _ = stream.read_all();
        let code = eventually("an exit status", SOON, || engine.get(&format!("/exec/{id}/json")).json()["ExitCode"].as_i64());
        assert_eq!(code, 3);
    }

    fn privileged_exec_detached(engine) {
        let container = engine.sleeper(json!({}));
        let id = container.exec_create(json!({"Cmd": ["sh", "-c", "sleep 0.3; touch /tmp/done; exit 4"], "AttachStdout": false, "AttachStderr": false}));
        let inspect = engine.get(&format!("/exec/{id}/json")).expect(200).json();
        testkit::shape::check("GET /exec/{id}/json", &inspect, &[".ProcessConfig.user", ".CanRemove", ".DetachKeys", ".ExitCode"]);
        assert_eq!(inspect["ExitCode"], json!(null));
        assert_eq!(inspect["Running"], false);
        assert_eq!(inspect["ContainerID"], container.id);
        let _ = engine.post(&format!("/exec/{id}/start"), &json!({"Detach": true})).expect(200);
        let inspect = eventually("ended", SOON, || {
            let inspect = engine.get(&format!("/exec/{id}/json")).json();
            (!inspect["ExitCode"].is_null()).then_some(inspect)
        });
        assert_eq!(inspect["ExitCode"], 4);
        assert_eq!(inspect["Running"], false);
        let _ = container.sh("test -e /tmp/done");
        let again = engine.post(&format!("/exec/{id}/start"), &json!({"Detach": true}));
        assert_eq!(again.status, 409, "{}", again.text());
        // What has ended is forgotten.
        eventually("forgotten", SOON, || container.inspect()["ExecIDs"].is_null().then_some(()));
    }

    fn privileged_exec_errors(engine) {
        let container = engine.sleeper(json!({}));
        let answer = engine.post(&container.path("/exec"), &json!({"Cmd": []})).expect(400);
        assert!(answer.message().contains("No exec command specified"), "{}", answer.text());
        assert_eq!(engine.post("/containers/nonsense/exec", &json!({"Cmd": ["true"]})).status, 404);
        assert_eq!(engine.get("/exec/nonsense/json").status, 404);
        assert!(engine.get("/exec/nonsense/json").message().contains("No such exec instance"));
        assert_eq!(engine.post("/exec/nonsense/start", &json!({})).status, 404);
        let stopped = engine.create(json!({"Cmd": ["true"]}));
        let answer = engine.post(&stopped.path("/exec"), &json!({"Cmd": ["true"]})).expect(409);
        assert!(answer.message().contains("is not running"), "{}", answer.text());

        let id = container.exec_create(json!({"Cmd": ["/no/such/program"]}));
        let seen = match engine.client().hijack(&format!("{VERSION}/exec/{id}/start"), true, b"{}") {
            Ok(stream) => text(&stream.read_all()),
            Err(answer) => { assert_eq!(answer.status, 400, "{}", answer.text()); answer.message() }
        };
        assert!(seen.contains("/no/such/program") && seen.contains("no such file or directory"), "{seen}");
        let code = eventually("an exit status", SOON, || engine.get(&format!("/exec/{id}/json")).json()["ExitCode"].as_i64());
        // 20.10 says 126 for a path that is not there.
        assert!(code == 127 || engine.is_dockerd() && code == 126, "{code}");
        let output = container.exec_with(json!({"Cmd": ["true"], "User": "nobody-here"}));
        assert_ne!(output.code, 0);
    }

    fn privileged_exec_ends_with_its_container(engine) {
        let container = engine.sleeper(json!({}));
        let id = container.exec_create(json!({"Cmd": ["sleep", "1000"]}));
        let stream = engine.hijack(&format!("/exec/{id}/start"), true, &json!({}));
        eventually("listed", SOON, || (container.inspect()["ExecIDs"] == json!([id])).then_some(()));
        let began = Instant::now();
        container.kill("KILL");
        let _ = stream.read_all();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(container.wait(), 137);
    }

    fn privileged_exec_privileged_has_every_capability_the_engine_has(engine) {
        let container = engine.sleeper(json!({}));
        let plain = container.sh("grep CapEff /proc/self/status");
        assert!(plain.ends_with("00000000a80425fb"), "{plain}");
        let output = container.exec_with(json!({"Cmd": ["grep", "CapEff", "/proc/self/status"], "Privileged": true}));
        // runc cannot do this where the host lacks a capability; we go on with what there is.
        if !engine.is_dockerd() {
            let own = std::fs::read_to_string("/proc/self/status").unwrap();
            let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap().to_owned();
            assert_eq!(output.stdout.trim(), own);
        }
    }

    fn privileged_output_does_not_wait_for_a_line_end(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "printf prompt; sleep 30"]}));
        let mut stream = engine.hijack(&container.path("/attach?stream=1&stdout=1"), true, &json!(null));
        container.start();
        assert_eq!(frames::next(&mut stream), Some((1, b"prompt".to_vec())));
    }

    fn privileged_input_is_kept_open_unless_once(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "read a; read b; echo $a $b"], "OpenStdin": true, "StdinOnce": false}));
        container.start();
        for word in ["one\n", "two\n"] {
            let mut stream = engine.hijack(&container.path("/attach?stream=1&stdin=1"), true, &json!(null));
            stream.write_all(word.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(container.wait(), 0);
        eventually("both", SOON, || (container.logs().stdout == b"one two\n").then_some(()));
    }

    fn privileged_a_closed_input_is_seen(engine) {
        let output = engine.run(json!({"Cmd": ["cat"]}));
        assert_eq!((output.code, output.stdout.as_str()), (0, ""));
    }

    fn privileged_a_reader_that_stops_does_not_stop_the_container(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "yes 'a line of some length, for it is bytes that fill what lies between and not lines' | head -c 8000000; touch /tmp/through; sleep 60"]}));
        let stream = engine.hijack(&container.path("/attach?stream=1&stdout=1"), true, &json!(null));
        container.start();
        if engine.is_dockerd() {
            // dockerd does let a stuck client hold the container; nothing to learn here.
            drop(stream);
            return;
        }
        eventually("the writer got through", Duration::from_secs(60), || (container.exec(&["test", "-e", "/tmp/through"]).code == 0).then_some(()));
        drop(stream);
    }

    fn privileged_top_lists_processes(engine) {
        let container = engine.sleeper(json!({}));
        let answer = engine.get(&container.path("/top")).expect(200).json();
        testkit::shape::check("GET /containers/{id}/top", &answer, &[]);
        let titles: Vec<&str> = answer["Titles"].as_array().unwrap().iter().map(|title| title.as_str().unwrap()).collect();
        assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert!(answer["Processes"].to_string().contains("trap"), "{answer}");
        let answer = engine.get(&container.path("/top?ps_args=-o%20pid,comm")).expect(200).json();
        assert_eq!(answer["Titles"], json!(["PID", "COMMAND"]));
        let answer = engine.get(&container.path("/top?ps_args=aux")).expect(200).json();
        assert_eq!(answer["Titles"][0], "USER");
        let stopped = engine.create(json!({"Cmd": ["true"]}));
        assert_eq!(engine.get(&stopped.path("/top")).status, 409);
    }

    fn privileged_stats(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"Memory": 64 << 20}}));
        let answer = engine.get(&container.path("/stats?stream=0")).expect(200).json();
        assert!(answer["memory_stats"]["usage"].as_u64().unwrap() > 0);
        assert_eq!(answer["memory_stats"]["limit"], 64 << 20);
        assert!(answer["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap() > 0);
        assert!(answer["cpu_stats"]["system_cpu_usage"].as_u64().unwrap() > 0);
        assert!(answer["precpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap() > 0, "one-shot was not asked for");
        assert!(answer["pids_stats"]["current"].as_u64().unwrap() > 0);
        assert_eq!(answer["name"], format!("/{}", container.name));
        let once = engine.get(&container.path("/stats?stream=0&one-shot=1")).expect(200).json();
        assert!(once["precpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap_or(0) == 0);
        let mut stream = engine.stream(&container.path("/stats"));
        assert!(stream.json_line().is_some() && stream.json_line().is_some());
        container.stop(2);
        let answer = engine.get(&container.path("/stats?stream=0")).expect(200).json();
        assert_eq!(answer["memory_stats"]["usage"].as_u64().unwrap_or(0), 0);
    }

    fn privileged_events_tell_the_story(engine) {
        let label = testkit::unique("story");
        let since = unix_now();
        let query = filters(&json!({"label": [format!("story={label}")], "type": ["container"]}));
        let mut live = engine.stream(&format!("/events?{query}"));
        let container = engine.create(json!({"Cmd": ["sh", "-c", "sleep 0.3; exit 2"], "Labels": {"story": label}}));
        container.start();
        assert_eq!(container.wait(), 2);
        eventually("exited", SOON, || (container.status() == "exited").then_some(()));
        let name = container.name.clone();
        let id = container.id.clone();
        container.remove();
        let mut actions = Vec::new();
        while actions.last().map(String::as_str) != Some("destroy") {
            let event = live.json_line().unwrap();
            testkit::shape::check("GET /events", &event, &[".status", ".id", ".from"]);
            assert_eq!(event["Actor"]["ID"], id);
            assert_eq!(event["Actor"]["Attributes"]["name"], name);
            assert_eq!(event["Actor"]["Attributes"]["image"], "busybox");
            assert_eq!(event["Actor"]["Attributes"]["story"], label);
            assert_eq!(event["scope"], "local");
            assert_eq!(event["status"], event["Action"]);
            assert_eq!(event["id"], id);
            assert_eq!(event["from"], "busybox");
            if event["Action"] == "die" {
                assert_eq!(event["Actor"]["Attributes"]["exitCode"], "2");
            }
            assert!(event["timeNano"].as_i64().unwrap() / 1_000_000_000 == event["time"].as_i64().unwrap());
            actions.push(event["Action"].as_str().unwrap().to_owned());
        }
        assert_eq!(actions, ["create", "start", "die", "destroy"]);
        // The same again from memory.
        let mut past = engine.stream(&format!("/events?since={since}&until={}&{query}", unix_now() + 1));
        let mut again = Vec::new();
        while let Some(event) = past.json_line() {
            again.push(event["Action"].as_str().unwrap().to_owned());
        }
        assert_eq!(again, actions);
    }

    fn privileged_events_of_kill_exec_and_rename(engine) {
        let container = engine.sleeper(json!({}));
        // dockerd answers before it listens, so what happens right after comes from its memory.
        let query = filters(&json!({"container": [container.id], "event":
            ["exec_create", "exec_start", "exec_die", "pause", "unpause", "rename", "kill", "die", "stop"]}));
        let mut live = engine.stream(&format!("/events?since={}&{query}", unix_now()));
        let _ = container.exec(&["sh", "-c", "exit 3"]);
        let _ = engine.act(&container.path("/pause")).expect(204);
        let _ = engine.act(&container.path("/unpause")).expect(204);
        let _ = engine.act(&container.path(&format!("/rename?name={}", testkit::unique("n")))).expect(204);
        container.stop(5);
        let mut actions = Vec::new();
        while actions.last().map(String::as_str) != Some("stop") {
            let event = live.json_line().unwrap();
            actions.push(event["Action"].as_str().unwrap().to_owned());
        }
        let wanted = ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die", "pause", "unpause", "rename", "kill"];
        // dockerd may tell a pause a second time, when word of it comes from below late.
        let mut told = actions.iter();
        for action in wanted.iter().chain(&["die", "stop"]) {
            assert!(told.any(|told| told == action), "{action} is missing or late: {actions:?}");
        }
    }
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Seconds since 1970, with nine digits of fraction, of a timestamp.
fn unix_time(stamp: &str) -> String {
    let output = std::process::Command::new("date").args(["-d", stamp, "+%s.%N"]).output().unwrap();
    text(&output.stdout).trim().to_owned()
}
