//! Listing, inspecting and the system's own answers, checked against the Engine API's definition.

use std::time::Duration;
use testkit::engine::filters;
use testkit::{Engine, Value, eventually, json, on_both, shape, unique};

const SOON: Duration = Duration::from_secs(20);

/// Fields that were in answers of API 1.41 and have left the definition since.
const OLD_INSPECT: &[&str] = &[
    ".HostConfig.KernelMemory",
    ".HostConfig.KernelMemoryTCP",
    ".HostConfig.Capabilities",
    ".NetworkSettings.Bridge",
    ".NetworkSettings.HairpinMode",
    ".NetworkSettings.LinkLocalIPv6Address",
    ".NetworkSettings.LinkLocalIPv6PrefixLen",
    ".NetworkSettings.SecondaryIPAddresses",
    ".NetworkSettings.SecondaryIPv6Addresses",
    ".NetworkSettings.EndpointID",
    ".NetworkSettings.Gateway",
    ".NetworkSettings.GlobalIPv6Address",
    ".NetworkSettings.GlobalIPv6PrefixLen",
    ".NetworkSettings.IPAddress",
    ".NetworkSettings.IPPrefixLen",
    ".NetworkSettings.IPv6Gateway",
    ".NetworkSettings.MacAddress",
    ".Node",
    ".GraphDriver.Data",
    ".Config.MacAddress",
    ".Config.Image",
    ".HostConfig.NanoCpus",
    ".HostConfig.MemorySwappiness",
    ".HostConfig.OomKillDisable",
];

