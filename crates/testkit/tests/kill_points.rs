//! Every operation, cut by the daemon's death at a random moment of it: what was answered holds,
//! what was not is either done or not, everything can go on, and nothing is left behind. Ours
//! only: dockerd was never built for it.

use std::time::{Duration, Instant, SystemTime};
use testkit::engine::VERSION;
use testkit::{Daemon, Engine, Response, Value, eventually, image, json};

const SOON: Duration = Duration::from_secs(20);

/// How often each operation is cut.
const ROUNDS: u64 = 4;

/// Unpredictable enough; the seed is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// A request to an engine that may die of it.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    path: String,
    body: Value,
}

impl Ask {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: json!(null) }
    }

    fn with(self, body: Value) -> Self {
        Self { body, ..self }
    }

    fn attempt(&self, engine: &Engine) -> Option<Response> {
        let body = if self.body.is_null() { String::new() } else { self.body.to_string() };
        let path = format!("{VERSION}{}", self.path);
        engine.client().attempt(self.method, &path, body.as_bytes()).ok()
    }

    fn ok(&self, engine: &Engine) -> Response {
        let answer = self.attempt(engine).expect("an answer");
        assert!(answer.status < 300, "{self:?}: {} {}", answer.status, answer.text());
        answer
    }
}

/// One operation, and what must hold after it was cut. `prepare` makes what it needs under a name
/// and gives the request; `holds` looks at what is there when the daemon is back: with `true` if
/// the request was answered.
struct Operation {
    what: &'static str,
    prepare: fn(&Engine, &str) -> Ask,
    holds: fn(&Engine, &str, bool),
}

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";

fn create(engine: &Engine, name: &str, script: &str, host: Value) {
    let config = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host});
    Ask::new("POST", format!("/containers/create?name={name}")).with(config).ok(engine);
}

fn start(engine: &Engine, name: &str) {
    Ask::new("POST", format!("/containers/{name}/start")).ok(engine);
}

fn act(name: &str, verb: &str) -> Ask {
    Ask::new("POST", format!("/containers/{name}/{verb}"))
}

fn inspect(engine: &Engine, name: &str) -> Option<Value> {
    let answer = engine.get(&format!("/containers/{name}/json"));
    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
    (answer.status == 200).then(|| answer.json())
}

fn status(engine: &Engine, name: &str) -> String {
    let all = inspect(engine, name).unwrap_or_else(|| panic!("{name} is gone"));
    all["State"]["Status"].as_str().unwrap().to_owned()
}

fn becomes(engine: &Engine, name: &str, wanted: &[&str]) {
    eventually(&format!("{name} is one of {wanted:?}"), SOON, || {
        wanted.contains(&status(engine, name).as_str()).then_some(())
    });
}

fn logged(engine: &Engine, name: &str) -> String {
    let answer = engine.get(&format!("/containers/{name}/logs?stdout=1")).expect(200);
    String::from_utf8(testkit::frames::split(&answer.body[..]).stdout).unwrap()
}

fn none() -> Value {
    json!({"NetworkMode": "none"})
}

fn running(engine: &Engine, name: &str, host: Value) {
    create(engine, name, SLEEP, host);
    start(engine, name);
}

