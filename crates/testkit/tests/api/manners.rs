//! HTTP around the API: methods, versions, paths, headers, bodies, parameters and filters.

use std::io::{Read as _, Write as _};

use testkit::engine::{VERSION, encode, filters};
use testkit::shape::operations;
use testkit::{Value, json, on_both};

on_both! {
    fn privileged_methods_and_paths_that_are_none(engine) {
        let client = engine.client();
        for (method, path, status) in [
            ("HEAD", "/v1.41/_ping", 200),
            ("HEAD", "/v1.41/info", 404),
            ("HEAD", "/v1.41/containers/json", 404),
            ("PUT", "/v1.41/info", 404),
            ("POST", "/v1.41/containers/json", 404),
            ("DELETE", "/v1.41/info", 404),
            ("GET", "/v1.41/info/", 404),
            ("GET", "/v1.41/containers/json/", 404),
            ("GET", "/v1.41/containers/", 404),
            ("GET", "/v1.41/networks/", 200),
            ("GET", "/v1.41", 404),
            ("GET", "/", 404),
            ("OPTIONS", "/v1.41/info", 200),
            ("OPTIONS", "/v1.41/nothing", 200),
            ("GET", "/v1.41//info", 301),
            ("GET", "/v1.41/containers//json?all=1", 301),
            ("GET", "/v1.41/swarm/inspect", 404),
        ] {
            let answer = client.request(method, path, &[], b"");
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
            if status == 404 && method != "HEAD" {
                assert_eq!(answer.message(), "page not found", "{method} {path}");
            }
            if method == "OPTIONS" {
                assert!(answer.body.is_empty() && answer.header("api-version").is_some());
            }
        }
        let answer = client.request("GET", "/v1.41/containers//json?all=1", &[], b"");
        let place = answer.header("location").unwrap();
        assert!(place.starts_with("/v1.41/containers/json"), "{place}");
    }

    fn privileged_versions_that_are_not_spoken(engine) {
        let client = engine.client();
        for (path, words) in [
            ("/v1.99/info", "client version 1.99 is too new. Maximum supported API version is 1."),
            ("/v2.0/info", "client version 2.0 is too new. Maximum supported API version is 1."),
            ("/v1.11/info", "client version 1.11 is too old. Minimum supported API version is 1."),
        ] {
            let answer = client.request("GET", path, &[], b"").expect(400);
            assert!(answer.text().contains(words), "{}", answer.text());
            // Whoever is refused learns what would not be.
            assert!(answer.header("api-version").is_some() || engine.is_dockerd(), "{path}");
        }
        let version = engine.get("/version").json();
        let newest = version["ApiVersion"].as_str().unwrap();
        let _ = client.request("GET", &format!("/v{newest}/info"), &[], b"").expect(200);
        let oldest = version["MinAPIVersion"].as_str().unwrap();
        let _ = client.request("GET", &format!("/v{oldest}/info"), &[], b"").expect(200);
    }

    fn privileged_headers_of_answers(engine) {
        let client = engine.client();
        let ping = client.request("GET", "/_ping", &[], b"").expect(200);
        for name in ["api-version", "docker-experimental", "ostype", "server", "cache-control", "pragma", "builder-version"] {
            // 20.10 says nothing of a builder unless BuildKit is switched on.
            assert!(ping.header(name).is_some() || engine.is_dockerd() && name == "builder-version", "{name}: {:?}", ping.headers);
        }
        assert!(ping.header("swarm") == Some("inactive") || engine.is_dockerd());
        assert_eq!(ping.header("content-type"), Some("text/plain; charset=utf-8"));
        let head = client.request("HEAD", "/_ping", &[], b"").expect(200);
        assert_eq!(head.header("api-version"), ping.header("api-version"));
        for (path, kind) in [("/info", "application/json"), ("/containers/nope/json", "application/json"), ("/events?until=1", "application/json")] {
            let answer = engine.get(path);
            assert_eq!(answer.header("content-type"), Some(kind), "{path}");
            assert_eq!(answer.header("ostype"), Some("linux"), "{path}");
            assert!(answer.header("etag").is_none(), "{path}");
        }
    }

    fn privileged_parameters_that_mean_nothing_are_let_be(engine) {
        for path in ["/containers/json?nonsense=1&all=1", "/info?x", "/images/json?a=b&a=c&=d", "/networks?%20=1", "/version?x=%00"] {
            let _ = engine.get(path).expect(200);
        }
        let container = engine.create(json!({"Cmd": ["true"]}));
        let _ = engine.act(&container.path("/start?surprise=yes")).expect(204);
        container.wait();
    }

    fn privileged_filters_of_the_definition(engine) {
        // dockerd 20.10 is older than some of them.
        let later = ["GET /images/json until"];
        for (operation, known) in operations() {
            let (method, path) = operation.split_once(' ').unwrap();
            let swarm = ["/nodes", "/services", "/tasks", "/secrets", "/configs"].iter().any(|noun| path.starts_with(noun));
            // Prunes would take what other tests have, and a search needs the world.
            if swarm || path.ends_with("/prune") || path == "/images/search" || known["filters"].as_array().unwrap().is_empty() {
                continue;
            }
            let ask = |filter: &str, value: &str| {
                let end = if path == "/events" { "&until=1" } else { "" };
                engine.client().request(method, &format!("{VERSION}{path}?{}{end}", filters(&json!({filter: [value]}))), &[], b"")
            };
            for filter in known["filters"].as_array().unwrap() {
                let filter = filter.as_str().unwrap();
                let value = match filter {
                    "dangling" | "is-task" | "enable" => "true",
                    "exited" => "0",
                    "expose" | "publish" => "80",
                    "health" => "healthy",
                    "status" => "running",
                    "isolation" => "default",
                    "scope" => "local",
                    "type" if path == "/networks" => "custom",
                    "until" => "1h",
                    // What is not there is an error of its own.
                    "before" | "since" => if path == "/images/json" { "busybox" } else { continue },
                    _ => "x",
                };
                let answer = ask(filter, value);
                let old = engine.is_dockerd() && (later.contains(&format!("{operation} {filter}").as_str()) || path == "/plugins");
                assert!(answer.status == 200 || old, "{operation} {filter}={value}: {} {}", answer.status, answer.text());
            }
            let answer = ask("surprise", "x");
            assert!(answer.status == 400 || engine.is_dockerd() && answer.status >= 400 || path == "/events", "{operation}: {} {}", answer.status, answer.text());
            if path != "/events" {
                assert!(answer.message().to_lowercase().contains("invalid filter"), "{operation}: {}", answer.text());
            }
        }
    }

    fn privileged_filters_that_are_no_json(engine) {
        for text in ["x", "[1]", "{\"a\":1}", "{\"name\":[1]}", "{"] {
            for path in ["/containers/json", "/images/json", "/networks", "/volumes"] {
                let answer = engine.get(&format!("{path}?filters={}", encode(text)));
                assert!(answer.status == 400 || engine.is_dockerd() && answer.status == 500, "{path} {text}: {}", answer.status);
            }
        }
        // The form of old clients.
        let answer = engine.get(&format!("/containers/json?filters={}", encode("{\"name\":{\"nothing-like-it\":true}}"))).expect(200);
        assert_eq!(answer.json(), json!([]));
    }

    fn privileged_credentials_that_are_none_are_nobodys(engine) {
        for header in ["!!!", "bm90IGpzb24=", "e30", "W10="] {
            let headers = [("X-Registry-Auth", header)];
            let path = format!("{VERSION}/images/create?fromImage=127.0.0.1:9/none&tag=1");
            let answer = engine.client().request("POST", &path, &headers, b"");
            // Nobody listens there; the header is not what it fails at.
            assert!(answer.status >= 400 || answer.text().contains("error"), "{header}: {}", answer.text());
            assert!(!answer.text().contains("X-Registry-Auth"), "{header}: {}", answer.text());
        }
    }

    fn privileged_bodies_need_their_type(engine) {
        let body = json!({"Name": testkit::unique("typed")}).to_string();
        let path = format!("{VERSION}/volumes/create");
        for (kind, status) in [("application/json; charset=utf-8", 201), ("APPLICATION/JSON", 201), ("text/plain", 400), ("application/x-www-form-urlencoded", 400)] {
            let answer = engine.client().request("POST", &path, &[("Content-Type", kind)], body.as_bytes());
            assert!(answer.status == status || engine.is_dockerd() && status == 400 && answer.status == 500, "{kind}: {} {}", answer.status, answer.text());
        }
        let name: Value = serde_json::from_str(&body).unwrap();
        let _ = engine.delete(&format!("/volumes/{}", name["Name"].as_str().unwrap())).expect(204);
    }

    fn privileged_an_upgrade_is_said_with_the_right_words(engine) {
        let container = engine.sleeper(json!({"Tty": true}));
        let mut stream = engine.client().connect();
        let head = format!("POST {VERSION}{}?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n", container.path("/attach"));
        stream.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 34];
        stream.read_exact(&mut start).unwrap();
        assert!(start.starts_with(b"HTTP/1.1 101 UPGRADED\r\n"), "{}", String::from_utf8_lossy(&start));
        let answer = engine.client().request("GET", &format!("{VERSION}{}?stream=1", container.path("/attach/ws")), &[], b"");
        assert!((400..600).contains(&answer.status), "a websocket needs its handshake: {}", answer.status);
        let answer = engine.client().request("POST", &format!("{VERSION}/session"), &[], b"");
        assert_eq!((answer.status, answer.message().as_str()), (400, "no upgrade proto in request"));
    }
}

/// Prunes with every filter of the definition, on a daemon of its own.
#[test]
fn privileged_prunes_take_their_filters() {
    let daemon = testkit::Daemon::isopod();
    let engine = daemon.engine();
    for (operation, known) in operations() {
        let Some(path) = operation.strip_prefix("POST ").filter(|path| path.ends_with("/prune"))
        else {
            continue;
        };
        let ask = |filter: &str, value: &str| {
            let filter = filters(&json!({filter: [value]}));
            engine.client().request("POST", &format!("{path}?{filter}"), &[], b"")
        };
        let mut names: Vec<&str> = known["filters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        if names.contains(&"label") {
            names.push("label!");
        }
        assert!(!names.is_empty(), "{operation}");
        for name in names {
            let value = match name {
                "until" => "1h",
                "dangling" | "all" | "inuse" | "shared" | "private" => "true",
                _ => "x",
            };
            let _ = ask(name, value).expect(200);
        }
        let answer = ask("surprise", "x").expect(400);
        assert!(answer.message().to_lowercase().contains("invalid filter"), "{}", answer.text());
    }
    daemon.stop().unwrap();
}
