//! Manifests and blobs, and all that can be wrong with them.

use distribution::error::Transport;
use distribution::manifest::{Descriptor, media_type};
use distribution::{Error, Repository, Result, Settings};
use types::ErrorKind;
use types::reference::Reference;

use crate::server::{Asked, How, Reply, Server, digest, hasty, noise, reply, settings};

fn manifest() -> Vec<u8> {
    br#"{"schemaVersion":2}"#.to_vec()
}

fn served() -> Reply {
    reply(200).header("Content-Type", format!("{}; x=y", media_type::OCI_MANIFEST)).body(manifest())
}

/// A blob from a server that answers each request for it in its own way.
async fn blob_server(
    content: &[u8],
    answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> (Server, Descriptor) {
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v2/" => reply(200),
        _ => answer(asked),
    })
    .await;
    (server, Descriptor::new("x", digest(content), content.len() as u64))
}

async fn read(repository: &Repository, descriptor: &Descriptor, from: u64) -> Result<Vec<u8>> {
    let mut stream = repository.blob(descriptor, from).await?;
    let mut all = Vec::new();
    while let Some(bytes) = stream.chunk().await? {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(stream.position(), descriptor.size);
    Ok(all)
}

/// Answers with the range that is asked for.
fn ranged(asked: &Asked, content: &[u8]) -> Reply {
    match asked.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')) {
        None => reply(200).body(content),
        Some(from) => {
            let from: usize = from.parse().expect("a number");
            let last = content.len() - 1;
            reply(206)
                .header("Content-Range", format!("bytes {from}-{last}/{}", content.len()))
                .body(&content[from..])
        }
    }
}

#[tokio::test]
async fn a_manifest_by_tag_and_by_digest() {
    let server = Server::start(|asked| match asked.path.as_str() {
        path if path.starts_with("/v2/a/b/manifests/") => served(),
        _ => reply(404),
    })
    .await;
    let repository = server.repository(None);
    let fetched = repository.manifest("latest").await.expect("fetched");
    assert_eq!(fetched.media_type, media_type::OCI_MANIFEST);
    assert_eq!(fetched.bytes, manifest());
    assert_eq!(fetched.digest, digest(&manifest()));
    let by_digest = repository.manifest(fetched.digest.as_str()).await.expect("fetched");
    assert_eq!(by_digest, fetched);
    // Without its digest in a header, a head costs a whole answer.
    let head = repository.head_manifest("latest").await.expect("asked");
    assert_eq!((head.digest, head.size, head.bytes.len()), (fetched.digest, 19, 0));
    for asked in server.asked() {
        let accepted = asked.header("accept").expect("every request says what it takes");
        assert!(accepted.contains(media_type::OCI_INDEX), "{accepted}");
        assert!(accepted.contains(media_type::DOCKER_MANIFEST), "{accepted}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_another_one() {
    let other = digest(b"another");
    let said = other.clone();
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v2/a/b/manifests/lying" => served().header("Docker-Content-Digest", said.as_str()),
        _ => served(),
    })
    .await;
    let repository = server.repository(None);
    for reference in [other.as_str(), "lying"] {
        let error = repository.manifest(reference).await.expect_err("it is wrong");
        assert!(matches!(error, Error::Digest { .. }), "{error}");
    }
    let sha512: String = format!("sha512:{}", "0".repeat(128));
    assert!(matches!(repository.manifest(&sha512).await, Err(Error::Digest { .. })));
}

