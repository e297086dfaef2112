//! Answers: JSON, nothing, streams and errors.

use std::convert::Infallible;
use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use docker_api::ErrorResponse;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;
use types::{Error, ErrorKind};

/// What a handler gives.
pub(crate) type Answer = Result<Response, Refusal>;

/// A request that failed: a status, and one sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// For paths that do not exist.
    pub(crate) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }
}

/// The HTTP status of each kind of error.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(status(error.kind), error.message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        // 501 and 503 say what is not offered, which is no trouble of the daemon's.
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(status = self.status.as_u16(), "{}", self.message);
        } else {
            tracing::debug!(status = self.status.as_u16(), "{}", self.message);
        }
        json(self.status, &ErrorResponse { message: docker_api::plain(&self.message) })
    }
}

/// A JSON answer, with the newline at its end that Go's encoder writes.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut text = match serde_json::to_vec(value) {
        Ok(text) => text,
        Err(error) => {
            // The API's types are plain data: only a bug in one of them leads here.
            tracing::error!(%error, "an answer cannot be written as JSON");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    text.push(b'\n');
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [kind], text).into_response()
}

/// A JSON answer with status 200.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

/// Status 204 and nothing else.
pub(crate) fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A status and an empty body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    Ok(status.into_response())
}

/// A body that comes piece by piece, as fast as the client takes it.
pub(crate) fn streaming<S, E>(content_type: &'static str, pieces: S) -> Response
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<axum::BoxError> + 'static,
{
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    ([kind], Body::from_stream(pieces)).into_response()
}

/// A body from a channel. When the client goes, the channel's receiver does, and so its sender
/// learns of it.
pub(crate) fn channel(
    content_type: &'static str,
    receiver: mpsc::Receiver<io::Result<Bytes>>,
) -> Response {
    streaming(content_type, received(receiver))
}

/// A channel as a stream.
pub(crate) fn received<T: Send + 'static>(
    mut receiver: mpsc::Receiver<T>,
) -> impl Stream<Item = T> + Send {
    stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// A body of JSON objects, one a line, each sent as soon as it is there.
pub(crate) fn json_lines<S>(items: S) -> Response
where
    S: Stream + Send + 'static,
    S::Item: Serialize,
{
    let lines = items.map(|item| {
        let mut line = serde_json::to_vec(&item).unwrap_or_default();
        // Docker's clients split the stream at the values; old ones look for CR LF.
        line.extend(b"\r\n");
        Ok::<_, Infallible>(Bytes::from(line))
    });
    streaming("application/json", lines)
}

/// Headers of every answer.
pub(crate) fn always(experimental: bool) -> HeaderMap {
    let server = concat!("Isopod/", env!("CARGO_PKG_VERSION"), " (linux)");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("api-version", docker_api::API_VERSION),
        ("docker-experimental", if experimental { "true" } else { "false" }),
        ("ostype", "linux"),
        ("server", server),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}
