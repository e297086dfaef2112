//! One engine asked in several versions of the API. Up to 1.41 dockerd is asked the same and has to
//! say as much; beyond, the API's own history says what came and went.

use std::collections::BTreeSet;

use testkit::engine::filters;
use testkit::{Container, Engine, Response, Value, json, on_both, unique};

fn ask(engine: &Engine, minor: u32, method: &str, path: &str, body: &Value) -> Response {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Content-Type", "application/json")];
    let headers = if body.is_null() { &[][..] } else { &headers };
    engine.client().request(method, &format!("/v1.{minor}{path}"), headers, text.as_bytes())
}

#[track_caller]
fn get(engine: &Engine, minor: u32, path: &str) -> Value {
    ask(engine, minor, "GET", path, &Value::Null).expect(200).json()
}

/// Whether a field is there, also if it is `null`. `path` is `A.B`.
fn has(value: &Value, path: &str) -> bool {
    let mut value = value;
    for name in path.split('.') {
        let Some(inner) = value.as_object().and_then(|fields| fields.get(name)) else {
            return false;
        };
        value = inner;
    }
    true
}

/// Insists that fields are there from one version on and up to before another.
#[track_caller]
fn lives(engine: &Engine, path: &str, part: &str, field: &str, from: u32, to: u32) {
    for minor in [24, 30, 39, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 55] {
        let whole = get(engine, minor, path);
        let value = if part.is_empty() { &whole } else { whole.pointer(part).unwrap() };
        let expected = (from..to).contains(&minor);
        assert_eq!(has(value, field), expected, "1.{minor} {path} {part} {field}: {value}");
    }
}

const EVER: u32 = u32::MAX;

/// Every path of fields in a value, lists as their first items.
fn fields(value: &Value, prefix: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let path = format!("{prefix}.{name}");
                fields(inner, &path, all);
                all.insert(path);
            }
        }
        Value::Array(list) => {
            if let Some(first) = list.first() {
                fields(first, &format!("{prefix}[]"), all);
            }
        }
        _ => {}
    }
}

fn sleeper(engine: &Engine) -> Container {
    engine.sleeper(json!({
        "Labels": {"a": "b"}, "Volumes": {"/v": {}},
        "HostConfig": {"NetworkMode": "bridge", "Memory": 64 << 20},
    }))
}

