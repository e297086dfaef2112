//! The way to a registry: redirects, mirrors, proxies, connections.

use std::sync::atomic::Ordering;

use distribution::manifest::Descriptor;
use distribution::{Client, Error, Proxies, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use types::reference::Reference;

use crate::server::{How, Server, digest, reply, settings};

#[tokio::test]
async fn redirects_are_bounded() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v2/a/b/manifests/circle" => reply(302).header("Location", "/one"),
        "/one" => reply(307).header("Location", "/two"),
        "/two" => reply(301).header("Location", "/one"),
        "/v2/a/b/manifests/long" => reply(302).header("Location", "/0"),
        "/v2/a/b/manifests/nowhere" => reply(302),
        "/v2/a/b/manifests/strange" => reply(302).header("Location", "gopher://x/"),
        "/v2/a/b/manifests/good" => reply(308).header("Location", "x/../there?a=b"),
        "/v2/a/b/manifests/x/../there?a=b" => reply(200).body("{}"),
        path => {
            let n: u64 = path[1..].parse().unwrap_or(0);
            reply(302).header("Location", format!("/{}", n + 1))
        }
    })
    .await;
    let repository = server.repository(None);
    repository.manifest("good").await.expect("redirected");
    for (tag, words) in [
        ("circle", "redirected in a circle"),
        ("long", "stopped after 10 redirects"),
        ("nowhere", "redirected to nowhere"),
        ("strange", "it is neither http nor https"),
    ] {
        let error = repository.manifest(tag).await.expect_err(tag).to_string();
        assert!(error.ends_with(words), "{error}");
    }
    let error = repository.put_manifest("x", "y", "{}".into()).await.expect_err("not a GET");
    assert!(error.to_string().contains("changes the method"), "{error}");
}

