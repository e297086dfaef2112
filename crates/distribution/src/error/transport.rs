use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Transport {
    /// The name has no address.
    #[error("dial tcp: lookup {host}: {reason}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection.
    #[error("dial tcp {address}: connect: {reason}")]
    Dial {
        /// Where to.
        address: SocketAddr,
        /// The system's words.
        reason: String,
    },
    /// Nothing within the time allowed.
    #[error("{what} timed out after {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The other side speaks no TLS.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainAnswer,
    /// TLS did not come about.
    #[error("tls: {0}")]
    Tls(#[source] io::Error),
    /// The proxy refuses.
    #[error("proxy {proxy}: {reason}")]
    Proxy {
        /// Its address.
        proxy: String,
        /// What it said.
        reason: String,
    },
    /// The connection broke or what came was no HTTP.
    #[error("{0}")]
    Http(String),
    /// A failure of the system.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl Transport {
    /// Whether there was no connection at all.
    pub(crate) fn is_dial(&self) -> bool {
        matches!(self, Self::Dial { .. } | Self::Lookup { .. } | Self::Proxy { .. })
    }

    /// Whether another attempt may end better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Http(_) | Self::Io(_) => true,
            // Nobody listens, and nobody will in a few seconds: tell the user at once.
            Self::Dial { .. } | Self::Lookup { .. } => false,
            Self::PlainAnswer | Self::Proxy { .. } => false,
            Self::Tls(error) => !matches!(error.kind(), io::ErrorKind::InvalidData),
        }
    }
}

/// An error and all that caused it, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// The system's words for an error, without the number that Rust adds, in lower case.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
