//! What our registry has beside the protocol: users, tokens, TLS, collecting garbage, a cache,
//! processes that share a directory, and an end at any moment.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::process::Signal;
use testkit::distribution::content::*;
use testkit::distribution::{Server, command, text};
use testkit::{Response, eventually, json};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const ACCEPT: (&str, &str) = ("Accept", MANIFEST);

/// Makes everything below a directory look three days old.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a directory").flatten() {
        if entry.file_type().expect("a kind").is_dir() {
            age(&entry.path());
        } else {
            let then = SystemTime::now() - Duration::from_secs(72 * 3600);
            let file = fs::File::options().append(true).open(entry.path());
            file.and_then(|file| file.set_modified(then)).expect("a time");
        }
    }
}

fn stored(server: &Server, digest: &str) -> bool {
    server.root().join("blobs").join(digest.replace(':', "/")).exists()
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    drop(text(output));
}

// ---- users ------------------------------------------------------------------------------------

fn password_line(user: &str, password: &str) -> String {
    let mut child = command(&["htpasswd", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("htpasswd");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(format!("{password}\n").as_bytes()).expect("a password");
    drop(input);
    text(child.wait_with_output().expect("htpasswd"))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn users_need_their_passwords() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("htpasswd");
    let line = password_line("ann", "sesame");
    assert!(line.starts_with("ann:$2y$"), "{line}");
    fs::write(&file, line).expect("a file");
    let server = Server::isopod(&["--htpasswd", file.to_str().expect("a path")]);
    for (method, path) in [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/metrics"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("GET", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/a/manifests/v1"),
    ] {
        let answer = server.request(method, path, &[], &[]).expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"isopod registry\""));
        assert_eq!(codes(&answer), ["UNAUTHORIZED"]);
    }
    let ask =
        |header: &str| server.request("GET", "/v2/", &[("Authorization", header)], &[]).status;
    assert_eq!(ask(&basic("ann", "sesame")), 200);
    assert_eq!(ask(&basic("ann", "Sesame")), 401);
    assert_eq!(ask(&basic("bob", "sesame")), 401);
    assert_eq!(ask("Basic %%%"), 401);
    assert_eq!(ask("Bearer sesame"), 401);
    let _ = server.get("/healthz").expect(200);

    // Users come and go without a restart.
    fs::write(&file, password_line("bob", "other")).expect("a file");
    assert_eq!(ask(&basic("bob", "other")), 200);
    assert_eq!(ask(&basic("ann", "sesame")), 401);
}

#[test]
fn weak_hashes_are_refused_with_a_way_out() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("htpasswd");
    fs::write(&file, "ann:$apr1$abc$def\n").expect("a file");
    let output = command(&["serve", "--addr", "127.0.0.1:0", "--root"])
        .arg(folder.path().join("root"))
        .arg("--htpasswd")
        .arg(&file)
        .output()
        .expect("a registry");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("MD5") && said.contains("isopod registry htpasswd ann"), "{said}");
}

