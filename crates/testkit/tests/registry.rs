//! Images that come from and go to registries, through the API, as Docker does it: the words of the
//! stream, the statuses, names, digests, events, and what happens when several want the same.

mod toy;

use std::time::Duration;
use testkit::engine::{encode, filters};
use testkit::image::{Layer, Saved, busybox_config, busybox_layer, save};
use testkit::registry::{Options, Registry};
use testkit::{Engine, Response, Value, eventually, json, on_both, unique};
use toy::Toy;

const SOON: Duration = Duration::from_secs(60);

/// A registry where the engine's host network is.
fn registry(engine: &Engine) -> Registry {
    Registry::start(&Options { netns: engine.netns.as_deref(), ..Options::default() })
}

/// An image of three layers, the upper two of which nobody else has; it goes with the value.
struct Image<'a> {
    engine: &'a Engine,
    name: String,
    saved: Saved,
}

impl<'a> Image<'a> {
    fn load(engine: &'a Engine, repository: &str) -> Self {
        let name = format!("{repository}:1");
        let words = unique("content");
        let layer = |n: u32| {
            Layer::new().file(&format!("file{n}"), 0o644, format!("{words}{n}").as_bytes())
        };
        let mut config = busybox_config();
        config["Labels"] = json!({ "made": words });
        let layers = vec![busybox_layer(), layer(1), layer(2)];
        let saved = save(&[&name], &config, layers);
        let _ = engine.upload("/images/load?quiet=1", &saved.tar).expect(200);
        Self { engine, name, saved }
    }

    fn repository(&self) -> &str {
        self.name.rsplit_once(':').unwrap().0
    }

    fn forget(&self) {
        let _ = self.engine.delete(&format!("/images/{}?force=1", self.saved.id));
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}

fn push(engine: &Engine, repository: &str, tag: &str) -> Vec<Value> {
    let path = format!("/v1.41/images/{repository}/push?tag={tag}");
    // `{}`: nobody.
    let answer = engine.client().request("POST", &path, &[("X-Registry-Auth", "e30=")], &[]);
    lines(&answer.expect(200))
}

fn pull(engine: &Engine, name: &str, tag: &str) -> Response {
    engine.act(&format!("/images/create?fromImage={}&tag={}", encode(name), encode(tag)))
}

fn lines(answer: &Response) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a stream says of one thing, figures left out, each word once, and nothing of waiting for
/// other layers.
fn said(lines: &[Value], id: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| line["id"] == id && line["status"] != "Waiting") {
        let status = line["status"].as_str().unwrap().to_owned();
        if words.last() != Some(&status) {
            words.push(status);
        }
    }
    words
}

/// The lines about nothing in particular.
fn general(lines: &[Value]) -> Vec<String> {
    let lines = lines.iter().filter(|line| line["id"].is_null() && line["aux"].is_null());
    lines.map(|line| line["status"].as_str().unwrap_or_default().to_owned()).collect()
}

fn failure(lines: &[Value]) -> String {
    let last = lines.last().unwrap();
    assert_eq!(last["error"], last["errorDetail"]["message"]);
    last["error"].as_str().unwrap_or_default().to_owned()
}

fn short(digest: &str) -> &str {
    &digest.trim_start_matches("sha256:")[..12]
}

/// Digest and size that a push told in `aux`.
fn pushed(lines: &[Value]) -> (String, u64) {
    let aux = lines.iter().find(|line| !line["aux"].is_null()).unwrap();
    let aux = &aux["aux"];
    (aux["Digest"].as_str().unwrap().to_owned(), aux["Size"].as_u64().unwrap())
}

