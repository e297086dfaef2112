//! One request as handlers see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use types::filter::Filters;
use types::{Error, Timestamp};

use super::answer::Refusal;
use super::body;
use super::params::Params;
use super::time;
use super::version::Version;
use crate::socket::Traffic;
use crate::takeover::Doorway;

/// A request: its version, parameters, headers and body, and the way to its connection.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which version the client speaks.
    pub(crate) version: Version,
    /// The query parameters.
    pub(crate) params: Params,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// In a mutex only because a body cannot be shared between threads and a call must.
    body: Mutex<Body>,
    doorway: Option<Doorway>,
    traffic: Option<Arc<Traffic>>,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        Ok(Self {
            version: parts.extensions.remove().unwrap_or_else(Version::latest),
            params: Params::parse(parts.uri.query().unwrap_or(""))?,
            doorway: parts.extensions.remove(),
            traffic: parts.extensions.remove(),
            headers: parts.headers,
            body: Mutex::new(body),
        })
    }
}

impl Call {
    /// Whether the client speaks at least version 1.`minor`.
    pub(crate) fn at_least(&self, minor: u32) -> bool {
        self.version.at_least(minor)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.params.flag(name)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.params.text(name)
    }

    /// A parameter's value, if it is there and not empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.params.text(name)).filter(|value| !value.is_empty())
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        self.params.number(name)
    }

    pub(crate) fn filters(&self) -> Result<Filters, Error> {
        self.params.filters()
    }

    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, Error> {
        time::parse(name, self.text(name), Timestamp::now())
    }

    /// Takes the body.
    pub(crate) fn take_body(&mut self) -> Body {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(body)
    }

    /// Takes the body as JSON; `None` when there is none.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Refusal> {
        let body = self.take_body();
        body::json(&self.headers, body).await
    }

    /// Takes the body as JSON that has to be there.
    pub(crate) async fn some_json<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let missing = "invalid JSON: got EOF while reading request body";
        self.json().await?.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, missing))
    }

    /// Whether the client asks for its connection to become something else.
    pub(crate) fn upgrades(&self) -> bool {
        self.headers.contains_key(header::UPGRADE)
    }

    /// The way to take over the connection.
    pub(crate) fn doorway(&self) -> Result<Doorway, Refusal> {
        let missing = || {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be taken over")
        };
        self.doorway.clone().ok_or_else(missing)
    }

    /// Says that the answer has no end of its own.
    pub(crate) fn is_endless(&self) {
        if let Some(traffic) = &self.traffic {
            traffic.endless.store(true, Ordering::Relaxed);
        }
    }
}

/// The one variable part of a path.
#[derive(Clone, Debug)]
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        match path {
            // Names in lists have a slash in front, and some clients hand it back.
            Ok(Path(name)) => Ok(Self(name.strip_prefix('/').unwrap_or(&name).to_owned())),
            Err(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the path is not UTF-8")),
        }
    }
}