/// A token that the key in this directory signs.
fn token(folder: &Path, access: &testkit::Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let plain = |value: testkit::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = plain(json!({ "typ": "JWT", "alg": "RS256" }));
    let claims = plain(json!({
        "iss": "auth", "aud": "registry", "exp": now + 300, "nbf": now - 10, "access": access,
    }));
    let signed = format!("{header}.{claims}");
    fs::write(folder.join("signed"), &signed).expect("a file");
    openssl(folder, "dgst -sha256 -sign key.pem -out signature signed");
    let signature = fs::read(folder.join("signature")).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn tokens_say_what_their_bearers_may_do() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = folder.path();
    openssl(
        place,
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=auth",
    );
    let certificate = place.join("cert.pem");
    let server = Server::isopod(&[
        "--token-realm",
        "https://auth.example/token",
        "--token-service",
        "registry",
        "--token-issuer",
        "auth",
        "--token-cert",
        certificate.to_str().expect("a path"),
    ]);
    let answer = server.get("/v2/").expect(401);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"https://auth.example/token\",service=\"registry\"")
    );
    let answer = server.request("POST", "/v2/a/b/blobs/uploads/", &[], &[]).expect(401);
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(challenge.ends_with(",scope=\"repository:a/b:pull,push\""), "{challenge}");

    let grant = |actions: &[&str]| {
        let access = json!([{ "type": "repository", "name": "a/b", "actions": actions }]);
        format!("Bearer {}", token(place, &access))
    };
    let (reader, writer) = (grant(&["pull"]), grant(&["pull", "push"]));
    let ask = |method: &str, path: &str, bearer: &str| {
        server.request(method, path, &[("Authorization", bearer)], &[]).status
    };
    assert_eq!(ask("GET", "/v2/", &reader), 200);
    assert_eq!(ask("POST", "/v2/a/b/blobs/uploads/", &writer), 202);
    assert_eq!(ask("POST", "/v2/a/b/blobs/uploads/", &reader), 401);
    assert_eq!(ask("POST", "/v2/a/c/blobs/uploads/", &writer), 401);
    assert_eq!(ask("GET", "/v2/a/b/tags/list", &reader), 404);
    assert_eq!(ask("GET", "/v2/_catalog", &writer), 401);
    assert_eq!(ask("DELETE", "/v2/a/b/manifests/v1", &writer), 401);
    assert_eq!(ask("GET", "/metrics", &writer), 404);
    let catalog = json!([{ "type": "registry", "name": "catalog", "actions": ["*"] }]);
    assert_eq!(ask("GET", "/v2/_catalog", &format!("Bearer {}", token(place, &catalog))), 200);
    let mut forged = writer.clone();
    forged.pop();
    forged.push(if writer.ends_with('A') { 'Q' } else { 'A' });
    assert_eq!(ask("GET", "/v2/", &forged), 401);

    // What may not be read cannot be mounted, and is to be uploaded.
    let both = json!([
        { "type": "repository", "name": "x", "actions": ["pull", "push"] },
        { "type": "repository", "name": "a/b", "actions": ["pull"] },
    ]);
    let x = format!("Bearer {}", token(place, &both));
    let put = format!("/v2/x/blobs/uploads/?digest={}", digest(b"secret"));
    let headers = [("Authorization", x.as_str()), OCTETS];
    let _ = server.request("POST", &put, &headers, b"secret").expect(201);
    let mount = format!("/v2/a/b/blobs/uploads/?mount={}&from=x", digest(b"secret"));
    assert_eq!(ask("POST", &mount, &writer), 202);
}

// ---- TLS --------------------------------------------------------------------------------------

/// An authority, a server's certificate and a client's.
fn authority(folder: &Path) {
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca",
    );
    fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
    fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").expect("a file");
    for who in ["server", "client"] {
        openssl(
            folder,
            &format!(
                "req -newkey rsa:2048 -nodes -keyout {who}.key -out {who}.csr -subj /CN={who}"
            ),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {who}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {who}.crt -days 2 -extfile {who}.ext"
            ),
        );
    }
}

#[test]
fn tls_is_spoken_and_clients_may_need_certificates() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = folder.path();
    authority(place);
    let file = |name: &str| place.join(name).to_str().expect("a path").to_owned();
    let curl = |server: &Server, more: &[&str]| {
        Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
            .arg(place.join("ca.crt"))
            .args(more)
            .arg(format!("https://{}/v2/", server.host()))
            .output()
            .expect("curl")
    };
    let (certificate, key) = (file("server.crt"), file("server.key"));
    let server = Server::isopod(&["--tls-cert", &certificate, "--tls-key", &key]);
    assert_eq!(text(curl(&server, &[])), "200");
    drop(server);

    let authority = file("ca.crt");
    let arguments = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &authority];
    let server = Server::isopod(&arguments);
    assert!(!curl(&server, &[]).status.success(), "no certificate, no answer");
    let (cert, key) = (file("client.crt"), file("client.key"));
    assert_eq!(text(curl(&server, &["--cert", &cert, "--key", &key])), "200");
}

#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let folder = tempfile::tempdir().expect("a directory");
    let place = folder.path();
    authority(place);
    let file = |name: &str| place.join(name).to_str().expect("a path").to_owned();
    let server =
        Server::isopod(&["--tls-cert", &file("server.crt"), "--tls-key", &file("server.key")]);
    let presented = || {
        let address = server.host();
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address])
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(presented().contains("CN = server"));
    // One that cannot be read changes nothing.
    fs::write(place.join("server.crt"), "nonsense").expect("a file");
    server.signal(Signal::HUP);
    eventually("it says so", Duration::from_secs(60), || {
        server.log().contains("the certificate of before stays").then_some(())
    });
    assert!(presented().contains("CN = server"));
    fs::copy(place.join("client.crt"), place.join("server.crt")).expect("a file");
    fs::copy(place.join("client.key"), place.join("server.key")).expect("a file");
    server.signal(Signal::HUP);
    eventually("the new one is presented", Duration::from_secs(60), || {
        presented().contains("CN = client").then_some(())
    });
}