const OPERATIONS: &[Operation] = &[
    Operation {
        what: "create with a volume",
        prepare: |_, name| {
            Ask::new("POST", format!("/containers/create?name={name}")).with(json!({"Image": "busybox", "Cmd": ["true"], "Volumes": {"/data": {}}, "HostConfig": none()}))
        },
        holds: |engine, name, answered| {
            assert!(inspect(engine, name).is_some() || !answered, "{name} is lost");
            if inspect(engine, name).is_some() {
                start(engine, name);
                becomes(engine, name, &["exited"]);
            }
        },
    },
    Operation {
        what: "start with a port",
        prepare: |engine, name| {
            create(
                engine,
                name,
                SLEEP,
                json!({"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": ""}]}}),
            );
            act(name, "start")
        },
        holds: |engine, name, answered| {
            if answered {
                assert_eq!(status(engine, name), "running");
            } else if status(engine, name) != "running" {
                // Nothing of the first attempt is in the way of the second.
                start(engine, name);
            }
            let ports = inspect(engine, name).unwrap()["NetworkSettings"]["Ports"].clone();
            assert!(ports["80/tcp"][0]["HostPort"].is_string(), "{ports}");
        },
    },
    Operation {
        what: "start of what ends at once",
        prepare: |engine, name| {
            create(engine, name, "echo said; exit 7", none());
            act(name, "start")
        },
        holds: |engine, name, answered| {
            if !answered && status(engine, name) == "created" {
                start(engine, name);
            }
            becomes(engine, name, &["exited"]);
            let state = inspect(engine, name).unwrap()["State"].clone();
            // 137: it was undone, in the middle of being let go.
            let cut = !answered && state["ExitCode"] == 137;
            assert!(state["ExitCode"] == 7 || cut, "{state}");
            assert!(logged(engine, name) == "said\n" || cut);
        },
    },
    Operation {
        what: "start with --rm",
        prepare: |engine, name| {
            create(engine, name, "sleep 0.1", json!({"NetworkMode": "bridge", "AutoRemove": true}));
            act(name, "start")
        },
        holds: |engine, name, answered| {
            if !answered
                && inspect(engine, name).is_some_and(|all| all["State"]["Status"] == "created")
            {
                // It may be removed in this very moment.
                act(name, "start").attempt(engine);
            }
            eventually("it has removed itself", SOON, || {
                inspect(engine, name).is_none().then_some(())
            });
        },
    },
    Operation {
        what: "start with a policy",
        prepare: |engine, name| {
            create(
                engine,
                name,
                "echo run; sleep 0.2; exit 3",
                json!({"NetworkMode": "bridge", "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}),
            );
            act(name, "start")
        },
        holds: |engine, name, answered| {
            if !answered && status(engine, name) == "created" {
                start(engine, name);
            }
            eventually("it has given up", SOON, || {
                let all = inspect(engine, name).unwrap();
                (all["State"]["Status"] == "exited" && all["RestartCount"] == 2).then_some(())
            });
            assert_eq!(logged(engine, name), "run\n".repeat(3));
        },
    },
    Operation {
        what: "stop",
        prepare: |engine, name| {
            running(
                engine,
                name,
                json!({"NetworkMode": "bridge", "RestartPolicy": {"Name": "unless-stopped"}}),
            );
            act(name, "stop?t=5")
        },
        holds: |engine, name, answered| {
            if answered {
                assert_eq!(status(engine, name), "exited");
                std::thread::sleep(Duration::from_millis(300));
                assert_eq!(status(engine, name), "exited", "its policy must not start it");
            } else {
                becomes(engine, name, &["exited", "running"]);
            }
        },
    },
    Operation {
        what: "kill",
        prepare: |engine, name| {
            running(engine, name, none());
            act(name, "kill")
        },
        holds: |engine, name, answered| {
            if answered {
                assert_eq!(status(engine, name), "exited");
            }
            if status(engine, name) == "exited" {
                assert_eq!(inspect(engine, name).unwrap()["State"]["ExitCode"], 137);
            }
        },
    },
    Operation {
        what: "restart",
        prepare: |engine, name| {
            running(engine, name, json!({"NetworkMode": "bridge", "AutoRemove": true}));
            act(name, "restart?t=5")
        },
        holds: |engine, name, answered| {
            // Cut between its halves it has ended, and removes itself.
            eventually("running, or gone", SOON, || match inspect(engine, name) {
                None => (!answered).then_some(()),
                Some(all) => (all["State"]["Status"] == "running").then_some(()),
            });
        },
    },
    Operation {
        what: "pause",
        prepare: |engine, name| {
            running(engine, name, none());
            act(name, "pause")
        },
        holds: |engine, name, answered| {
            let now = status(engine, name);
            assert!(now == "paused" || now == "running" && !answered, "{now}");
            if now == "paused" {
                act(name, "unpause").ok(engine);
            }
            assert_eq!(act(name, "pause").ok(engine).status, 204);
        },
    },
    Operation {
        what: "commit",
        prepare: |engine, name| {
            running(engine, name, none());
            Ask::new("POST", format!("/commit?container={name}&pause=1")).with(json!({}))
        },
        holds: |engine, name, _| {
            assert_eq!(status(engine, name), "running", "it must not stay frozen")
        },
    },
    Operation {
        what: "rename",
        prepare: |engine, name| {
            create(engine, name, "true", none());
            act(name, &format!("rename?name={name}-new"))
        },
        holds: |engine, name, answered| {
            let new = format!("{name}-new");
            let (old, new) = (inspect(engine, name), inspect(engine, &new));
            assert!(old.is_none() || new.is_none(), "it has two names");
            assert!(new.is_some() || !answered && old.is_some(), "it has none");
            if let Some(new) = new {
                assert_eq!(new["Name"], format!("/{name}-new"));
                // The old name is free.
                create(engine, name, "true", none());
            }
        },
    },
    Operation {
        what: "update",
        prepare: |engine, name| {
            running(engine, name, json!({"NetworkMode": "none", "Memory": 64 << 20}));
            act(name, "update").with(json!({"Memory": 48 << 20, "MemorySwap": 96 << 20}))
        },
        holds: |engine, name, answered| {
            let memory = inspect(engine, name).unwrap()["HostConfig"]["Memory"].clone();
            assert!(memory == 48 << 20 || memory == 64 << 20 && !answered, "{memory}");
            assert_eq!(status(engine, name), "running");
        },
    },
    Operation {
        what: "exec",
        prepare: |engine, name| {
            running(engine, name, none());
            let exec = Ask::new("POST", format!("/containers/{name}/exec"))
                .with(json!({"Cmd": ["sh", "-c", "sleep 0.05; exit 5"]}))
                .ok(engine);
            let id = exec.json()["Id"].as_str().unwrap().to_owned();
            Ask::new("POST", format!("/exec/{id}/start")).with(json!({"Detach": true}))
        },
        holds: |engine, name, _| assert_eq!(status(engine, name), "running"),
    },
    Operation {
        what: "network connect",
        prepare: |engine, name| {
            running(engine, name, json!({"NetworkMode": "bridge"}));
            Ask::new("POST", "/networks/create").with(json!({"Name": name})).ok(engine);
            Ask::new("POST", format!("/networks/{name}/connect")).with(json!({"Container": name}))
        },
        holds: |engine, name, answered| {
            let networks = inspect(engine, name).unwrap()["NetworkSettings"]["Networks"].clone();
            assert!(networks[name].is_object() || !answered, "{networks}");
            if networks[name].is_object() {
                let body = json!({"Container": name});
                Ask::new("POST", format!("/networks/{name}/disconnect")).with(body).ok(engine);
            }
            Ask::new("DELETE", format!("/networks/{name}")).ok(engine);
            assert_eq!(status(engine, name), "running");
        },
    },
    Operation {
        what: "network create",
        prepare: |_, name| Ask::new("POST", "/networks/create").with(json!({"Name": name})),
        holds: |engine, name, answered| {
            let there = engine.get(&format!("/networks/{name}")).status == 200;
            assert!(there || !answered, "{name} is lost");
            if there {
                Ask::new("DELETE", format!("/networks/{name}")).ok(engine);
            }
        },
    },
    Operation {
        what: "rm",
        prepare: |engine, name| {
            create(
                engine,
                name,
                "echo x > /file",
                json!({"NetworkMode": "none", "Binds": ["/data"]}),
            );
            start(engine, name);
            becomes(engine, name, &["exited"]);
            Ask::new("DELETE", format!("/containers/{name}?v=1"))
        },
        holds: |engine, name, answered| {
            assert!(inspect(engine, name).is_none() || !answered, "it is there again");
        },
    },
    Operation {
        what: "rm -f",
        prepare: |engine, name| {
            running(
                engine,
                name,
                json!({"NetworkMode": "bridge", "RestartPolicy": {"Name": "always"}, "PortBindings": {"80/tcp": [{"HostPort": ""}]}}),
            );
            Ask::new("DELETE", format!("/containers/{name}?force=1"))
        },
        holds: |engine, name, answered| {
            assert!(inspect(engine, name).is_none() || !answered, "it is there again");
        },
    },
];

/// Cuts one operation after so long.
fn cut(daemon: &mut Daemon, operation: &Operation, name: &str, after: Duration) {
    let engine = daemon.engine();
    let ask = (operation.prepare)(&engine, name);
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask.attempt(&engine));
        std::thread::sleep(after);
        daemon.restart();
        asking.join().unwrap()
    });
    if let Some(answer) = &answer {
        assert!(answer.status < 300, "{}: {} {}", operation.what, answer.status, answer.text());
    }
    println!(
        "{} {name}: cut after {after:?}, {}",
        operation.what,
        if answer.is_some() { "answered" } else { "not answered" }
    );
    (operation.holds)(&engine, name, answer.is_some());
}