#[tokio::test]
async fn a_blob_may_be_elsewhere() {
    let content = b"0123456789".to_vec();
    let storage = Server::start(|asked| match asked.header("range") {
        Some("bytes=4-") => reply(206).header("Content-Range", "bytes 4-9/10").body("456789"),
        _ => reply(200).body("0123456789").how(How::Cut(4)),
    })
    .await;
    let there = storage.url("/storage");
    let server = Server::start(move |_| reply(307).header("Location", there.clone())).await;
    let descriptor = Descriptor::new("x", digest(&content), 10);
    let mut stream = server.repository(None).blob(&descriptor, 0).await.expect("opened");
    let mut all = Vec::new();
    while let Some(bytes) = stream.chunk().await.expect("read") {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(all, content);
    assert_eq!(storage.asked().len(), 2);
}

#[tokio::test]
async fn connections_are_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let mut connections = 0;
        let mut answered = 0;
        while answered < 6 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            connections += 1;
            let mut buffer = vec![0; 4096];
            loop {
                let read = stream.read(&mut buffer).await.expect("read");
                if read == 0 || buffer[0] == 0x16 {
                    break;
                }
                answered += 1;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(answer).await.expect("written");
                // The third answer is the last on its connection, without saying so.
                if answered == 3 || answered == 6 {
                    break;
                }
            }
        }
        connections
    });
    let name = Reference::parse(&format!("{address}/x")).expect("valid");
    let client = Client::new(settings()).expect("a client");
    let repository = client.repository(&name, None);
    for _ in 0..6 {
        repository.manifest("y").await.expect("answered");
    }
    // The first connection was the question whether there is TLS.
    assert_eq!(serving.await.expect("no panic"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_after_another_needs_one_connection() {
    let server = Server::start(|asked| match asked.method.as_str() {
        "POST" => reply(202).header("Location", "/v2/a/b/blobs/uploads/1"),
        "PATCH" => reply(202).header("Location", "/v2/a/b/blobs/uploads/1"),
        "PUT" => reply(201),
        _ => reply(200).body("{}"),
    })
    .await;
    let repository = server.repository(None);
    for _ in 0..100 {
        repository.manifest("x").await.expect("fetched");
        repository.upload(&mut distribution::BytesSource::new("content")).await.expect("taken");
    }
    // One more asked whether there is TLS.
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_ends_under_a_request_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                if stream.read(&mut buffer).await.unwrap_or(0) == 0 || buffer[0] == 0x16 {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(answer).await.expect("written");
                // The next request is taken and never answered.
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    let name = Reference::parse(&format!("{address}/x")).expect("valid");
    let client = Client::new(Settings { attempts: 1, ..settings() }).expect("a client");
    let repository = client.repository(&name, None);
    for _ in 0..5 {
        repository.manifest("y").await.expect("answered on another connection");
    }
}

fn hub_settings(mirrors: &[String], proxy: &Server) -> Settings {
    Settings {
        mirrors: mirrors.to_vec(),
        // Nothing leaves this machine: the Hub is behind a proxy that refuses.
        proxies: Proxies { https: Some(proxy.url("")), ..Proxies::default() },
        ..settings()
    }
}

#[tokio::test]
async fn mirrors_are_asked_before_the_hub() {
    let proxy = Server::start(|_| reply(403)).await;
    let bad = Server::start(|_| reply(404)).await;
    let good = Server::start(|asked| match asked.path.as_str() {
        "/prefix/v2/library/busybox/manifests/latest" => reply(200).body("{}"),
        "/prefix/v2/library/busybox/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" => {
            reply(200).body("{}")
        }
        _ => reply(404),
    })
    .await;
    let mirrors = [bad.url(""), good.url("/prefix/")];
    let client = Client::new(hub_settings(&mirrors, &proxy)).expect("a client");
    let who = distribution::Credentials::basic("me", "secret");
    let name = Reference::parse("busybox").expect("valid");
    let repository = client.repository(&name, Some(who));
    let fetched = repository.manifest("latest").await.expect("from the second mirror");
    let blob = Descriptor::new("x", fetched.digest, 2);
    repository.blob(&blob, 0).await.expect("from the second mirror");
    assert_eq!(bad.asked().len(), 1, "a mirror that has failed is left alone");
    let told = |server: &Server| {
        server.asked().iter().any(|asked| asked.header("authorization").is_some())
    };
    assert!(!told(&bad) && !told(&good));
    assert!(proxy.asked().is_empty());

    let error = repository.manifest("absent").await.expect_err("nobody has it");
    assert!(
        error.to_string().contains("registry-1.docker.io/v2/library/busybox/manifests/absent"),
        "{error}"
    );
    assert!(error.to_string().ends_with("403 Word"), "{error}");
    let asked = proxy.lines();
    assert_eq!(asked, ["CONNECT registry-1.docker.io:443"]);
    // Other registries have no mirrors.
    let name = Reference::parse("r.example/busybox").expect("valid");
    assert!(client.repository(&name, None).manifest("x").await.is_err());
    assert_eq!(proxy.lines()[1], "CONNECT r.example:443");
}

#[tokio::test]
async fn plain_http_through_a_proxy() {
    let proxy = Server::start(|asked| match asked.path.as_str() {
        "http://plain.example:5000/v2/x/manifests/y" => {
            assert_eq!(asked.header("host"), Some("plain.example:5000"));
            assert_eq!(asked.header("proxy-authorization"), Some("Basic dTpwQA=="));
            reply(200).body("{}")
        }
        _ => reply(404),
    })
    .await;
    let url = format!("http://u:p%40@{}", proxy.address);
    let settings = Settings {
        insecure: vec!["plain.example:5000".to_owned()],
        proxies: Proxies { http: Some(url), ..Proxies::default() },
        attempts: 1,
        ..settings()
    };
    // HTTPS has no proxy here and the name no address, so plain HTTP is what is left.
    let client = Client::new(settings).expect("a client");
    let name = Reference::parse("plain.example:5000/x").expect("valid");
    client.repository(&name, None).manifest("y").await.expect("through the proxy");
}

#[tokio::test]
async fn settings_that_make_no_sense() {
    for settings in [
        Settings { mirrors: vec!["no url".to_owned()], ..settings() },
        Settings { mirrors: vec!["https://user:password@m/".to_owned()], ..settings() },
        Settings {
            proxies: Proxies { https: Some("socks5://x".to_owned()), ..Proxies::default() },
            ..settings()
        },
    ] {
        assert!(matches!(Client::new(settings), Err(Error::Address { .. })));
    }
}

#[test]
fn everything_can_move_between_threads() {
    fn movable<T: Send + Sync + 'static>() {}
    fn sendable<T: Send>(_: T) {}
    movable::<Client>();
    movable::<distribution::Repository>();
    movable::<distribution::BlobStream>();
    movable::<Error>();
    let client = Client::new(settings()).expect("a client");
    let repository = client.repository(&Reference::parse("x").expect("valid"), None);
    let descriptor = Descriptor::new("x", digest(b""), 0);
    sendable(repository.manifest("x"));
    sendable(repository.blob(&descriptor, 0));
    sendable(repository.upload(&mut distribution::BytesSource::new("")));
    sendable(repository.mount(&descriptor.digest, "x"));
    sendable(repository.put_manifest("x", "y", "z".into()));
    sendable(repository.tags());
    sendable(repository.referrers(&descriptor.digest, None));
    sendable(client.login("x", &distribution::Credentials::default()));
    sendable(client.search("x", "y", 0, None));
}
