//! Everybody at once: a few containers that many clients start, stop, kill, restart, freeze,
//! rename, execute in, look at and remove at the same time. No request hangs, none meets an
//! inner error, and nothing is left.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use testkit::engine::VERSION;
use testkit::{Container, Daemon, Engine, Value, image, json, on_both};

const LASTS: Duration = Duration::from_secs(15);
const CLIENTS: usize = 8;
const NAMES: [&str; 3] = ["red", "green", "blue"];

/// No request may take longer; a stop has to kill after a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// One of their own for each test, with an image.
fn daemon() -> Daemon {
    let daemon = Daemon::isopod();
    let busybox = image::busybox(&["busybox:latest"]);
    let _ = daemon.engine().upload("/images/load?quiet=1", &busybox.tar).expect(200);
    daemon
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// What was asked, how often it was answered how, and what should not have been.
#[derive(Default)]
struct Ledger {
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    wrong: Mutex<Vec<String>>,
    asked: AtomicU64,
}

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";

fn config(dice: &mut Dice) -> Value {
    let script = dice.of(&[SLEEP, SLEEP, "sleep 0.3; exit 3", "exit 4"]);
    let network = dice.of(&["none", "none", "bridge"]);
    let (policy, remove) = dice.of(&[
        ("no", false),
        ("no", true),
        ("always", false),
        ("on-failure", false),
        ("unless-stopped", false),
    ]);
    json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {
        "NetworkMode": network, "RestartPolicy": {"Name": policy}, "AutoRemove": remove}})
}

/// One request. What it may answer is not asked: others are at work. But it is an answer, and in
/// time, and blames nobody but the one who asked.
fn ask(engine: &Engine, ledger: &Ledger, dice: &mut Dice) {
    let name = dice.of(&NAMES);
    let on = |verb: &str| format!("/containers/{name}/{verb}");
    let (what, method, path, body) = match dice.below(20) {
        0..3 => ("create", "POST", format!("/containers/create?name={name}"), config(dice)),
        3..7 => ("start", "POST", on("start"), json!(null)),
        7 => ("stop", "POST", on("stop?t=1"), json!(null)),
        8 => ("kill", "POST", on("kill"), json!(null)),
        9 => ("signal", "POST", on("kill?signal=USR1"), json!(null)),
        10 => ("restart", "POST", on("restart?t=1"), json!(null)),
        11 => ("pause", "POST", on("pause"), json!(null)),
        12 => ("unpause", "POST", on("unpause"), json!(null)),
        13 => ("rm", "DELETE", format!("/containers/{name}"), json!(null)),
        14 => ("rm -f", "DELETE", format!("/containers/{name}?force=1&v=1"), json!(null)),
        15 => ("update", "POST", on("update"), json!({"CpuShares": 512})),
        16 => ("inspect", "GET", on("json"), json!(null)),
        17 => ("logs", "GET", on("logs?stdout=1"), json!(null)),
        18 => ("top", "GET", on("top"), json!(null)),
        _ => return exec(engine, ledger, name),
    };
    send(engine, ledger, what, method, &path, &body);
}

fn exec(engine: &Engine, ledger: &Ledger, name: &str) {
    let path = format!("/containers/{name}/exec");
    let body = json!({"Cmd": ["true"]});
    let Some(made) = send(engine, ledger, "exec", "POST", &path, &body) else { return };
    let Some(id) = made["Id"].as_str() else { return };
    let path = format!("/exec/{id}/start");
    send(engine, ledger, "exec start", "POST", &path, &json!({"Detach": true}));
}

fn send(
    engine: &Engine,
    ledger: &Ledger,
    what: &'static str,
    method: &str,
    path: &str,
    body: &Value,
) -> Option<Value> {
    ledger.asked.fetch_add(1, Ordering::Relaxed);
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let began = Instant::now();
    let answer = engine.client().attempt(method, &format!("{VERSION}{path}"), text.as_bytes());
    let took = began.elapsed();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            ledger.wrong.lock().unwrap().push(format!("{what}: {error} after {took:?}"));
            return None;
        }
    };
    *ledger.answers.lock().unwrap().entry((what, answer.status)).or_default() += 1;
    if answer.status >= 500 || took > PATIENCE {
        let text = answer.text();
        ledger
            .wrong
            .lock()
            .unwrap()
            .push(format!("{what}: {} {text} after {took:?}", answer.status));
    }
    (answer.status == 201).then(|| answer.json())
}

