//! Uploads, mounts and what is put under a name.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use distribution::{BytesSource, Chunks, Credentials, Error, FileSource, Settings, Source};
use types::ErrorKind;
use types::digest::Digest;

use crate::server::{Asked, How, Reply, Server, digest, hasty, noise, reply};

/// A registry that takes uploads, with a way to interfere.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    uploads: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    next: usize,
}

impl Store {
    fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.0.lock().expect("not poisoned").blobs.get(digest.as_str()).cloned()
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let mut inner = self.0.lock().expect("not poisoned");
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let id = path.rsplit('/').next().unwrap_or_default().to_owned();
        let range = |length: usize| format!("0-{}", length.max(1) - 1);
        match asked.method.as_str() {
            "POST" => {
                inner.next += 1;
                let id = inner.next.to_string();
                inner.uploads.insert(id.clone(), Vec::new());
                reply(202).header("Location", format!("/v2/a/b/blobs/uploads/{id}?state=s"))
            }
            "PATCH" => {
                assert_eq!(query, "state=s");
                let Some(upload) = inner.uploads.get_mut(&id) else { return reply(404) };
                if let Some(range) = asked.header("content-range") {
                    assert!(range.starts_with(&format!("{}-", upload.len())), "{range}");
                }
                upload.extend_from_slice(&asked.body);
                let range = range(upload.len());
                reply(202).header("Location", format!("{id}?state=s")).header("Range", range)
            }
            "GET" => match inner.uploads.get(&id) {
                Some(upload) => reply(204)
                    .header("Location", format!("/v2/a/b/blobs/uploads/{id}?state=s"))
                    .header("Range", range(upload.len())),
                None => reply(404),
            },
            "PUT" => {
                let wanted = query.strip_prefix("state=s&digest=").expect("a digest");
                let wanted = wanted.replace("%3A", ":");
                let Some(mut upload) = inner.uploads.remove(&id) else { return reply(404) };
                upload.extend_from_slice(&asked.body);
                if digest(&upload).as_str() != wanted {
                    return reply(400).body(
                        r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}"#,
                    );
                }
                inner.blobs.insert(wanted.clone(), upload);
                reply(201).header("Docker-Content-Digest", wanted)
            }
            _ => reply(405),
        }
    }
}

/// A source whose length and digest are known only at its end.
struct Made(Vec<Bytes>);

impl Source for Made {
    fn size(&self) -> Option<u64> {
        None
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let all = Bytes::from(self.0.concat());
        BytesSource::new(all).open(from)
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(digest(&self.0.concat()))
    }
}

/// A source that is not sent at once, however small it is.
struct Large(BytesSource);

impl Source for Large {
    fn size(&self) -> Option<u64> {
        self.0.size()
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        self.0.open(from)
    }

    fn digest(&mut self) -> io::Result<Digest> {
        self.0.digest()
    }
}

/// A source that thinks for longer than a registry may be silent.
struct Slow;

impl Source for Slow {
    fn size(&self) -> Option<u64> {
        None
    }

    fn open(&mut self, _from: u64) -> io::Result<Chunks> {
        Ok(Box::pin(futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            Ok(Bytes::from_static(b"at last"))
        })))
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(digest(b"at last"))
    }
}

/// A source that cannot be read to its end, or that lies about its length.
struct Bad(u64);

impl Source for Bad {
    fn size(&self) -> Option<u64> {
        Some(self.0)
    }

    fn open(&mut self, _from: u64) -> io::Result<Chunks> {
        let bytes = Ok(Bytes::from_static(b"0123456789"));
        let end = (self.0 == 20).then(|| Err(io::Error::other("the disk is on fire")));
        Ok(Box::pin(futures_util::stream::iter([bytes].into_iter().chain(end))))
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Err(io::Error::other("never asked for"))
    }
}

#[tokio::test]
async fn blobs_of_known_and_unknown_length() {
    let store = Store::default();
    let handler = store.clone();
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v2/" => reply(200),
        _ => handler.answer(asked),
    })
    .await;
    let repository = server.repository(None);
    let content = noise(3_000_000);
    let uploaded = repository.upload(&mut BytesSource::new(content.clone())).await.expect("taken");
    assert_eq!(store.blob(&uploaded), Some(content.clone()));
    let pieces = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let uploaded = repository.upload(&mut Made(pieces)).await.expect("taken");
    assert_eq!(store.blob(&uploaded).as_deref(), Some(b"onetwo".as_slice()));
    let uploaded = repository.upload(&mut BytesSource::new("")).await.expect("taken");
    assert_eq!(store.blob(&uploaded).as_deref(), Some(b"".as_slice()));
    let mut file = tempfile::tempfile().expect("a file");
    io::Write::write_all(&mut file, &content[..2_500_000]).expect("written");
    let expected = digest(&content[..2_500_000]);
    let mut source = FileSource::new(file, expected.clone()).expect("a source");
    assert_eq!(repository.upload(&mut source).await.expect("taken"), expected);
    assert_eq!(store.blob(&expected).map(|blob| blob.len()), Some(2_500_000));
}