// ---- rules ------------------------------------------------------------------------------------

#[test]
fn a_read_only_registry_refuses_every_change() {
    let mut server = Server::isopod(&[]);
    let bytes = server.push_image("a", "v1", b"layer");
    let path = format!("/v2/a/manifests/{}", digest(&bytes));
    let root = server.root().to_owned();
    let reader = Server::isopod_over(&root, &["--read-only"]);
    assert_eq!(reader.request("GET", &path, &[ACCEPT], &[]).expect(200).body, bytes);
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v2"),
        ("DELETE", path.as_str()),
        ("DELETE", "/v2/a/manifests/v1"),
    ] {
        let answer = reader.request(method, path, &[], &[]).expect(405);
        assert_eq!(codes(&answer), ["UNSUPPORTED"]);
    }
    server.kill();
    assert_eq!(reader.request("GET", &path, &[ACCEPT], &[]).expect(200).body, bytes);
}

#[test]
fn deleting_can_be_forbidden() {
    let server = Server::isopod(&["--no-delete"]);
    let bytes = server.push_image("a", "v1", b"layer");
    for path in [
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{}", digest(&bytes)),
        format!("/v2/a/blobs/{}", digest(b"layer")),
    ] {
        assert_eq!(codes(&server.request("DELETE", &path, &[], &[]).expect(405)), ["UNSUPPORTED"]);
    }
    // Giving an upload up deletes nothing that anybody has.
    let _ = server.request("DELETE", &server.begin("a"), &[], &[]).expect(204);
}

#[test]
fn counters_have_a_page_of_their_own() {
    let server = Server::isopod(&["--metrics-addr", "127.0.0.1:0"]);
    server.push_image("a", "v1", b"layer");
    let _ = server.get("/metrics").expect(404);
    let port = server.port_in_log("metrics on ");
    let address = format!("http://127.0.0.1:{port}/metrics");
    let page = text(Command::new("curl").args(["-sS", &address]).output().expect("curl"));
    for line in [
        "isopod_registry_requests_total{method=\"PUT\",route=\"manifest\",status=\"201\"} 1",
        "isopod_registry_requests_total{method=\"PUT\",route=\"upload\",status=\"201\"} 2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
    drop(server);
    let server = Server::isopod(&[]);
    assert!(server.get("/metrics").expect(200).text().contains("isopod_registry_info"));
}

#[test]
fn heads_that_are_too_large_or_no_http_are_cut_off() {
    let server = Server::isopod(&[]);
    let large = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(server.raw(large.as_bytes()).is_none_or(|answer| answer.status == 431));
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let many = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    assert!(server.raw(many.as_bytes()).is_none_or(|answer| answer.status == 431));
    for garbage in
        [&b"\x16\x03\x01\x02\x00garbage\r\n\r\n"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        assert!(server.raw(garbage).is_none_or(|answer| answer.status == 400));
    }
    let lies = b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(server.raw(lies).is_none_or(|answer| answer.status >= 400));
    let _ = server.get("/v2/").expect(200);
}

#[test]
fn many_silent_connections_keep_nobody_out() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current| {
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("setrlimit(2)");
    };
    // What a process may open by default; the registry has to ask for more, as we do then.
    limit(Some(1024));
    let server = Server::isopod(&[]);
    limit(maximum);
    let silent: Vec<_> = (0..1500).map(|_| server.connect()).collect();
    let bytes = server.push_image("a", "v1", b"layer");
    let answer = server.request("GET", "/v2/a/manifests/v1", &[ACCEPT], &[]).expect(200);
    assert_eq!(answer.body, bytes);
    drop(silent);
}

// ---- collecting -------------------------------------------------------------------------------

