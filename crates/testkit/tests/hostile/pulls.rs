//! Registries that lie.

use crate::hostile::scene::Scene;
use crate::hostile::server::{Asked, Body, Hostile, Reply, Shelf, config, describe, filter, gzip};
use crate::hostile::{Verdict, none, still_works};
use Verdict::{Harmless, Perhaps, Refused};
use testkit::distribution::content::{CONFIG, INDEX, LAYER, MANIFEST, noise};
use testkit::image::{Layer, digest};
use testkit::{Value, json};

fn tar(text: &str) -> Vec<u8> {
    Layer::new().file("file", 0o644, text.as_bytes()).bytes()
}

/// Pulls each name and compares.
fn pull_all(scene: &Scene, server: &Hostile, cases: &[(&str, Verdict)]) {
    let mut complaints = Vec::new();
    for (name, verdict) in cases {
        let full = if name.contains('@') { (*name).to_owned() } else { format!("{name}:1") };
        let (sent, requests) = (server.sent(), server.requests());
        let outcome = scene.pull(&server.host(), &full);
        println!("{name}: {outcome:?}");
        complaints.extend(verdict.complaint(name, &outcome));
        // Sixteen pieces wait for the thread and some more for the network.
        let (sent, requests) = (server.sent() - sent, server.requests() - requests);
        if sent > 64 << 20 || requests > 40 {
            complaints.push(format!("{name}: {sent} bytes were read, {requests} requests made"));
        }
        if outcome.is_ok() {
            scene.remove_images();
        }
    }
    none(&complaints);
}

