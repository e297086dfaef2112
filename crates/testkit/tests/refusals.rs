//! Bad input: what a client may get wrong, on purpose or not. Every answer is a clear 4xx in
//! Docker's form, and the engine is up afterwards.

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use testkit::engine::VERSION;
use testkit::{Value, json, on_both, unique};

on_both! {
    fn privileged_missing_things_are_404(engine) {
        for (method, path, words) in [
            ("GET", "/containers/nope/json", "No such container: nope"),
            ("POST", "/containers/nope/start", "No such container: nope"),
            ("POST", "/containers/nope/stop", "No such container: nope"),
            ("POST", "/containers/nope/restart", "No such container: nope"),
            ("POST", "/containers/nope/kill", "No such container: nope"),
            ("POST", "/containers/nope/pause", "No such container: nope"),
            ("POST", "/containers/nope/unpause", "No such container: nope"),
            ("POST", "/containers/nope/wait", "No such container: nope"),
            ("POST", "/containers/nope/rename?name=x", "No such container: nope"),
            ("POST", "/containers/nope/resize?h=1&w=1", "No such container: nope"),
            ("GET", "/containers/nope/logs?stdout=1", "No such container: nope"),
            ("GET", "/containers/nope/top", "No such container: nope"),
            ("GET", "/containers/nope/stats?stream=0", "No such container: nope"),
            ("GET", "/containers/nope/changes", "No such container: nope"),
            ("GET", "/containers/nope/export", "No such container: nope"),
            ("GET", "/containers/nope/archive?path=/", "No such container: nope"),
            ("DELETE", "/containers/nope", "No such container: nope"),
            ("POST", "/commit?container=nope", "No such container: nope"),
            ("GET", "/exec/nope/json", "No such exec instance"),
            ("POST", "/exec/nope/resize?h=1&w=1", "No such exec instance"),
            ("GET", "/images/nope/json", "No such image: nope"),
            ("GET", "/images/nope/history", "No such image: nope"),
            ("POST", "/images/nope/tag?repo=a", "No such image: nope"),
            ("DELETE", "/images/nope", "No such image: nope"),
            ("GET", "/volumes/nope", "nope"),
            ("GET", "/networks/nope", "nope"),
            ("GET", "/nothing", "page not found"),
            ("PATCH", "/containers/json", "page not found"),
        ] {
            let answer = engine.client().request(method, &format!("{VERSION}{path}"), &[], &[]);
            assert!(answer.status == 404 || path == "/containers/json" && answer.status == 405, "{method} {path}: {} {}", answer.status, answer.text());
            assert!(answer.header("content-type") == Some("application/json"), "{method} {path}");
            assert!(answer.message().to_lowercase().contains(&words.to_lowercase()), "{method} {path}: {}", answer.text());
        }
    }

    fn privileged_create_checks_its_json(engine) {
        for (body, what) in [
            ("{", "cut off"), ("[]", "a list"), ("5", "a number"), ("{\"Image\": 5}", "a number for a string"),
            ("{\"Image\": \"busybox\", \"Env\": \"A=b\"}", "a string for a list of variables"),
            ("{\"Image\": \"busybox\", \"HostConfig\": {\"Memory\": \"much\"}}", "a string for a number"),
            ("{\"Image\": \"busybox\", \"HostConfig\": {\"Memory\": 99999999999999999999999999}}", "a number beyond 64 bits"),
            ("{\"Image\": \"busybox\", \"Labels\": [1]}", "a list for a map"),
            ("{\"Image\": \"busybox\"} trailing", "more behind it"),
            ("\u{0}", "a zero byte"), ("", "nothing at all"),
        ] {
            let headers = [("Content-Type", "application/json")];
            let answer = engine.client().request("POST", &format!("{VERSION}/containers/create"), &headers, body.as_bytes());
            if engine.is_dockerd() {
                // 20.10 calls a type that does not fit its own error, and ignores what follows.
                if answer.status == 201 {
                    let id = answer.json()["Id"].as_str().unwrap().to_owned();
                    let _ = engine.delete(&format!("/containers/{id}")).ok();
                }
                assert!(answer.status >= 400 || what == "more behind it", "{what}: {}", answer.status);
            } else {
                assert_eq!(answer.status, 400, "{what}: {}", answer.text());
                assert!(!answer.message().is_empty(), "{what}");
            }
        }
    }

    fn privileged_unknown_fields_are_let_be(engine) {
        let container = engine.create(json!({"Cmd": ["true"], "Surprise": {"deep": [1]}, "HostConfig": {"AlsoUnknown": true}, "Env": null, "Labels": null, "Volumes": null}));
        container.start();
        assert_eq!(container.wait(), 0);
    }

    fn privileged_create_needs_json_and_an_image(engine) {
        let body = json!({"Image": "busybox"}).to_string();
        let path = format!("{VERSION}/containers/create");
        let answer = engine.client().request("POST", &path, &[("Content-Type", "text/plain")], body.as_bytes());
        assert!(answer.status == 400 || engine.is_dockerd() && answer.status == 500, "{}", answer.status);
        assert!(answer.message().contains("Content-Type") || answer.message().contains("content type") || answer.message().contains("mime") , "{}", answer.text());
        let answer = engine.post("/containers/create", &json!({"Image": "no-such-image-here"})).expect(404);
        assert!(answer.message().contains("No such image: no-such-image-here:latest"), "{}", answer.text());
        let answer = engine.post("/containers/create", &json!({"Image": "Not A Reference"}));
        assert!(answer.status == 400 || answer.status == 404, "{}", answer.text());
        let answer = engine.post("/containers/create", &json!({}));
        assert!(answer.status == 400 || engine.is_dockerd(), "{} {}", answer.status, answer.text());
    }

    fn privileged_users_out_of_range_and_changes_that_are_none(engine) {
        for user in ["2147483648", "4294967296", "0:4294967295"] {
            let container = engine.create(json!({"Cmd": ["true"], "User": user}));
            let answer = engine.act(&container.path("/start"));
            assert!(answer.status == 400 || engine.is_dockerd() && answer.status == 500, "{}", answer.status);
            assert_eq!(answer.message(), "uids and gids must be in range 0-2147483647");
        }
        let container = engine.create(json!({"Cmd": ["true"]}));
        for change in ["NOPE%20x", "RUN%20x", "FROM%20x"] {
            let answer = engine.post(&format!("/commit?container={}&changes={change}", container.id), &json!({}));
            assert!(answer.status == 400 || engine.is_dockerd() && answer.status == 500, "{}", answer.status);
            let word = &change[..change.len() - 4];
            let message = format!("{word} is not a valid change command");
            assert_eq!(answer.message().to_lowercase(), message.to_lowercase());
        }
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"Binds": ["/x:rel"]}}));
        assert_eq!(answer.message(), "invalid volume specification: '/x:rel': invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute");
    }

    fn privileged_hostile_names(engine) {
        for name in ["a", "-x", ".x", "a/b", "../x", "a b", "ä", "a%00b", "a:b", "a\\b", "/", "a\nb"] {
            let path = format!("/containers/create?name={}", testkit::engine::encode(name));
            let answer = engine.post(&path, &json!({"Image": "busybox"}));
            assert_eq!(answer.status, 400, "{name:?}: {}", answer.text());
            assert!(answer.message().contains("Invalid container name"), "{name:?}: {}", answer.text());
        }
        let long = "x".repeat(5000);
        let answer = engine.post(&format!("/containers/create?name={long}"), &json!({"Image": "busybox"}));
        if answer.status == 201 {
            let _ = engine.delete(&format!("/containers/{long}")).ok();
        }
        assert!(engine.client().answers());
    }

    fn privileged_hostile_ids_in_paths(engine) {
        for id in ["..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc", "a%00b", "%ff", "..%2f..", "*", "%"] {
            let answer = engine.client().raw(format!("GET {VERSION}/containers/{id}/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
            let answer = answer.unwrap();
            assert!((300..500).contains(&answer.status), "{id}: {} {}", answer.status, answer.text());
        }
        assert!(engine.client().answers());
    }

    fn privileged_queries_are_checked(engine) {
        let container = engine.create(json!({"Cmd": ["true"]}));
        for path in ["/containers/json?limit=x", &container.path("/stop?t=x"), &container.path("/logs?stdout=1&since=x"), "/events?since=x", "/events?filters=x"] {
            let method = if path.contains("/stop") { "POST" } else { "GET" };
            let answer = engine.client().request(method, &format!("{VERSION}{path}"), &[], &[]);
            assert!(answer.status >= 400, "{path}: {}", answer.status);
            assert!(answer.status == 400 || engine.is_dockerd(), "{path}: {} {}", answer.status, answer.text());
        }
    }

    fn privileged_malformed_requests_are_refused(engine) {
        let client = engine.client();
        for (bytes, what) in [
            (&b"NONSENSE\r\n\r\n"[..], "no request line"),
            (b"GET /_ping\r\n\r\n", "no version"),
            (b"GET /_ping HTTP/9.9\r\nHost: x\r\n\r\n", "an unknown version"),
            (b"GET /_ping HTTP/1.1\r\n\r\n", "no host"),
            (b"GET /_ping HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", "a header without a colon"),
            (b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "a length that is no number"),
            (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", "two lengths"),
            (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk that is none"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
            (b"\0\0\0\0\0\0\0\0\r\n\r\n", "zero bytes"),
        ] {
            let answer = client.raw(bytes);
            if let Some(answer) = answer {
                assert!((400..600).contains(&answer.status) || what == "no host" && answer.status == 200 || engine.is_dockerd(), "{what}: {}", answer.status);
            }
            assert!(client.answers(), "down after {what}");
        }
    }

    fn privileged_oversized_heads_are_refused(engine) {
        let client = engine.client();
        let long = "x".repeat(2 << 20);
        for head in [format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
            format!("GET /_ping HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(300_000))] {
            if let Some(answer) = client.raw(head.as_bytes()) {
                assert!((400..500).contains(&answer.status), "{}", answer.status);
            }
            assert!(client.answers());
        }
    }

    fn privileged_slow_clients_hold_nobody_up(engine) {
        let client = engine.client();
        let mut slow: Vec<_> = (0..30).map(|_| client.connect()).collect();
        for stream in &mut slow {
            stream.write_all(b"POST /v1.41/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{").unwrap();
        }
        let began = Instant::now();
        for _ in 0..20 {
            assert!(client.answers());
        }
        let output = engine.run(json!({"Cmd": ["true"]}));
        assert_eq!(output.code, 0);
        // Ours gives up a body that does not come after 30 s.
        assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
        for mut stream in slow {
            stream.write_all(b"x").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        assert!(client.answers());
    }

    fn privileged_requests_follow_on_one_connection(engine) {
        let mut stream = engine.client().connect();
        let two = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\nGET /v1.41/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(two).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 2, "{all}");
    }

    fn privileged_chunked_bodies_are_read(engine) {
        let name = unique("chunked");
        let body = json!({"Image": "busybox", "Cmd": ["true"]}).to_string();
        let (first, second) = body.split_at(10);
        let request = format!("POST /v1.41/containers/create?name={name} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
        let answer = engine.client().raw(request.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        let _ = engine.delete(&format!("/containers/{name}")).expect(204);
    }

    fn privileged_expect_continue(engine) {
        let body = json!({"Image": "busybox"}).to_string();
        let name = unique("expecting");
        let mut stream = engine.client().connect();
        let head = format!("POST /v1.41/containers/create?name={name} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 100");
        stream.write_all(body.as_bytes()).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(" 201 "), "{rest}");
        let _ = engine.delete(&format!("/containers/{name}")).expect(204);
    }

    fn privileged_load_and_import_refuse_rubbish(engine) {
        let zeros = vec![0; 1024];
        for (bytes, what) in [(&b"rubbish"[..], "rubbish"), (b"\x1f\x8b\x08\0rubbish", "a broken gzip"), (&zeros, "an empty tar")] {
            let answer = engine.upload("/images/load?quiet=1", bytes);
            assert!(answer.status >= 400 || answer.text().contains("error") || engine.is_dockerd(), "{what}: {}", answer.text());
            assert!(answer.status < 600 && engine.client().answers());
        }
        let mut broken = testkit::image::busybox(&["broken:latest"]).tar;
        broken.truncate(broken.len() / 2);
        let answer = engine.upload("/images/load?quiet=1", &broken);
        assert!(answer.status >= 400 || answer.text().contains("error"), "{}", answer.text());
        assert_eq!(engine.get("/images/broken/json").status, 404);
        let manifest = json!([{"Config": "../../../../etc/passwd", "RepoTags": ["evil:latest"], "Layers": ["/etc/passwd"]}]).to_string();
        let tar = testkit::image::Layer::new().file("manifest.json", 0o644, manifest.as_bytes()).bytes();
        let answer = engine.upload("/images/load?quiet=1", &tar);
        assert!(answer.status >= 400 || answer.text().contains("error"), "{}", answer.text());
        assert!(!answer.text().contains("root:"), "{}", answer.text());
    }

    fn privileged_a_layer_that_is_not_what_its_digest_says(engine) {
        let mark = unique("before");
        let layer = testkit::image::Layer::new().file("mark", 0o644, mark.as_bytes());
        let saved = testkit::image::save(&["forged:latest"], &json!({}), vec![layer]);
        let mut forged = saved.tar.clone();
        let at = forged.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap();
        forged[at..at + 6].copy_from_slice(b"behind");
        let answer = engine.upload("/images/load?quiet=1", &forged);
        assert!(answer.status >= 400 || answer.text().contains("error"), "{}", answer.text());
        assert_eq!(engine.get("/images/forged/json").status, 404);
    }

    fn privileged_oversized_bodies_are_refused(engine) {
        if engine.is_dockerd() {
            // dockerd reads whatever comes.
            return;
        }
        let body: Value = json!({"Image": "busybox", "Labels": {"x": "y".repeat(64 << 20)}});
        let answer = engine.post("/containers/create", &body);
        assert!(matches!(answer.status, 400 | 413), "{} {}", answer.status, answer.text());
        assert!(engine.client().answers());
        let answer = engine.client().raw(b"POST /v1.41/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 99999999999999\r\n\r\n{}");
        if let Some(answer) = answer {
            assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
        }
    }

    fn privileged_deep_json_does_not_overflow(engine) {
        let body = format!("{{\"Image\": \"busybox\", \"X\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        let answer = engine.client().request("POST", &format!("{VERSION}/containers/create"), &[("Content-Type", "application/json")], body.as_bytes());
        if answer.status == 201 {
            let id = answer.json()["Id"].as_str().unwrap().to_owned();
            let _ = engine.delete(&format!("/containers/{id}")).ok();
        }
        assert!(engine.client().answers());
    }
}
