//! Details that a user of dockerd would miss: what inspect and events tell, and in which words
//! options are refused that do not go together.

use std::time::{SystemTime, UNIX_EPOCH};
use testkit::engine::{VERSION, filters};
use testkit::{Engine, Value, json, on_both, unique};

/// What a container of such a kind is refused with.
fn refusal(engine: &Engine, mut config: Value) -> String {
    config["Image"] = json!("busybox");
    let answer = engine.post("/containers/create", &config);
    if answer.status == 201 {
        // What cannot be known beforehand is told at the start.
        let id = answer.json()["Id"].as_str().unwrap().to_owned();
        let answer = engine.act(&format!("/containers/{id}/start"));
        let _ = engine.delete(&format!("/containers/{id}?force=1"));
        assert!(answer.status >= 400, "{config}: {}", answer.status);
        return answer.message();
    }
    assert!(answer.status >= 400, "{config}: {}", answer.status);
    answer.message()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

on_both! {
    fn privileged_a_host_name_may_hold_its_domain(engine) {
        let bridge = json!({"NetworkMode": "bridge"});
        for (hostname, domain, names) in [
            ("web.example.org", "", "web.example.org web"),
            ("web.example", "org", "web.example.org web"),
            ("web", "", "web"),
        ] {
            let hosts = engine.sh("tail -n 1 /etc/hosts", json!({"Hostname": hostname, "Domainname": domain, "HostConfig": bridge}));
            assert_eq!(hosts.trim().split_once('\t').unwrap().1, names);
        }
    }

    fn privileged_mounts_of_every_kind_are_listed(engine) {
        let volume = unique("details");
        let container = engine.create(json!({"Cmd": ["true"], "HostConfig": {
            "Binds": [format!("{volume}:/named")],
            "Mounts": [{"Type": "tmpfs", "Target": "/memory"}],
            "Tmpfs": {"/short": ""},
        }}));
        let mounts = container.inspect()["Mounts"].clone();
        let of = |place: &str| mounts.as_array().unwrap().iter().find(|mount| mount["Destination"] == place).cloned();
        assert_eq!(of("/memory").unwrap()["Type"], "tmpfs", "{mounts}");
        assert_eq!(of("/memory").unwrap()["RW"], true);
        assert_eq!(of("/named").unwrap()["Mode"], "z", "{mounts}");
        assert_eq!(of("/short"), None, "{mounts}");
        container.remove();
        let _ = engine.delete(&format!("/volumes/{volume}")).expect(204);
    }

    fn privileged_options_that_do_not_go_together(engine) {
        let other = engine.sleeper(json!({}));
        let joined = format!("container:{}", other.id);
        for (config, words) in [
            (json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": joined, "PortBindings": {"80/tcp": [{"HostPort": "80"}]}}}), "port publishing and the container type network mode"),
            (json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": joined}}), "port exposing and the container type network mode"),
            (json!({"HostConfig": {"Mounts": [{"Type": "bogus", "Target": "/x"}]}}), "invalid mount config for type \"bogus\": mount type unknown"),
            (json!({"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-buffer-size": "1m"}}}}), "max-buffer-size option is only supported with 'mode=non-blocking'"),
            (json!({"HostConfig": {"BlkioDeviceReadBps": [{"Path": "/dev/nosuch", "Rate": 1_048_576}]}}), "stat /dev/nosuch: no such file or directory"),
        ] {
            let message = refusal(engine, config.clone());
            assert!(message.contains(words), "{config}: {message}");
            assert!(!message.contains("os error"), "{message}");
        }
    }

    fn privileged_a_word_of_the_wrong_type_is_named(engine) {
        let headers = [("Content-Type", "application/json")];
        let body = br#"{"Image": "busybox", "Cmd": 5}"#;
        let answer = engine.client().request("POST", &format!("{VERSION}/containers/create"), &headers, body);
        assert_eq!(answer.status, if engine.is_dockerd() { 500 } else { 400 });
        let words = if engine.is_dockerd() { "cannot unmarshal number" } else { "expected a string or an array of strings" };
        assert!(answer.message().contains(words), "{}", answer.message());
        // One string is a list of one.
        let id = engine.post("/containers/create", &json!({"Image": "busybox", "Cmd": "true"})).expect(201).json();
        let path = format!("/containers/{}", id["Id"].as_str().unwrap());
        assert_eq!(engine.get(&format!("{path}/json")).expect(200).json()["Config"]["Cmd"], json!(["true"]));
        let _ = engine.delete(&path).expect(204);
    }

    fn privileged_a_commit_tells_what_it_does(engine) {
        let container = engine.sleeper(json!({}));
        let tag = unique("told");
        let since = now();
        let _ = engine.act(&format!("/commit?container={}&repo={tag}&tag=1&pause=1", container.id)).expect(201);
        let _ = engine.delete(&format!("/images/{tag}:1")).expect(200);
        let until = now() + 1;
        let mut seen = Vec::new();
        let query = filters(&json!({"type": ["container", "image"]}));
        let mut past = engine.stream(&format!("/events?since={since}&until={until}&{query}"));
        while let Some(event) = past.json_line() {
            let name = event["Actor"]["Attributes"]["name"].as_str().unwrap_or_default().to_owned();
            if event["Actor"]["ID"] == container.id.as_str() || name == format!("{tag}:1") {
                seen.push(event["Action"].as_str().unwrap().to_owned());
            }
        }
        for action in ["pause", "tag", "commit", "unpause"] {
            assert!(seen.iter().any(|one| one == action), "{action}: {seen:?}");
        }
        assert_eq!(container.status(), "running");
    }
}