#[tokio::test]
async fn manifests_end() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v2/a/b/manifests/endless" => reply(200).how(How::Endless),
        "/v2/a/b/manifests/large" => {
            reply(200).header("Content-Length", "999999999999").how(How::Stalled)
        }
        "/v2/a/b/manifests/short" => served().how(How::Cut(3)),
        "/v2/a/b/manifests/stalled" => served().how(How::Stalled),
        "/v2/a/b/manifests/silent" => served().how(How::Silent),
        "/v2/a/b/manifests/packed" => served().header("Content-Encoding", "gzip"),
        _ => reply(200),
    })
    .await;
    let repository = server.repository_with(hasty(), None);
    for endless in ["endless", "large"] {
        let error = repository.manifest(endless).await.expect_err(endless);
        assert!(matches!(error, Error::TooLong { limit: 4_194_304, .. }), "{error}");
    }
    let error = repository.manifest("short").await.expect_err("cut");
    assert!(error.to_string().ends_with("unexpected EOF"), "{error}");
    for slow in ["stalled", "silent"] {
        let error = repository.manifest(slow).await.expect_err(slow);
        let Error::Transport { source: Transport::Timeout { .. }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert!(matches!(repository.manifest("packed").await, Err(Error::Protocol { .. })));
}

#[tokio::test]
async fn refusals_in_dockers_words() {
    let server = Server::start(|asked| {
        let error = |status, code: &str, message: &str| {
            reply(status)
                .body(format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
        };
        match asked.path.rsplit('/').next().unwrap_or_default() {
            "absent" => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            "norepo" => error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            "denied" => error(403, "DENIED", "requested access to the resource is denied"),
            "often" => error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit."),
            "broken" => reply(500).body("<html>"),
            _ => reply(418),
        }
    })
    .await;
    let repository = server.repository(None);
    let name = format!("{}/a/b", server.host());
    for (tag, kind, words) in [
        (
            "absent",
            ErrorKind::NotFound,
            format!("manifest for {name}:absent not found: manifest unknown: manifest unknown"),
        ),
        (
            "norepo",
            ErrorKind::NotFound,
            format!(
                "repository {name} not found: name unknown: repository name not known to registry"
            ),
        ),
        (
            "denied",
            ErrorKind::NotFound,
            format!(
                "pull access denied for {name}, repository does not exist or may require 'docker \
                 login': denied: requested access to the resource is denied"
            ),
        ),
        (
            "often",
            ErrorKind::Unavailable,
            "toomanyrequests: You have reached your pull rate limit.".to_owned(),
        ),
        (
            "broken",
            ErrorKind::System,
            "received unexpected HTTP status: 500 Internal Server Error".to_owned(),
        ),
    ] {
        let reference = Reference::parse(&format!("{name}:{tag}")).expect("valid");
        let error = repository.manifest(tag).await.expect_err(tag).for_pull(&reference);
        assert_eq!((error.kind, error.message), (kind, words));
        // A head has no body to say why.
        let error = repository.head_manifest(tag).await.expect_err(tag);
        assert_eq!(error.for_pull(&reference).kind, kind);
    }
    let often =
        server.lines().iter().filter(|line| line.ends_with("GET /v2/a/b/manifests/often")).count();
    assert_eq!(often, 4, "a rate limit is waited out");
}

#[tokio::test]
async fn passing_failures_pass() {
    let server = Server::start(|asked| match (asked.path.as_str(), asked.before) {
        ("/v2/a/b/manifests/x", 0) => reply(503).header("Retry-After", "0"),
        ("/v2/a/b/manifests/x", 1) => reply(200).how(How::Dropped),
        ("/v2/a/b/manifests/x", 2) => {
            reply(429).header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")
        }
        ("/v2/a/b/manifests/later", _) => reply(429).header("Retry-After", "86400"),
        _ => served(),
    })
    .await;
    let repository = server.repository(None);
    assert_eq!(repository.manifest("x").await.expect("at last").bytes, manifest());
    let began = std::time::Instant::now();
    let error = repository.manifest("later").await.expect_err("not before tomorrow");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(began.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn a_blob_in_every_way_that_is_right() {
    let content = noise(300_000);
    for how in [How::Whole, How::Chunked] {
        let bytes = content.clone();
        let (server, descriptor) =
            blob_server(&content, move |asked| ranged(asked, &bytes).how(how.clone())).await;
        let repository = server.repository(None);
        assert_eq!(read(&repository, &descriptor, 0).await.expect("read"), content);
        let rest = read(&repository, &descriptor, 123_456).await.expect("read");
        assert_eq!(rest, content[123_456..]);
        assert_eq!(read(&repository, &descriptor, 300_000).await.expect("nothing"), b"");
        assert!(read(&repository, &descriptor, 300_001).await.is_err());
    }
    let empty = Descriptor::new("x", digest(b""), 0);
    let (server, _) = blob_server(b"", |_| reply(500)).await;
    assert_eq!(read(&server.repository(None), &empty, 0).await.expect("nothing"), b"");
}

#[tokio::test]
async fn an_interrupted_blob_goes_on_where_it_stopped() {
    let content = noise(400_000);
    let bytes = content.clone();
    let (server, descriptor) = blob_server(&content, move |asked| {
        let whole = ranged(asked, &bytes);
        match asked.before {
            0 => whole.how(How::Cut(100_000)),
            1 => reply(502),
            2 => whole.how(How::Cut(50_000)),
            _ => whole,
        }
    })
    .await;
    let repository = server.repository(None);
    assert_eq!(read(&repository, &descriptor, 0).await.expect("read"), content);
    let ranges: Vec<_> =
        server.asked().iter().filter_map(|a| a.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["bytes=100000-", "bytes=100000-", "bytes=150000-"]);
}

#[tokio::test]
async fn a_registry_without_ranges_sends_everything_again() {
    let content = noise(200_000);
    let bytes = content.clone();
    let (server, descriptor) = blob_server(&content, move |asked| {
        let whole = reply(200).body(bytes.clone());
        if asked.before == 0 { whole.how(How::Cut(77_777)) } else { whole.how(How::Chunked) }
    })
    .await;
    let repository = server.repository(None);
    assert_eq!(read(&repository, &descriptor, 0).await.expect("read"), content);
}

#[tokio::test]
async fn a_blob_that_is_never_complete() {
    let content = noise(1000);
    let bytes = content.clone();
    let (server, descriptor) =
        blob_server(&content, move |_| reply(200).body(&bytes[..999]).how(How::Chunked)).await;
    let error = read(&server.repository(None), &descriptor, 0).await.expect_err("short");
    assert!(matches!(error, Error::Truncated { expected: 1000, .. }), "{error}");
    assert_eq!(server.asked().iter().filter(|asked| asked.path != "/v2/").count(), 4);
}

#[tokio::test]
async fn blobs_of_the_wrong_length() {
    let content = noise(1000);
    let wrong = |answer: fn(&[u8]) -> Reply| {
        let content = content.clone();
        async move {
            let bytes = content.clone();
            let (server, descriptor) = blob_server(&content, move |_| answer(&bytes)).await;
            read(&server.repository_with(hasty(), None), &descriptor, 0).await.expect_err("wrong")
        }
    };
    let error = wrong(|bytes| reply(200).body(&bytes[..999])).await;
    assert!(matches!(error, Error::WrongLength { got: 999, expected: 1000, .. }), "{error}");
    let error = wrong(|bytes| reply(200).body([bytes, b"!"].concat())).await;
    assert!(matches!(error, Error::WrongLength { got: 1001, .. }), "{error}");
    let error = wrong(|bytes| reply(200).body([bytes, b"!"].concat()).how(How::Chunked)).await;
    assert!(matches!(error, Error::TooLong { limit: 1000, .. }), "{error}");
    let error = wrong(|_| reply(200).how(How::Endless)).await;
    assert!(matches!(error, Error::TooLong { limit: 1000, .. }), "{error}");
    let error = wrong(|bytes| reply(200).body(bytes).how(How::Stalled)).await;
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    let error = wrong(|bytes| reply(200).body(bytes).header("Content-Encoding", "br")).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn ranges_that_lie() {
    let content = noise(1000);
    for range in ["bytes 0-999/1000", "bytes 400-999/2000", "bytes x", "bytes */1000"] {
        let bytes = content.clone();
        let (server, descriptor) = blob_server(&content, move |_| {
            reply(206).header("Content-Range", range).body(&bytes[400..])
        })
        .await;
        let error = read(&server.repository(None), &descriptor, 500).await.expect_err(range);
        assert!(matches!(error, Error::Protocol { .. } | Error::WrongLength { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_blob_that_is_asked_for_only() {
    let (server, descriptor) = blob_server(b"abc", |asked| match asked.path.ends_with('0') {
        true => reply(404),
        false => reply(200).body("abc"),
    })
    .await;
    let repository = server.repository(None);
    assert_eq!(repository.has_blob(&descriptor.digest).await.expect("asked"), Some(3));
    let absent = format!("sha256:{}", "0".repeat(64)).parse().expect("valid");
    assert_eq!(repository.has_blob(&absent).await.expect("asked"), None);
}

#[tokio::test]
async fn nobody_there() {
    let server = Server::start(|_| reply(200)).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = listener.local_addr().expect("an address");
    drop(listener);
    let gone = Server { address: free, ..server };
    let error = gone.repository(None).manifest("x").await.expect_err("nobody is there");
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://{free}/v2/a/b/manifests/x\": dial tcp {free}: connect: connection refused"
        )
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let name = Reference::parse("isopod.invalid/x").expect("valid");
    let client = distribution::Client::new(settings()).expect("a client");
    let error = client.repository(&name, None).manifest("x").await.expect_err("no such name");
    assert!(error.to_string().contains("dial tcp: lookup isopod.invalid: "), "{error}");
    let name = Reference::parse("isopod.invalid:99999/x").expect("valid");
    let error = client.repository(&name, None).manifest("x").await.expect_err("no such port");
    assert!(matches!(error, Error::Address { .. }), "{error}");
}

/// Copies are what would make this slow; the figure is printed for whoever looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_blobs_come_in_large_pieces() {
    let content = vec![7u8; 64 << 20];
    let bytes = bytes::Bytes::from(content.clone());
    let size = bytes.len();
    let (server, descriptor) =
        blob_server(&content, move |_| reply(200).body(bytes.to_vec())).await;
    let repository = server.repository_with(Settings { attempts: 1, ..settings() }, None);
    let mut stream = repository.blob(&descriptor, 0).await.expect("opened");
    let began = std::time::Instant::now();
    let (mut pieces, mut total) = (0, 0);
    while let Some(bytes) = stream.chunk().await.expect("read") {
        pieces += 1;
        total += bytes.len();
    }
    assert_eq!(total, size);
    let rate = size as f64 / began.elapsed().as_secs_f64() / 1e6;
    println!("{rate:.0} MB/s in pieces of {} bytes", total / pieces);
    assert!(total / pieces > 16 << 10, "pieces of {} bytes", total / pieces);
}
