//! The error that crosses the engine's border: a kind, which decides the HTTP status, and one
//! sentence for the user.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, seen from the caller's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense (400).
    Invalid,
    /// Who asks is not known where it is asked (401).
    Unauthorized,
    /// The caller may not do this (403).
    Forbidden,
    /// The named thing does not exist (404).
    NotFound,
    /// The thing is in a state that forbids the request (409).
    Conflict,
    /// Nothing to do: it is so already (304).
    NotModified,
    /// What is asked for is not offered here (501).
    NotImplemented,
    /// Something the request needs does not answer now (503).
    Unavailable,
    /// The host or the engine failed (500).
    System,
}

/// An error as a user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// One clear sentence; Docker's own words where clients parse them.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error {$(
            $(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Self { kind: ErrorKind::$kind, message: message.into() }
            }
        )*}
    };
}

constructors! {
    /// An [`ErrorKind::Invalid`] error.
    invalid => Invalid,
    /// An [`ErrorKind::Unauthorized`] error.
    unauthorized => Unauthorized,
    /// An [`ErrorKind::Forbidden`] error.
    forbidden => Forbidden,
    /// An [`ErrorKind::NotFound`] error.
    not_found => NotFound,
    /// An [`ErrorKind::Conflict`] error.
    conflict => Conflict,
    /// An [`ErrorKind::NotModified`] error.
    not_modified => NotModified,
    /// An [`ErrorKind::NotImplemented`] error.
    not_implemented => NotImplemented,
    /// An [`ErrorKind::Unavailable`] error.
    unavailable => Unavailable,
    /// An [`ErrorKind::System`] error.
    system => System,
}
