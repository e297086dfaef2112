//! The daemon itself: is it there, what is it, what takes space.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use types::Error;

use crate::api::Api;
use crate::http::answer::{Answer, ok};
use crate::http::call::Call;
use crate::render::system;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/_ping", get(ping))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/system/df", get(disk_usage))
}

/// Also for HEAD, by the router.
async fn ping() -> Answer {
    let mut response = "OK".into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        ("builder-version", "1"),
        ("swarm", "inactive"),
        ("pragma", "no-cache"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

async fn version(State(api): State<Api>) -> Answer {
    ok(&system::version(&api.engine.info(), api.experimental))
}

async fn info(State(api): State<Api>, call: Call) -> Answer {
    ok(&system::info(api.engine.info(), &api, call.version))
}

async fn disk_usage(State(api): State<Api>, call: Call) -> Answer {
    let mut kinds: Vec<&str> =
        if call.at_least(42) { call.params.all("type").collect() } else { Vec::new() };
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(other) = kinds.iter().find(|kind| !known.contains(kind)) {
        return Err(Error::invalid(format!("unknown object type: {other}")).into());
    }
    if kinds.is_empty() {
        kinds.extend(known);
    }
    let verbose = call.at_least(52) && call.flag("verbose");
    let found = api.engine.disk_usage().await?;
    ok(&system::disk_usage(found, &kinds, call.version, verbose))
}