#[test]
fn privileged_manifests_that_lie() {
    let scene = Scene::start();
    let mut shelf = Shelf::default();
    let tars = [tar("one"), tar("two")];
    let honest = shelf.image("honest", &tars);
    let mut changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut manifest = honest.clone();
        change(&mut manifest);
        shelf.manifest(name, "1", MANIFEST, manifest.to_string());
    };
    changed("path-for-digest", &|m| {
        m["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd")
    });
    changed("short-digest", &|m| m["layers"][0]["digest"] = json!("sha256:abc"));
    changed("other-digest", &|m| {
        m["layers"][0]["digest"] = json!("md5:d41d8cd98f00b204e9800998ecf8427e")
    });
    changed("negative-size", &|m| m["layers"][0]["size"] = json!(-1));
    changed("size-too-small", &|m| m["layers"][0]["size"] = json!(20));
    changed("size-too-large", &|m| m["layers"][0]["size"] = json!(1_u64 << 62));
    changed("size-overflows", &|m| m["layers"][0]["size"] = json!(u64::MAX));
    changed("config-size", &|m| m["config"]["size"] = json!(1_u64 << 40));
    changed("config-is-short", &|m| m["config"]["size"] = json!(10));
    changed("layers-missing", &|m| m["layers"] = json!([m["layers"][0]]));
    changed("no-layers-at-all", &|m| m["layers"] = json!([]));
    changed("layers-swapped", &|m| m["layers"] = json!([m["layers"][1], m["layers"][0]]));
    changed("no-config", &|m| m["config"] = Value::Null);
    changed("config-elsewhere", &|m| m["config"]["digest"] = json!(digest(b"nowhere")));
    changed("artifact", &|m| m["config"]["mediaType"] = json!("application/vnd.evil"));
    changed("version-1", &|m| m["schemaVersion"] = json!(1));
    changed("many-layers", &|m| m["layers"] = json!(vec![m["layers"][0].clone(); 5000]));
    changed("layer-type", &|m| m["layers"][0]["mediaType"] = json!("text/html"));
    let mut text = |name: &str, kind: &str, text: String| shelf.manifest(name, "1", kind, text);
    text("empty", MANIFEST, String::new());
    text("deep", MANIFEST, "[".repeat(1 << 20));
    text(
        "deep-inside",
        MANIFEST,
        format!("{{\"schemaVersion\":2,\"x\":{}", "{\"a\":".repeat(300_000)),
    );
    text("huge", MANIFEST, format!("{honest}{}", " ".repeat(5 << 20)));
    text("html", "text/html", String::from("<html>Please log in</html>"));
    text(
        "schema1",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        json!({"schemaVersion": 1, "fsLayers": []}).to_string(),
    );
    let nul = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": "\u{0}\u{1b}[2J", "size": 3}});
    text("control-characters", MANIFEST, nul.to_string());

    // Configurations.
    let base = config(&tars);
    let mut configured = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut config = base.clone();
        change(&mut config);
        shelf.configured(name, &config, &tars);
    };
    configured("more-diff-ids", &|c| c["rootfs"]["diff_ids"] = json!(vec![digest(b"x"); 4000]));
    configured("other-diff-ids", &|c| c["rootfs"]["diff_ids"][1] = json!(digest(b"other")));
    configured("same-diff-ids", &|c| {
        c["rootfs"]["diff_ids"][1] = c["rootfs"]["diff_ids"][0].clone()
    });
    configured("path-for-diff-id", &|c| c["rootfs"]["diff_ids"][0] = json!("sha256:../../../x"));
    configured("no-rootfs", &|c| c["rootfs"] = Value::Null);
    configured("windows", &|c| c["os"] = json!("windows"));
    let deep = format!("{{\"rootfs\":{}", "[".repeat(1 << 20));
    let blobs = [gzip(&tars[0])];
    shelf.packed("deep-config", deep.as_bytes(), &blobs);
    shelf.packed("config-is-no-json", b"\x1f\x8b\x08 no", &blobs);
    shelf.packed("config-is-a-list", b"[]", &blobs);

    // Indexes.
    let list = |entries: Vec<Value>| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string()
    };
    let mut below = describe(MANIFEST, honest.to_string().as_bytes());
    shelf.manifest("chain", below["digest"].as_str().unwrap(), MANIFEST, honest.to_string());
    for _ in 0..30 {
        let index = list(vec![below.clone()]);
        below = describe(INDEX, index.as_bytes());
        shelf.manifest("chain", below["digest"].as_str().unwrap(), INDEX, index.clone());
        shelf.manifest("chain", "1", INDEX, index);
    }
    let lies = digest(b"a circle");
    let circle = list(vec![json!({"mediaType": INDEX, "digest": lies, "size": 300})]);
    shelf.manifest("circle", "1", INDEX, circle.clone());
    shelf.manifest("circle", &lies, INDEX, circle);
    let other = json!({"mediaType": MANIFEST, "digest": lies, "size": 300, "platform": {"os": "plan9", "architecture": "vax"}});
    shelf.manifest("wide", "1", INDEX, list(vec![other; 15_000]));
    shelf.manifest("empty-index", "1", INDEX, list(vec![]));
    let wanted = digest(b"another manifest");
    shelf.manifest("lie", &wanted, MANIFEST, honest.to_string());
    let lie = format!("lie@{wanted}");

    let server = Hostile::start(&scene.engine, move |asked| {
        match asked.path.strip_prefix("/v2/").unwrap_or_default() {
            "cut/manifests/1" => kind(Body::Cut(honest.to_string().into_bytes(), 9000)),
            "endless/manifests/1" => kind(Body::Endless(vec![b' '; 60_000])),
            _ => shelf.answer(asked),
        }
    });
    pull_all(
        &scene,
        &server,
        &[
            (&lie, Refused("does not match digest")),
            ("path-for-digest", Refused("digest")),
            ("short-digest", Refused("digest")),
            ("other-digest", Refused("digest")),
            ("negative-size", Refused("-1")),
            ("size-too-small", Refused("bytes where the manifest says 20")),
            ("size-too-large", Refused("bytes where the manifest says 4611686018427387904")),
            ("size-overflows", Refused("bytes where the manifest says 18446744073709551615")),
            ("config-size", Refused("larger than")),
            ("config-is-short", Refused("10")),
            ("layers-missing", Refused("layers from manifest don't match image configuration")),
            ("no-layers-at-all", Refused("layers")),
            ("layers-swapped", Refused("verification failed")),
            ("no-config", Refused("expected struct Descriptor")),
            ("config-elsewhere", Refused("not found")),
            ("artifact", Refused("artifact")),
            ("version-1", Refused("no longer supported")),
            ("many-layers", Refused("lists 5000 layers")),
            ("layer-type", Harmless),
            ("empty", Refused("invalid manifest")),
            ("deep", Refused("invalid manifest")),
            ("deep-inside", Refused("invalid manifest")),
            ("huge", Refused("longer than")),
            ("html", Refused("invalid manifest")),
            ("schema1", Refused("no longer supported")),
            ("control-characters", Refused("digest")),
            ("cut", Refused("unexpected EOF")),
            ("endless", Refused("longer than")),
            ("more-diff-ids", Refused("layers from manifest don't match image configuration")),
            ("other-diff-ids", Refused("verification failed")),
            // The second is not fetched when the first is there: by the configuration it is that.
            ("same-diff-ids", Perhaps("verification failed")),
            ("path-for-diff-id", Refused("digest")),
            ("no-rootfs", Refused("expected struct RootFs")),
            ("windows", Refused("windows")),
            ("deep-config", Refused("invalid image configuration")),
            ("config-is-no-json", Refused("invalid image configuration")),
            ("config-is-a-list", Refused("no rootfs")),
            ("chain", Refused("nested too deeply")),
            ("circle", Refused("does not match digest")),
            ("wide", Refused("lists 15000 manifests")),
            ("empty-index", Refused("no matching manifest")),
            ("honest", Harmless),
        ],
    );
    still_works(&scene);
    scene.end("manifests that lie");
}

