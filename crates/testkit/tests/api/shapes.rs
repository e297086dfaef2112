//! The newest version's answers have the types that the definition gives them, and no field beyond.

use testkit::engine::filters;
use testkit::{Engine, Response, Value, json, shape, unique};

/// What we have beyond the definition, and what is `null` where nothing was said, as with dockerd.
const OWN: &[&str] =
    &[".LayersDiskSize", ".HostConfig.MemorySwappiness", ".HostConfig.OomKillDisable", ".ExitCode"];

/// The newest version there is, as the refusal of a newer one says.
fn newest(engine: &Engine) -> String {
    let refusal = engine.client().request("GET", "/v1.999/info", &[], b"").expect(400).message();
    format!("/v{}", refusal.rsplit(' ').next().unwrap())
}

#[test]
fn privileged_answers_of_the_newest_version_have_their_shapes() {
    let engine = Engine::isopod();
    let version = newest(&engine);
    let volume = unique("shape");
    let network = unique("shape");
    let ask = |method: &str, path: &str, body: &Value| -> Response {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Content-Type", "application/json")];
        let headers = if body.is_null() { &[][..] } else { &headers };
        engine.client().request(method, &format!("{version}{path}"), headers, text.as_bytes())
    };
    let check = |operation: &str, path: &str, body: &Value, status: u16| -> Value {
        let (method, _) = operation.split_once(' ').unwrap();
        let answer = ask(method, path, body).expect(status).json();
        shape::check(operation, &answer, OWN);
        answer
    };
    let get = |operation: &str, path: &str| check(operation, path, &Value::Null, 200);
    check("POST /volumes/create", "/volumes/create", &json!({"Name": volume}), 201);
    let made = json!({"Name": network, "IPAM": {"Config": [{"Subnet": "10.98.76.0/24"}]}});
    check("POST /networks/create", "/networks/create", &made, 201);
    let body = json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 500_000_000, "StartInterval": 100_000_000},
        "HostConfig": {
            "NetworkMode": network, "Annotations": {"a": "b"},
            "Mounts": [{"Type": "volume", "Source": volume, "Target": "/v", "VolumeOptions": {"NoCopy": true}}],
        },
        "NetworkingConfig": {"EndpointsConfig": {(network.as_str()): {"Aliases": ["web"], "GwPriority": 3}}},
    });
    let name = unique("shape");
    let path = format!("/containers/create?name={name}");
    check("POST /containers/create", &path, &body, 201);
    let _ = ask("POST", &format!("/containers/{name}/start"), &Value::Null).expect(204);

    let whole = get("GET /containers/{id}/json", &format!("/containers/{name}/json?size=1"));
    assert_eq!(whole["NetworkSettings"]["Networks"][&network]["Aliases"], json!(["web"]));
    let chosen = filters(&json!({"name": [name]}));
    let listed = get("GET /containers/json", &format!("/containers/json?size=1&{chosen}"));
    assert!(listed[0]["Health"]["Status"].is_string(), "{listed}");
    assert_eq!(listed[0]["HostConfig"]["Annotations"], json!({"a": "b"}));
    assert_eq!(listed[0]["NetworkSettings"]["Networks"][&network]["GwPriority"], 3);
    get("GET /containers/{id}/top", &format!("/containers/{name}/top"));
    get("GET /containers/{id}/changes", &format!("/containers/{name}/changes"));
    let stats =
        get("GET /containers/{id}/stats", &format!("/containers/{name}/stats?stream=0&one-shot=1"));
    assert_eq!(stats["os_type"], "linux");
    let exec =
        ask("POST", &format!("/containers/{name}/exec"), &json!({"Cmd": ["true"]})).expect(201);
    let exec = exec.json()["Id"].as_str().unwrap().to_owned();
    get("GET /exec/{id}/json", &format!("/exec/{exec}/json"));

    get("GET /images/json", "/images/json?manifests=1&shared-size=1&identity=1");
    get("GET /images/{name}/json", "/images/busybox/json?manifests=1");
    get("GET /images/{name}/history", "/images/busybox/history");
    let found = get("GET /networks/{id}", &format!("/networks/{network}?verbose=1"));
    let subnet = &found["Status"]["IPAM"]["Subnets"]["10.98.76.0/24"];
    assert_eq!(*subnet, json!({"IPsInUse": 4, "DynamicIPsAvailable": 252}), "{found}");
    let mut listed = ask("GET", "/networks", &Value::Null).expect(200).json();
    for one in listed.as_array_mut().unwrap() {
        // An empty object that old clients look for, and dockerd says too.
        assert_eq!(one.as_object_mut().unwrap().remove("Containers"), Some(json!({})), "{one}");
    }
    shape::check("GET /networks", &listed, OWN);
    get("GET /volumes", "/volumes");
    get("GET /volumes/{name}", &format!("/volumes/{volume}"));
    get("GET /version", "/version");
    let info = get("GET /info", "/info");
    assert_eq!(info["FirewallBackend"]["Driver"], "nftables");
    get("GET /system/df", "/system/df");
    let usage = get("GET /system/df", "/system/df?verbose=1&type=volume&type=container");
    assert!(usage["ImageUsage"].is_null() && usage["VolumeUsage"]["Items"].is_array(), "{usage}");
    let answer = ask("POST", &format!("/containers/{name}/update"), &json!({"CpuShares": 512}));
    shape::check("POST /containers/{id}/update", &answer.expect(200).json(), &[]);
    let _ = ask("POST", &format!("/containers/{name}/stop"), &Value::Null).expect(204);
    let waited = ask("POST", &format!("/containers/{name}/wait"), &Value::Null).expect(200).json();
    shape::check("POST /containers/{id}/wait", &waited, &[]);
    let _ = ask("DELETE", &format!("/containers/{name}?v=1"), &Value::Null).expect(204);
    let _ = ask("DELETE", &format!("/networks/{network}"), &Value::Null).expect(204);
    let _ = ask("DELETE", &format!("/volumes/{volume}"), &Value::Null).expect(204);
}