fn listed(engine: &Engine, filter: &Value, all: bool) -> Vec<String> {
    let answer = engine.get(&format!("/containers/json?all={}&{}", u8::from(all), filters(filter)));
    let answer = answer.expect(200).json();
    answer.as_array().unwrap().iter().map(|one| one["Id"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    fn privileged_list_has_the_shape(engine) {
        let container = engine.sleeper(json!({"Labels": {"a": "b"}, "Volumes": {"/v": {}}, "ExposedPorts": {"80/tcp": {}}}));
        let answer = engine.get(&format!("/containers/json?size=1&{}", filters(&json!({"id": [container.id]})))).expect(200).json();
        shape::check("GET /containers/json", &answer, &[]);
        let one = &answer[0];
        assert_eq!(one["Names"], json!([format!("/{}", container.name)]));
        assert_eq!(one["Image"], "busybox");
        assert!(one["ImageID"].as_str().unwrap().starts_with("sha256:"));
        assert!(one["Command"].as_str().unwrap().starts_with("sh -c 'trap"), "{}", one["Command"]);
        assert_eq!(one["State"], "running");
        assert!(one["Status"].as_str().unwrap().starts_with("Up "), "{}", one["Status"]);
        assert_eq!(one["Labels"], json!({"a": "b"}));
        assert_eq!(one["HostConfig"]["NetworkMode"], "none");
        assert!(one["Created"].as_i64().unwrap() > 1_700_000_000);
        assert!(one["SizeRootFs"].as_i64().unwrap() > 500_000);
        assert_eq!(one["Mounts"][0]["Destination"], "/v");
    }

    fn privileged_a_list_has_the_id_of_an_image_that_lost_its_name(engine) {
        let tag = unique("named");
        let _ = engine.act(&format!("/images/busybox/tag?repo={tag}&tag=latest")).expect(201);
        let container = engine.create(json!({"Image": tag, "Cmd": ["true"]}));
        let image = || {
            let filter = filters(&json!({"id": [container.id]}));
            engine.get(&format!("/containers/json?all=1&{filter}")).expect(200).json()[0]["Image"].clone()
        };
        assert_eq!(image(), json!(tag));
        let _ = engine.delete(&format!("/images/{tag}?force=1")).expect(200);
        assert_eq!(image(), container.inspect()["Image"]);
    }

    fn privileged_list_filters(engine) {
        let label = unique("l");
        let mark = json!({(label.as_str()): "x", "other": "y"});
        let running = engine.sleeper(json!({"Labels": mark, "Volumes": {"/vol": {}}}));
        let exited = engine.create(json!({"Labels": mark, "Cmd": ["sh", "-c", "exit 3"]}));
        exited.start();
        exited.wait();
        let created = engine.create(json!({"Labels": mark, "Cmd": ["true"]}));
        eventually("exited", SOON, || (exited.status() == "exited").then_some(()));
        let with = |extra: Value| {
            let mut filter = json!({"label": [format!("{label}=x")]});
            for (key, value) in extra.as_object().unwrap() { filter[key] = value.clone(); }
            let mut ids = listed(engine, &filter, true);
            ids.sort();
            ids
        };
        let sorted = |containers: &[&testkit::Container]| {
            let mut ids: Vec<String> = containers.iter().map(|one| one.id.clone()).collect();
            ids.sort();
            ids
        };
        assert_eq!(with(json!({})), sorted(&[&running, &exited, &created]));
        assert_eq!(listed(engine, &json!({"label": [label]}), false), std::slice::from_ref(&running.id));
        assert_eq!(with(json!({"status": ["running"]})), sorted(&[&running]));
        assert_eq!(with(json!({"status": ["exited", "created"]})), sorted(&[&exited, &created]));
        assert_eq!(with(json!({"exited": ["3"]})), sorted(&[&exited]));
        assert_eq!(with(json!({"name": [created.name]})), sorted(&[&created]));
        assert_eq!(with(json!({"name": [format!("^/{}$", running.name)]})), sorted(&[&running]));
        assert_eq!(with(json!({"id": [exited.id[..10]]})), sorted(&[&exited]));
        assert_eq!(with(json!({"before": [created.id]})), sorted(&[&running, &exited]));
        assert_eq!(with(json!({"since": [running.id]})), sorted(&[&exited, &created]));
        assert_eq!(with(json!({"ancestor": ["busybox"]})).len(), 3);
        assert_eq!(with(json!({"ancestor": ["no-such-image"]})).len(), 0);
        assert_eq!(with(json!({"volume": ["/vol"]})), sorted(&[&running]));
        assert_eq!(with(json!({"network": ["none"]})), sorted(&[&running, &exited, &created]));
        assert_eq!(with(json!({"network": ["bridge"]})).len(), 0);
        assert_eq!(with(json!({"label": [format!("{label}=x"), "other=z"]})).len(), 0);
        assert_eq!(with(json!({"is-task": ["false"]})).len(), 3);
        assert_eq!(with(json!({"health": ["none"]})).len(), 3);
        assert_eq!(with(json!({"expose": ["80"]})).len(), 0);
        let newest = engine.get("/containers/json?limit=1").json();
        assert_eq!(newest.as_array().unwrap().len(), 1);
        for bad in [json!({"nonsense": ["x"]}), json!({"status": ["blue"]}), json!({"exited": ["x"]})] {
            let answer = engine.get(&format!("/containers/json?all=1&{}", filters(&bad)));
            // 20.10 calls some of them its own errors.
            assert!(answer.status == 400 || engine.is_dockerd() && answer.status == 500, "{bad}: {} {}", answer.status, answer.text());
        }
        let answer = engine.get("/containers/json?filters=%7Bnot-json");
        assert!(answer.status == 400 || engine.is_dockerd(), "{}", answer.status);
    }

    fn privileged_inspect_has_the_shape(engine) {
        let container = engine.sleeper(json!({
            "Hostname": "hosty", "Domainname": "example.org", "User": "app", "Env": ["A=b"], "Labels": {"l": "m"}, "ExposedPorts": {"80/tcp": {}},
            "WorkingDir": "/home", "StopSignal": "SIGINT", "Entrypoint": ["sh", "-c"], "Cmd": ["sleep 1000"], "Volumes": {"/v": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000_i64},
            "HostConfig": {"Memory": 64 << 20, "CpuShares": 100, "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Dns": ["1.2.3.4"],
                "ExtraHosts": ["some:1.2.3.4"], "CapAdd": ["NET_ADMIN"], "Tmpfs": {"/t": "size=1m"}, "ReadonlyRootfs": true,
                "Mounts": [{"Type": "tmpfs", "Target": "/t2", "TmpfsOptions": {"SizeBytes": 1 << 20}}]},
        }));
        let answer = engine.get(&container.path("/json?size=1")).expect(200).json();
        shape::check("GET /containers/{id}/json", &answer, OLD_INSPECT);
        for field in ["Id", "Created", "Path", "Args", "State", "Image", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "Name", "RestartCount",
            "Driver", "Platform", "MountLabel", "ProcessLabel", "AppArmorProfile", "ExecIDs", "HostConfig", "GraphDriver", "SizeRw", "SizeRootFs", "Mounts", "Config", "NetworkSettings"] {
            assert!(answer.as_object().unwrap().contains_key(field), "{field} is missing");
        }
        for field in ["Binds", "ContainerIDFile", "LogConfig", "NetworkMode", "PortBindings", "RestartPolicy", "AutoRemove", "VolumeDriver", "VolumesFrom", "CapAdd", "CapDrop",
            "CgroupnsMode", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "IpcMode", "Cgroup", "Links", "OomScoreAdj", "PidMode", "Privileged", "PublishAllPorts",
            "ReadonlyRootfs", "SecurityOpt", "UTSMode", "UsernsMode", "ShmSize", "Runtime", "ConsoleSize", "Isolation", "CpuShares", "Memory", "NanoCpus", "CgroupParent", "BlkioWeight",
            "BlkioWeightDevice", "CpuPeriod", "CpuQuota", "CpusetCpus", "CpusetMems", "Devices", "DeviceCgroupRules", "DeviceRequests", "MemoryReservation", "MemorySwap",
            "MemorySwappiness", "OomKillDisable", "PidsLimit", "Ulimits", "CpuCount", "CpuPercent", "IOMaximumIOps", "MaskedPaths", "ReadonlyPaths"] {
            assert!(answer["HostConfig"].as_object().unwrap().contains_key(field), "HostConfig.{field} is missing");
        }
        for field in ["Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Env", "Cmd", "Image", "Volumes", "WorkingDir", "Entrypoint", "Labels"] {
            assert!(answer["Config"].as_object().unwrap().contains_key(field), "Config.{field} is missing");
        }
        assert_eq!(answer["Path"], "sh");
        assert_eq!(answer["Args"], json!(["-c", "sleep 1000"]));
        assert_eq!(answer["Config"]["Image"], "busybox");
        assert_eq!(answer["Config"]["Hostname"], "hosty");
        assert_eq!(answer["Config"]["Env"], json!(["A=b", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]));
        assert_eq!(answer["HostConfig"]["ShmSize"], 64 << 20);
        assert_eq!(answer["HostConfig"]["Ulimits"], json!([{"Name": "nofile", "Soft": 100, "Hard": 200}]));
        assert_eq!(answer["HostConfig"]["MemorySwap"], 128 << 20, "twice the memory");
        assert_eq!(answer["HostConfig"]["LogConfig"]["Type"], "json-file");
        assert_eq!(answer["Platform"], "linux");
        assert_eq!(answer["RestartCount"], 0);
        let mount = answer["Mounts"].as_array().unwrap().iter().find(|mount| mount["Destination"] == "/v").unwrap().clone();
        assert_eq!((&mount["Type"], &mount["RW"], &mount["Driver"]), (&json!("volume"), &json!(true), &json!("local")));
        assert!(answer["SizeRootFs"].as_i64().unwrap() > 0);
        assert!(engine.get("/containers/nothing/json").expect(404).message().contains("No such container: nothing"));
    }

    fn privileged_system_answers_have_their_shapes(engine) {
        let version = engine.get("/version").expect(200).json();
        shape::check("GET /version", &version, &[".BuildTime"]);
        for field in ["Platform", "Components", "Version", "ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion", "Os", "Arch", "KernelVersion"] {
            assert!(version.as_object().unwrap().contains_key(field), "{field}");
        }
        let info = engine.get("/info").expect(200).json();
        shape::check("GET /info", &info, &[".BridgeNfIptables", ".BridgeNfIp6tables", ".ClusterStore", ".ClusterAdvertise", ".KernelMemory", ".KernelMemoryTCP", ".Debug", ".SystemStatus",
            ".ContainerdCommit.Expected", ".RuncCommit.Expected", ".InitCommit.Expected", ".ExecutionDriver", ".Swarm.Cluster", ".ServerVersion", ".RegistryConfig.AllowNondistributableArtifactsCIDRs", ".RegistryConfig.AllowNondistributableArtifactsHostnames"]);
        assert_eq!(info["OSType"], "linux");
        assert_eq!(info["NCPU"].as_u64().unwrap() as usize, std::thread::available_parallelism().unwrap().get());
        assert!(info["Images"].as_u64().unwrap() >= 1);
        assert_eq!(info["LoggingDriver"], "json-file");
        let usage = engine.get("/system/df").expect(200).json();
        assert!(usage["LayersSize"].as_u64().unwrap() > 500_000);
        assert!(usage["Images"].is_array() && usage["Containers"].is_array() && usage["Volumes"].is_array());
    }

    fn privileged_ping_and_versions(engine) {
        let client = engine.client();
        for path in ["/_ping", "/v1.24/_ping", "/v1.41/_ping"] {
            let answer = client.request("GET", path, &[], &[]).expect(200);
            assert_eq!(answer.text(), "OK");
            let version: f64 = answer.header("api-version").unwrap().replace("1.", "").parse().unwrap();
            assert!(version >= 41.0);
            assert_eq!(answer.header("ostype"), Some("linux"));
            assert!(answer.header("docker-experimental").is_some());
            assert!(answer.header("server").unwrap().contains('/'));
        }
        let answer = client.request("HEAD", "/_ping", &[], &[]).expect(200);
        assert!(answer.header("api-version").is_some());
        assert_eq!(client.request("GET", "/containers/json", &[], &[]).status, 200, "without a version");
        let answer = client.request("GET", "/v1.99/containers/json", &[], &[]).expect(400);
        assert!(answer.text().contains("client version 1.99 is too new. Maximum supported API version is"), "{}", answer.text());
        let answer = client.request("GET", "/v1.1/containers/json", &[], &[]).expect(400);
        assert!(answer.text().contains("client version 1.1 is too old. Minimum supported API version is"), "{}", answer.text());
        let answer = client.request("GET", "/v1.41/nothing/here", &[], &[]).expect(404);
        assert_eq!(answer.message(), "page not found");
    }

    fn privileged_health_checks(engine) {
        let container = engine.sleeper(json!({
            "Healthcheck": {"Test": ["CMD-SHELL", "echo checked; test -e /tmp/well"], "Interval": 300_000_000, "Timeout": 30_000_000_000_i64, "Retries": 2},
        }));
        let health = container.inspect()["State"]["Health"].clone();
        assert!(health["Status"] == "starting" || health["Status"] == "unhealthy", "{health}");
        eventually("unhealthy", SOON, || (container.inspect()["State"]["Health"]["Status"] == "unhealthy").then_some(()));
        let health = container.inspect()["State"]["Health"].clone();
        assert!(health["FailingStreak"].as_i64().unwrap() >= 2);
        assert_eq!(health["Log"][0]["ExitCode"], 1);
        assert_eq!(health["Log"][0]["Output"], "checked\n");
        let list = engine.get(&format!("/containers/json?{}", filters(&json!({"id": [container.id], "health": ["unhealthy"]})))).json();
        assert!(list[0]["Status"].as_str().unwrap().ends_with("(unhealthy)"), "{list}");
        let _ = container.sh("touch /tmp/well");
        let health = eventually("healthy", SOON, || {
            let health = container.inspect()["State"]["Health"].clone();
            (health["Status"] == "healthy").then_some(health)
        });
        assert_eq!(health["FailingStreak"], 0);
    }

    fn privileged_a_slow_health_check_times_out(engine) {
        let container = engine.sleeper(json!({
            "Healthcheck": {"Test": ["CMD", "sleep", "100"], "Interval": 300_000_000, "Timeout": 500_000_000, "Retries": 1},
        }));
        let log = eventually("a timed-out check", SOON, || {
            let log = container.inspect()["State"]["Health"]["Log"][0].clone();
            (!log.is_null()).then_some(log)
        });
        assert_eq!(log["ExitCode"], -1);
        assert!(log["Output"].as_str().unwrap().contains("Health check exceeded timeout"), "{log}");
    }

    fn privileged_no_health_check(engine) {
        let container = engine.sleeper(json!({"Healthcheck": {"Test": ["NONE"]}}));
        assert!(container.inspect()["State"]["Health"].is_null() || container.inspect()["State"]["Health"]["Status"] == "none");
    }

    fn privileged_volumes_by_name(engine) {
        let name = unique("vol");
        let one = engine.create(json!({"Cmd": ["sh", "-c", "echo kept > /v/file"], "HostConfig": {"Binds": [format!("{name}:/v")]}}));
        one.start();
        assert_eq!(one.wait(), 0);
        let other = engine.create(json!({"Cmd": ["cat", "/w/file"], "HostConfig": {"Binds": [format!("{name}:/w:ro")]}}));
        other.start();
        assert_eq!(other.wait(), 0);
        assert_eq!(other.logs().stdout, b"kept\n");
        let mount = other.inspect()["Mounts"][0].clone();
        assert_eq!((&mount["Name"], &mount["RW"], &mount["Mode"]), (&json!(name), &json!(false), &json!("ro")));
        one.remove();
        other.remove();
        let third = engine.create(json!({"Cmd": ["cat", "/v/file"], "HostConfig": {"Mounts": [{"Type": "volume", "Source": name, "Target": "/v"}]}}));
        third.start();
        assert_eq!(third.wait(), 0, "a named volume outlives its containers");
        third.remove();
        let answer = engine.delete(&format!("/volumes/{name}"));
        assert!(answer.status == 204 || !engine.is_dockerd() && answer.status == 404, "{}", answer.text());
    }

    fn privileged_a_volume_starts_with_what_the_image_has(engine) {
        let seen = engine.sh("cat /etc/passwd | head -1", json!({"Volumes": {"/etc": {}}}));
        assert!(seen.starts_with("root:"), "{seen}");
        let seen = engine.sh("ls /etc | wc -l", json!({"HostConfig": {"Mounts": [{"Type": "volume", "Target": "/etc", "VolumeOptions": {"NoCopy": true}}]}}));
        assert!(seen.trim().parse::<u32>().unwrap() <= 4, "{seen}");
    }

    fn privileged_volumes_from(engine) {
        let one = engine.create(json!({"Cmd": ["sh", "-c", "echo shared > /v/file"], "Volumes": {"/v": {}}}));
        one.start();
        one.wait();
        let seen = engine.sh("cat /v/file; touch /v/x 2>&1", json!({"HostConfig": {"VolumesFrom": [one.id]}}));
        assert_eq!(seen, "shared\n");
        let output = engine.run(json!({"Cmd": ["touch", "/v/y"], "HostConfig": {"VolumesFrom": [format!("{}:ro", one.name)]}}));
        assert_ne!(output.code, 0);
    }
}

#[test]
fn privileged_containers_are_found_by_annotation() {
    let engine = Engine::isopod();
    let made = |annotations: Value| {
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Annotations": annotations}});
        let headers = [("Content-Type", "application/json")];
        let answer = engine.client().request(
            "POST",
            "/v1.48/containers/create",
            &headers,
            body.to_string().as_bytes(),
        );
        answer.expect(201).json()["Id"].as_str().unwrap().to_owned()
    };
    let key = unique("note");
    let (one, two) = (made(json!({key.as_str(): "1"})), made(json!({key.as_str(): "2"})));
    let found = |wanted: String| {
        let mut all = listed(&engine, &json!({"annotation": [wanted]}), true);
        all.sort();
        all
    };
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(found(key.clone()), both);
    assert_eq!(found(format!("{key}=2")), std::slice::from_ref(&two));
    assert!(found(format!("{key}=3")).is_empty());
    for id in [one, two] {
        let _ = engine.delete(&format!("/containers/{id}")).expect(204);
    }
}
