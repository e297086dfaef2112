//! Other people's clients and our registry: skopeo, podman, dockerd with docker's command line, and
//! our own daemon push to it and pull from it, with every digest unchanged.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use testkit::daemon::{Daemon, Options};
use testkit::distribution::content::{ACCEPTED, DOCKER_MANIFEST, INDEX, MANIFEST, digest};
use testkit::distribution::{Server, command, text};
use testkit::image::{Layer, busybox_config, busybox_layer, save};
use testkit::{Engine, Kind, Value, json, unique};

/// An archive of an image of two layers, in a file.
fn archive(folder: &Path, tag: &str) -> PathBuf {
    let more = Layer::new().dir("more", 0o755).file("more/words", 0o644, tag.as_bytes());
    let saved = save(&[tag], &busybox_config(), vec![busybox_layer(), more]);
    let path = folder.join("archive.tar");
    fs::write(&path, saved.tar).expect("an archive");
    path
}

fn skopeo(arguments: &[&str]) -> String {
    let mut command = Command::new("skopeo");
    text(command.arg("--insecure-policy").args(arguments).output().expect("skopeo"))
}

/// A manifest and its kind.
fn manifest_of(server: &Server, name: &str, reference: &str) -> (String, Vec<u8>) {
    let path = format!("/v2/{name}/manifests/{reference}");
    let answer = server.request("GET", &path, &[("Accept", ACCEPTED)], &[]).expect(200);
    (answer.header("content-type").expect("a kind").to_owned(), answer.body)
}

/// The digests of configuration and layers.
fn blobs_of(manifest: &[u8]) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(manifest).expect("a manifest");
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let all = std::iter::once(&manifest["config"]).chain(layers);
    all.map(|blob| blob["digest"].as_str().expect("a digest").to_owned()).collect()
}