fn kind(body: Body) -> Reply {
    Reply::new(200, body).with("Content-Type", MANIFEST)
}

#[test]
fn privileged_layers_that_lie() {
    let scene = Scene::start();
    let mut shelf = Shelf::default();
    let good = tar("good");
    shelf.image("honest", std::slice::from_ref(&good));
    let content = noise(7, 3_000_000);
    let mut victim = |name: &str| {
        let layer = shelf.image(name, &[Layer::new().file(name, 0o644, &content).bytes()]);
        let layer = &layer["layers"][0];
        (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap())
    };
    let [wrong, cut, long, endless, ends, missing] =
        ["wrong", "cut", "long", "endless", "ends-at-once", "missing"].map(&mut victim);
    let tars = [tar("a configuration without end")];
    shelf.image("config-endless", &tars);
    let config_endless = digest(config(&tars).to_string().as_bytes());
    shelf.lie(&wrong.0, vec![b'x'; wrong.1 as usize]);
    let of = |kind: &str, tar: &[u8], blob: Vec<u8>| {
        let config = config(&[tar.to_vec()]).to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, config.as_bytes()),
            "layers": [describe(kind, &blob)],
        });
        (config, blob, manifest.to_string())
    };
    let packed = |bytes: &[u8]| gzip(bytes);
    let zeros = Layer::new().file("zeros", 0o644, &vec![0; 100 << 20]).bytes();
    let zstd = LAYER.replace("gzip", "zstd");
    let whole = packed(&good);
    let mut wide = filter("zstd", &["-q", "--long=31", "--ultra", "-19", "-c"], &good[..1000]);
    wide.extend_from_slice(&filter("zstd", &["-q"], &good[1000..]));
    let many_names: Vec<u8> = {
        let mut layer = Layer::new();
        for n in 0..70_000 {
            layer = layer.symlink(&format!("{n}"), "x");
        }
        layer.bytes()
    };
    for (name, kind, tar, blob) in [
        ("garbage", LAYER, &good, vec![b'x'; 5000]),
        ("gzip-cut", LAYER, &good, whole[..whole.len() - 9].to_vec()),
        ("gzip-twice", LAYER, &good, packed(&whole)),
        ("gzip-and-more", LAYER, &good, [whole.clone(), vec![b'x'; 5000]].concat()),
        ("empty-blob", LAYER, &good, Vec::new()),
        ("gzip-bomb", LAYER, &good, packed(&zeros)),
        ("zstd-bomb", &zstd, &good, filter("zstd", &["-q"], &zeros)),
        ("plain-bomb", LAYER, &good, zeros[..40 << 20].to_vec()),
        ("names-bomb", LAYER, &good, packed(&many_names)),
        ("zstd-window", &zstd, &good, wide),
    ] {
        let (config, blob, manifest) = of(kind, tar, blob);
        shelf.blob(config);
        shelf.blob(blob);
        shelf.manifest(name, "1", MANIFEST, manifest);
    }
    let server = Hostile::start(&scene.engine, move |asked| {
        let digest = asked.path.rsplit('/').next().unwrap_or_default();
        let body = match digest {
            _ if digest == cut.0 => Body::Cut(content[..1 << 20].to_vec(), cut.1),
            _ if digest == long.0 => Body::Chunked([content.clone(), vec![0; 1 << 20]].concat()),
            _ if digest == endless.0 || digest == config_endless => Body::Endless(vec![0; 60_000]),
            _ if digest == ends.0 => Body::Cut(Vec::new(), ends.1),
            _ if digest == missing.0 => return Reply::new(404, Body::Whole(Vec::new())),
            _ => return shelf.answer(asked),
        };
        Reply::new(200, body)
    });
    pull_all(
        &scene,
        &server,
        &[
            ("wrong", Refused("verification failed")),
            ("cut", Refused("unexpected EOF")),
            ("long", Refused("longer than")),
            ("endless", Refused("longer than")),
            ("ends-at-once", Refused("unexpected EOF")),
            ("missing", Refused("404")),
            ("config-endless", Refused("longer than")),
            ("garbage", Refused("invalid tar")),
            ("gzip-cut", Refused("damaged gzip stream")),
            ("gzip-twice", Refused("invalid tar")),
            ("gzip-and-more", Refused("damaged gzip stream")),
            ("empty-blob", Refused("verification failed")),
            ("gzip-bomb", Refused("limit")),
            ("zstd-bomb", Refused("limit")),
            ("plain-bomb", Refused("limit")),
            ("names-bomb", Refused("limit")),
            ("zstd-window", Refused("damaged zstd stream")),
            ("honest", Harmless),
        ],
    );
    still_works(&scene);
    scene.end("layers that lie");
}