#[test]
fn garbage_is_collected_while_the_registry_serves() {
    let server = Server::isopod(&[]);
    let kept = server.push_image("a/b", "v1", b"kept layer");
    let gone = server.push_image("a/b", "v2", b"gone layer");
    let stray = server.push_blob("c", b"stray");
    let path = format!("/v2/a/b/manifests/{}", digest(&gone));
    let _ = server.request("DELETE", &path, &[], &[]).expect(202);

    let said = server.collect(&[]);
    assert!(said.contains("4 unused blobs are younger than the grace time"), "{said}");
    assert!(stored(&server, &stray));

    age(server.root());
    let said = server.collect(&["--dry-run"]);
    assert!(said.contains("would remove 0 manifests, 3 links, 4 blobs"), "{said}");
    assert!(stored(&server, &stray));
    let said = server.collect(&[]);
    assert!(said.contains("removed 0 manifests, 3 links, 4 blobs"), "{said}");
    for digest in [&stray, &digest(&gone), &digest(b"gone layer")] {
        assert!(!stored(&server, digest), "{digest}");
    }
    let answer = server.request("GET", "/v2/a/b/manifests/v1", &[ACCEPT], &[]).expect(200);
    assert_eq!(answer.body, kept);
    assert!(server.has_blob("a/b", &digest(b"kept layer")));
    assert!(!server.has_blob("c", &stray));
    // What was collected can come again.
    server.push_image("a/b", "v2", b"gone layer");
    assert!(server.has_blob("a/b", &digest(b"gone layer")));
}

#[test]
fn nothing_is_collected_where_no_registry_is() {
    let folder = tempfile::tempdir().expect("a directory");
    let root = folder.path().join("mistyped");
    let output =
        command(&["garbage-collect", "--root"]).arg(&root).output().expect("garbage-collect");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("holds no registry"));
    assert!(!root.exists());
}

#[test]
fn untagged_manifests_go_when_asked_for() {
    let server = Server::isopod(&[]);
    let old = server.push_image("a", "latest", b"old layer");
    let new = server.push_image("a", "latest", b"new layer");
    age(server.root());
    assert!(server.collect(&[]).contains("removed 0 manifests"));
    let said = server.collect(&["--untagged"]);
    assert!(said.contains(&format!("removed manifest {} of a", digest(&old))), "{said}");
    let _ = server.get(&format!("/v2/a/manifests/{}", digest(&old))).expect(404);
    let answer = server.request("GET", "/v2/a/manifests/latest", &[ACCEPT], &[]).expect(200);
    assert_eq!(answer.body, new);
    assert!(!stored(&server, &digest(b"old layer")));
}

#[test]
fn a_cache_forgets_what_nobody_asks_for() {
    let upstream = Server::isopod(&[]);
    let (bytes, rare) =
        (upstream.push_image("a", "often", b"often"), upstream.push_image("a", "rare", b"rare"));
    let cache = cache_of(&upstream, &[]);
    let (often, seldom) = ("/v2/a/manifests/often", "/v2/a/manifests/rare");
    for (path, layer) in [(often, digest(b"often")), (seldom, digest(b"rare"))] {
        let _ = cache.request("GET", path, &[ACCEPT], &[]).expect(200);
        let _ = cache.get(&format!("/v2/a/blobs/{layer}")).expect(200);
    }
    age(cache.root());
    let _ = cache.request("GET", often, &[ACCEPT], &[]).expect(200);
    let said = cache.collect(&["--unused", "48h"]);
    assert!(said.contains(&format!("removed manifest {} of a", digest(&rare))), "{said}");
    assert!(stored(&cache, &digest(b"often")) && stored(&cache, &digest(&bytes)));
    assert!(!stored(&cache, &digest(b"rare")));
    // It comes again when it is wanted.
    assert_eq!(cache.request("GET", seldom, &[ACCEPT], &[]).expect(200).body, rare);
}

#[test]
fn what_a_client_was_told_of_is_still_there_for_its_manifest() {
    let server = Server::isopod(&[]);
    let layer = server.push_blob("a", b"layer of old");
    let config = server.push_blob("a", b"{}");
    age(server.root());
    // A client that finds both there will not send them, but put a manifest.
    for digest in [&layer, &config] {
        assert!(server.has_blob("a", digest));
    }
    let _ = server.collect(&["--untagged", "--grace", "1h"]);
    let bytes = manifest(b"{}", &[b"layer of old"]).to_string();
    let _ = server.put("a", "v1", MANIFEST, bytes.as_bytes()).expect(201);
    // The same by mounting.
    age(server.root());
    let path = format!("/v2/b/blobs/uploads/?mount={layer}&from=a");
    let _ = server.request("POST", &path, &[], &[]).expect(201);
    let _ = server.request("DELETE", "/v2/a/manifests/v1", &[], &[]).expect(202);
    let _ = server.collect(&["--untagged", "--grace", "1h"]);
    assert!(server.has_blob("b", &layer));
    assert!(!server.has_blob("a", &layer));
}

