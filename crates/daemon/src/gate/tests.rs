use super::*;
use axum::routing::{get, post};
use http_body_util::BodyExt;

use crate::http::answer::always;
use crate::http::call::{Call, Name};

fn gate() -> Gate {
    let router = Router::new()
        .route("/info", get(async |call: Call| format!("{} {}", call.version, call.text("a"))))
        .route("/containers/{id}/json", get(async |Name(name): Name| name))
        .route("/containers/create", post(async || "made"))
        .route("/panic", get(async || -> String { panic!("on purpose") }));
    Gate::new(router, Arc::new(always(false)), Arc::new(Metrics::default()), Access::default())
}

async fn ask(method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("valid");
    let response = gate().answer(request).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).expect("text"))
}

#[tokio::test]
async fn versions_are_negotiated_and_every_answer_has_the_headers() {
    let newest = docker_api::API_VERSION;
    for (path, body) in [("/v1.30/info?a=b", "1.30 b"), ("/info", &format!("{newest} "))] {
        let (status, headers, text) = ask("GET", path).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, body));
        assert_eq!(headers["api-version"], newest);
        assert_eq!(headers["ostype"], "linux");
        assert!(headers["server"].to_str().expect("text").starts_with("Isopod/"));
    }
    let (status, headers, text) = ask("GET", "/v1.99/info").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("client version 1.99 is too new"), "{text}");
    assert_eq!(headers["api-version"], newest);
    assert_eq!(headers["content-type"], "application/json");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    for (method, path) in [
        ("GET", "/nonsense"),
        ("GET", "/v1.40/nonsense"),
        ("GET", "/"),
        ("GET", "/v1.40"),
        ("GET", "/containers/create"),
        ("DELETE", "/v1.40/info"),
        ("POST", "/info"),
    ] {
        let (status, _, text) = ask(method, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(text.trim(), r#"{"message":"page not found"}"#);
    }
}

#[tokio::test]
async fn names_are_decoded() {
    assert_eq!(ask("GET", "/containers/%2Fweb/json").await.2, "web");
    assert_eq!(ask("GET", "/containers/a%20b/json").await.2, "a b");
    assert_eq!(ask("GET", "/containers/%ff/json").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask("GET", "/info?a=%zz").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_panic_becomes_an_answer() {
    let (status, _, text) = ask("GET", "/panic").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("message"), "{text}");
}

#[tokio::test]
async fn methods_are_dockerds() {
    assert_eq!(ask("HEAD", "/v1.41/info").await.0, StatusCode::NOT_FOUND);
    for path in ["/v1.41/info", "/nothing"] {
        let (status, headers, text) = ask("OPTIONS", path).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, ""));
        assert_eq!(headers["ostype"], "linux");
    }
    assert_eq!(ask("OPTIONS", "/v1.99/info").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn crooked_paths_are_led_to_straight_ones() {
    for (path, place) in [
        ("/v1.41//info?a=b", "/v1.41/info?a=b"),
        ("/v1.41/containers//web/json", "/v1.41/containers/web/json"),
        ("/v1.41/containers/../info", "/v1.41/info"),
        ("//info", "/info"),
        ("/../..", "/"),
        ("/a/./b/", "/a/b/"),
    ] {
        let (status, headers, _) = ask("GET", path).await;
        assert_eq!(status, StatusCode::MOVED_PERMANENTLY, "{path}");
        assert_eq!(headers["location"], place);
    }
    for path in ["/", "/v1.41/info", "/v1.41/info/", "/containers/%2e%2e/json"] {
        assert_ne!(ask("GET", path).await.0, StatusCode::MOVED_PERMANENTLY, "{path}");
    }
}