#[test]
fn skopeo_copies_in_and_out_with_every_digest_unchanged() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = folder.path();
    let server = Server::isopod(&[]);
    let at = |name: &str| format!("docker://{}/{name}", server.host());
    let source = format!("docker-archive:{}", archive(place, "skopeo:v1").display());
    let no_tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = |from: &str, to: &str, more: &[&str]| {
        let mut arguments = vec!["copy"];
        arguments.extend_from_slice(&no_tls);
        arguments.extend_from_slice(more);
        arguments.extend([from, to]);
        drop(skopeo(&arguments));
    };
    copy(&source, &at("sk/docker:v1"), &["--format", "v2s2"]);
    copy(&source, &at("sk/oci:v1"), &["--format", "oci"]);
    for (name, kind) in [("sk/docker", DOCKER_MANIFEST), ("sk/oci", MANIFEST)] {
        let (found, bytes) = manifest_of(&server, name, "v1");
        assert_eq!(found, kind);
        // Out into a directory and in again.
        let out = format!("dir:{}", place.join(name.replace('/', "-")).display());
        copy(&at(&format!("{name}:v1")), &out, &[]);
        copy(&out, &at(&format!("{name}-again:v2")), &[]);
        assert_eq!(manifest_of(&server, &format!("{name}-again"), "v2"), (found, bytes.clone()));
        let raw = ["inspect", "--raw", "--tls-verify=false"];
        let raw = Command::new("skopeo").args(raw).arg(at(&format!("{name}:v1"))).output();
        assert_eq!(raw.expect("skopeo").stdout, bytes);
    }
    // Several platforms under one name.
    let (kind, bytes) = manifest_of(&server, "sk/oci", "v1");
    let entry = json!({
        "mediaType": kind,
        "digest": digest(&bytes),
        "size": bytes.len(),
        "platform": { "architecture": "amd64", "os": "linux" },
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
    let _ = server.put("sk/oci", "all", INDEX, index.as_bytes()).expect(201);
    copy(&at("sk/oci:all"), &at("sk/mirror:all"), &["--all"]);
    assert_eq!(manifest_of(&server, "sk/mirror", "all"), (INDEX.to_owned(), index.into_bytes()));

    let tags = skopeo(&["list-tags", "--tls-verify=false", &at("sk/oci")]);
    let tags: Value = serde_json::from_str(&tags).expect("a list");
    assert_eq!(tags["Tags"], json!(["all", "v1"]));
    drop(skopeo(&["delete", "--tls-verify=false", &at("sk/oci:v1")]));
    assert_eq!(server.get("/v2/sk/oci/manifests/v1").status, 404);
}

/// Podman with storage of its own.
struct Podman {
    folder: tempfile::TempDir,
}

impl Podman {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a directory") }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let place = self.folder.path();
        let output = Command::new("podman")
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"])
            .arg("--root")
            .arg(place.join("root"))
            .arg("--runroot")
            .arg(place.join("run"))
            .arg("--tmpdir")
            .arg(place.join("tmp"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("podman");
        text(output).trim().to_owned()
    }
}

#[test]
fn privileged_podman_pushes_and_pulls() {
    let podman = Podman::new();
    let server = Server::isopod(&[]);
    let archive = archive(podman.folder.path(), "localhost/podman:v1");
    drop(podman.run(&["load", "-q", "-i", archive.to_str().expect("a path")]));
    let id = podman.run(&["image", "inspect", "-f", "{{.Id}}", "localhost/podman:v1"]);
    let name = format!("{}/pod/man:v1", server.host());
    for format in ["oci", "v2s2"] {
        let push = ["push", "-q", "--tls-verify=false", "--format", format];
        drop(podman.run(&[&push[..], &["localhost/podman:v1", &name]].concat()));
        let (_, bytes) = manifest_of(&server, "pod/man", "v1");
        drop(podman.run(&["pull", "-q", "--tls-verify=false", &name]));
        let digests =
            podman.run(&["image", "inspect", "-f", "{{range .RepoDigests}}{{.}} {{end}}", &name]);
        assert!(digests.contains(&digest(&bytes)), "{digests}");
        let found = podman.run(&["image", "inspect", "-f", "{{.Id}}", &name]);
        if format == "v2s2" {
            assert_eq!(found, id);
        }
        drop(podman.run(&["rmi", "-f", &name]));
    }
}

fn image_id(engine: &Engine, name: &str) -> String {
    let answer = engine.get(&format!("/images/{name}/json")).expect(200).json();
    answer["Id"].as_str().expect("an id").to_owned()
}

fn load(engine: &Engine, tag: &str) -> String {
    let folder = tempfile::tempdir().expect("a directory");
    let tar = fs::read(archive(folder.path(), tag)).expect("an archive");
    let _ = engine.upload("/images/load?quiet=1", &tar).expect(200);
    image_id(engine, tag)
}

/// Docker's command line; insists on success and gives what it said.
fn docker(engine: &Engine, arguments: &[&str]) -> String {
    let output = engine.docker(arguments);
    assert_eq!(output.code, 0, "docker {arguments:?}: {output:?}");
    output.stdout
}

fn forget(engine: &Engine, names: &[&str]) {
    for name in names {
        let _ = engine.delete(&format!("/images/{name}?force=1"));
    }
}

/// Pushes, pushes to a second repository, and pulls again what was removed in between.
fn round_trip(engine: &Engine) {
    let server = Server::isopod_within(engine.netns.as_ref().expect("a namespace"), &[]);
    let local = format!("{}:v1", unique("client"));
    let id = load(engine, &local);
    let names = [format!("{}/one/a:v1", server.host()), format!("{}/two/b:v2", server.host())];
    let mut pushed = Vec::new();
    for name in &names {
        drop(docker(engine, &["tag", &local, name]));
        pushed.push(docker(engine, &["push", name]));
    }
    let manifests = [manifest_of(&server, "one/a", "v1"), manifest_of(&server, "two/b", "v2")];
    assert_eq!(manifests[0], manifests[1]);
    let found = digest(&manifests[0].1);
    assert!(pushed[0].contains(&found), "{}", pushed[0]);
    assert!(pushed[1].contains("Mounted from one/a"), "{}", pushed[1]);

    forget(engine, &[&local, &names[0], &names[1]]);
    assert_eq!(engine.get(&format!("/images/{id}/json")).status, 404);
    drop(docker(engine, &["pull", &names[0]]));
    assert_eq!(image_id(engine, &names[0]), id);
    let by_digest = format!("{}/two/b@{found}", server.host());
    drop(docker(engine, &["pull", &by_digest]));
    assert_eq!(image_id(engine, &by_digest), id);
    // What was pulled is pushed as it came.
    let third = format!("{}/three:v3", server.host());
    drop(docker(engine, &["tag", &names[0], &third]));
    drop(docker(engine, &["push", &third]));
    assert_eq!(blobs_of(&manifest_of(&server, "three", "v3").1), blobs_of(&manifests[0].1));
    forget(engine, &[&names[0], &by_digest, &third]);
}

#[test]
fn privileged_dockerd_pushes_mounts_and_pulls() {
    round_trip(&Engine::dockerd());
}

#[test]
fn privileged_our_daemon_pushes_mounts_and_pulls() {
    round_trip(&Engine::isopod());
}

#[test]
fn privileged_an_image_goes_from_dockerd_through_all_clients_to_our_daemon() {
    let (dockerd, isopod) = (Engine::dockerd(), Engine::isopod());
    let theirs = Server::isopod_within(dockerd.netns.as_ref().expect("a namespace"), &[]);
    let local = format!("{}:v1", unique("travel"));
    let id = load(&dockerd, &local);
    let name = format!("{}/travel:v1", theirs.host());
    drop(docker(&dockerd, &["tag", &local, &name]));
    drop(docker(&dockerd, &["push", &name]));
    let (kind, bytes) = manifest_of(&theirs, "travel", "v1");
    forget(&dockerd, &[&local, &name]);

    // Each namespace has a registry of its own over the same directory.
    let here = Server::isopod_over(theirs.root(), &[]);
    let podman = Podman::new();
    let name = format!("{}/travel:v1", here.host());
    drop(podman.run(&["pull", "-q", "--tls-verify=false", &name]));
    let to = format!("docker://{}/travel/skopeo:v1", here.host());
    let no_tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    drop(skopeo(&[&["copy"], &no_tls[..], &[&format!("docker://{name}"), &to]].concat()));
    assert_eq!(manifest_of(&here, "travel/skopeo", "v1"), (kind, bytes.clone()));

    let ours =
        Server::isopod_over_within(theirs.root(), isopod.netns.as_ref().expect("a namespace"), &[]);
    let name = format!("{}/travel/skopeo:v1", ours.host());
    drop(docker(&isopod, &["pull", &name]));
    assert_eq!(image_id(&isopod, &name), id);
    let image = isopod.get(&format!("/images/{name}/json")).expect(200).json();
    let digests = image["RepoDigests"].to_string();
    assert!(digests.contains(&digest(&bytes)), "{digests}");
    forget(&isopod, &[&name]);
}

/// A daemon that asks our cache before Docker Hub pulls an image that only the registry behind the
/// cache has.
fn pulls_through_the_cache(kind: Kind) {
    const CACHE: &str = "127.0.0.1:5099";
    let mirror = format!("http://{CACHE}");
    let arguments = vec![String::from("--registry-mirror"), mirror];
    let options = Options { kind, program: None, arguments, host_network: false };
    let daemon = Daemon::start(options).unwrap_or_else(|error| panic!("{error}"));
    let engine = daemon.engine();
    let netns = engine.netns.clone().expect("a namespace");
    let upstream = Server::isopod_within(&netns, &[]);
    let url = format!("http://{}", upstream.host());
    let cache = Server::isopod_within(&netns, &["--addr", CACHE, "--proxy", &url]);

    let name = unique("mirrored");
    let id = load(&engine, &format!("{name}:v1"));
    let to = format!("{}/library/{name}:v1", upstream.host());
    drop(docker(&engine, &["tag", &format!("{name}:v1"), &to]));
    drop(docker(&engine, &["push", &to]));
    for _ in 0..2 {
        forget(&engine, &[&to, &format!("{name}:v1")]);
        assert_eq!(engine.get(&format!("/images/{id}/json")).status, 404);
        drop(docker(&engine, &["pull", &format!("{name}:v1")]));
        assert_eq!(image_id(&engine, &format!("{name}:v1")), id);
    }
    let page = cache.get("/metrics").expect(200).text();
    let misses = page.lines().find(|line| line.starts_with("isopod_registry_cache_misses_total"));
    // A manifest, a configuration and two layers, once each.
    assert_eq!(misses, Some("isopod_registry_cache_misses_total 4"), "{page}");
    forget(&engine, &[&format!("{name}:v1")]);
    drop((cache, upstream));
    daemon.stop().expect("nothing is left behind");
}

#[test]
fn privileged_dockerd_pulls_through_the_cache() {
    pulls_through_the_cache(Kind::Dockerd);
}

#[test]
fn privileged_our_daemon_pulls_through_the_cache() {
    pulls_through_the_cache(Kind::Isopod);
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    drop(text(command.args(arguments.split(' ')).current_dir(folder).output().expect("openssl")));
}

#[test]
fn privileged_docker_logs_in_over_tls() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = folder.path();
    openssl(
        place,
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=registry \
         -addext subjectAltName=IP:127.0.0.1",
    );
    let mut child = command(&["htpasswd", "ann"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("htpasswd");
    child.stdin.take().expect("its input").write_all(b"sesame").expect("a password");
    let users = place.join("users");
    fs::write(&users, text(child.wait_with_output().expect("htpasswd"))).expect("a file");
    let file = |name: &str| place.join(name).to_str().expect("a path").to_owned();
    let (cert, key, users) = (file("cert.pem"), file("key.pem"), file("users"));
    let arguments = ["--tls-cert", &cert, "--tls-key", &key, "--htpasswd", &users];

    let engine = Engine::dockerd();
    let server = Server::isopod_within(engine.netns.as_ref().expect("a namespace"), &arguments);
    let local = format!("{}:v1", unique("login"));
    let id = load(&engine, &local);
    let name = format!("{}/private:v1", server.host());
    drop(docker(&engine, &["tag", &local, &name]));
    let refused = engine.docker(&["push", &name]);
    assert!(refused.code != 0 && refused.stderr.contains("no basic auth"), "{refused:?}");
    let host = server.host();
    let wrong = engine.docker(&["login", "-u", "ann", "-p", "wrong", &host]);
    assert_ne!(wrong.code, 0);
    let said = docker(&engine, &["login", "-u", "ann", "-p", "sesame", &host]);
    assert!(said.contains("Login Succeeded"), "{said}");
    drop(docker(&engine, &["push", &name]));
    forget(&engine, &[&local, &name]);
    drop(docker(&engine, &["pull", &name]));
    assert_eq!(image_id(&engine, &name), id);
    drop(docker(&engine, &["logout", &host]));
    forget(&engine, &[&name]);
}

/// A service that gives `ann` (password `sesame`) a token for all that she asks for.
fn token_service(folder: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client);
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                match reader.read_line(&mut line) {
                    Ok(0) | Err(_) => break,
                    Ok(_) if line.trim().is_empty() => break,
                    Ok(_) => lines.push(line.trim().to_owned()),
                }
            }
            let known = format!("authorization: basic {}", STANDARD.encode("ann:sesame"));
            let is_ann = lines.iter().any(|line| line.eq_ignore_ascii_case(&known));
            let target = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let (status, body) = if is_ann {
                let token = sign(&folder, &scopes(target));
                ("200 OK", json!({ "token": token, "expires_in": 300 }).to_string())
            } else {
                ("401 Unauthorized", String::from("{}"))
            };
            let mut client = reader.into_inner();
            let head = "Content-Type: application/json\r\nConnection: close";
            let answer = format!(
                "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes());
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    port
}

/// What a request for a token asks for: `scope=repository:a/b:pull,push`, as often as there are.
fn scopes(target: &str) -> Value {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let query = query.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let wanted = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let grant = |scope: &str| {
        let mut parts = scope.splitn(3, ':');
        let (kind, name) = (parts.next()?, parts.next()?);
        let actions: Vec<&str> = parts.next()?.split(',').collect();
        Some(json!({ "type": kind, "name": name, "actions": actions }))
    };
    json!(wanted.flat_map(|scopes| scopes.split(['+', ' '])).filter_map(grant).collect::<Vec<_>>())
}

fn sign(folder: &Path, access: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let plain = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = plain(json!({ "typ": "JWT", "alg": "RS256" }));
    let claims = json!({ "iss": "auth", "aud": "registry", "exp": now + 300, "access": access });
    let signed = format!("{header}.{}", plain(claims));
    fs::write(folder.join("signed"), &signed).expect("a file");
    openssl(folder, "dgst -sha256 -sign key.pem -out signature signed");
    let signature = fs::read(folder.join("signature")).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn clients_get_tokens_where_the_registry_sends_them() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = folder.path();
    openssl(
        place,
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=auth",
    );
    let realm = format!("http://127.0.0.1:{}/token", token_service(place.to_owned()));
    let certificate = place.join("cert.pem");
    let server = Server::isopod(&[
        "--token-realm",
        &realm,
        "--token-service",
        "registry",
        "--token-issuer",
        "auth",
        "--token-cert",
        certificate.to_str().expect("a path"),
    ]);
    let source = format!("docker-archive:{}", archive(place, "token:v1").display());
    let to = format!("docker://{}/by/token:v1", server.host());
    let stranger = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false", &source, &to])
        .output()
        .expect("skopeo");
    assert!(!stranger.status.success());
    let creds = ["--dest-creds", "ann:sesame", "--dest-tls-verify=false"];
    drop(skopeo(&[&["copy"], &creds[..], &[&source, &to]].concat()));
    let creds = ["--creds", "ann:sesame", "--tls-verify=false"];
    let found = skopeo(&[&["inspect", "--raw"], &creds[..], &[&to]].concat());
    assert_eq!(blobs_of(found.as_bytes()).len(), 3);
}