#[test]
fn privileged_alone_many_clients_do_everything_at_once() {
    let daemon = daemon();
    let engine = daemon.engine();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let ledger = Ledger::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (engine, ledger) = (&engine, &ledger);
            scope.spawn(move || {
                let mut dice = Dice((seed ^ (client as u64) << 40) | 1);
                while began.elapsed() < LASTS {
                    ask(engine, ledger, &mut dice);
                }
            });
        }
    });
    for ((what, status), count) in ledger.answers.lock().unwrap().iter() {
        println!("{what} {status}: {count}");
    }
    let wrong = ledger.wrong.into_inner().unwrap();
    let asked = ledger.asked.into_inner();
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 200, "only {asked} requests");
    // Whatever state they are in: one more round for each.
    for name in NAMES {
        // One that has ended may be removing itself at this moment.
        testkit::eventually("it is gone", PATIENCE, || {
            let status = engine.delete(&format!("/containers/{name}?force=1&v=1")).status;
            (status == 204 || status == 404).then_some(())
        });
        let container =
            engine.create_named(name, json!({"Cmd": ["sh", "-c", "echo fine; exit 6"]}));
        container.start();
        assert_eq!(container.wait(), 6);
        assert_eq!(container.logs().stdout, b"fine\n");
        container.remove();
    }
    daemon.stop().unwrap();
}

/// Whoever hangs up gets no answer, but what was asked for is done as a whole, or not at all.
#[test]
fn privileged_a_client_that_hangs_up_leaves_nothing_by_halves() {
    use std::io::Write;
    let daemon = daemon();
    let engine = daemon.engine();
    let hang_up = |method: &str, path: &str, body: &Value, after: Duration| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = std::os::unix::net::UnixStream::connect(&engine.socket).unwrap();
        let head = format!(
            "{method} {VERSION}{path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        std::thread::sleep(after);
    };
    let config = json!({"Image": "busybox", "Cmd": ["sh", "-c", SLEEP], "HostConfig": {"NetworkMode": "none"}});
    for step in 0..12_u64 {
        let name = format!("h{step}");
        let after = Duration::from_micros(step * 700);
        hang_up("POST", &format!("/containers/create?name={name}"), &config, after);
        testkit::eventually("the name is a container's, or free", PATIENCE, || {
            let there = engine.get(&format!("/containers/{name}/json")).status == 200;
            let made = || engine.post(&format!("/containers/create?name={name}"), &config).status;
            (there || made() == 201).then_some(())
        });
        hang_up("POST", &format!("/containers/{name}/start"), &json!(null), after);
        let _ = engine.act(&format!("/containers/{name}/start")).ok();
        hang_up("POST", &format!("/containers/{name}/pause"), &json!(null), after);
        testkit::eventually("paused for the engine and for its monitor", PATIENCE, || {
            let answer = engine.act(&format!("/containers/{name}/unpause")).status;
            let state = engine.get(&format!("/containers/{name}/json")).expect(200).json();
            let running = state["State"]["Status"] == "running";
            (answer == 204
                || running && engine.act(&format!("/containers/{name}/pause")).status == 204)
                .then_some(())
        });
        hang_up("DELETE", &format!("/containers/{name}?force=1"), &json!(null), after);
        testkit::eventually("it is gone, or can be removed", PATIENCE, || {
            let status = engine.delete(&format!("/containers/{name}?force=1")).status;
            (status == 204 || status == 404).then_some(())
        });
    }
    daemon.stop().unwrap();
}

