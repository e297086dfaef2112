//! Why a configuration is refused.

use std::path::PathBuf;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("the configuration file {path} is not valid: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Keys that mean nothing.
    #[error(
        "unable to configure the daemon with file {path}: the following directives don't match any configuration option: {keys}"
    )]
    UnknownKeys {
        /// Which file.
        path: PathBuf,
        /// Which keys.
        keys: String,
    },
    /// Set twice.
    #[error(
        "unable to configure the daemon with file {path}: the following directives are specified both as a flag and in the configuration file: {directives}"
    )]
    Conflicts {
        /// Which file.
        path: PathBuf,
        /// `key: (from flag: …, from file: …)`, ….
        directives: String,
    },
    /// A value of the wrong type.
    #[error("invalid configuration: {0}")]
    Type(#[source] serde_json::Error),
    /// A value that makes no sense.
    #[error("invalid value {value:?} for {directive}: {reason}")]
    Value {
        /// Flag or key.
        directive: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two directives that exclude each other.
    #[error("{0} and {1} exclude each other")]
    Exclusive(&'static str, &'static str),
    /// A directive that would be dangerous to ignore.
    #[error("{directive} is not supported: {reason}")]
    Unsupported {
        /// Flag or key.
        directive: &'static str,
        /// Why.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn value(
        directive: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Value { directive, value: value.into(), reason: reason.into() }
    }
}