/// What dockerd says in old versions, we say too.
#[test]
fn privileged_old_versions_have_all_that_dockerd_has() {
    let (dockerd, isopod) = (Engine::dockerd(), Engine::isopod());
    let (theirs, ours) = (sleeper(&dockerd), sleeper(&isopod));
    // Fields that name what is dockerd's alone.
    let excused = [
        ".Components[].Details.",
        ".GraphDriver.Data",
        ".SystemStatus",
        ".Runtimes.",
        ".HostConfig.Capabilities",
        ".BuildCache[]",
        ".Images[].Labels.",
        "[].Labels.",
        ".RepoDigests",
        ".DefaultAddressPools",
        ".Warnings",
        ".DriverStatus",
        ".Containers[]",
        ".Images[]",
        ".Volumes[]",
        ".RegistryConfig.IndexConfigs.",
        ".ContainerConfig",
        ".Config.Labels.",
        ".IPAM.Config[].",
        ".Options.",
        ".NetworkSettings.Ports.",
        ".Containers.",
        // Rows that come with the first use of a disk.
        "_recursive[].",
    ];
    let mut wrong = Vec::new();
    for minor in [24, 30, 37, 40, 41] {
        let paths = [
            "/info".to_owned(),
            "/version".to_owned(),
            "/containers/ID/json".to_owned(),
            format!("/containers/json?{}", filters(&json!({"id": ["ID"]}))),
            "/images/busybox/json".to_owned(),
            "/images/json".to_owned(),
            "/networks/bridge".to_owned(),
            "/networks/none".to_owned(),
            "/system/df".to_owned(),
            "/containers/ID/top".to_owned(),
            "/containers/ID/stats?stream=0".to_owned(),
            "/images/busybox/history".to_owned(),
        ];
        for path in paths {
            let seen = |engine: &Engine, container: &Container| {
                let mut all = BTreeSet::new();
                fields(&get(engine, minor, &path.replace("ID", &container.id)), "", &mut all);
                all
            };
            let (theirs, ours) = (seen(&dockerd, &theirs), seen(&isopod, &ours));
            let missing = theirs.difference(&ours);
            let missing =
                missing.filter(|field| !excused.iter().any(|start| field.contains(start)));
            wrong.extend(missing.map(|field| format!("1.{minor} {path}: {field}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn privileged_fields_come_and_go_with_the_versions() {
    let engine = Engine::isopod();
    let container = sleeper(&engine);
    let own = container.path("/json");
    for field in
        ["Bridge", "HairpinMode", "IPAddress", "MacAddress", "EndpointID", "SecondaryIPAddresses"]
    {
        lives(&engine, &own, "/NetworkSettings", field, 24, 52);
    }
    lives(&engine, &own, "/NetworkSettings", "Networks", 24, EVER);
    lives(&engine, &own, "/Config", "OnBuild", 24, 52);
    lives(&engine, &own, "/HostConfig", "KernelMemoryTCP", 24, 42);
    let listed = format!("/containers/json?{}", filters(&json!({"id": [container.id]})));
    lives(&engine, &listed, "/0", "Health", 52, EVER);

    lives(&engine, "/images/busybox/json", "", "VirtualSize", 24, 44);
    lives(&engine, "/images/busybox/json", "", "ContainerConfig", 24, 52);
    lives(&engine, "/images/busybox/json", "", "Container", 24, 45);
    lives(&engine, "/images/busybox/json", "/Config", "Hostname", 24, 50);
    lives(&engine, "/images/busybox/json", "/Config", "OnBuild", 24, 52);
    lives(&engine, "/images/busybox/json", "", "Parent", 24, 52);
    lives(&engine, "/images/busybox/json", "", "Author", 24, 52);
    lives(&engine, "/images/busybox/json", "", "GraphDriver", 24, EVER);
    let named = format!("/images/json?{}", filters(&json!({"reference": ["busybox"]})));
    lives(&engine, &named, "/0", "VirtualSize", 24, 44);
    for (minor, counted) in [(41, false), (50, false), (51, true), (55, true)] {
        let count = get(&engine, minor, &named)[0]["Containers"].as_i64().unwrap();
        assert_eq!(count != -1, counted, "1.{minor}: {count}");
    }

    lives(&engine, "/info", "", "BridgeNfIptables", 24, 50);
    lives(&engine, "/info", "", "FirewallBackend", 49, EVER);
    lives(&engine, "/info", "", "ExecutionDriver", 24, 25);
    lives(&engine, "/info", "/RuncCommit", "Expected", 24, 49);
    lives(&engine, "/info", "/RegistryConfig", "AllowNondistributableArtifactsCIDRs", 24, 49);
    let options = get(&engine, 24, "/info")["SecurityOptions"].clone();
    assert!(options.as_array().unwrap().contains(&json!("seccomp")), "{options}");
    let options = get(&engine, 25, "/info")["SecurityOptions"].to_string();
    assert!(options.contains("name=seccomp,profile=builtin"), "{options}");

    for field in ["LayersSize", "Images", "Containers", "Volumes", "BuildCache"] {
        lives(&engine, "/system/df", "", field, 24, 53);
    }
    lives(&engine, "/system/df", "", "BuilderSize", 24, 42);
    for field in ["ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"] {
        lives(&engine, "/system/df", "", field, 52, EVER);
    }
    let verbose = get(&engine, 52, "/system/df?verbose=1");
    assert!(!has(&verbose, "Images") && verbose["ImageUsage"]["Items"].is_array(), "{verbose}");
    let brief = get(&engine, 55, "/system/df");
    assert!(!has(&brief, "ImageUsage.Items"), "{brief}");
    assert!(brief["ImageUsage"]["TotalSize"].as_i64().unwrap() > 500_000, "{brief}");
    assert!(brief["ContainerUsage"]["ActiveCount"].as_i64().unwrap() >= 1, "{brief}");
    lives(&engine, "/networks/bridge", "", "Status", 52, EVER);
    lives(&engine, &container.path("/stats?stream=0&one-shot=1"), "", "os_type", 52, EVER);
}

#[test]
fn privileged_aliases_had_the_short_id() {
    let engine = Engine::isopod();
    let network = unique("alias");
    let _ = engine.post("/networks/create", &json!({"Name": network})).expect(201);
    let container = engine.create(json!({
        "HostConfig": {"NetworkMode": network}, "Cmd": ["true"],
        "NetworkingConfig": {"EndpointsConfig": {(network.as_str()): {"Aliases": ["web"]}}},
    }));
    let aliases = |minor| {
        let seen = get(&engine, minor, &container.path("/json"));
        seen["NetworkSettings"]["Networks"][&network]["Aliases"].clone()
    };
    assert_eq!(aliases(44), json!(["web"]), "it has not joined yet");
    let _ = engine.act(&container.path("/start")).expect(204);
    assert_eq!(aliases(45), json!(["web"]));
    assert_eq!(aliases(44), json!(["web", &container.id[..12]]));
    container.remove();
    let _ = engine.delete(&format!("/networks/{network}")).expect(204);
}

on_both! {
    /// Settings that came later than the client's version are as if they had not been sent.
    fn privileged_later_settings_are_not_heeded(engine) {
        let container = |minor: u32, body: Value| {
            let name = unique("v");
            let mut body = body;
            body["Image"] = json!("busybox");
            body["Cmd"] = json!(["true"]);
            let path = format!("/containers/create?name={name}");
            let answer = ask(engine, minor, "POST", &path, &body).expect(201).json();
            let seen = get(engine, minor, &format!("/containers/{name}/json"));
            let _ = engine.delete(&format!("/containers/{name}")).expect(204);
            (answer, seen)
        };
        for (minor, mode) in [(39, "shareable"), (41, "private")] {
            let (_, seen) = container(minor, json!({"HostConfig": {"Memory": 0}}));
            assert_eq!(seen["HostConfig"]["IpcMode"], mode, "1.{minor}");
        }
        let annotated = json!({"HostConfig": {"Annotations": {"a": "b"}}});
        let (_, seen) = container(41, annotated.clone());
        assert!(seen["HostConfig"]["Annotations"].is_null(), "{seen}");
        if engine.is_dockerd() {
            return;
        }
        let (_, seen) = container(43, annotated);
        assert_eq!(seen["HostConfig"]["Annotations"], json!({"a": "b"}));
        let mac = json!({"MacAddress": "02:42:00:00:00:77", "HostConfig": {"NetworkMode": "bridge"}});
        for (minor, warns) in [(43, false), (44, true), (51, true), (52, false)] {
            let (answer, seen) = container(minor, mac.clone());
            assert_eq!(answer["Warnings"].to_string().contains("MacAddress"), warns, "1.{minor}: {answer}");
            assert_eq!(has(&seen, "Config.MacAddress"), minor < 52, "1.{minor}: {seen}");
        }
        let check = json!({"Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 2_000_000_000_i64}});
        let interval = |minor| container(minor, check.clone()).1["Config"]["Healthcheck"]["StartInterval"].as_i64().unwrap_or(0);
        assert_eq!((interval(43), interval(44)), (0, 2_000_000_000));
        let bare = json!({"HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": []}}});
        for (minor, warns, kept) in [(51, false, true), (52, true, true), (53, false, false)] {
            let (answer, seen) = container(minor, bare.clone());
            assert_eq!(answer["Warnings"].to_string().contains("empty list of port-bindings"), warns, "{answer}");
            assert_eq!(seen["HostConfig"]["PortBindings"]["80/tcp"].is_array(), kept, "1.{minor}: {seen}");
        }
    }

    /// A port without bindings is published on a free one by some versions, but not by old ones.
    fn privileged_a_port_without_bindings(engine) {
        for (minor, published) in [(41, false), (51, true), (55, false)] {
            if engine.is_dockerd() && minor > 41 {
                continue;
            }
            let name = unique("bare");
            let body = json!({
                "Image": "busybox", "Cmd": ["sleep", "1000"], "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
                "HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [], "81/tcp": null}},
            });
            let _ = ask(engine, minor, "POST", &format!("/containers/create?name={name}"), &body).expect(201);
            let _ = engine.act(&format!("/containers/{name}/start")).expect(204);
            let ports = get(engine, 41, &format!("/containers/{name}/json"))["NetworkSettings"]["Ports"].clone();
            let _ = engine.delete(&format!("/containers/{name}?force=1")).expect(204);
            for port in ["80/tcp", "81/tcp"] {
                let number = ports[port][0]["HostPort"].as_str().unwrap_or_default().to_owned();
                assert_eq!(number.parse::<u16>().is_ok(), published, "1.{minor} {port}: {ports}");
            }
        }
    }

    fn privileged_events_speak_as_they_are_asked_to(engine) {
        let container = engine.create(json!({"Cmd": ["true"]}));
        let query = format!("/events?since=1&until={}&{}", u32::MAX, filters(&json!({"container": [container.id], "event": ["create"]})));
        let first = |minor: u32, accept: &str| {
            let headers = if accept.is_empty() { vec![] } else { vec![("Accept", accept)] };
            let mut stream = engine.client().open("GET", &format!("/v1.{minor}{query}"), &headers, b"");
            let kind = stream.header("content-type").unwrap().to_owned();
            let mut text = Vec::new();
            while !text.ends_with(b"\n") {
                let mut byte = [0];
                assert_eq!(std::io::Read::read(&mut stream, &mut byte).unwrap(), 1);
                text.push(byte[0]);
            }
            (kind, text)
        };
        let (kind, text) = first(41, "application/json-seq");
        assert_eq!(kind, "application/json");
        let event: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&event["status"], &event["id"], &event["from"]), (&json!("create"), &json!(container.id), &json!("busybox")));
        if engine.is_dockerd() {
            return;
        }
        for (minor, accept, expected) in [
            (51, "application/json-seq", "application/json"),
            (52, "", "application/json"),
            (52, "application/json-seq", "application/json-seq"),
            (52, "application/x-ndjson;q=0.5, application/json-seq;q=0.4", "application/x-ndjson"),
            (52, "application/jsonl", "application/json"),
            (53, "text/html, application/jsonl", "application/jsonl"),
            (55, "*/*", "application/json"),
        ] {
            let (kind, text) = first(minor, accept);
            assert_eq!(kind, expected, "1.{minor} {accept}");
            let sequence = kind.ends_with("-seq");
            assert_eq!(text[0] == 0x1e, sequence);
            let event: Value = serde_json::from_slice(&text[usize::from(sequence)..]).unwrap();
            assert_eq!(has(&event, "status"), minor < 52, "{event}");
            assert_eq!(event["Action"], "create");
        }
    }
}

/// What only newer versions know.
#[test]
fn privileged_newer_questions_of_images() {
    let engine = Engine::isopod();
    let answer = ask(&engine, 55, "GET", "/images/busybox/attestations", &Value::Null).expect(501);
    assert!(answer.message().contains("attestations"), "{}", answer.text());
    let _ = ask(&engine, 55, "GET", "/images/nothing/attestations", &Value::Null).expect(404);
    let _ = ask(&engine, 55, "GET", "/images/busybox/attestations?platform=x", &Value::Null)
        .expect(400);
    let answer = ask(&engine, 54, "GET", "/images/busybox/attestations", &Value::Null).expect(404);
    assert_eq!(answer.message(), "page not found");
    let two = "platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22amd64%22%7D&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm64%22%7D";
    let answer =
        ask(&engine, 52, "GET", &format!("/images/busybox/get?{two}"), &Value::Null).expect(400);
    assert_eq!(answer.message(), "multiple platform parameters not supported");
    // An older client's word is not known to the newer version.
    for (minor, word) in [(41, "keep-storage"), (51, "reserved-space"), (55, "max-used-space")] {
        let _ =
            ask(&engine, minor, "POST", &format!("/build/prune?{word}=99999999999"), &Value::Null)
                .expect(200);
    }
}

/// Limits of single devices change since 1.55; a list that is absent stays, an empty one lifts them.
#[test]
fn privileged_limits_of_devices_are_replaced_and_lifted() {
    let engine = Engine::isopod();
    // Some disk of the host, which is left alone: only the container's rate is limited.
    let disks = std::fs::read_dir("/sys/block").unwrap().flatten();
    let names = disks.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let device =
        names.map(|name| format!("/dev/{name}")).find(|path| std::path::Path::new(path).exists());
    let device = device.expect("the host has a block device with a node in /dev");
    let container = engine.sleeper(json!({}));
    let update = |minor, body: Value| {
        let _ = ask(&engine, minor, "POST", &container.path("/update"), &body).expect(200);
        let seen = get(&engine, 55, &container.path("/json"));
        let rates = |name: &str| seen["HostConfig"][name].as_array().map_or(0, Vec::len);
        (rates("BlkioDeviceReadBps"), rates("BlkioDeviceWriteIOps"))
    };
    let rate = json!([{"Path": device, "Rate": 1 << 20}]);
    assert_eq!(update(54, json!({"BlkioDeviceReadBps": rate})), (0, 0), "not heeded before");
    assert_eq!(
        update(55, json!({"BlkioDeviceReadBps": rate, "BlkioDeviceWriteIOps": rate})),
        (1, 1)
    );
    assert_eq!(update(55, json!({"BlkioDeviceReadBps": null, "CpuShares": 512})), (1, 1));
    assert_eq!(update(55, json!({"BlkioDeviceReadBps": []})), (0, 1));
    let answer =
        ask(&engine, 55, "POST", &container.path("/update"), &json!({"BlkioDeviceReadBps": {}}));
    assert_eq!(answer.status, 400, "{}", answer.text());
}