#[test]
fn privileged_alone_every_operation_survives_the_daemons_death() {
    let mut daemon = Daemon::isopod();
    let engine = daemon.engine();
    let busybox = image::busybox(&["busybox:latest"]);
    let _ = engine.upload("/images/load?quiet=1", &busybox.tar).expect(200);
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut dice = Dice(seed | 1);
    // It has to live through all of it.
    let script = "i=0; while :; do i=$((i+1)); echo count $i; sleep 0.05; done";
    create(&engine, "witness", script, json!({"NetworkMode": "bridge"}));
    start(&engine, "witness");
    let pid = inspect(&engine, "witness").unwrap()["State"]["Pid"].clone();
    let mut kills = 0;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        // Once undisturbed, to know how long it takes.
        let name = format!("p{number}-whole");
        let ask = (operation.prepare)(&engine, &name);
        let began = Instant::now();
        ask.ok(&engine);
        let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
        (operation.holds)(&engine, &name, true);
        for round in 0..ROUNDS {
            let after = Duration::from_micros(dice.below(whole + whole / 4));
            cut(&mut daemon, operation, &format!("p{number}-{round}"), after);
            kills += 1;
        }
    }
    println!("{kills} deaths");
    assert!(kills >= 50);

    let state = inspect(&engine, "witness").unwrap()["State"].clone();
    assert_eq!((&state["Status"], &state["Pid"]), (&json!("running"), &pid));
    Ask::new("POST", "/containers/witness/kill").ok(&engine);
    let out = logged(&engine, "witness");
    assert!(out.lines().count() > 50);
    for (index, line) in out.lines().enumerate() {
        assert_eq!(line, format!("count {}", index + 1), "a line is missing");
    }
    let left = testkit::daemon::remove_all(&engine);
    assert!(left.is_empty(), "{left:?}");
    let left = leftovers(&daemon);
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    daemon.stop().unwrap();
}