/// However fast a container talks, and though its log is rotated meanwhile: followers, and those
/// who come when it is over, get every line once.
#[test]
fn privileged_followers_get_every_line_through_rotation_to_the_last() {
    let daemon = daemon();
    let engine = daemon.engine();
    let script = "sleep 0.3; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done";
    std::thread::scope(|scope| {
        let kinds =
            ["json-file", "local"].into_iter().flat_map(|one| [(one, "false"), (one, "true")]);
        for (driver, compress) in kinds {
            let engine = &engine;
            scope.spawn(move || {
                let log = json!({"Type": driver, "Config": {"max-size": "8k", "max-file": "200", "compress": compress}});
                let container = engine.create(json!({"Cmd": ["sh", "-c", script], "HostConfig": {"LogConfig": log}}));
                container.start();
                let path = container.path("/logs?stdout=1&follow=1");
                let followed = testkit::frames::split(engine.stream(&path));
                let later = container.logs();
                for (who, streams) in [("followed", followed), ("later", later)] {
                    let text = String::from_utf8(streams.stdout).unwrap();
                    assert_eq!(text.lines().count(), 3000, "{driver}, {who}");
                    for (index, line) in text.lines().enumerate() {
                        assert_eq!(line, format!("line {}", index + 1), "{driver}, {who}");
                    }
                }
            });
        }
    });
    daemon.stop().unwrap();
}

/// Asks something of a container while its start, which was asked for first, is held up: the answer
/// comes when it runs.
fn during_start(
    daemon: &Daemon,
    lasts: u32,
    ask: impl FnOnce(&Container) -> u16 + Send,
) -> Container {
    use rustix::process::{Pid, Signal, kill_process};
    let engine = daemon.engine();
    let launcher = daemon.process("isopod-launcher").and_then(Pid::from_raw).expect("a launcher");
    let container = engine.create(json!({
        "Cmd": ["sh", "-c", format!("sleep {lasts}; exit 6")],
        "HostConfig": {"NetworkMode": "none", "Init": true}}));
    // However this ends: a launcher that stays stopped would keep the start waiting.
    struct GoOn(Pid);
    impl Drop for GoOn {
        fn drop(&mut self) {
            kill_process(self.0, Signal::CONT).unwrap();
        }
    }
    kill_process(launcher, Signal::STOP).unwrap();
    let go_on = GoOn(launcher);
    let run = engine.exec_root.join("monitors").join(&container.id);
    std::thread::scope(|scope| {
        let (container, go_on) = (&container, go_on);
        let started = scope.spawn(|| engine.act(&container.path("/start")).status);
        testkit::eventually("the start is under way", PATIENCE, || run.exists().then_some(()));
        let (say, heard) = std::sync::mpsc::channel();
        scope.spawn(move || say.send(ask(container)));
        let early = heard.recv_timeout(Duration::from_millis(300));
        drop(go_on);
        assert!(early.is_err(), "it does not wait for the start: {early:?}");
        assert_eq!(started.join().unwrap(), 204);
        let status = heard.recv_timeout(PATIENCE).expect("an answer");
        assert!(status < 300, "{status}");
    });
    container
}

#[test]
fn privileged_what_is_asked_during_a_start_is_answered_by_a_container_that_runs() {
    let daemon = daemon();
    let engine = daemon.engine();
    let act = |verb: &'static str| {
        let engine = &engine;
        move |container: &Container| engine.act(&container.path(verb)).status
    };
    assert_eq!(during_start(&daemon, 300, act("/stop")).wait(), 143);
    assert_eq!(during_start(&daemon, 300, act("/kill")).wait(), 137);
    let exec = json!({"Cmd": ["true"]});
    during_start(&daemon, 300, |container| engine.post(&container.path("/exec"), &exec).status);
    during_start(&daemon, 300, |container| engine.get(&container.path("/top")).status);
    // What there is at a path of it, and not in a second mount of its files.
    let container = during_start(&daemon, 300, |container| {
        engine.put(&container.path("/archive?path=/etc"), &file("put")).status
    });
    assert_eq!(
        container.sh("cat /etc/put; rm /etc/put; echo more >> /etc/passwd; echo fine"),
        "putfine"
    );
    // Whoever waits for the end has that of the run which begins.
    during_start(&daemon, 1, |container| {
        assert_eq!(container.wait(), 6);
        204
    });
    daemon.stop().unwrap();
}

