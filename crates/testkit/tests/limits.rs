//! Limits: what the kernel was told, and what happens to those who go beyond. The host's cgroups
//! are asked through `/proc/<pid>/cgroup`, on v1, hybrid and v2 alike.

use std::time::Duration;
use testkit::{Container, Value, eventually, json, on_both, unique};

const SOON: Duration = Duration::from_secs(20);

/// Reads a limit: the v1 file where the controller is mounted alone, else the v2 file.
pub(crate) fn limit(container: &Container, controller: &str, v1: &str, v2: &str) -> String {
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
        if names.split(',').any(|name| name == controller) {
            return read(&format!("/sys/fs/cgroup/{controller}{path}/{v1}"));
        }
    }
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    read(&format!("/sys/fs/cgroup{path}/{v2}"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .trim()
        .to_owned()
}

pub(crate) fn hybrid() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory").exists()
}

fn created(engine: &testkit::Engine, host: &Value) -> testkit::Response {
    engine.post(
        "/containers/create",
        &json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host}),
    )
}

on_both! {
    fn privileged_memory(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"Memory": 64 << 20, "MemoryReservation": 32 << 20, "MemorySwap": 96 << 20}}));
        assert_eq!(limit(&container, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
        assert_eq!(limit(&container, "memory", "memory.soft_limit_in_bytes", "memory.low"), (32 << 20).to_string());
        if hybrid() {
            assert_eq!(limit(&container, "memory", "memory.memsw.limit_in_bytes", ""), (96 << 20).to_string());
        }
    }

    fn privileged_the_oom_killer_is_reported(engine) {
        let query = testkit::engine::filters(&json!({"event": ["oom"], "type": ["container"]}));
        let mut events = engine.stream(&format!("/events?{query}"));
        let container = engine.create(json!({"Cmd": ["sh", "-c", "head -c 200000000 /dev/zero | tail"], "HostConfig": {"Memory": 16 << 20, "MemorySwap": 16 << 20}}));
        container.start();
        assert_ne!(container.wait(), 0);
        let state = eventually("exited", SOON, || {
            let state = container.inspect()["State"].clone();
            (state["Status"] == "exited").then_some(state)
        });
        if engine.is_dockerd() && state["OOMKilled"] == false {
            // 20.10 may hear of the kill after the exit, and then never says so.
            return;
        }
        assert_eq!(state["OOMKilled"], true, "{state}");
        loop {
            let event = events.json_line().unwrap();
            if event["Actor"]["ID"] == container.id.as_str() {
                break;
            }
        }
    }

    fn privileged_cpu(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"CpuShares": 512, "CpuPeriod": 50000, "CpuQuota": 25000, "CpusetCpus": "0", "CpusetMems": "0"}}));
        if hybrid() {
            assert_eq!(limit(&container, "cpu", "cpu.shares", ""), "512");
            assert_eq!(limit(&container, "cpu", "cpu.cfs_period_us", ""), "50000");
            assert_eq!(limit(&container, "cpu", "cpu.cfs_quota_us", ""), "25000");
        } else {
            assert_eq!(limit(&container, "cpu", "", "cpu.max"), "25000 50000");
        }
        assert_eq!(limit(&container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        assert_eq!(container.sh("grep Cpus_allowed_list /proc/self/status | cut -f2"), "0");
        let container = engine.sleeper(json!({"HostConfig": {"NanoCpus": 1_500_000_000}}));
        if hybrid() {
            assert_eq!(limit(&container, "cpu", "cpu.cfs_quota_us", ""), "150000");
        }
        assert_eq!(container.inspect()["HostConfig"]["NanoCpus"], 1_500_000_000);
    }

    fn privileged_processes(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"PidsLimit": 20}}));
        assert_eq!(limit(&container, "pids", "pids.max", "pids.max"), "20");
        let output = container.exec(&["sh", "-c", "i=0; while [ $i -lt 50 ]; do sleep 60 >/dev/null 2>&1 & i=$((i+1)); done"]);
        assert!(output.stderr.contains("fork"), "{output:?}");
        assert_eq!(container.status(), "running");
    }

    fn privileged_block_devices(engine) {
        let Some(device) = ["/dev/vda", "/dev/sda", "/dev/nvme0n1"].into_iter().find(|path| std::path::Path::new(path).exists()) else { return };
        let container = engine.create(json!({"Cmd": ["sleep", "100"], "HostConfig": {"BlkioDeviceReadBps": [{"Path": device, "Rate": 1 << 20}], "BlkioDeviceWriteIOps": [{"Path": device, "Rate": 100}]}}));
        container.start();
        if hybrid() {
            assert!(limit(&container, "blkio", "blkio.throttle.read_bps_device", "").ends_with(" 1048576"));
            assert!(limit(&container, "blkio", "blkio.throttle.write_iops_device", "").ends_with(" 100"));
        }
    }

    fn privileged_the_cgroup_goes_with_the_container(engine) {
        let container = engine.sleeper(json!({}));
        let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line = groups.lines().find(|line| line.contains(":memory:") || line.starts_with("0::")).unwrap().to_owned();
        let path = line.splitn(3, ':').nth(2).unwrap();
        let full = if line.contains(":memory:") { format!("/sys/fs/cgroup/memory{path}") } else { format!("/sys/fs/cgroup{path}") };
        assert!(full.contains(&container.id), "{full}");
        assert!(std::path::Path::new(&full).is_dir());
        container.stop(1);
        eventually("the cgroup is gone", SOON, || (!std::path::Path::new(&full).exists()).then_some(()));
    }

    fn privileged_a_cgroup_parent(engine) {
        let parent = format!("/{}", unique("isopod-test-parent"));
        let container = engine.sleeper(json!({"HostConfig": {"CgroupParent": parent}}));
        let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(groups.contains(&format!(":{parent}/{}", container.id)), "{groups}");
        container.remove();
        // Whoever names a parent keeps it; this test puts it away.
        for root in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let _ = std::fs::remove_dir(format!("{}{parent}", root.path().display()));
        }
        let _ = std::fs::remove_dir(format!("/sys/fs/cgroup{parent}"));
    }

    fn privileged_the_oom_score(engine) {
        assert_eq!(engine.sh("cat /proc/self/oom_score_adj", json!({"HostConfig": {"OomScoreAdj": 300}})).trim(), "300");
        assert_eq!(created(engine, &json!({"OomScoreAdj": 5000})).status, 400);
    }

    fn privileged_limits_are_checked(engine) {
        for (host, words) in [
            (json!({"Memory": 1000}), "inimum memory limit"),
            (json!({"MemorySwap": 64 << 20}), "emory"),
            (json!({"Memory": 64 << 20, "MemorySwap": 32 << 20}), "wap"),
            (json!({"Memory": 16 << 20, "MemoryReservation": 32 << 20}), "eservation"),
            (json!({"CpusetCpus": "0-900"}), "Requested CPUs are not available"),
            (json!({"CpusetCpus": "x"}), "cpuset"),
            (json!({"NanoCpus": 900_000_000_000_i64}), "Range of CPUs is from"),
            (json!({"NanoCpus": 1_000_000_000, "CpuQuota": 1000}), "onflicting options"),
            (json!({"CpuPeriod": 5}), "CPU cfs period"),
            (json!({"CpuQuota": 5}), "CPU cfs quota"),
            (json!({"BlkioWeight": 5}), "blkio weight"),
            (json!({"RestartPolicy": {"Name": "sometimes"}}), "invalid restart policy"),
            (json!({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}), "etry count"),
            (json!({"NetworkMode": "container:"}), ""),
            (json!({"PidMode": "nonsense"}), ""),
            (json!({"IpcMode": "nonsense"}), ""),
            (json!({"UTSMode": "nonsense"}), ""),
            (json!({"ShmSize": -1}), ""),
        ] {
            let answer = created(engine, &host);
            if answer.status == 201 {
                let id = answer.json()["Id"].as_str().unwrap().to_owned();
                let started = engine.act(&format!("/containers/{id}/start"));
                let _ = engine.delete(&format!("/containers/{id}?force=1")).ok();
                // 20.10 lets some of it through, with a warning where this kernel lacks the file;
                // whose namespace is joined is looked up at the start.
                assert!(engine.is_dockerd() || started.status >= 400, "{host} was accepted");
                continue;
            }
            assert!(answer.status == 400 || engine.is_dockerd() && answer.status >= 400, "{host}: {} {}", answer.status, answer.text());
            assert!(answer.message().to_lowercase().contains(&words.to_lowercase()), "{host}: {}", answer.text());
        }
    }

    fn privileged_update_is_checked_and_live(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"Memory": 64 << 20, "MemorySwap": -1}}));
        let answer = engine.post(&container.path("/update"), &json!({"Memory": 1000}));
        assert!(answer.status >= 400, "{}", answer.status);
        let _ = engine.post(&container.path("/update"), &json!({"CpuQuota": 30000, "CpuPeriod": 60000, "CpusetCpus": "1"})).expect(200);
        assert_eq!(limit(&container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "1");
        if hybrid() {
            assert_eq!(limit(&container, "cpu", "cpu.cfs_quota_us", ""), "30000");
        }
        assert_eq!(container.inspect()["HostConfig"]["Memory"], 64 << 20, "what was not named stays");
        let stopped = engine.create(json!({"Cmd": ["sleep", "100"]}));
        let _ = engine.post(&stopped.path("/update"), &json!({"Memory": 48 << 20, "MemorySwap": -1})).expect(200);
        stopped.start();
        assert_eq!(limit(&stopped, "memory", "memory.limit_in_bytes", "memory.max"), (48 << 20).to_string());
    }
}

/// Only ours: where the host forbids what nobody asked for, there is a warning, not a failure.
#[test]
fn privileged_what_the_host_forbids() {
    let engine = testkit::Engine::isopod();
    let answer = created(&engine, &json!({"OomScoreAdj": -500}));
    let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else {
        panic!("{}", answer.text())
    };
    if answer.status == 201 {
        let id = value["Id"].as_str().unwrap().to_owned();
        let started = engine.act(&format!("/containers/{id}/start"));
        let may = rustix::process::geteuid().is_root()
            && std::fs::write("/proc/self/oom_score_adj", "-1").is_ok();
        assert_eq!(
            started.status == 204,
            may,
            "asked for by name, it fails with the reason: {}",
            started.text()
        );
        let _ = engine.delete(&format!("/containers/{id}?force=1"));
    }
    let plain = engine.run(json!({"Cmd": ["true"]}));
    assert_eq!(plain.code, 0);
}
