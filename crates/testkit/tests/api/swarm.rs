//! Swarms and plugins: status and words are those of a dockerd outside a swarm, asked in the same
//! test. Both engines are those of the whole run, since nothing changes.

use testkit::engine::VERSION;
use testkit::{Engine, Response, Value};

const NONE: Option<&str> = None;

/// Operations of swarms with the bodies that get past the first look and those that do not.
fn requests() -> Vec<(&'static str, String, Option<&'static str>)> {
    let mut all = Vec::new();
    let mut add = |method, path: &str, body| all.push((method, path.to_owned(), body));
    for noun in ["services", "secrets", "configs"] {
        add("GET", &format!("/{noun}"), NONE);
        add("GET", &format!("/{noun}/nope"), NONE);
        add("DELETE", &format!("/{noun}/nope"), NONE);
        for body in [NONE, Some("{}"), Some("{"), Some("[]")] {
            add("POST", &format!("/{noun}/create"), body);
        }
    }
    for path in ["/nodes", "/nodes/nope", "/tasks", "/tasks/nope", "/swarm", "/swarm/unlockkey"] {
        add("GET", path, NONE);
    }
    for path in ["/tasks/nope/logs", "/services/nope/logs"] {
        add("GET", path, NONE);
        add("GET", &format!("{path}?stdout=1"), NONE);
    }
    add("DELETE", "/nodes/nope", NONE);
    for noun in ["nodes", "services", "secrets", "configs"] {
        for body in [NONE, Some("{}")] {
            add("POST", &format!("/{noun}/nope/update"), body);
            add("POST", &format!("/{noun}/nope/update?version=x"), body);
            add("POST", &format!("/{noun}/nope/update?version=7"), body);
        }
    }
    for path in ["/swarm/init", "/swarm/join", "/swarm/update", "/swarm/unlock", "/swarm/leave"] {
        for body in [NONE, Some("{}")] {
            add("POST", path, body);
        }
    }
    add("POST", "/swarm/update?version=7", Some("{}"));
    all
}

fn ask(engine: &Engine, method: &str, path: &str, body: Option<&str>) -> Response {
    let headers = [("Content-Type", "application/json")];
    let headers = if body.is_some() { &headers[..] } else { &[] };
    let path = format!("{VERSION}{path}");
    engine.client().request(method, &path, headers, body.unwrap_or_default().as_bytes())
}

/// Both say the same. Where bodies are no JSON of the right shape, each has its own words.
#[test]
fn privileged_swarms_answer_as_dockerd_outside_one() {
    let (dockerd, isopod) = (Engine::dockerd(), Engine::isopod());
    let mut wrong = Vec::new();
    for (method, path, body) in requests() {
        let (theirs, ours) =
            (ask(&dockerd, method, &path, body), ask(&isopod, method, &path, body));
        // 20.10 calls some wrong requests its own errors; later ones do not.
        let status = if theirs.status == 500 { 400 } else { theirs.status };
        let words = match body {
            Some("{") | Some("[]") => true,
            None if status == 400 && theirs.message().contains("EOF") => {
                ours.message().contains("got EOF while reading request body")
            }
            _ => theirs.message() == ours.message(),
        };
        if ours.status != status || !words {
            let (theirs, ours) = (theirs.text(), format!("{} {}", ours.status, ours.text()));
            wrong.push(format!("{method} {path} {body:?}: {status} {theirs} but {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for path in ["/swarm/init", "/swarm/join"] {
        let body = Some(r#"{"ListenAddr":"127.0.0.1:2377"}"#);
        let answer = ask(&isopod, "POST", path, body).expect(501);
        assert!(answer.message().contains("does not form swarms"), "{}", answer.text());
    }
    let answer = isopod.client().request("PUT", "/volumes/nope?version=1", &[], b"").expect(503);
    assert!(answer.message().contains("swarm is unavailable"), "{}", answer.text());
    let answer = isopod.client().request("PUT", "/v1.41/volumes/nope?version=1", &[], b"");
    assert_eq!(answer.expect(404).message(), "page not found");
}

#[test]
fn privileged_plugins_answer_as_dockerd_without_any() {
    let (dockerd, isopod) = (Engine::dockerd(), Engine::isopod());
    for (method, path, body) in [
        ("GET", "/plugins", NONE),
        ("GET", "/plugins/nope/json", NONE),
        ("DELETE", "/plugins/nope", NONE),
        ("POST", "/plugins/nope/enable", NONE),
        ("POST", "/plugins/nope/enable?timeout=0", NONE),
        ("POST", "/plugins/nope/disable", NONE),
        ("POST", "/plugins/nope/push", NONE),
        ("POST", "/plugins/nope/set", NONE),
        ("POST", "/plugins/nope/set", Some("{}")),
        ("POST", "/plugins/nope/set", Some("[]")),
        ("POST", "/plugins/nope/upgrade", NONE),
        ("POST", "/plugins/nope/upgrade?remote=x", Some("[]")),
        ("GET", "/plugins/privileges", NONE),
        ("POST", "/plugins/pull", NONE),
        ("POST", "/plugins/create", NONE),
    ] {
        let (theirs, ours) = (ask(&dockerd, method, path, body), ask(&isopod, method, path, body));
        let status = if theirs.status == 500 { 400 } else { theirs.status };
        assert_eq!(
            ours.status,
            status,
            "{method} {path} {body:?}: {} {}",
            theirs.text(),
            ours.text()
        );
        // What is wrong with JSON is told in each one's own words.
        let start = |answer: &Response| {
            let said: Value = serde_json::from_slice(&answer.body).unwrap();
            let said = said["message"].as_str().unwrap_or_default().to_owned();
            said.split(": ").next().unwrap_or_default().to_owned()
        };
        if body != Some("{}") && !theirs.message().contains("EOF") {
            assert_eq!(start(&ours), start(&theirs), "{method} {path}: {}", ours.text());
        }
    }
    for (method, path, body) in [
        ("GET", "/plugins/privileges?remote=x", NONE),
        ("POST", "/plugins/pull?remote=x", Some("[]")),
        ("POST", "/plugins/create?name=x", NONE),
    ] {
        let answer = ask(&isopod, method, path, body).expect(501);
        assert!(answer.message().contains("plugins are not supported"), "{}", answer.text());
    }
}
