//! What survives: the daemon killed at any moment, a monitor killed, a crowd starting at once, a
//! full disk. Ours only: dockerd was never built for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testkit::engine::VERSION;
use testkit::{Container, Daemon, Engine, Response, Value, eventually, image, json};

const SOON: Duration = Duration::from_secs(20);

fn prepared(arguments: &[&str]) -> Daemon {
    let daemon = Daemon::isopod_with(arguments);
    let _ = daemon
        .engine()
        .upload("/images/load?quiet=1", &image::busybox(&["busybox:latest"]).tar)
        .expect(200);
    daemon
}

/// A request to an engine that may be dead.
fn attempt(engine: &Engine, method: &str, path: &str, body: &Value) -> Option<Response> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    engine.client().attempt(method, &format!("{VERSION}{path}"), body.as_bytes()).ok()
}

/// Small, fast and good enough to be unpredictable; the seed is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the workers know of the containers they made.
#[derive(Default)]
struct Ledger {
    /// Name → the exit status and log that it must have, for those whose start was confirmed.
    started: Mutex<BTreeMap<String, i64>>,
    /// Those whose start may or may not have happened.
    unclear: Mutex<BTreeMap<String, i64>>,
    removed: AtomicU32,
    execs: AtomicU32,
}

/// Creates, starts, looks at and removes containers until told to stop, whatever dies meanwhile.
fn load(engine: &Engine, ledger: &Ledger, stop: &AtomicBool, worker: usize, counter: &str) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("w{worker}-{number}");
        let code = i64::from(number % 100 + 1);
        let network = if number % 2 == 0 { "bridge" } else { "none" };
        let config = json!({"Image": "busybox", "Cmd": ["sh", "-c", format!("echo line of {name}; exit {code}")], "HostConfig": {"NetworkMode": network}});
        let created = attempt(engine, "POST", &format!("/containers/create?name={name}"), &config);
        match created.map(|answer| answer.status) {
            Some(201) => {}
            // Created although the answer was lost.
            Some(409) | None => {}
            Some(status) => panic!("create answered {status}"),
        }
        match attempt(engine, "POST", &format!("/containers/{name}/start"), &json!(null)) {
            Some(answer) if matches!(answer.status, 204 | 304) => {
                ledger.started.lock().unwrap().insert(name.clone(), code);
            }
            // Nobody made it: the engine was dead while we asked.
            Some(answer) if answer.status == 404 => continue,
            Some(answer) => panic!("start of {name}: {} {}", answer.status, answer.text()),
            None => {
                ledger.unclear.lock().unwrap().insert(name.clone(), code);
            }
        }
        let exec = attempt(
            engine,
            "POST",
            &format!("/containers/{counter}/exec"),
            &json!({"Cmd": ["true"]}),
        );
        if let Some(answer) = exec.filter(|answer| answer.status == 201) {
            let id = answer.json()["Id"].as_str().unwrap().to_owned();
            let _ = attempt(engine, "POST", &format!("/exec/{id}/start"), &json!({"Detach": true}));
            ledger.execs.fetch_add(1, Ordering::Relaxed);
        }
        let _ = attempt(
            engine,
            "GET",
            &format!("/containers/{counter}/logs?stdout=1&tail=5"),
            &json!(null),
        );
        // Every third goes again at once.
        if number % 3 == 0 {
            ledger.started.lock().unwrap().remove(&name);
            ledger.unclear.lock().unwrap().remove(&name);
            if attempt(engine, "DELETE", &format!("/containers/{name}?force=1"), &json!(null))
                .is_some()
            {
                ledger.removed.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn privileged_alone_fifty_kills_lose_nothing() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
            as u64
            | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let script = "i=0; while :; do i=$((i+1)); echo count $i; sleep 0.05; done";
    let counters: Vec<Container> = ["none", "bridge", "bridge"]
        .into_iter()
        .map(|network| {
            let container = engine.create(
                json!({"Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": network}}),
            );
            container.start();
            container
        })
        .collect();
    let pids: Vec<Value> =
        counters.iter().map(|one| one.inspect()["State"]["Pid"].clone()).collect();
    let ledger = Ledger::default();
    let stop = AtomicBool::new(false);
    let counter = counters[0].id.clone();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let (engine, ledger, stop, counter) = (&engine, &ledger, &stop, &counter);
                scope.spawn(move || load(engine, ledger, stop, worker, counter))
            })
            .collect();
        for round in 0..50 {
            std::thread::sleep(Duration::from_millis(30 + dice.below(400)));
            daemon.restart();
            if workers.iter().any(|worker| worker.is_finished()) {
                println!("a worker gave up in round {round}");
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!(
        "{} started, {} unclear, {} removed, {} execs",
        ledger.started.lock().unwrap().len(),
        ledger.unclear.lock().unwrap().len(),
        ledger.removed.load(Ordering::Relaxed),
        ledger.execs.load(Ordering::Relaxed)
    );
    assert!(ledger.started.lock().unwrap().len() > 20, "the load was no load");

    // No container stopped.
    for (counter, pid) in counters.iter().zip(&pids) {
        let state = counter.inspect()["State"].clone();
        assert_eq!((&state["Status"], &state["Pid"]), (&json!("running"), pid));
    }
    // No exit status and no log line is lost.
    for (name, code) in ledger.started.into_inner().unwrap() {
        let state = eventually(&format!("{name} has ended"), SOON, || {
            let state =
                engine.get(&format!("/containers/{name}/json")).expect(200).json()["State"].clone();
            (state["Status"] == "exited").then_some(state)
        });
        assert_eq!(state["ExitCode"], code, "{name}: {state}");
        let logs = engine.get(&format!("/containers/{name}/logs?stdout=1")).expect(200);
        assert_eq!(
            String::from_utf8_lossy(&testkit::frames::split(&logs.body[..]).stdout),
            format!("line of {name}\n")
        );
    }
    // What was cut off is in one piece: not there, never started, or ended as it should.
    for (name, code) in ledger.unclear.into_inner().unwrap() {
        let answer = engine.get(&format!("/containers/{name}/json"));
        if answer.status == 404 {
            continue;
        }
        eventually(&format!("{name} is settled"), SOON, || {
            let state =
                engine.get(&format!("/containers/{name}/json")).expect(200).json()["State"].clone();
            match state["Status"].as_str().unwrap() {
                "created" => Some(()),
                "exited" => {
                    // 137: killed with the daemon in the middle of its start.
                    assert!(
                        state["ExitCode"] == code
                            || state["ExitCode"] == 137
                            || state["ExitCode"] == 128,
                        "{name}: {state}"
                    );
                    Some(())
                }
                _ => None,
            }
        });
    }
    for counter in &counters {
        counter.kill("KILL");
        counter.wait();
        let out = String::from_utf8(counter.logs().stdout).unwrap();
        for (index, line) in out.lines().enumerate() {
            assert_eq!(line, format!("count {}", index + 1), "a line is missing");
        }
        assert!(out.lines().count() > 50);
    }
    drop(counters);
    let left = testkit::daemon::remove_all(&engine);
    assert!(left.is_empty(), "{left:?}");
    eventually("every cgroup is gone", SOON, || daemon.cgroups().is_empty().then_some(()));
    daemon.stop().unwrap();
}

/// Whether a daemon has a cgroup for this container.
fn has_cgroup(daemon: &Daemon, id: &str) -> bool {
    daemon.cgroups().iter().any(|path| path.ends_with(id))
}

#[test]
fn privileged_alone_a_hundred_start_at_once() {
    let daemon = prepared(&[]);
    let engine = daemon.engine();
    let containers: Vec<Container> = (0..100)
        .map(|_| engine.create(json!({"Cmd": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"], "HostConfig": {"NetworkMode": "bridge"}})))
        .collect();
    let began = Instant::now();
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = containers
            .iter()
            .map(|container| {
                let engine = &engine;
                scope.spawn(move || engine.act(&container.path("/start")))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|answer| answer.status != 204)
            .map(|answer| answer.text())
            .collect()
    });
    println!("100 started in {:?}", began.elapsed());
    assert!(failed.is_empty(), "{failed:?}");
    let mut addresses: Vec<String> = containers
        .iter()
        .map(|container| {
            let all = container.inspect();
            assert_eq!(all["State"]["Status"], "running");
            all["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().to_owned()
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 100, "each has an address of its own");
    assert_eq!(containers[99].exec(&["echo", "in"]).stdout, "in\n");
    std::thread::scope(|scope| {
        for container in containers {
            scope.spawn(move || container.remove());
        }
    });
    daemon.stop().unwrap();
}

#[test]
fn privileged_the_next_daemon_finds_everything_as_it_is() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let running = engine.sleeper(json!({"HostConfig": {"NetworkMode": "bridge"}}));
    let exits =
        engine.create(json!({"Cmd": ["sh", "-c", "echo before; sleep 1.5; echo after; exit 23"]}));
    let restarted = engine.create(json!({"Cmd": ["sh", "-c", "echo run; sleep 1"], "HostConfig": {"RestartPolicy": {"Name": "always"}}}));
    let removed = engine.create(json!({"Cmd": ["sleep", "1"], "HostConfig": {"AutoRemove": true}}));
    let stopped = engine.create(json!({"Cmd": ["true"]}));
    let paused = engine.sleeper(json!({}));
    let _ = engine.act(&paused.path("/pause")).expect(204);
    let web = engine.create(json!({"Cmd": ["sh", "-c", "mkdir /w; echo hello > /w/index.html; exec httpd -f -h /w"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "18999"}]}}}));
    for container in [&exits, &restarted, &removed, &web] {
        container.start();
    }
    let before = running.inspect();
    daemon.kill();
    // Published ports and names go on working with no daemon at all.
    let ask = || {
        engine.on_its_network(|| {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect("127.0.0.1:18999").ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.contains("hello").then_some(())
        })
    };
    eventually("the port answers without a daemon", SOON, ask);
    // Longer than `exits` runs on a busy machine: when it is found is not when it ended.
    std::thread::sleep(Duration::from_secs(8));
    daemon.restart();
    let after = running.inspect();
    assert_eq!(before["State"], after["State"]);
    assert_eq!(before["NetworkSettings"], after["NetworkSettings"]);
    assert_eq!(running.exec(&["echo", "in"]).stdout, "in\n");
    let state = exits.inspect()["State"].clone();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(23)), "{state}");
    let ended = state["FinishedAt"].as_str().unwrap().to_owned();
    let began = state["StartedAt"].as_str().unwrap().to_owned();
    let seconds = |stamp: &str| stamp[17..19].parse::<i64>().unwrap();
    let took = (seconds(&ended) - seconds(&began)).rem_euclid(60);
    assert!(
        (1..=5).contains(&took),
        "it ended when it ended, not when it was found: {began} {ended}"
    );
    assert_eq!(exits.logs().stdout, b"before\nafter\n");
    eventually("restarted", SOON, || {
        (restarted.inspect()["RestartCount"].as_i64()? >= 1).then_some(())
    });
    eventually("removed", SOON, || (!engine.knows(&removed.id)).then_some(()));
    assert_eq!(stopped.status(), "created");
    assert_eq!(paused.status(), "paused");
    let _ = engine.act(&paused.path("/unpause")).expect(204);
    eventually("the port answers with the new daemon", SOON, ask);
    stopped.start();
    running.stop(5);
    assert_eq!(running.status(), "exited");
    drop((running, exits, restarted, stopped, paused, web));
    drop(removed);
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_restart_policy_is_resumed_after_a_reboot() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let always = engine.sleeper(json!({"HostConfig": {"RestartPolicy": {"Name": "always"}}}));
    let unless =
        engine.sleeper(json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}}}));
    let halted =
        engine.sleeper(json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}}}));
    let never = engine.sleeper(json!({}));
    halted.stop(2);
    daemon.kill();
    // What a reboot does: every process and cgroup gone, the run directory empty.
    for pid in daemon.netns().unwrap().processes() {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    std::thread::sleep(Duration::from_millis(500));
    for cgroup in daemon.cgroups() {
        let _ = std::fs::remove_dir(cgroup);
    }
    let _ = std::fs::remove_dir_all(daemon.folder().join("run"));
    daemon.restart();
    eventually("always runs", SOON, || (always.status() == "running").then_some(()));
    eventually("unless-stopped runs", SOON, || (unless.status() == "running").then_some(()));
    assert_eq!(halted.status(), "exited");
    assert_eq!(never.status(), "exited");
    drop((always, unless, halted, never));
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_killed_monitor_takes_its_container_along() {
    let daemon = prepared(&[]);
    let engine = daemon.engine();
    let container = engine.sleeper(json!({"HostConfig": {"NetworkMode": "bridge"}}));
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    let monitor = parent(pid);
    assert_ne!(monitor, i64::from(daemon.pid()));
    let pid_of = |pid: i64| rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid_of(monitor), rustix::process::Signal::KILL).unwrap();
    eventually("the engine says so", SOON, || (container.status() == "exited").then_some(()));
    eventually("the process is gone", SOON, || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    assert_eq!(container.inspect()["State"]["ExitCode"], 137);
    eventually("its cgroup is gone", SOON, || (!has_cgroup(&daemon, &container.id)).then_some(()));
    container.start();
    assert_eq!(container.status(), "running", "it can be started again");
    drop(container);
    daemon.stop().unwrap();
}

fn parent(pid: i64) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn privileged_a_full_disk_stops_no_container() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "none"])
        .arg(&small)
        .status()
        .unwrap();
    assert!(status.success());
    let data = small.join("data").display().to_string();
    let outcome = std::panic::catch_unwind(|| {
        let daemon = prepared(&["--data-root", &data]);
        let engine = daemon.engine();
        let container = engine.create(json!({"Cmd": ["sh", "-c", "yes $(head -c 500 /dev/zero | tr '\\0' x) | head -c 60000000; while ! test -e /dev/shm/go; do usleep 10000; done; exit 4"], "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1g"}}}}));
        container.start();
        // Said while it runs, for it may run for months.
        eventually("the loss is told", Duration::from_secs(60), || {
            daemon.log_end().contains("output is being dropped").then_some(())
        });
        assert_eq!(container.sh("touch /dev/shm/go"), "");
        assert_eq!(container.wait(), 4);
        drop(container);
        daemon.stop().unwrap();
    });
    let _ = std::process::Command::new("umount").arg("-l").arg(&small).status();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn privileged_the_daemon_wants_root() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = folder.path().join("isopod");
    std::fs::copy(testkit::engine::isopod_binary(), &program).unwrap();
    let permissions: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), permissions).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["daemon", "--data-root", "/tmp/never", "--exec-root", "/tmp/never"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("root"), "{text}");
    assert!(!Path::new("/tmp/never").exists());
}