#[test]
fn pushes_and_collections_at_the_same_time_do_not_hurt_each_other() {
    let server = Server::isopod(&[]);
    let other = Server::isopod_over(server.root(), &[]);
    // All that will be pushed is there already, old and without a manifest.
    for number in 0..4_u64 {
        for round in 0..12_u64 {
            server.push_blob(&format!("race/{number}"), &noise(number * 100 + round, 40_000));
        }
    }
    age(server.root());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = server.collect(&["--untagged", "--grace", "2m"]);
                rounds += 1;
            }
            rounds
        });
        let pushers: Vec<_> = (0..4_u64)
            .map(|number| {
                let (server, other) = (&server, &other);
                scope.spawn(move || {
                    for round in 0..12_u64 {
                        let to = if round % 2 == 0 { server } else { other };
                        let layer = noise(number * 100 + round, 40_000);
                        to.push_image(&format!("race/{number}"), "latest", &layer);
                    }
                })
            })
            .collect();
        let pushed: Vec<_> = pushers.into_iter().map(|pusher| pusher.join()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(pushed.iter().all(Result::is_ok), "every push succeeds");
        assert!(collector.join().expect("every collection succeeds") > 0);
    });
    age(server.root());
    let _ = server.collect(&["--untagged"]);
    for number in 0..4_u64 {
        let name = format!("race/{number}");
        let path = format!("/v2/{name}/manifests/latest");
        let image = server.request("GET", &path, &[ACCEPT], &[]).expect(200).json();
        for blob in [&image["config"], &image["layers"][0]] {
            let digest = blob["digest"].as_str().expect("a digest");
            let answer = other.get(&format!("/v2/{name}/blobs/{digest}")).expect(200);
            assert_eq!(testkit::distribution::content::digest(&answer.body), digest);
        }
    }
}

// ---- processes --------------------------------------------------------------------------------

#[test]
fn an_upload_goes_on_in_another_process() {
    let one = Server::isopod(&[]);
    let two = Server::isopod_over(one.root(), &[]);
    let blob = noise(11, 3_000_000);
    let place = one.begin("a");
    let mut at = 0;
    for (number, piece) in blob.chunks(500_000).enumerate() {
        let server = if number % 2 == 0 { &two } else { &one };
        let range = format!("{at}-{}", at + piece.len() - 1);
        let headers = [OCTETS, ("Content-Range", range.as_str())];
        let _ = server.request("PATCH", &place, &headers, piece).expect(202);
        at += piece.len();
    }
    let digest = digest(&blob);
    let _ = two.request("PUT", &with(&place, &format!("digest={digest}")), &[], &[]).expect(201);
    assert_eq!(one.get(&format!("/v2/a/blobs/{digest}")).expect(200).body, blob);
    let bytes = two.push_image("a", "v1", b"layer");
    assert_eq!(one.request("GET", "/v2/a/manifests/v1", &[ACCEPT], &[]).expect(200).body, bytes);
    let _ = one.request("DELETE", "/v2/a/manifests/v1", &[], &[]).expect(202);
    let _ = two.get("/v2/a/manifests/v1").expect(404);
}

/// Sends the head and a part of the body; the connection stays open.
fn send_part(server: &Server, head: &str, part: &[u8]) -> std::net::TcpStream {
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).expect("a head");
    stream.write_all(part).expect("a part");
    stream
}

