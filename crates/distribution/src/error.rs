//! What can go wrong between us and a registry, in Docker's words where clients read them.

mod refusal;
mod transport;

use std::io;

use types::ErrorKind;
use types::reference::Reference;

pub(crate) use refusal::status_line;
pub use refusal::{Refusal, WireError};
pub use transport::Transport;
pub(crate) use transport::{chain, words};

use crate::manifest::InvalidManifest;

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A registry's, mirror's or proxy's address makes no sense.
    #[error("invalid registry address \"{address}\": {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Certificates from `certs.d` cannot be used.
    #[error("{path}: {reason}")]
    Certificate {
        /// The file or directory.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer came.
    #[error("{request}: {source}")]
    Transport {
        /// Method and URL, as in `Get "https://registry/v2/"`.
        request: String,
        /// What happened.
        source: Transport,
    },
    /// The registry said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The service that hands out tokens for the registry said no.
    #[error("{request}: {refusal}")]
    Token {
        /// What the token was for.
        request: String,
        /// What the service said.
        refusal: Box<Refusal>,
    },
    /// The registry wants a name and a password, and there are none.
    #[error("{request}: no basic auth credentials")]
    NoCredentials {
        /// Method and URL.
        request: String,
    },
    /// A login was refused.
    #[error("login attempt to {url} failed with status: {status}")]
    Login {
        /// The registry's `/v2/`.
        url: String,
        /// Its status line.
        status: String,
    },
    /// An answer that the protocol does not allow.
    #[error("{request}: {what}")]
    Protocol {
        /// Method and URL.
        request: String,
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// More bytes than were announced or than are read.
    #[error("{request}: the answer is longer than {limit} bytes")]
    TooLong {
        /// Method and URL.
        request: String,
        /// Where reading stopped.
        limit: u64,
    },
    /// The bytes ended early, as often as they were asked for.
    #[error("{request}: the answer ended after {got} of {expected} bytes")]
    Truncated {
        /// Method and URL.
        request: String,
        /// What came.
        got: u64,
        /// What should have come.
        expected: u64,
    },
    /// The registry's length of a blob is not what the manifest says.
    #[error("{request}: blob of {got} bytes where the manifest says {expected}")]
    WrongLength {
        /// Method and URL.
        request: String,
        /// The registry's length.
        got: u64,
        /// The descriptor's.
        expected: u64,
    },
    /// What came is not what was asked for.
    #[error("{what} does not match digest {expected}: got {got}")]
    Digest {
        /// Manifest or upload.
        what: &'static str,
        /// What was asked for.
        expected: String,
        /// What came.
        got: String,
    },
    /// Redirected too often, or in a circle, or to where it is not allowed.
    #[error("{request}: {reason}")]
    Redirect {
        /// Method and URL of the first request.
        request: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A manifest that cannot be read.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// JSON that cannot be read.
    #[error("{request}: error unmarshalling content: {source}")]
    Json {
        /// Method and URL.
        request: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// What was to be uploaded could not be read.
    #[error("reading what is uploaded: {0}")]
    Source(#[source] io::Error),
    /// A search term or a limit that the index would not take.
    #[error("{0}")]
    Search(&'static str),
}

impl Error {
    /// What kind of failure this is for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Address { .. } | Self::Search(_) => ErrorKind::Invalid,
            Self::Refused(refusal) => refusal.kind(),
            Self::Token { refusal, .. } => refusal.kind(),
            Self::NoCredentials { .. } | Self::Login { .. } => ErrorKind::Unauthorized,
            Self::Transport { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::System,
        }
    }

    /// What the registry said, if this is its refusal.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Token { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether it says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404)
    }

    /// The error as Docker words it for somebody who pulls `reference`.
    ///
    /// Docker answers 404 also where access is denied, since a registry does not tell the two
    /// apart, and 500 for the rest.
    pub fn for_pull(&self, reference: &Reference) -> types::Error {
        let Self::Refused(refusal) = self else { return self.plain() };
        let Some(first) = refusal.errors.first() else { return self.plain() };
        let familiar = reference.familiar_name();
        let message = match refusal.code() {
            "DENIED" => format!(
                "pull access denied for {familiar}, repository does not exist or may require \
                 'docker login': {first}"
            ),
            "MANIFEST_UNKNOWN" => {
                format!("manifest for {} not found: {first}", reference.familiar())
            }
            "NAME_UNKNOWN" => format!("repository {familiar} not found: {first}"),
            _ => return self.plain(),
        };
        types::Error::not_found(message)
    }

    /// The error with its kind and its own words.
    pub fn plain(&self) -> types::Error {
        types::Error { kind: self.kind(), message: self.to_string() }
    }
}

impl From<&Error> for types::Error {
    fn from(error: &Error) -> Self {
        error.plain()
    }
}

#[cfg(test)]
mod tests;
