//! What happens to every request before and after its route: the version is split off, who asks is
//! looked at, a panic becomes an answer, the headers of every answer are set, and the time is
//! taken.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::access::{Access, Identity};
use crate::connection::Answer;
use crate::http::answer::Refusal;
use crate::http::version::negotiate;
use crate::metrics::Metrics;

/// All routes behind what they have in common.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    service: TowerToHyperService<Router>,
    always: Arc<HeaderMap>,
    metrics: Arc<Metrics>,
    access: Access,
}

/// Which route has answered.
#[derive(Clone, Debug)]
struct Answered(MatchedPath);

impl Gate {
    /// Puts the routes behind the gate. `always` are the headers of every answer.
    pub(crate) fn new(
        router: Router,
        always: Arc<HeaderMap>,
        metrics: Arc<Metrics>,
        access: Access,
    ) -> Self {
        let router = router
            .layer(from_fn(remember_route))
            .fallback(async || Refusal::page_not_found())
            // dockerd: a wrong method is a path that does not exist.
            .method_not_allowed_fallback(async || Refusal::page_not_found());
        Self { service: TowerToHyperService::new(router), always, metrics, access }
    }

    async fn route(&self, mut request: Request<Body>) -> Response<Body> {
        let uri = request.uri();
        if let Some(place) = straight(uri) {
            return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, place)]).into_response();
        }
        let path = match negotiate(uri.path()) {
            Err(error) => {
                return Refusal::new(StatusCode::BAD_REQUEST, error.to_string()).into_response();
            }
            Ok((version, path)) => {
                let path = path.to_owned();
                request.extensions_mut().insert(version);
                path
            }
        };
        if let Some(identity) = request.extensions().get::<Arc<Identity>>()
            && let Err(refusal) = self.access.rules().check(identity, request.method(), &path)
        {
            return refusal.into_response();
        }
        match *request.method() {
            // Anybody may ask what is allowed; nothing is said.
            Method::OPTIONS => return StatusCode::OK.into_response(),
            Method::HEAD if !answers_head(&path) => {
                return Refusal::page_not_found().into_response();
            }
            _ => {}
        }
        let Some(uri) = rewrite(request.uri(), &path) else {
            return Refusal::page_not_found().into_response();
        };
        *request.uri_mut() = uri;
        // A router cannot fail.
        match self.service.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl Answer for Gate {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let method = request.method().clone();
        tracing::debug!(%method, path = request.uri().path(), "request");
        let answer = AssertUnwindSafe(self.route(request)).catch_unwind().await;
        let mut response = answer.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            tracing::error!("a request's handler panicked: {text}");
            let message = "the daemon met a fault of its own; its log says more";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        });
        let route = response.extensions_mut().remove::<Answered>();
        let route = route.as_ref().map_or("", |answered| answered.0.as_str());
        self.metrics.request(&method, route, response.status(), begun.elapsed());
        for (name, value) in self.always.iter() {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

async fn remember_route(
    path: Option<MatchedPath>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(Answered(path));
    }
    response
}

/// Whether a path has something to say without a body. The others are looked at with GET alone: some
/// of them have no end.
fn answers_head(path: &str) -> bool {
    path == "/_ping" || path.starts_with("/containers/") && path.ends_with("/archive")
}

/// Where a path with empty or dotted segments leads to without them.
fn straight(uri: &Uri) -> Option<String> {
    let path = uri.path();
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() || !inner.split('/').any(odd) {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in inner.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("/{}{slash}{query}", segments.join("/")))
}

/// The same address with another path.
fn rewrite(uri: &Uri, path: &str) -> Option<Uri> {
    let whole = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests;
