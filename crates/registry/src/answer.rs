//! Putting answers together.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use types::digest::Digest;

use crate::body::Body;
use crate::error::Error;

/// An answer that is being put together.
#[derive(Debug)]
pub(crate) struct Answer(Response<Body>);

/// Names of headers that no standard has.
pub(crate) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(crate) const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Self(response)
    }

    /// A JSON document.
    pub(crate) fn json(status: StatusCode, document: &Value) -> Self {
        Self::bytes(status, "application/json", document.to_string().into_bytes())
    }

    /// Bytes of a kind.
    pub(crate) fn bytes(status: StatusCode, kind: &str, bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        Self::empty(status).body(kind, length, bytes.into())
    }

    /// A refusal.
    pub(crate) fn refusal(error: &Error) -> Self {
        let (status, _) = error.kind();
        let answer = Self::json(status, &error.body());
        match error {
            Error::Unauthorized { challenge } => answer.with(header::WWW_AUTHENTICATE, challenge),
            Error::Range { size } => answer.with(header::CONTENT_RANGE, &format!("bytes */{size}")),
            Error::OutOfOrder { at, location } => {
                answer.with(header::LOCATION, location).with(header::RANGE, &received(*at))
            }
            // The rest of the body would be taken for the next request.
            Error::BodySlow(_) | Error::BodyCut(_) | Error::ManifestTooLarge(_) => {
                answer.with(header::CONNECTION, "close")
            }
            _ => answer,
        }
    }

    /// Gives it a body.
    pub(crate) fn body(self, kind: &str, length: u64, body: Body) -> Self {
        let mut answer =
            self.with(header::CONTENT_TYPE, kind).with(header::CONTENT_LENGTH, &length.to_string());
        *answer.0.body_mut() = body;
        answer
    }

    /// Adds a header. A value that no header can have is left out; none of ours is.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    /// Says what the content's digest is.
    pub(crate) fn digest(self, digest: &Digest) -> Self {
        self.with(DIGEST, digest.as_str()).with(header::ETAG, &format!("\"{digest}\""))
    }

    pub(crate) fn done(self) -> Response<Body> {
        self.0
    }
}

/// How an upload of so many bytes is written in a `Range` header. Nothing is `0-0`, like one
/// byte: that is what the first registry did, and clients know it.
pub(crate) fn received(bytes: u64) -> String {
    format!("0-{}", bytes.saturating_sub(1))
}