fn partial_length(server: &Server) -> u64 {
    let entries = fs::read_dir(server.root().join("partial")).expect("uploads").flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

#[test]
fn an_upload_survives_the_registry_being_killed() {
    let mut server = Server::isopod(&[]);
    let bytes = server.push_image("a", "v1", b"layer");
    let blob = noise(12, 4 << 20);
    let place = server.begin("a");
    let head =
        format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", blob.len());
    let _stream = send_part(&server, &head, &blob[..3 << 20]);
    eventually("most of it is written", Duration::from_secs(60), || {
        (partial_length(&server) >= 2 << 20).then_some(())
    });
    server.restart();
    let status = server.get(&place).expect(204);
    let range = status.header("range").expect("a range");
    let at = range[2..].parse::<usize>().expect("a number") + 1;
    assert!((2 << 20..=3 << 20).contains(&at), "{range}");
    let range = format!("{at}-{}", blob.len() - 1);
    let headers = [OCTETS, ("Content-Range", range.as_str())];
    let _ = server.request("PATCH", &place, &headers, &blob[at..]).expect(202);
    let digest = digest(&blob);
    let _ = server.request("PUT", &with(&place, &format!("digest={digest}")), &[], &[]).expect(201);
    assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).expect(200).body, blob);
    assert_eq!(server.request("GET", "/v2/a/manifests/v1", &[ACCEPT], &[]).expect(200).body, bytes);
}

#[test]
fn killed_at_any_moment_the_registry_has_whole_images_or_none() {
    let mut server = Server::isopod(&[]);
    for round in 0..12_u64 {
        let layer = noise(round, 200_000);
        let image = manifest(b"{}", &[&layer]).to_string().into_bytes();
        let server_ref = &server;
        std::thread::scope(|scope| {
            let pusher = scope.spawn(move || {
                // It is cut off somewhere: every step may fail.
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    server_ref.push_blob("k", b"{}");
                    server_ref.push_blob("k", &layer);
                    server_ref.put("k", &format!("v{round}"), MANIFEST, &image).status == 201
                }))
                .unwrap_or(false)
            });
            std::thread::sleep(Duration::from_millis(round * 9));
            server_ref.signal(Signal::KILL);
            let whole = pusher.join().expect("a pusher");
            (round, whole)
        });
        server.restart();
        let tags = server.get("/v2/k/tags/list");
        if tags.status == 404 {
            continue;
        }
        for tag in tags.expect(200).json()["tags"].as_array().expect("tags") {
            let tag = tag.as_str().expect("a tag");
            let path = format!("/v2/k/manifests/{tag}");
            let image = server.request("GET", &path, &[ACCEPT], &[]).expect(200).json();
            let digest = image["layers"][0]["digest"].as_str().expect("a digest").to_owned();
            let answer = server.get(&format!("/v2/k/blobs/{digest}")).expect(200);
            assert_eq!(testkit::distribution::content::digest(&answer.body), digest);
        }
    }
}

#[test]
fn told_to_end_it_finishes_what_is_under_way() {
    let mut server = Server::isopod(&[]);
    let blob = noise(13, 4 << 20);
    let digest = digest(&blob);
    let place = with(&server.begin("a"), &format!("digest={digest}"));
    let head = format!("PUT {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", blob.len());
    let mut stream = send_part(&server, &head, &blob[..3 << 20]);
    // It is at work on the request before it is told.
    eventually("some of it is written", Duration::from_secs(60), || {
        (partial_length(&server) >= 1 << 20).then_some(())
    });
    assert_eq!(server.request("PATCH", &place, &[OCTETS], b"x").status, 409, "it is busy");
    server.signal(Signal::TERM);
    eventually("it listens no more", Duration::from_secs(60), || {
        server.log().contains("ending").then_some(())
    });
    stream.write_all(&blob[3 << 20..]).expect("the rest");
    let answer: Response = server.answer(stream);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(server.wait().success());
}

// ---- the cache --------------------------------------------------------------------------------

fn cache_of(upstream: &Server, more: &[&str]) -> Server {
    let url = format!("http://{}", upstream.host());
    let mut arguments = vec!["--proxy", &url];
    arguments.extend_from_slice(more);
    Server::isopod(&arguments)
}

