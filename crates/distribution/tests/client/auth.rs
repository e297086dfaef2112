//! Who we are, to whom, and to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{Client, Credentials, Error};
use types::ErrorKind;

use crate::server::{Asked, How, Reply, Server, hasty, reply, settings};

const BASIC: &str = "Basic bWU6c2VjcmV0"; // me:secret

fn me() -> Option<Credentials> {
    Some(Credentials::basic("me", "secret"))
}

fn manifest() -> Reply {
    reply(200).header("Content-Type", "application/json").body("{}")
}

fn basic_only(asked: &Asked) -> Reply {
    match asked.header("authorization") {
        Some(BASIC) if asked.path == "/v2/" => reply(200),
        Some(BASIC) => manifest(),
        _ => reply(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    }
}

/// A registry that wants tokens from a service of its own.
async fn token_registry(service: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked| {
        if asked.path.starts_with("/token") {
            return service(asked);
        }
        match asked.header("authorization") {
            Some("Bearer good") => manifest(),
            other => {
                let error = if other.is_some() { ",error=\"invalid_token\"" } else { "" };
                let host = asked.header("host").expect("every request has one");
                reply(401).header(
                    "WWW-Authenticate",
                    format!(
                        "Bearer realm=\"http://{host}/token\",service=\"the registry\",\
                         scope=\"repository:a/b:pull\"{error}"
                    ),
                )
            }
        }
    })
    .await
}

