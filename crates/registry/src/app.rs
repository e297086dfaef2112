//! What all requests share, and the way of each from its head to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::access::{Access, Action, Need};
use crate::answer::Answer;
use crate::body::Body;
use crate::cache::Cache;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::name::Name;
use crate::percent::Query;
use crate::receive::Input;
use crate::route::Route;
use crate::routes::uploads::Sums;
use crate::routes::{blobs, lists, manifests, uploads};
use crate::storage::Storage;

/// What the server was told to allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Nothing may be changed.
    pub(crate) read_only: bool,
    /// Manifests, tags and blobs may be deleted.
    pub(crate) delete: bool,
    /// `/metrics` is among the routes; otherwise it has a listener of its own.
    pub(crate) metrics: bool,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) storage: Storage,
    pub(crate) access: Access,
    pub(crate) rules: Rules,
    /// Where content comes from, if this is a cache.
    pub(crate) cache: Option<Cache>,
    pub(crate) metrics: Metrics,
    pub(crate) sums: Sums,
}

/// One request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) head: Parts,
    pub(crate) query: Query,
}

impl Call {
    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Does what may wait for a disk on a thread that may.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        on_disk(&self.app, work).await
    }

    /// Only the answer's head is wanted.
    pub(crate) fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }
}

/// Does what may wait for a disk on a thread that may.
pub(crate) async fn on_disk<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let app = app.clone();
    tokio::task::spawn_blocking(move || work(&app)).await.unwrap_or(Err(Error::Dropped))
}

/// Answers one request, counts it and logs it.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = Route::parse(&path);
    let label = route.as_ref().map_or("none", Route::label);
    let answered = match route {
        Ok(route) => dispatch(app.clone(), route, request).await,
        Err(error) => Err(error),
    };
    let answer = answered.unwrap_or_else(|error| {
        if error.kind().0.is_server_error() {
            tracing::error!("{method} {path:?}: {error}");
        }
        Answer::refusal(&error)
    });
    let response = answer.done();
    let (status, took) = (response.status(), began.elapsed());
    app.metrics.request(&method, label, status, took);
    // Paths may hold anything; quoting keeps a line a line.
    tracing::info!("{method} {path:?} {} {} ms", status.as_u16(), took.as_millis());
    response
}

async fn dispatch(
    app: Arc<App>,
    route: Route,
    request: Request<Incoming>,
) -> Result<Answer, Error> {
    let (head, body) = request.into_parts();
    if route == Route::Health {
        return Ok(Answer::empty(StatusCode::OK));
    }
    if route == Route::Metrics && (!app.rules.metrics || matches!(app.access, Access::Tokens(_))) {
        return Err(Error::NoRoute);
    }
    let method = head.method.clone();
    let reads = method == Method::GET || method == Method::HEAD;
    app.access.admit(&head.headers, &need(&route, &method)).await?;
    if !reads {
        if app.cache.is_some() && method != Method::DELETE {
            return Err(Error::Cache);
        }
        if app.rules.read_only {
            return Err(Error::ReadOnly);
        }
    }
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let call = Call { app, head, query };
    let body = Input::new(body);
    let deletes = method == Method::DELETE;
    if deletes && !call.app.rules.delete && !matches!(route, Route::Upload(..)) {
        return Err(Error::NoDelete);
    }
    match (route, method.as_str()) {
        (Route::Base, _) if reads => Ok(Answer::json(StatusCode::OK, &serde_json::json!({}))),
        (Route::Catalog, _) if reads => lists::catalog(&call).await,
        (Route::Tags(name), _) if reads => lists::tags(&call, name).await,
        (Route::Referrers(name, digest), _) if reads => lists::referrers(&call, name, digest).await,
        (Route::Manifest(name, target), _) if reads => manifests::get(&call, name, target).await,
        (Route::Manifest(name, target), "PUT") => manifests::put(&call, name, target, body).await,
        (Route::Manifest(name, target), "DELETE") => manifests::delete(&call, name, target).await,
        (Route::Blob(name, digest), _) if reads => blobs::get(&call, name, digest).await,
        (Route::Blob(name, digest), "DELETE") => blobs::delete(&call, name, digest).await,
        (Route::Uploads(name), "POST") => uploads::begin(&call, name, body).await,
        (Route::Upload(name, id), _) if reads => uploads::status(&call, name, id).await,
        (Route::Upload(name, id), "PATCH") => uploads::append(&call, name, id, body).await,
        (Route::Upload(name, id), "PUT") => uploads::finish(&call, name, id, body).await,
        (Route::Upload(name, id), "DELETE") => uploads::cancel(&call, name, id).await,
        (Route::Metrics, _) if reads => Ok(metrics(&call.app)),
        _ => Err(Error::Method),
    }
}

/// The page that Prometheus reads.
pub(crate) fn metrics(app: &App) -> Answer {
    let text = app.metrics.render().into_bytes();
    Answer::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn need(route: &Route, method: &Method) -> Need {
    let name: Name = match (route, route.name()) {
        (Route::Catalog, _) => return Need::Catalog,
        (_, None) => return Need::Login,
        (_, Some(name)) => name.clone(),
    };
    let upload = matches!(route, Route::Upload(..) | Route::Uploads(_));
    let actions: &'static [Action] = match method.as_str() {
        _ if upload => &[Action::Pull, Action::Push],
        "GET" | "HEAD" => &[Action::Pull],
        "DELETE" => &[Action::Delete],
        _ => &[Action::Pull, Action::Push],
    };
    Need::Repository(name, actions)
}

impl App {
    /// A connection was opened.
    pub(crate) fn opened(&self) {
        self.metrics.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has ended.
    pub(crate) fn closed(&self) {
        self.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