/// Where a request may be led, and who may ask for a password.
#[test]
fn privileged_registries_that_lead_astray() {
    let scene = Scene::start();
    let mut shelf = Shelf::default();
    let names = [
        "blob-loop",
        "blob-pair",
        "blob-file",
        "blob-nowhere",
        "blob-gopher",
        "manifest-loop",
        "manifest-file",
        "always-401",
        "no-scheme",
        "basic",
        "token-500",
        "token-junk",
        "token-endless",
        "token-loop",
        "token-empty",
        "token-lines",
        "token-huge",
        "token-deep",
        "realm-file",
        "realm-bad",
        "realm-nowhere",
        "realm-none",
        "forbidden",
        "limited",
        "teapot",
        "broken",
        "honest",
    ];
    for name in names {
        shelf.image(name, &[tar(name)]);
    }
    let server = Hostile::start(&scene.engine, move |asked| {
        let name =
            asked.path.trim_start_matches("/v2/").split('/').next().unwrap_or_default().to_owned();
        led(asked, &name).unwrap_or_else(|| shelf.answer(asked))
    });
    pull_all(
        &scene,
        &server,
        &[
            ("blob-loop", Refused("redirect")),
            ("blob-pair", Refused("redirect")),
            ("blob-file", Refused("it is no URL")),
            ("blob-nowhere", Refused("redirected to nowhere")),
            ("blob-gopher", Refused("neither http nor https")),
            ("manifest-loop", Refused("redirect")),
            ("manifest-file", Refused("it is no URL")),
            ("always-401", Refused("unauthorized")),
            ("no-scheme", Refused("unauthorized")),
            ("basic", Refused("no basic auth credentials")),
            ("token-500", Refused("500")),
            ("token-junk", Refused("unmarshalling")),
            ("token-endless", Refused("longer than")),
            ("token-loop", Refused("redirect")),
            ("token-empty", Refused("did not include a token")),
            ("token-lines", Refused("did not include a token")),
            ("token-huge", Refused("unauthorized")),
            ("token-deep", Refused("unmarshalling")),
            ("realm-file", Refused("it is no URL")),
            ("realm-bad", Refused("invalid HTTP header")),
            ("realm-nowhere", Refused("connection refused")),
            ("realm-none", Refused("does not say where from")),
            ("forbidden", Refused("denied")),
            ("limited", Refused("toomanyrequests")),
            ("teapot", Refused("418")),
            ("broken", Refused("502")),
            ("honest", Harmless),
        ],
    );
    still_works(&scene);
    scene.end("registries that lead astray");
}