/// A tar with one file that has its name in it.
fn file(name: &str) -> Vec<u8> {
    image::Layer::new().file(name, 0o644, name.as_bytes()).bytes()
}

on_both! {
    /// As Testcontainers do it: all files that a container is to have are copied into it at once.
    fn privileged_many_copies_into_a_created_container_leave_it_whole(engine) {
        let container = engine.create(json!({"Cmd": ["sleep", "300"]}));
        let names: Vec<String> = (0..8).map(|number| format!("copied{number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                let path = container.path("/archive?path=/etc");
                scope.spawn(move || {
                    let _ = engine.put(&path, &file(name)).expect(200);
                    let _ = engine.get(&format!("{path}/{name}")).expect(200);
                });
            }
        });
        container.start();
        let script = "cat /etc/copied*; echo more >> /etc/passwd; mv /etc/group /etc/group2; mkdir /bin/x; echo .";
        assert_eq!(container.sh(script), format!("{}.", names.concat()));
    }
}

/// Some HTTP libraries throw away what they read together with the head of an answer that becomes
/// a stream, so nothing follows the head until the client has taken it.
#[test]
fn privileged_a_stream_waits_until_its_head_is_read() {
    use std::io::{Read, Write};
    let daemon = daemon();
    let engine = daemon.engine();
    let container = engine.create_named("said", json!({"Cmd": ["echo", "hello"]}));
    container.start();
    container.wait();
    let mut buffer = [0; 4096];
    let ask = || {
        let mut stream = std::os::unix::net::UnixStream::connect(&engine.socket).unwrap();
        let request = format!(
            "POST {VERSION}/containers/said/attach?logs=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\
             Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let _ = rustix::net::recv(&stream, &mut [0], rustix::net::RecvFlags::PEEK).unwrap();
        stream
    };
    for slow in [0, 1, 5, 20] {
        let mut in_time = 0;
        for _ in 0..100 {
            let asked = Instant::now();
            let mut stream = ask();
            std::thread::sleep(Duration::from_millis(slow));
            let size = stream.read(&mut buffer).unwrap();
            // The daemon waits for 100 ms and no longer: a client that a busy machine held up proves
            // nothing.
            if asked.elapsed() > Duration::from_millis(80) {
                continue;
            }
            let head = String::from_utf8_lossy(&buffer[..size]);
            assert!(head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"), "{head:?}");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"\x01\0\0\0\0\0\0\x06hello\n");
            in_time += 1;
            if in_time == 10 {
                break;
            }
        }
        assert!(in_time >= 3, "only {in_time} of 100 clients read within 80 ms");
    }
    // More clients than the daemon has threads, which neither read nor go.
    let held: Vec<_> = (0..16).map(|_| ask()).collect();
    for stream in &held {
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    let _ = engine.get("/version").expect(200);
    drop(held);
    container.remove();
    daemon.stop().unwrap();
}

/// Only so many ended execs are remembered; which ended last is the last to be forgotten, also
/// after the daemon was started again.
#[test]
fn privileged_an_exec_that_outlasts_many_others_tells_its_status() {
    let mut daemon = daemon();
    let engine = daemon.engine();
    let container = engine.sleeper(json!({"HostConfig": {"NetworkMode": "none"}}));
    let wait = "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 9";
    let long = container.exec_create(json!({"Cmd": ["sh", "-c", wait]}));
    let path = format!("/exec/{long}");
    let _ = engine.post(&format!("{path}/start"), &json!({"Detach": true})).expect(200);
    for _ in 0..70 {
        let _ = container.sh("true");
    }
    let _ = container.sh("touch /tmp/go");
    let code = || engine.get(&format!("{path}/json")).expect(200).json()["ExitCode"].as_i64();
    assert_eq!(testkit::eventually("it has ended", PATIENCE, code), 9);
    daemon.restart();
    let _ = container.sh("true");
    assert_eq!(code(), Some(9));
    container.remove();
    daemon.stop().unwrap();
}