fn token(value: &str) -> Reply {
    reply(200).body(format!(r#"{{"token":"{value}","expires_in":300,"issued_at":null}}"#))
}

#[tokio::test]
async fn basic_is_learned_once() {
    let server = Server::start(basic_only).await;
    let repository = server.repository(me());
    repository.manifest("one").await.expect("allowed");
    repository.manifest("two").await.expect("allowed");
    let sent: Vec<bool> = server
        .asked()
        .iter()
        .filter(|asked| asked.path != "/v2/")
        .map(|asked| asked.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [false, true, true]);
}

#[tokio::test]
async fn without_or_with_wrong_credentials() {
    let server = Server::start(basic_only).await;
    let error = server.repository(None).manifest("x").await.expect_err("nobody");
    let words = format!("Get \"{}\": no basic auth credentials", server.url("/v2/a/b/manifests/x"));
    assert_eq!(error.to_string(), words);
    let wrong = Some(Credentials::basic("me", "wrong"));
    let repository = server.repository(wrong);
    for _ in 0..2 {
        let error = repository.manifest("x").await.expect_err("wrong");
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert_eq!(error.to_string(), "unauthorized: authentication required");
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many() {
    let server = token_registry(|asked| {
        assert_eq!(
            asked.path,
            "/token?service=the%20registry&scope=repository%3Aa%2Fb%3Apull&account=me"
        );
        assert_eq!(asked.header("authorization"), Some(BASIC));
        token("good")
    })
    .await;
    let repository = server.repository(me());
    let all: Vec<_> = ["1", "2", "3", "4"]
        .map(|tag| {
            let repository = repository.clone();
            tokio::spawn(async move { repository.manifest(tag).await })
        })
        .into();
    for one in all {
        one.await.expect("no panic").expect("allowed");
    }
    repository.manifest("5").await.expect("allowed");
    let tokens = server.asked().iter().filter(|asked| asked.path.starts_with("/token")).count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = token_registry(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => token("expired"),
        _ => token("good"),
    })
    .await;
    let repository = server.repository(None);
    assert!(repository.manifest("x").await.is_err());
    repository.manifest("x").await.expect("the second token is good");
    repository.manifest("x").await.expect("and is kept");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = token_registry(|asked| {
        assert_eq!(asked.line(), "POST /token");
        assert_eq!(
            String::from_utf8_lossy(&asked.body),
            "grant_type=refresh_token&service=the%20registry&client_id=docker&\
             scope=repository%3Aa%2Fb%3Apull&refresh_token=re%2Ffresh"
        );
        assert_eq!(asked.header("authorization"), None);
        reply(200).body(r#"{"access_token":"good"}"#)
    })
    .await;
    let who = Credentials { identity_token: "re/fresh".into(), ..Credentials::default() };
    server.repository(Some(who)).manifest("x").await.expect("allowed");
    let given = Credentials { registry_token: "good".into(), ..Credentials::default() };
    server.repository(Some(given)).manifest("x").await.expect("allowed at once");
    let bad = Credentials { registry_token: "bad".into(), ..Credentials::default() };
    let error = server.repository(Some(bad)).manifest("x").await.expect_err("bad");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn token_services_that_fail() {
    let said = |answer: fn(&Asked) -> Reply| async move {
        let server = token_registry(answer).await;
        let error = server.repository_with(hasty(), me()).manifest("x").await;
        (server, error.expect_err("no token"))
    };
    let (server, error) =
        said(|_| reply(401).body(r#"{"details":"incorrect username or password"}"#)).await;
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"{}\": unauthorized: incorrect username or password",
            server.url("/v2/a/b/manifests/x")
        )
    );
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(matches!(said(|_| reply(200).body("no json")).await.1, Error::Json { .. }));
    assert!(matches!(said(|_| reply(200).body("{}")).await.1, Error::Protocol { .. }));
    let (_, error) = said(|_| reply(200).body("{\"token\":\"a\\r\\nX: y\"}")).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert!(matches!(said(|_| reply(200).how(How::Endless)).await.1, Error::TooLong { .. }));
    let (_, error) = said(|_| reply(200).body(r#"{"token":"bad","expires_in":-1e99}"#)).await;
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let (server, error) = said(|_| reply(503)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let asked = server.asked().iter().filter(|asked| asked.path.starts_with("/token")).count();
    assert_eq!(asked, 2, "a passing failure is tried again");
}

#[tokio::test]
async fn strange_challenges() {
    for (header, words) in [
        ("Bearer service=x", "the registry wants a token and does not say where from"),
        ("Bearer realm=\"file:///etc/passwd\"", "invalid registry address"),
        ("Bearer realm=\"/relative\"", "invalid registry address"),
        ("Negotiate", "unauthorized: authentication required"),
        ("", "unauthorized: authentication required"),
    ] {
        let server = Server::start(move |_| reply(401).header("WWW-Authenticate", header)).await;
        let error = server.repository(me()).manifest("x").await.expect_err(header).to_string();
        assert!(error.contains(words), "{header}: {error}");
    }
}

#[tokio::test]
async fn access_that_is_denied() {
    let server = Server::start(|asked| {
        if asked.path.starts_with("/token") {
            return token("weak");
        }
        let host = asked.header("host").expect("every request has one");
        reply(401)
            .header(
                "WWW-Authenticate",
                format!("Bearer realm=\"http://{host}/token\",error=\"insufficient_scope\""),
            )
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
    })
    .await;
    let repository = server.repository(None);
    let error = repository.manifest("x").await.expect_err("denied");
    assert!(error.to_string().contains("requested access to the resource is denied"), "{error}");
    let error = error.for_pull(repository.name());
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.starts_with("pull access denied for "), "{error}");
}

#[tokio::test]
async fn credentials_do_not_follow_redirects_to_others() {
    let other = Server::start(|asked| match asked.header("authorization") {
        None => manifest(),
        Some(_) => reply(500),
    })
    .await;
    let there = other.url("/elsewhere");
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some(BASIC) => reply(307).header("Location", there.clone()),
        _ => reply(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    server.repository(me()).manifest("x").await.expect("fetched elsewhere");
    assert!(other.asked().iter().all(|asked| asked.header("authorization").is_none()));

    // Nor does anybody else learn them by asking.
    let greedy = Server::start(|_| reply(401).header("WWW-Authenticate", "Basic realm=y")).await;
    let there = greedy.url("/give");
    let server = Server::start(move |_| reply(302).header("Location", there.clone())).await;
    let error = server.repository(me()).manifest("x").await.expect_err("not for them");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(greedy.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn logins() {
    let client = Client::new(settings()).expect("a client");
    let basic = Server::start(basic_only).await;
    let login = client.login(&basic.host(), &me().expect("me")).await.expect("welcome");
    assert_eq!((login.status.as_str(), login.identity_token.as_str()), ("Login Succeeded", ""));
    let error = client.login(&basic.url("/v2/"), &Credentials::basic("me", "x")).await;
    let error = error.expect_err("wrong");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!("login attempt to {} failed with status: 401 Unauthorized", basic.url("/v2/"))
    );
    let open = Server::start(|_| reply(200)).await;
    client.login(&open.host(), &Credentials::basic("x", "y")).await.expect("anybody is welcome");

    let tokens = token_registry(|asked| {
        assert!(asked.path.contains("offline_token=true"), "{}", asked.path);
        match asked.header("authorization") {
            Some(BASIC) => reply(200).body(r#"{"token":"good","refresh_token":"keep"}"#),
            _ => reply(401).body(r#"{"details":"incorrect username or password"}"#),
        }
    })
    .await;
    let login = client.login(&tokens.host(), &me().expect("me")).await.expect("welcome");
    assert_eq!(login.identity_token, "keep");
    let error = client.login(&tokens.host(), &Credentials::basic("me", "x")).await;
    let error = error.expect_err("wrong");
    assert_eq!(
        error.to_string(),
        format!("Get \"{}\": unauthorized: incorrect username or password", tokens.url("/v2/"))
    );
    let broken = Server::start(|_| reply(500)).await;
    assert!(client.login(&broken.host(), &me().expect("me")).await.is_err());
}
