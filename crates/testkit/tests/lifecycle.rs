//! Create, start, stop, kill, wait, rename, update, restart, remove: the states of a container.

use std::time::{Duration, Instant};
use testkit::{eventually, json, on_both, unique};

const SOON: Duration = Duration::from_secs(15);

on_both! {
    fn privileged_run_gives_output_and_status(engine) {
        let output = engine.run(json!({"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 7"]}));
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    }

    fn privileged_states_follow_each_other(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "sleep 0.3; exit 3"]}));
        let state = container.inspect()["State"].clone();
        assert_eq!(state["Status"], "created");
        assert_eq!(state["Running"], false);
        assert_eq!(state["Pid"], 0);
        assert_eq!(state["StartedAt"], "0001-01-01T00:00:00Z");
        assert_eq!(state["FinishedAt"], "0001-01-01T00:00:00Z");
        container.start();
        assert_eq!(container.wait(), 3);
        let state = eventually("exited", SOON, || {
            let state = container.inspect()["State"].clone();
            (state["Status"] == "exited").then_some(state)
        });
        assert_eq!(state["ExitCode"], 3);
        assert_eq!(state["OOMKilled"], false);
        assert_eq!(state["Error"], "");
        assert_ne!(state["StartedAt"], "0001-01-01T00:00:00Z");
        assert!(state["FinishedAt"].as_str().unwrap() > state["StartedAt"].as_str().unwrap());
    }

    fn privileged_a_running_container_has_a_process(engine) {
        let container = engine.sleeper(json!({}));
        let state = container.inspect()["State"].clone();
        assert_eq!(state["Status"], "running");
        assert_eq!(state["Running"], true);
        let pid = state["Pid"].as_i64().unwrap();
        assert!(std::path::Path::new(&format!("/proc/{pid}/ns/pid")).exists());
        assert_eq!(engine.act(&container.path("/start")).status, 304, "started already");
    }

    fn privileged_the_same_container_runs_again(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo x >> /tmp/runs; exit $(wc -l < /tmp/runs)"]}));
        for expected in 1..=3 {
            container.start();
            assert_eq!(container.wait(), expected);
            eventually("not running", SOON, || (container.status() == "exited").then_some(()));
        }
        assert_eq!(container.inspect()["RestartCount"], 0);
    }

    fn privileged_stop_sends_the_stop_signal(engine) {
        let script = "trap 'echo got TERM; exit 4' TERM; trap 'echo got USR1; exit 5' USR1; echo ready; while :; do sleep 1 & wait; done";
        for (signal, code) in [(json!(null), 4), (json!("SIGUSR1"), 5)] {
            let container = engine.create(json!({"Cmd": ["sh", "-c", script], "StopSignal": signal}));
            container.start();
            eventually("ready", SOON, || (!container.logs().stdout.is_empty()).then_some(()));
            container.stop(20);
            assert_eq!(container.wait(), code);
            assert_eq!(engine.act(&container.path("/stop")).status, 304, "stopped already");
        }
    }

    fn privileged_stop_kills_after_its_timeout(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], "StopTimeout": 60}));
        container.start();
        eventually("ready", SOON, || (!container.logs().stdout.is_empty()).then_some(()));
        let began = Instant::now();
        // The request's own time counts, not the container's.
        container.stop(1);
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(container.wait(), 137);
    }

    fn privileged_stop_timeout_comes_from_the_config(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], "StopTimeout": 1}));
        container.start();
        eventually("ready", SOON, || (!container.logs().stdout.is_empty()).then_some(()));
        let began = Instant::now();
        let _ = engine.act(&container.path("/stop")).expect(204);
        // So long it would be without the configuration.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    fn privileged_kill_sends_any_signal(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 1 & wait; done"]}));
        container.start();
        eventually("ready", SOON, || (container.logs().stdout == b"ready\n").then_some(()));
        for signal in ["USR1", "SIGUSR1", "10"] {
            let before = container.logs().stdout.len();
            container.kill(signal);
            eventually("the trap ran", SOON, || (container.logs().stdout.len() > before).then_some(()));
        }
        container.kill("KILL");
        assert_eq!(container.wait(), 137);
        let answer = engine.act(&container.path("/kill"));
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert!(answer.message().contains("is not running"), "{}", answer.text());
    }

    fn privileged_kill_refuses_nonsense(engine) {
        let container = engine.sleeper(json!({}));
        let answer = engine.act(&container.path("/kill?signal=SIGNONSENSE"));
        // 20.10 calls its own parse error a server error; newer ones answer 400.
        if engine.is_dockerd() {
            assert!(matches!(answer.status, 400 | 500), "{}", answer.status);
        } else {
            assert_eq!(answer.status, 400);
        }
        assert!(answer.message().contains("nvalid signal"), "{}", answer.text());
        assert_eq!(container.status(), "running");
    }

    fn privileged_wait_conditions(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "sleep 1; exit 9"]}));
        let path = format!("{}/containers/{}/wait?condition=next-exit", testkit::engine::VERSION, container.id);
        // The head comes at once, so that a client can start the container afterwards.
        let mut waiting = engine.client().open("POST", &path, &[], &[]);
        assert_eq!(waiting.status, 200);
        container.start();
        assert_eq!(waiting.json_line().unwrap()["StatusCode"], 9);
        let answer = engine.act(&container.path("/wait?condition=not-running")).expect(200);
        assert_eq!(answer.json()["StatusCode"], 9);

        let path = format!("{}/containers/{}/wait?condition=removed", testkit::engine::VERSION, container.id);
        let mut waiting = engine.client().open("POST", &path, &[], &[]);
        let id = container.id.clone();
        container.remove();
        assert_eq!(waiting.json_line().unwrap()["StatusCode"], 9);
        assert!(!engine.knows(&id));
        assert_eq!(engine.act(&format!("/containers/{id}/wait")).status, 404);
    }

    fn privileged_wait_refuses_an_unknown_condition(engine) {
        let container = engine.create(json!({"Cmd": ["true"]}));
        let answer = engine.act(&container.path("/wait?condition=blue"));
        // 20.10 takes it for the default and answers as soon as the container is not running.
        let expected = if engine.is_dockerd() { 200 } else { 400 };
        assert_eq!(answer.status, expected, "{}", answer.text());
    }

    fn privileged_pause_and_unpause(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done"]}));
        container.start();
        let _ = engine.act(&container.path("/pause")).expect(204);
        let state = container.inspect()["State"].clone();
        assert_eq!((&state["Status"], &state["Paused"], &state["Running"]), (&json!("paused"), &json!(true), &json!(true)));
        assert_eq!(engine.act(&container.path("/pause")).status, 409);
        let answer = engine.post(&container.path("/exec"), &json!({"Cmd": ["true"]}));
        assert_eq!(answer.status, 409, "exec in a paused container: {}", answer.text());
        let _ = engine.act(&container.path("/unpause")).expect(204);
        assert_eq!(container.status(), "running");
        assert!(engine.act(&container.path("/unpause")).status >= 400);
    }

    fn privileged_restart_keeps_the_container(engine) {
        let container = engine.sleeper(json!({}));
        let before = container.inspect();
        let _ = engine.act(&container.path("/restart?t=5")).expect(204);
        let after = container.inspect();
        assert_eq!(after["State"]["Status"], "running");
        assert_ne!(before["State"]["Pid"], after["State"]["Pid"]);
        assert_eq!(before["Id"], after["Id"]);
    }

    fn privileged_rename(engine) {
        let container = engine.create(json!({"Cmd": ["true"]}));
        let other = engine.create(json!({"Cmd": ["true"]}));
        let name = unique("renamed");
        let _ = engine.act(&container.path(&format!("/rename?name={name}"))).expect(204);
        assert_eq!(container.inspect()["Name"], format!("/{name}"));
        assert!(engine.knows(&name));
        assert!(!engine.knows(&container.name));
        let answer = engine.act(&other.path(&format!("/rename?name={name}")));
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert!(answer.message().contains("already in use"), "{}", answer.text());
        assert!(engine.act(&container.path("/rename?name=")).status >= 400);
        assert!(engine.act(&container.path("/rename?name=a/b")).status >= 400);
    }

    fn privileged_names_and_ids_resolve(engine) {
        let name = unique("named");
        let container = engine.create_named(&name, json!({"Cmd": ["true"]}));
        for reference in [name.as_str(), &container.id, &container.id[..12], &container.id[..20]] {
            let reference = testkit::engine::encode(reference);
            let answer = engine.get(&format!("/containers/{reference}/json"));
            assert_eq!(answer.status, 200, "{reference}: {}", answer.text());
            assert_eq!(answer.json()["Id"], container.id);
        }
        assert_eq!(container.id.len(), 64);
    }

    fn privileged_a_name_is_taken_once(engine) {
        let name = unique("taken");
        let container = engine.create_named(&name, json!({"Cmd": ["true"]}));
        let answer = engine.post(&format!("/containers/create?name={name}"), &json!({"Image": "busybox"})).expect(409);
        let message = answer.message();
        assert!(message.contains(&format!("\"/{name}\" is already in use by container")), "{message}");
        assert!(message.contains(&container.id), "{message}");
    }

    fn privileged_a_name_is_made_up(engine) {
        let answer = engine.post("/containers/create", &json!({"Image": "busybox"})).expect(201);
        let id = answer.json()["Id"].as_str().unwrap().to_owned();
        let name = engine.get(&format!("/containers/{id}/json")).json()["Name"].as_str().unwrap().to_owned();
        assert!(name.starts_with('/') && name.contains('_'), "{name}");
        let _ = engine.delete(&format!("/containers/{id}")).expect(204);
    }

    fn privileged_remove_refuses_the_running(engine) {
        let container = engine.sleeper(json!({}));
        let answer = engine.delete(&container.path("")).expect(409);
        let message = answer.message();
        // Newer engines say it the second way.
        assert!(message.contains("running container") || message.contains("container is running"), "{message}");
        let _ = engine.delete(&container.path("?force=1")).expect(204);
        let _ = engine.delete(&container.path("")).expect(404);
    }

    fn privileged_remove_takes_anonymous_volumes(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "echo x > /data/file"], "Volumes": {"/data": {}}}));
        container.start();
        assert_eq!(container.wait(), 0);
        let mount = container.inspect()["Mounts"][0].clone();
        assert_eq!(mount["Type"], "volume");
        assert_eq!(mount["Destination"], "/data");
        let source = mount["Source"].as_str().unwrap().to_owned();
        assert!(std::path::Path::new(&source).join("file").exists(), "{source}");
        let _ = engine.delete(&container.path("?v=1")).expect(204);
        assert!(!std::path::Path::new(&source).exists());
    }

    fn privileged_auto_remove(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "sleep 0.3; exit 6"], "HostConfig": {"AutoRemove": true}}));
        let path = format!("{}/containers/{}/wait?condition=removed", testkit::engine::VERSION, container.id);
        let mut waiting = engine.client().open("POST", &path, &[], &[]);
        container.start();
        assert_eq!(waiting.json_line().unwrap()["StatusCode"], 6);
        eventually("gone", SOON, || (!engine.knows(&container.id)).then_some(()));
    }

    fn privileged_auto_remove_excludes_a_restart_policy(engine) {
        let config = json!({"Image": "busybox", "HostConfig": {"AutoRemove": true, "RestartPolicy": {"Name": "always"}}});
        let answer = engine.post("/containers/create", &config);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }

    fn privileged_restart_on_failure_gives_up(engine) {
        let container = engine.create(json!({
            "Cmd": ["sh", "-c", "echo run; exit 1"],
            "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
        }));
        container.start();
        let state = eventually("two restarts", SOON, || {
            let all = container.inspect();
            (all["RestartCount"] == 2 && all["State"]["Status"] == "exited").then_some(all)
        });
        assert_eq!(state["State"]["ExitCode"], 1);
        assert_eq!(String::from_utf8(container.logs().stdout).unwrap(), "run\nrun\nrun\n");
    }

    fn privileged_restart_on_failure_leaves_success_alone(engine) {
        let container = engine.create(json!({
            "Cmd": ["true"],
            "HostConfig": {"RestartPolicy": {"Name": "on-failure"}},
        }));
        container.start();
        assert_eq!(container.wait(), 0);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(container.inspect()["RestartCount"], 0);
    }

    fn privileged_restart_always_until_stopped(engine) {
        let container = engine.create(json!({
            "Cmd": ["sh", "-c", "sleep 0.2"],
            "HostConfig": {"RestartPolicy": {"Name": "always"}},
        }));
        container.start();
        eventually("restarted", SOON, || (container.inspect()["RestartCount"].as_i64()? >= 2).then_some(()));
        container.stop(2);
        assert_eq!(container.status(), "exited");
        let count = container.inspect()["RestartCount"].clone();
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(container.status(), "exited");
        assert_eq!(container.inspect()["RestartCount"], count);
    }

    fn privileged_update_changes_a_policy_and_limits_live(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"Memory": 64 << 20}}));
        let answer = engine.post(&container.path("/update"), &json!({
            "Memory": 32 << 20, "MemorySwap": 64 << 20, "CpuShares": 512, "PidsLimit": 99,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4},
        })).expect(200);
        assert!(answer.json()["Warnings"].as_array().is_none_or(Vec::is_empty), "{}", answer.text());
        let host = container.inspect()["HostConfig"].clone();
        assert_eq!(host["Memory"], 32 << 20);
        assert_eq!(host["CpuShares"], 512);
        assert_eq!(host["PidsLimit"], 99);
        assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 4}));
        let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
        assert_eq!(cgroup_file(pid, "memory", "memory.limit_in_bytes"), (32u64 << 20).to_string());
        assert_eq!(cgroup_file(pid, "cpu", "cpu.shares"), "512");
        assert_eq!(cgroup_file(pid, "pids", "pids.max"), "99");
    }

    fn privileged_a_missing_program_says_so(engine) {
        for (command, code) in [("/no/such/program", 127), ("no-such-program", 127), ("/etc/passwd", 126), ("/etc", 126)] {
            let container = engine.create(json!({"Cmd": [command]}));
            let answer = engine.act(&container.path("/start"));
            assert_eq!(answer.status, 400, "{command}: {}", answer.text());
            let message = answer.message();
            assert!(message.contains(command), "{message}");
            let wanted = if code == 127 { ["no such file or directory", "executable file not found in $PATH"] } else { ["permission denied", "is a directory"] };
            assert!(wanted.iter().any(|text| message.contains(text)), "{message}");
            let state = container.inspect()["State"].clone();
            assert_eq!(state["Status"], "created", "{command}");
            assert_eq!(state["ExitCode"], code, "{command}");
            assert!(!state["Error"].as_str().unwrap().is_empty());
        }
    }

    fn privileged_a_signal_ends_with_128_and_more(engine) {
        let container = engine.create(json!({"Cmd": ["sh", "-c", "kill -SEGV $$"], "HostConfig": {"Init": true}}));
        container.start();
        assert_eq!(container.wait(), 139);
    }

    fn privileged_prune_takes_the_stopped(engine) {
        let label = unique("prune");
        let stopped = engine.create(json!({"Cmd": ["true"], "Labels": {(label.as_str()): "1"}}));
        let running = engine.sleeper(json!({"Labels": {(label.as_str()): "1"}}));
        let query = testkit::engine::filters(&json!({"label": [label]}));
        let answer = engine.act(&format!("/containers/prune?{query}")).expect(200);
        testkit::shape::check("POST /containers/prune", &answer.json(), &[]);
        assert_eq!(answer.json()["ContainersDeleted"], json!([stopped.id]));
        assert!(!engine.knows(&stopped.id));
        assert!(engine.knows(&running.id));
    }
}

/// A file of the cgroup v1 controller that a process is in.
fn cgroup_file(pid: i64, controller: &str, file: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = groups
        .lines()
        .find(|line| line.split(':').nth(1).unwrap().split(',').any(|name| name == controller));
    let path =
        line.unwrap_or_else(|| panic!("no {controller} in {groups}")).split(':').nth(2).unwrap();
    let full = format!("/sys/fs/cgroup/{controller}{path}/{file}");
    std::fs::read_to_string(&full)
        .unwrap_or_else(|error| panic!("{full}: {error}"))
        .trim()
        .to_owned()
}
