//! A registry that others have written: Debian's `docker-registry`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use distribution::manifest::{Descriptor, Document, ImageManifest, Limits, media_type};
use distribution::{BytesSource, Client, Credentials, Repository};
use types::ErrorKind;
use types::digest::Digest;
use types::reference::Reference;

use crate::server::{digest, noise, settings};

/// A running registry; it ends with its test.
struct Peer {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts one on a free port, with further lines of configuration.
    fn start(more: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:0\"}}\n{}",
            dir.path().join("data").display(),
            more(dir.path())
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).expect("written");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker-registry is needed: apt-get install docker-registry");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let host = loop {
            let line = lines.next().expect("it says where it listens").expect("text");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(['"', ',', ' ']).unwrap_or(rest.len());
                break rest[..end].to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, host, _dir: dir }
    }

    fn repository(&self, name: &str, who: Option<Credentials>) -> Repository {
        let name = Reference::parse(&format!("{}/{name}", self.host)).expect("valid");
        Client::new(settings()).expect("a client").repository(&name, who)
    }
}

async fn push(repository: &Repository, layer: &[u8], tag: &str) -> (Digest, Descriptor) {
    let config = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}".to_vec();
    let mut parts = Vec::new();
    for (kind, bytes) in
        [(media_type::DOCKER_CONFIG, &config[..]), (media_type::DOCKER_LAYER_GZIP, layer)]
    {
        let mut source = BytesSource::new(bytes.to_vec());
        let digest = repository.upload(&mut source).await.expect("uploaded");
        parts.push(Descriptor::new(kind, digest, bytes.len() as u64));
    }
    let layer = parts[1].clone();
    let manifest = ImageManifest::docker(parts[0].clone(), vec![layer.clone()]);
    let bytes = manifest.to_bytes().into();
    let put = repository.put_manifest(tag, media_type::DOCKER_MANIFEST, bytes).await;
    (put.expect("put"), layer)
}

async fn read(repository: &Repository, descriptor: &Descriptor, from: u64) -> Vec<u8> {
    let mut stream = repository.blob(descriptor, from).await.expect("opened");
    let mut all = Vec::new();
    while let Some(bytes) = stream.chunk().await.expect("read") {
        all.extend_from_slice(&bytes);
    }
    all
}

#[tokio::test]
async fn what_is_pushed_comes_back() {
    let peer = Peer::start(|_| String::new());
    let repository = peer.repository("some/image", None);
    let layer = noise(5_000_000);
    let (name, descriptor) = push(&repository, &layer, "one").await;

    let fetched = repository.manifest("one").await.expect("fetched");
    assert_eq!(fetched.digest, name);
    assert_eq!(fetched.media_type, media_type::DOCKER_MANIFEST);
    let document = Document::parse(&fetched.media_type, &fetched.bytes, &Limits::default());
    assert_eq!(document.expect("valid").parts().count(), 2);
    assert_eq!(repository.head_manifest("one").await.expect("asked").digest, name);
    assert_eq!(repository.manifest(name.as_str()).await.expect("fetched"), fetched);
    assert_eq!(read(&repository, &descriptor, 0).await, layer);
    assert_eq!(read(&repository, &descriptor, 4_999_990).await, &layer[4_999_990..]);
    assert_eq!(repository.has_blob(&descriptor.digest).await.expect("asked"), Some(5_000_000));
    assert_eq!(repository.has_blob(&digest(b"absent")).await.expect("asked"), None);

    let other = peer.repository("other", None);
    assert!(other.mount(&descriptor.digest, "some/image").await.expect("asked"));
    assert!(!other.mount(&digest(b"absent"), "some/image").await.expect("asked"));
    assert_eq!(read(&other, &descriptor, 0).await, layer);

    push(&repository, &layer, "two").await;
    let mut tags = repository.tags().await.expect("listed");
    tags.sort();
    assert_eq!(tags, ["one", "two"]);
    assert_eq!(repository.referrers(&name, None).await.expect("listed"), []);
    repository.delete_manifest(name.as_str()).await.expect("deleted");
    let error = repository.manifest("one").await.expect_err("deleted");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let words = error.for_pull(&repository.name().with_tag("one").expect("valid")).message;
    assert!(words.contains("not found: manifest unknown: manifest unknown"), "{words}");
}

#[tokio::test]
async fn many_tags_come_in_pages() {
    let peer = Peer::start(|_| String::new());
    let repository = peer.repository("many", None);
    let (name, _) = push(&repository, b"layer", "first").await;
    let bytes = repository.manifest(name.as_str()).await.expect("fetched").bytes;
    for n in 0..30 {
        let tag = format!("t{n}");
        let put = repository.put_manifest(&tag, media_type::DOCKER_MANIFEST, bytes.clone()).await;
        put.expect("put");
    }
    assert_eq!(repository.tags().await.expect("listed").len(), 31);
    assert_eq!(
        peer.repository("absent", None).tags().await.expect_err("none").kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_password_is_wanted() {
    let peer = Peer::start(|dir| {
        // The password `U*U`, from the test vectors of bcrypt.
        let file = dir.join("htpasswd");
        let line = "me:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
        std::fs::write(&file, line).expect("written");
        format!("auth: {{htpasswd: {{realm: x, path: {}}}}}\n", file.display())
    });
    let client = Client::new(settings()).expect("a client");
    let wrong = Credentials::basic("me", "wrong");
    let error = client.login(&peer.host, &wrong).await.expect_err("wrong");
    assert_eq!(
        error.to_string(),
        format!("login attempt to http://{}/v2/ failed with status: 401 Unauthorized", peer.host)
    );
    let error = peer.repository("x", None).manifest("y").await.expect_err("nobody");
    assert!(error.to_string().ends_with("no basic auth credentials"), "{error}");
    let right = Credentials::basic("me", "U*U");
    client.login(&peer.host, &right).await.expect("welcome");
    let repository = peer.repository("x", Some(right));
    let (name, layer) = push(&repository, b"layer", "y").await;
    assert_eq!(repository.manifest("y").await.expect("fetched").digest, name);
    assert_eq!(read(&repository, &layer, 0).await, b"layer");
}