/// Digests of the blobs of a pushed image, as the registry's manifest names them.
fn blobs(engine: &Engine, host: &str, path: &str, tag: &str) -> Vec<String> {
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let path = format!("/v2/{path}/manifests/{tag}");
    let (_, body) = toy::request(engine, host, "GET", &path, &[("Accept", kind)], &[]);
    let manifest: Value = serde_json::from_slice(&body).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    fn privileged_a_pushed_image_is_pulled_the_same(engine) {
        let registry = registry(engine);
        let repository = format!("{}/a/b", registry.host());
        let image = Image::load(engine, &repository);

        let told = push(engine, &repository, "1");
        assert_eq!(general(&told)[0], format!("The push refers to repository [{repository}]"));
        for diff_id in &image.saved.diff_ids {
            let words = said(&told, short(diff_id));
            assert_eq!(words.first().unwrap(), "Preparing");
            assert_eq!(words.last().unwrap(), "Pushed", "{words:?}");
        }
        let (digest, size) = pushed(&told);
        let line = format!("1: digest: {digest} size: {size}");
        assert_eq!(general(&told).last().unwrap(), &line);
        let again = push(engine, &repository, "1");
        for diff_id in &image.saved.diff_ids {
            let words = ["Preparing", "Layer already exists"];
            assert_eq!(said(&again, short(diff_id)), words);
        }
        assert_eq!(pushed(&again), (digest.clone(), size));
        let inspected = engine.get(&format!("/images/{}/json", image.name)).expect(200).json();
        assert_eq!(inspected["RepoDigests"], json!([format!("{repository}@{digest}")]));

        image.forget();
        let layers = blobs(engine, &registry.host(), "a/b", "1");
        let told = lines(&pull(engine, &repository, "1").expect(200));
        assert_eq!(said(&told, "1"), ["Pulling from a/b"]);
        for layer in &layers[1..] {
            let words = said(&told, short(layer));
            assert_eq!(words.first().unwrap(), "Pulling fs layer");
            // dockerd leaves "Download complete" out when the next word comes at once.
            let loaded = ["Verifying Checksum", "Download complete"];
            assert!(words.iter().any(|word| loaded.contains(&word.as_str())), "{words:?}");
            assert_eq!(words.last().unwrap(), "Pull complete");
        }
        let status = format!("Status: Downloaded newer image for {}", image.name);
        assert_eq!(general(&told), [format!("Digest: {digest}"), status]);
        let inspected = engine.get(&format!("/images/{}/json", image.name)).expect(200).json();
        assert_eq!(inspected["Id"], image.saved.id);
        assert_eq!(inspected["RepoDigests"], json!([format!("{repository}@{digest}")]));
        let output = engine.run(json!({"Image": image.name, "Cmd": ["cat", "/file2"]}));
        assert!(output.stdout.starts_with("content"), "{output:?}");

        let again = lines(&pull(engine, &repository, "1").expect(200));
        for layer in &layers {
            assert!(said(&again, short(layer)).is_empty(), "the image is here: {again:?}");
        }
        let status = format!("Status: Image is up to date for {}", image.name);
        assert_eq!(general(&again), [format!("Digest: {digest}"), status]);
    }

    fn privileged_a_neighbour_lends_its_layers(engine) {
        let registry = registry(engine);
        let image = Image::load(engine, &format!("{}/lender", registry.host()));
        let (digest, _) = pushed(&push(engine, image.repository(), "1"));
        let other = format!("{}/borrower", registry.host());
        let path = format!("/images/{}/tag?repo={other}&tag=9", image.name);
        let _ = engine.act(&path).expect(201);
        let told = push(engine, &other, "9");
        let words = said(&told, short(&image.saved.diff_ids[2]));
        assert_eq!(words, ["Preparing", "Mounted from lender"]);
        assert_eq!(pushed(&told).0, digest);
    }

    fn privileged_every_tag_travels_when_none_is_named(engine) {
        let registry = registry(engine);
        let image = Image::load(engine, &format!("{}/many", registry.host()));
        let repository = image.repository();
        let _ = engine.act(&format!("/images/{}/tag?repo={repository}&tag=2", image.name)).expect(201);
        let told = push(engine, repository, "");
        let tags: Vec<&Value> = told.iter().filter_map(|line| line["aux"].get("Tag")).collect();
        assert_eq!(tags.len(), 2, "{tags:?}");
        image.forget();
        let told = lines(&pull(engine, repository, "").expect(200));
        assert_eq!(said(&told, "1"), ["Pulling from many"]);
        assert_eq!(said(&told, "2"), ["Pulling from many"]);
        let status = format!("Status: Downloaded newer image for {repository}");
        assert_eq!(general(&told).last().unwrap(), &status);
        for tag in ["1", "2"] {
            let _ = engine.get(&format!("/images/{repository}:{tag}/json")).expect(200);
        }
    }

    fn privileged_a_digest_names_an_image_without_a_tag(engine) {
        let registry = registry(engine);
        let image = Image::load(engine, &format!("{}/exact", registry.host()));
        let repository = image.repository();
        let (digest, _) = pushed(&push(engine, repository, "1"));
        image.forget();
        let told = lines(&pull(engine, repository, &digest).expect(200));
        let whole = format!("{repository}@{digest}");
        assert_eq!(said(&told, &whole), ["Pulling from exact"]);
        let status = format!("Status: Downloaded newer image for {whole}");
        assert_eq!(general(&told), [format!("Digest: {digest}"), status]);
        let inspected = engine.get(&format!("/images/{whole}/json")).expect(200).json();
        assert_eq!(inspected["RepoDigests"], json!([whole]));
        assert_eq!(inspected["RepoTags"], json!([]));
        let again = lines(&pull(engine, &whole, "").expect(200));
        let status = format!("Status: Image is up to date for {whole}");
        assert_eq!(general(&again).last().unwrap(), &status);
    }

    fn privileged_what_is_not_there_is_refused_in_dockers_words(engine) {
        let registry = registry(engine);
        let host = registry.host();
        let image = Image::load(engine, &format!("{host}/there"));
        let _ = push(engine, image.repository(), "1");

        let answer = pull(engine, image.repository(), "nope").expect(404);
        let message = format!("manifest for {host}/there:nope not found: manifest unknown: manifest unknown");
        assert_eq!(answer.message(), message);
        let answer = pull(engine, &format!("{host}/nowhere"), "1").expect(404);
        let message = format!("manifest for {host}/nowhere:1 not found: manifest unknown: manifest unknown");
        assert_eq!(answer.message(), message);
        let refused = pull(engine, "UPPER", "1").expect(400).message();
        assert!(refused.ends_with("must be lowercase"), "{refused}");
        let _ = pull(engine, &format!("{host}/there"), "a b").expect(400);
        let answer = engine.get(&format!("/distribution/{host}/there:nope/json")).expect(404);
        assert_eq!(answer.message(), "manifest unknown: manifest unknown");

        let missing = failure(&push(engine, image.repository(), "2"));
        assert_eq!(missing, format!("tag does not exist: {host}/there:2"));
        let missing = failure(&push(engine, &format!("{host}/nowhere"), "1"));
        assert_eq!(missing, format!("An image does not exist locally with the tag: {host}/nowhere"));
        let answer = engine.act(&format!("/images/{}/push?tag=1", image.repository())).expect(400);
        assert_eq!(answer.message(), "Bad parameters and missing X-Registry-Auth: EOF");
    }

    fn privileged_nobody_listens_is_an_error_at_once(engine) {
        let host = format!("127.0.0.1:{}", testkit::registry::free_port(engine.netns.as_deref()));
        let answer = pull(engine, &format!("{host}/x"), "1").expect(500);
        let message = answer.message();
        assert!(message.contains("connection refused"), "{message}");
        assert!(message.starts_with(&format!("Get \"http://{host}/v2/")), "{message}");
    }

    fn privileged_a_registry_is_asked_what_a_name_stands_for(engine) {
        let registry = registry(engine);
        let image = Image::load(engine, &format!("{}/asked", registry.host()));
        let (digest, size) = pushed(&push(engine, image.repository(), "1"));
        let found = engine.get(&format!("/distribution/{}/json", image.name)).expect(200).json();
        assert_eq!(found["Descriptor"]["digest"], digest);
        assert_eq!(found["Descriptor"]["size"], size);
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        assert_eq!(found["Descriptor"]["mediaType"], kind);
        assert_eq!(found["Platforms"][0]["os"], "linux");
        let id = engine.get(&format!("/distribution/{}/json", "0".repeat(64)));
        // dockerd of old calls that its own failure.
        let _ = id.expect(if engine.is_dockerd() { 500 } else { 400 });
    }

    fn privileged_pulls_and_pushes_are_events(engine) {
        let registry = registry(engine);
        let image = Image::load(engine, &format!("{}/seen", registry.host()));
        let since = now();
        let _ = push(engine, image.repository(), "1");
        let _ = pull(engine, image.repository(), "1").expect(200);
        let filter = filters(&json!({"type": ["image"], "image": [image.name]}));
        let path = format!("/events?since={since}&until={}&{filter}", now() + 1);
        let seen = lines(&engine.get(&path).expect(200));
        for action in ["push", "pull"] {
            let event = seen.iter().find(|event| event["Action"] == action).unwrap();
            assert_eq!(event["Actor"]["ID"], image.name);
            assert_eq!(event["Actor"]["Attributes"]["name"], image.repository());
            assert!(event["Actor"]["Attributes"]["made"].is_string(), "labels too: {event}");
        }
    }

    fn privileged_a_platform_is_chosen_from_an_index(engine) {
        let registry = registry(engine);
        let host = registry.host();
        let image = Image::load(engine, &format!("{host}/multi"));
        let (digest, size) = pushed(&push(engine, image.repository(), "1"));
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let one = |architecture: &str| json!({
            "mediaType": kind, "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        });
        let list = |architectures: &[&str]| json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
            "manifests": architectures.iter().map(|name| one(name)).collect::<Vec<_>>(),
        }).to_string();
        let put = |tag: &str, text: &str| {
            let headers = [("Content-Type", "application/vnd.docker.distribution.manifest.list.v2+json")];
            let path = format!("/v2/multi/manifests/{tag}");
            let (status, _) = toy::request(engine, &host, "PUT", &path, &headers, text.as_bytes());
            assert_eq!(status, 201);
        };
        put("all", &list(&["riscv64", here]));
        put("alien", &list(&["riscv64"]));
        image.forget();

        let told = lines(&pull(engine, image.repository(), "all").expect(200));
        let index = testkit::image::digest(list(&["riscv64", here]).as_bytes());
        assert_eq!(general(&told)[0], format!("Digest: {index}"));
        let inspected = engine.get(&format!("/images/{}:all/json", image.repository())).expect(200);
        let digests = inspected.json()["RepoDigests"].clone();
        assert_eq!(digests, json!([format!("{}@{index}", image.repository())]));
        let told = lines(&pull(engine, image.repository(), "alien").expect(200));
        assert!(failure(&told).starts_with("no matching manifest for linux/"), "{told:?}");
        let path = format!("/images/create?fromImage={}&tag=all&platform=linux/riscv64", image.repository());
        let told = lines(&engine.act(&path).expect(200));
        // The list lies about the architecture, and the image that it leads to is another's. Docker
        // warns of that since version 23.
        let warned = "does not match the specified platform";
        let warned = general(&told).iter().any(|line| line.contains(warned));
        assert_eq!(warned, !engine.is_dockerd(), "{told:?}");
    }

    fn privileged_passwords_are_asked_for_and_heeded(engine) {
        let more = "auth: {htpasswd: {realm: test, path: /dev/null}}\n";
        // me:secret, by bcrypt.
        let users = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(users.path(), toy::HTPASSWD).unwrap();
        let more = more.replace("/dev/null", &users.path().display().to_string());
        let options = Options { netns: engine.netns.as_deref(), more: &more, ..Options::default() };
        let registry = Registry::start(&options);
        let host = registry.host();
        let image = Image::load(engine, &format!("{host}/locked"));
        let auth = |password: &str| toy::auth("me", password, &host);
        let push = |header: &str| {
            let path = format!("/v1.41/images/{}/push?tag=1", image.repository());
            lines(&engine.client().request("POST", &path, &[("X-Registry-Auth", header)], &[]))
        };
        assert!(failure(&push("e30=")).contains("no basic auth credentials"));
        assert!(failure(&push(&auth("wrong"))).starts_with("unauthorized: "), "a wrong password");
        let told = push(&auth("secret"));
        let (digest, _) = pushed(&told);
        image.forget();

        let answer = pull(engine, image.repository(), "1").expect(500);
        assert!(answer.message().contains("no basic auth credentials"), "{}", answer.message());
        let pull = |header: &str| {
            let path = format!("/v1.41/images/create?fromImage={}&tag=1", image.repository());
            engine.client().request("POST", &path, &[("X-Registry-Auth", header)], &[])
        };
        let answer = pull(&auth("wrong")).expect(500);
        assert!(answer.message().contains("unauthorized: "), "{}", answer.message());
        let told = lines(&pull(&auth("secret")).expect(200));
        assert_eq!(general(&told)[0], format!("Digest: {digest}"));

        let login = |password: &str| engine.post("/auth", &json!({
            "username": "me", "password": password, "serveraddress": host,
        }));
        assert_eq!(login("secret").expect(200).json()["Status"], "Login Succeeded");
        // As the API has it; dockerd of old says 500.
        let refused = login("wrong").expect(if engine.is_dockerd() { 500 } else { 401 }).message();
        assert!(refused.contains("401 Unauthorized"), "{refused}");
    }

    fn privileged_searches_are_checked_before_the_index_is_asked(engine) {
        let search = |rest: &str| engine.get(&format!("/images/search?term=x&{rest}"));
        let _ = search(&filters(&json!({"nonsense": ["1"]}))).expect(400);
        let _ = search(&filters(&json!({"stars": ["many"]}))).expect(400);
        let _ = search("limit=nan").expect(if engine.is_dockerd() { 500 } else { 400 });
        let message = search("limit=101").message().to_lowercase();
        assert!(message.contains("limit 101 is outside the range of [1, 100]"), "{message}");
    }

    fn privileged_an_address_is_imported(engine) {
        let toy = Toy::start(engine, unique("imported").into_bytes());
        let address = format!("http://{}/v2/x/blobs/{}", toy.host(), toy.blob);
        let name = unique("imported");
        let import = |address: &str| {
            let address = encode(address);
            engine.act(&format!("/images/create?fromSrc={address}&repo={name}&tag=1&changes=ENV+A=b"))
        };
        let told = lines(&import(&address).expect(200));
        assert_eq!(told[0]["status"], format!("Downloading from {address}"));
        let image = engine.get(&format!("/images/{name}:1/json")).expect(200).json();
        assert_eq!(told.last().unwrap()["status"], image["Id"]);
        assert_eq!(image["Config"]["Env"], json!(["A=b"]));
        assert_eq!(image["RootFS"]["Layers"], json!([toy.blob]));
        let _ = engine.delete(&format!("/images/{name}:1")).expect(200);
        let missing = format!("http://{}/nothing", toy.host());
        let refused = import(&missing).expect(404).message();
        assert!(refused.starts_with(&format!("failed to GET {missing} with status 404")));
    }

    fn privileged_two_who_want_the_same_layer_get_it_once(engine) {
        let toy = Toy::start(engine, unique("shared").into_bytes().repeat(60_000));
        toy.slow_down();
        let name = |n: u32| (format!("{}/shared{n}", toy.host()), format!("{n}"));
        // Manifests cannot be counted: dockerd takes one that another pull has just brought.
        let pulls = std::thread::scope(|scope| {
            let pulls = [1, 2, 3].map(|n| {
                let (name, tag) = name(n);
                let path = format!("/v1.41/images/create?fromImage={}&tag={tag}", encode(&name));
                scope.spawn(move || {
                    let mut told = engine.client().open("POST", &path, &[], &[]);
                    while told.json_line().unwrap()["status"] != "Downloading" {}
                    told
                })
            });
            pulls.map(|pull| pull.join().unwrap())
        });
        toy.go_on();
        for mut told in pulls {
            let rest: Vec<Value> = std::iter::from_fn(|| told.json_line()).collect();
            let words = said(&rest, short(&toy.blob));
            assert_eq!(words.last().unwrap(), "Pull complete");
        }
        assert_eq!(toy.downloads(), 1);
        for n in [1, 2, 3] {
            let (name, tag) = name(n);
            let _ = engine.delete(&format!("/images/{name}:{tag}"));
        }
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

#[test]
fn privileged_a_pull_that_nobody_waits_for_ends_and_the_next_goes_on_behind_it() {
    let engine = &Engine::isopod();
    let toy = Toy::start(engine, unique("resumed").into_bytes().repeat(300_000));
    toy.slow_down();
    let name = format!("{}/resumed", toy.host());
    let path = format!("/v1.41/images/create?fromImage={name}&tag=1");
    let mut told = engine.client().open("POST", &path, &[], &[]);
    // The first line says 0 bytes, or that nothing has come yet.
    while told.json_line().unwrap()["progressDetail"]["current"].as_u64().unwrap_or(0) == 0 {}
    drop(told);
    eventually("the connection is closed", SOON, || (toy.broken() == 1).then_some(()));
    assert_eq!(engine.get(&format!("/images/{name}:1/json")).status, 404, "no half of an image");

    toy.go_on();
    let told = lines(&pull(engine, &name, "1").expect(200));
    assert_eq!(
        general(&told).last().unwrap(),
        &format!("Status: Downloaded newer image for {name}:1")
    );
    assert!(toy.resumed_from() > 0, "the first half is not fetched again");
    let _ = engine.delete(&format!("/images/{name}:1")).expect(200);
}

#[test]
fn privileged_one_who_stays_keeps_the_download_for_one_who_left() {
    let engine = &Engine::isopod();
    let toy = Toy::start(engine, unique("stays").into_bytes().repeat(300_000));
    toy.slow_down();
    let path = |n: u32| format!("/v1.41/images/create?fromImage={}/stays{n}&tag=1", toy.host());
    let mut first = engine.client().open("POST", &path(1), &[], &[]);
    while first.json_line().unwrap()["status"] != "Downloading" {}
    let mut second = engine.client().open("POST", &path(2), &[], &[]);
    while second.json_line().unwrap()["status"] != "Downloading" {}
    drop(first);
    toy.go_on();
    let mut last = Value::Null;
    while let Some(line) = second.json_line() {
        last = line;
    }
    let status = format!("Status: Downloaded newer image for {}/stays2:1", toy.host());
    assert_eq!(last["status"], status);
    assert_eq!((toy.downloads(), toy.broken()), (1, 0));
    let _ = engine.delete(&format!("/images/{}/stays2:1", toy.host())).expect(200);
    let _ = engine.delete(&format!("/images/{}/stays1:1", toy.host()));
}