#[test]
fn privileged_alone_an_execs_status_outlives_the_daemon() {
    let mut daemon = Daemon::isopod();
    let engine = daemon.engine();
    let busybox = image::busybox(&["busybox:latest"]);
    let _ = engine.upload("/images/load?quiet=1", &busybox.tar).expect(200);
    let container = engine.sleeper(json!({}));
    let exec = |script: &str| {
        let id = container.exec_create(json!({"Cmd": ["sh", "-c", script]}));
        let start = Ask::new("POST", format!("/exec/{id}/start")).with(json!({"Detach": true}));
        start.ok(&engine);
        id
    };
    let quick = exec("exit 5");
    eventually("it has ended", SOON, || {
        engine.get(&format!("/exec/{quick}/json")).json()["ExitCode"].as_i64()
    });
    let late = exec("sleep 0.5; exit 6");
    let long = exec("sleep 100");
    let never = container.exec_create(json!({"Cmd": ["sh", "-c", "exit 8"]}));
    daemon.kill();
    std::thread::sleep(Duration::from_secs(3));
    daemon.restart();
    let look = |id: &str| engine.get(&format!("/exec/{id}/json")).expect(200).json();
    assert_eq!(look(&quick)["ExitCode"], 5);
    assert_eq!(look(&late)["ExitCode"], 6);
    let running = look(&long);
    assert_eq!((&running["Running"], &running["ExitCode"]), (&json!(true), &json!(null)));
    assert_eq!(running["ProcessConfig"]["arguments"], json!(["-c", "sleep 100"]));
    Ask::new("POST", format!("/exec/{never}/start")).with(json!({"Detach": true})).ok(&engine);
    eventually("the one that was only made runs", SOON, || {
        (look(&never)["ExitCode"] == 8).then_some(())
    });
    container.remove();
    daemon.stop().unwrap();
}