#[tokio::test]
async fn an_interrupted_upload_goes_on_or_begins_anew() {
    for lost in [false, true] {
        let store = Store::default();
        let handler = store.clone();
        let server = Server::start(move |asked| {
            if asked.path == "/v2/" {
                return reply(200);
            }
            let patches = asked.method == "PATCH" && asked.before == 0;
            if patches && !asked.path.contains("uploads/9") && asked.path.contains("uploads/1?") {
                // What has arrived is kept, but nobody hears of it.
                let mut part = asked.clone();
                part.body.truncate(1000);
                handler.answer(&part);
                if lost {
                    handler.0.lock().expect("not poisoned").uploads.clear();
                }
                return reply(500).how(How::Dropped);
            }
            handler.answer(asked)
        })
        .await;
        let content = noise(5000);
        let mut source = Large(BytesSource::new(content.clone()));
        let uploaded = server.repository(None).upload(&mut source).await.expect("taken");
        assert_eq!(store.blob(&uploaded), Some(content));
        let ranges: Vec<_> = server
            .asked()
            .iter()
            .filter_map(|a| a.header("content-range").map(str::to_owned))
            .collect();
        assert_eq!(ranges, if lost { vec![] } else { vec!["1000-4999".to_owned()] });
        let begun = server.asked().iter().filter(|asked| asked.method == "POST").count();
        assert_eq!(begun, if lost { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_blob_that_is_too_large_for_one_request() {
    let store = Store::default();
    let handler = store.clone();
    let server = Server::start(move |asked| match asked.method.as_str() {
        "PATCH" if asked.body.len() > 40 << 20 => reply(413),
        _ => handler.answer(asked),
    })
    .await;
    let content = vec![5; 70 << 20];
    let mut source = BytesSource::new(content.clone());
    let uploaded = server.repository(None).upload(&mut source).await.expect("taken in pieces");
    assert!(store.blob(&uploaded) == Some(content));
    let ranges: Vec<_> = server
        .asked()
        .iter()
        .filter_map(|a| a.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["0-33554431", "33554432-67108863", "67108864-73400319"]);
}

#[tokio::test]
async fn a_small_blob_needs_two_requests() {
    let store = Store::default();
    let handler = store.clone();
    let server =
        Server::start(move |asked| match (asked.path.as_str(), asked.header("authorization")) {
            ("/v2/", _) => reply(200),
            // A mount that is not one begins an upload, and asks for nobody's name.
            (path, None) if !path.contains("mount=") => {
                reply(401).header("WWW-Authenticate", "Basic realm=x")
            }
            _ => handler.answer(asked),
        })
        .await;
    let repository = server.repository(Some(Credentials::basic("me", "secret")));
    assert!(!repository.mount(&digest(b"small"), "other").await.expect("asked"));
    let uploaded = repository.upload(&mut BytesSource::new("small")).await.expect("taken");
    assert_eq!(store.blob(&uploaded).as_deref(), Some(b"small".as_slice()));
    let from = server.asked().len();
    repository.upload(&mut BytesSource::new("other")).await.expect("taken");
    let methods: Vec<_> = server.asked()[from..].iter().map(|a| a.method.clone()).collect();
    assert_eq!(methods, ["POST", "PUT"]);
}

#[tokio::test]
async fn a_registry_is_not_blamed_for_a_slow_source() {
    let store = Store::default();
    let handler = store.clone();
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v2/" => reply(200),
        _ => handler.answer(asked),
    })
    .await;
    let settings = Settings { idle_timeout: Duration::from_millis(60), ..hasty() };
    let repository = server.repository_with(settings, None);
    let uploaded = repository.upload(&mut Slow).await.expect("taken");
    assert_eq!(store.blob(&uploaded).as_deref(), Some(b"at last".as_slice()));
}

#[tokio::test]
async fn sources_that_cannot_be_read() {
    let store = Store::default();
    let server = Server::start(move |asked| store.answer(asked)).await;
    let repository = server.repository(None);
    for (size, words) in [
        (20, "the disk is on fire"),
        (11, "it is shorter than it said"),
        (5, "it is longer than it said"),
    ] {
        let error = repository.upload(&mut Bad(size)).await.expect_err(words);
        assert!(matches!(error, Error::Source(_)), "{error}");
        assert!(error.to_string().ends_with(words), "{error}");
    }
}

#[tokio::test]
async fn registries_that_refuse_uploads() {
    let server = Server::start(|asked| match asked.method.as_str() {
        "POST" => reply(202).header("Location", "/v2/a/b/blobs/uploads/1"),
        "PUT" => reply(413),
        _ => reply(404),
    })
    .await;
    let error = server.repository(None).upload(&mut BytesSource::new("x")).await;
    assert_eq!(error.expect_err("too large").kind(), ErrorKind::Invalid);
    for location in [None, Some("ftp://x/"), Some("http://")] {
        let server = Server::start(move |_| match location {
            Some(location) => reply(202).header("Location", location),
            None => reply(202),
        })
        .await;
        assert!(server.repository(None).upload(&mut BytesSource::new("x")).await.is_err());
    }
    let silent = Server::start(|asked| match asked.method.as_str() {
        "POST" => reply(202).header("Location", "/v2/a/b/blobs/uploads/1"),
        _ => reply(202).how(How::Silent),
    })
    .await;
    let hurried = Settings { idle_timeout: Duration::from_millis(30), ..hasty() };
    let repository = silent.repository_with(hurried, None);
    let error = repository.upload(&mut BytesSource::new("x")).await.expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn uploads_elsewhere_do_not_carry_credentials() {
    let store = Store::default();
    let taking = store.clone();
    let storage = Server::start(move |asked| taking.answer(asked)).await;
    storage.repository(None).upload(&mut BytesSource::new("first")).await.expect("taken");
    store.0.lock().expect("not poisoned").uploads.insert("x".to_owned(), Vec::new());
    let there = storage.url("/v2/a/b/blobs/uploads/x?state=s");
    let server = Server::start(move |asked| match asked.header("authorization") {
        None => reply(401).header("WWW-Authenticate", "Basic realm=x"),
        Some(_) => reply(202).header("Location", there.clone()),
    })
    .await;
    let who = Some(Credentials::basic("me", "secret"));
    let mut source = BytesSource::new("content");
    let uploaded = server.repository(who).upload(&mut source).await.expect("taken");
    assert_eq!(store.blob(&uploaded).as_deref(), Some(b"content".as_slice()));
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn mounts() {
    let wanted = digest(b"there");
    let known = wanted.clone();
    let store = Store::default();
    let handler = store.clone();
    let server = Server::start(move |asked| {
        let mounting = format!("/v2/a/b/blobs/uploads/?mount={known}&from=other%2Frepo");
        let mounting = mounting.replace("sha256:", "sha256%3A");
        match asked.path.contains("mount=") {
            true if asked.path == mounting => reply(201),
            _ => handler.answer(asked),
        }
    })
    .await;
    let repository = server.repository(None);
    assert!(repository.mount(&wanted, "other/repo").await.expect("asked"));
    assert!(!repository.mount(&digest(b"content"), "other/repo").await.expect("asked"));
    // The upload that was begun instead of the mount is used.
    repository.upload(&mut BytesSource::new("content")).await.expect("taken");
    let posts = server.asked().iter().filter(|asked| asked.method == "POST").count();
    assert_eq!(posts, 2);
    let denying = Server::start(|_| reply(403)).await;
    assert!(!denying.repository(None).mount(&wanted, "other/repo").await.expect("asked"));
}

#[tokio::test]
async fn manifests_are_put_and_deleted() {
    let server = Server::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/v2/a/b/manifests/flaky") if asked.before == 0 => reply(503),
        ("PUT", "/v2/a/b/manifests/lying") => {
            reply(201).header("Docker-Content-Digest", format!("sha256:{}", "0".repeat(64)))
        }
        ("PUT", "/v2/a/b/manifests/refused") => reply(400).body(
            r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#,
        ),
        ("PUT", _) => {
            assert_eq!(asked.header("content-type"), Some("application/x"));
            assert_eq!(asked.body, b"{}");
            reply(201)
        }
        ("DELETE", "/v2/a/b/manifests/old") => reply(202),
        ("DELETE", _) => reply(405).body(
            r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
        ),
        _ => reply(404),
    })
    .await;
    let repository = server.repository(None);
    let put = |tag: &'static str| {
        let repository = repository.clone();
        async move { repository.put_manifest(tag, "application/x", Bytes::from_static(b"{}")).await }
    };
    assert_eq!(put("tag").await.expect("put"), digest(b"{}"));
    assert_eq!(put("flaky").await.expect("put"), digest(b"{}"));
    assert!(matches!(put("lying").await, Err(Error::Digest { .. })));
    let error = put("refused").await.expect_err("refused");
    assert_eq!(error.to_string(), "manifest blob unknown: blob unknown to registry");
    repository.delete_manifest("old").await.expect("deleted");
    let error = repository.delete_blob(&digest(b"x")).await.expect_err("unsupported");
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
}