#[test]
fn privileged_the_socket_is_for_root_and_its_group() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let daemon = prepared(&[]);
    let metadata = std::fs::metadata(daemon.engine().socket).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert_eq!(metadata.uid(), 0);
    daemon.stop().unwrap();
}

#[test]
fn privileged_plain_tcp_is_for_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let output = std::process::Command::new("timeout")
        .arg("10")
        .arg(testkit::engine::isopod_binary())
        .args([
            "daemon",
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("run"),
            "-H",
            "tcp://0.0.0.0:23755",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.status.code() != Some(124), "{text}");
    assert!(text.to_lowercase().contains("tls"), "{text}");
    let daemon = prepared(&["-H", "tcp://127.0.0.1:23756"]);
    let answer = daemon.engine().on_its_network(|| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect("127.0.0.1:23756").unwrap();
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    daemon.stop().unwrap();
}

#[test]
fn privileged_tls_wants_the_right_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem
        for who in server client; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who-key.pem -out $who.csr
            printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
            openssl x509 -req -days 2 -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile ext -out $who.pem
        done";
    let output = std::process::Command::new("bash")
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let daemon = prepared(&[
        "-H",
        "tcp://127.0.0.1:23757",
        "--tlsverify",
        "--tlscacert",
        &at("ca.pem"),
        "--tlscert",
        &at("server.pem"),
        "--tlskey",
        &at("server-key.pem"),
    ]);
    let netns = daemon.netns().unwrap().path();
    let ask = |program: &Path, certificate: &str, key: &str| {
        std::process::Command::new("nsenter")
            .arg(format!("--net={}", netns.display()))
            .arg("--")
            .arg(program)
            .args([
                "--tlsverify",
                "--tlscacert",
                &at("ca.pem"),
                "--tlscert",
                &at(certificate),
                "--tlskey",
                &at(key),
                "-H",
                "tcp://127.0.0.1:23757",
                "ps",
            ])
            .env_remove("DOCKER_HOST")
            .output()
            .unwrap()
    };
    for program in [Path::new("docker"), &testkit::engine::isopod_binary()] {
        let output = ask(program, "client.pem", "client-key.pem");
        assert!(
            output.status.success(),
            "{}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let output = ask(program, "ca.pem", "client-key.pem");
        assert!(!output.status.success());
    }
    daemon.stop().unwrap();
}
