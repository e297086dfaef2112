//! What happens to every request before and after its route: the version is split off, a panic
//! becomes an answer, the headers of every answer are set, and the time is taken.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

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
}

/// Which route has answered.
#[derive(Clone, Debug)]
struct Answered(MatchedPath);

impl Gate {
    /// Puts the routes behind the gate. `always` are the headers of every answer.
    pub(crate) fn new(router: Router, always: Arc<HeaderMap>, metrics: Arc<Metrics>) -> Self {
        let router = router
            .layer(from_fn(remember_route))
            .fallback(async || Refusal::page_not_found())
            // dockerd: a wrong method is a path that does not exist.
            .method_not_allowed_fallback(async || Refusal::page_not_found());
        Self { service: TowerToHyperService::new(router), always, metrics }
    }

    async fn route(&self, mut request: Request<Body>) -> Response<Body> {
        let uri = request.uri();
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