fn led(asked: &Asked, name: &str) -> Option<Reply> {
    let (path, host) = (asked.path.as_str(), &asked.host);
    let here = |place: &str| format!("http://{host}{place}");
    let to = |location: String| {
        Some(Reply::new(307, Body::Whole(Vec::new())).with("Location", location))
    };
    let empty = |status| Reply::new(status, Body::Whole(Vec::new()));
    let text = |status, text: String| {
        Some(
            Reply::new(status, Body::Whole(text.into_bytes()))
                .with("Content-Type", "application/json"),
        )
    };
    // The token service.
    if let Some(service) = path.strip_prefix("/token/") {
        return match service.split('?').next().unwrap_or_default() {
            "always-401" => text(200, json!({"token": "of-no-use", "expires_in": 300}).to_string()),
            "token-500" => Some(empty(500)),
            "token-junk" => text(200, String::from("<html>")),
            "token-endless" => Some(Reply::new(200, Body::Endless(vec![b' '; 60_000]))),
            "token-loop" => to(here(path)),
            "token-lines" => text(200, json!({"token": "a\r\nX-Injected: yes"}).to_string()),
            "token-huge" => text(200, json!({"token": "a".repeat(900_000)}).to_string()),
            "token-deep" => text(200, "[".repeat(500_000)),
            _ => text(200, String::from("{}")),
        };
    }
    let challenge = |text: String| Some(empty(401).with("WWW-Authenticate", text));
    let bearer = |realm: String| challenge(format!("Bearer realm=\"{realm}\",service=\"s\""));
    match name {
        "always-401" | "token-500" | "token-junk" | "token-endless" | "token-loop" | "token-empty"
        | "token-lines" | "token-huge" | "token-deep" => bearer(here(&format!("/token/{name}"))),
        "realm-file" => bearer(String::from("file:///etc/passwd")),
        "realm-bad" => bearer(String::from("http://[::bad/\u{1}")),
        "realm-nowhere" => bearer(String::from("http://127.0.0.1:1/token")),
        "realm-none" => challenge(String::from("Bearer")),
        "no-scheme" => challenge(format!("{}=,,\"", "x".repeat(5000))),
        "basic" => challenge(String::from("Basic realm=\"x\"")),
        "forbidden" => text(403, json!({"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}).to_string()),
        "limited" => text(429, json!({"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit"}]}).to_string())
            .map(|reply| reply.with("Retry-After", "99999999999")),
        "teapot" => Some(Reply::new(418, Body::Endless(vec![b'x'; 60_000]))),
        "broken" => Some(Reply::new(502, Body::Whole(vec![0xff; 100_000]))),
        "manifest-loop" if path.contains("/manifests/") => to(here(path)),
        "manifest-file" if path.contains("/manifests/") => to(String::from("file:///etc/passwd")),
        _ if !path.contains("/blobs/") || asked.method == "HEAD" => None,
        "blob-loop" => to(path.to_owned()),
        "blob-pair" => to(if path.ends_with("?b") { path.trim_end_matches("?b").to_owned() } else { format!("{path}?b") }),
        "blob-file" => to(String::from("file:///etc/passwd")),
        "blob-nowhere" => Some(empty(307)),
        "blob-gopher" => to(String::from("gopher://127.0.0.1:1/x")),
        _ => None,
    }
}
