//! What can go wrong between the daemon and us.

use std::path::PathBuf;

use super::endpoint::Endpoint;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `DOCKER_HOST` or `-H` is no address.
    #[error(
        "invalid daemon address {0:?}: expected unix://PATH, tcp://HOST:PORT or ssh://USER@HOST"
    )]
    Address(String),
    /// A scheme that is not spoken here.
    #[error("daemon addresses with {0}:// are not supported; use unix://, tcp:// or ssh://")]
    Scheme(String),
    /// Nobody listens.
    #[error("no daemon answers at {endpoint}")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What `ssh` was to reach does not answer.
    #[error(
        "no daemon answers at {0}: ssh has said why, or there is no program named isopod there"
    )]
    Tunnel(Endpoint),
    /// A TLS file that cannot be read or parsed.
    #[error("TLS file {path}: {reason}")]
    TlsFile {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The TLS configuration makes no sense.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The daemon's name is no TLS server name.
    #[error("TLS: {0:?} is no server name")]
    ServerName(String),
    /// A configured header that HTTP does not allow.
    #[error("HTTP header {0:?} is invalid")]
    Header(String),
    /// The path or query cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[source] hyper::http::Error),
    /// The connection failed in the middle.
    #[error("the connection to the daemon failed")]
    Http(#[source] hyper::Error),
    /// The answer broke off, or is too long.
    #[error("the daemon's answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Our own JSON.
    #[error("the request cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The daemon's JSON.
    #[error("the daemon's answer is not what was expected")]
    Decode(#[source] serde_json::Error),
    /// The daemon refused, in its own words.
    #[error("{message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// One sentence.
        message: String,
    },
    /// Nothing of any kind has that name.
    #[error("no such object: {0}")]
    NotFound(String),
    /// The daemon answered as if to a plain request.
    #[error("the daemon did not hand over the connection (status {0})")]
    NotHijacked(u16),
    /// Reading or writing a connection that was taken over.
    #[error("the connection to the daemon failed")]
    Stream(#[source] std::io::Error),
}

impl Error {
    /// Why a request to a daemon got no answer.
    pub(super) fn unanswered(endpoint: &Endpoint, error: hyper::Error) -> Self {
        let gone = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        match endpoint {
            Endpoint::Ssh(_) if gone => Self::Tunnel(endpoint.clone()),
            _ => Self::Http(error),
        }
    }

    /// The HTTP status, when the daemon refused.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon knows nothing of that name.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}