/// What a power cut leaves: no process, an empty exec root, and the disk.
#[test]
fn privileged_alone_a_new_boot_finds_what_was_answered() {
    let mut daemon = Daemon::isopod();
    let engine = daemon.engine();
    let busybox = image::busybox(&["busybox:latest"]);
    let _ = engine.upload("/images/load?quiet=1", &busybox.tar).expect(200);
    let policy = |name: &str| json!({"NetworkMode": "bridge", "RestartPolicy": {"Name": name}});
    running(&engine, "plain", none());
    running(&engine, "paused", none());
    act("paused", "pause").ok(&engine);
    running(&engine, "failing", policy("on-failure"));
    running(&engine, "stopped", policy("unless-stopped"));
    act("stopped", "stop?t=5").ok(&engine);
    running(&engine, "removing", json!({"NetworkMode": "none", "AutoRemove": true}));
    create(&engine, "fresh", "true", policy("always"));
    running(&engine, "base", policy("always"));
    let joining = json!({"NetworkMode": "container:base", "RestartPolicy": {"Name": "always"}});
    running(&engine, "joining", joining);
    daemon.kill();
    for entry in std::fs::read_dir(daemon.folder().join("run/monitors")).unwrap().flatten() {
        if let Ok(pid) = std::fs::read_to_string(entry.path().join("pid")) {
            let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    std::fs::remove_dir_all(daemon.folder().join("run")).unwrap();
    daemon.restart();
    for name in ["plain", "paused"] {
        let state = inspect(&engine, name).unwrap()["State"].clone();
        assert_eq!(
            (&state["Status"], &state["ExitCode"]),
            (&json!("exited"), &json!(255)),
            "{name}"
        );
        assert_eq!(state["Pid"], 0);
    }
    assert_eq!(status(&engine, "stopped"), "exited");
    assert_eq!(status(&engine, "fresh"), "created");
    assert!(inspect(&engine, "removing").is_none());
    for name in ["failing", "base", "joining"] {
        becomes(&engine, name, &["running"]);
    }
    start(&engine, "plain");
    let left = testkit::daemon::remove_all(&engine);
    assert!(left.is_empty(), "{left:?}");
    let left = leftovers(&daemon);
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    daemon.stop().unwrap();
}

/// Everything that an engine without containers must not have.
fn leftovers(daemon: &Daemon) -> Vec<String> {
    let engine = daemon.engine();
    let mut left = Vec::new();
    let volumes = engine.get("/volumes").expect(200).json()["Volumes"].clone();
    left.extend(volumes.as_array().into_iter().flatten().map(|one| format!("volume {one}")));
    let networks = engine.get("/networks").expect(200).json();
    for network in networks.as_array().unwrap() {
        if !["bridge", "host", "none"].contains(&network["Name"].as_str().unwrap()) {
            left.push(format!("network {network}"));
        }
        if network["Containers"].as_object().is_some_and(|inside| !inside.is_empty()) {
            left.push(format!("addresses {network}"));
        }
    }
    for place in ["data/containers", "data/volumes", "run/monitors"] {
        let entries =
            std::fs::read_dir(daemon.folder().join(place)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| format!("file {}", entry.path().display())));
    }
    // Monitors and links need a moment.
    let mut passing = Vec::new();
    for _ in 0..600 {
        passing = passing_things(daemon);
        if passing.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    left.extend(passing);
    left
}

fn passing_things(daemon: &Daemon) -> Vec<String> {
    let mut left = Vec::new();
    let netns = daemon.netns().unwrap();
    for pid in netns.processes() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "isopod-monitor" {
            left.push(format!("monitor {pid}"));
        }
    }
    // Names of the pool begin the same: those are on no bridge.
    let links = daemon.engine().on_its_network(|| {
        let output = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    for line in links.lines() {
        let bridge = line.contains(": br-");
        if bridge || line.contains("veth") && line.contains("master ") {
            left.push(format!("link {line}"));
        }
    }
    let rules = daemon.engine().on_its_network(|| {
        let output = std::process::Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    left.extend(
        rules
            .lines()
            .filter(|line| line.contains(" . 80 ") || line.contains("br-"))
            .map(|line| format!("rule {line}")),
    );
    let folder = daemon.folder().display().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        for line in mounts.lines().filter(|line| line.contains(&folder)) {
            left.push(format!("mount of {}: {line}", entry.path().display()));
        }
    }
    left.extend(daemon.cgroups().iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
    left
}