#[test]
fn a_cache_fetches_once_and_gives_what_it_has_when_upstream_is_gone() {
    for upstream in [Server::docker(), Server::isopod(&[])] {
        let layer = noise(14, 3_000_000);
        let bytes = upstream.push_image("library/a", "v1", &layer);
        let cache = cache_of(&upstream, &[]);
        let tag = "/v2/library/a/manifests/v1";
        let head = cache.request("HEAD", tag, &[ACCEPT], &[]).expect(200);
        assert_eq!(head.header("docker-content-digest"), Some(digest(&bytes).as_str()));
        assert_eq!(cache.request("GET", tag, &[ACCEPT], &[]).expect(200).body, bytes);
        let blob = format!("/v2/library/a/blobs/{}", digest(&layer));
        let head = cache.head(&blob).expect(200);
        assert_eq!(head.header("content-length"), Some("3000000"));
        assert_eq!(cache.get(&blob).expect(200).body, layer);
        let tags = cache.get("/v2/library/a/tags/list").expect(200).json();
        assert_eq!(tags["tags"], json!(["v1"]));
        assert_eq!(cache.get("/v2/library/a/manifests/v2").status, 404);
        assert_eq!(cache.get(&format!("/v2/library/a/blobs/{}", digest(b"no"))).status, 404);
        assert_eq!(cache.get("/v2/library/b/manifests/v1").status, 404);

        // The tag moves upstream.
        let moved = upstream.push_image("library/a", "v1", b"another layer");
        assert_eq!(cache.request("GET", tag, &[ACCEPT], &[]).expect(200).body, moved);

        drop(upstream);
        assert_eq!(cache.request("GET", tag, &[ACCEPT], &[]).expect(200).body, moved);
        let old = format!("/v2/library/a/manifests/{}", digest(&bytes));
        assert_eq!(cache.request("GET", &old, &[ACCEPT], &[]).expect(200).body, bytes);
        assert_eq!(cache.get(&blob).expect(200).body, layer);
        let part = cache.request("GET", &blob, &[("Range", "bytes=5-9")], &[]).expect(206);
        assert_eq!(part.body, layer[5..10]);
        assert_eq!(cache.get("/v2/library/a/manifests/v9").status, 502);
        let push = cache.request("POST", "/v2/library/a/blobs/uploads/", &[], &[]).expect(405);
        assert_eq!(codes(&push), ["UNSUPPORTED"]);
    }
}

#[test]
fn many_who_want_the_same_blob_share_one_download() {
    let upstream = Server::isopod(&[]);
    let layer = noise(15, 8 << 20);
    upstream.push_image("a", "v1", &layer);
    let cache = cache_of(&upstream, &[]);
    let blob = format!("/v2/a/blobs/{}", digest(&layer));
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|_| scope.spawn(|| cache.get(&blob).expect(200).body)).collect();
        for client in clients {
            assert!(client.join().expect("a client") == layer);
        }
    });
    let page = upstream.get("/metrics").expect(200).text();
    let line = "isopod_registry_requests_total{method=\"GET\",route=\"blob\",status=\"200\"} 1";
    assert!(page.lines().any(|found| found == line), "{page}");
}

#[test]
fn a_cache_says_who_it_is_upstream() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("htpasswd");
    fs::write(&file, password_line("cache", "sesame")).expect("a file");
    let upstream = Server::isopod(&[]);
    let bytes = upstream.push_image("a", "v1", b"layer");
    let htpasswd = file.to_str().expect("a path");
    let guarded = Server::isopod_over(upstream.root(), &["--htpasswd", htpasswd]);
    let secret = folder.path().join("secret");
    fs::write(&secret, "sesame\n").expect("a file");
    let path = secret.to_str().expect("a path");
    let cache = cache_of(&guarded, &["--proxy-username", "cache", "--proxy-password-file", path]);
    let tag = "/v2/a/manifests/v1";
    assert_eq!(cache.request("GET", tag, &[ACCEPT], &[]).expect(200).body, bytes);
    let stranger = cache_of(&guarded, &[]);
    assert_eq!(codes(&stranger.get(tag).expect(403)), ["DENIED"]);
}

#[test]
fn a_blob_that_is_wrong_upstream_is_neither_given_whole_nor_kept() {
    let upstream = Server::isopod(&[]);
    let layer = noise(16, 500_000);
    upstream.push_image("a", "v1", &layer);
    let digest = digest(&layer);
    let file = upstream.root().join("blobs").join(digest.replace(':', "/"));
    let mut wrong = layer.clone();
    wrong[250_000] ^= 1;
    fs::write(file, wrong).expect("a file");
    let cache = cache_of(&upstream, &[]);
    let mut stream = cache.connect();
    let request =
        format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    // The connection may end with a reset as well.
    let _ = stream.read_to_end(&mut answer);
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(answer.len() - head < layer.len(), "{} bytes came", answer.len() - head);
    assert!(!stored(&cache, &digest));
}
