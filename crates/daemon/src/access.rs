//! Who may do what: a client that shows a certificate may have full access, only look, or nothing.
//!
//! ```text
//!  certificate ─► identity ─┐
//!  configuration ─► rules ──┴─► level ─► may this request go on?
//! ```
//!
//! The most exact rule decides: a fingerprint goes before an alternative name, that before the
//! common name, that before an organisational unit, and `*` comes last. Where two rules of a kind
//! match, the one that allows less does. Connections that need no certificate (the unix socket,
//! loopback) are not looked at here: who may open them is root, or is in the socket's group.

mod certificate;
mod readable;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{Method, StatusCode};

use crate::http::answer::Refusal;

pub use certificate::Identity;

/// What a client may do. The order is that of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    None,
    /// Look at what there is.
    ReadOnly,
    /// Everything.
    Full,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "read-only" => Some(Self::ReadOnly),
            "full" => Some(Self::Full),
            _ => None,
        }
    }
}

/// What a rule looks at in a certificate. The order is that of exactness.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// SHA-256 of the certificate, in small hexadecimal digits.
    Fingerprint(String),
    /// An alternative name: DNS name, address, email address or URI.
    AlternativeName(String),
    CommonName(String),
    Unit(String),
    Anybody,
}

impl Subject {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Anybody);
        }
        let (kind, value) = text.split_once(':')?;
        let value = value.trim();
        if value.is_empty() {
            return None;
        }
        match kind.trim().to_ascii_uppercase().as_str() {
            "CN" => Some(Self::CommonName(value.to_owned())),
            "OU" => Some(Self::Unit(value.to_owned())),
            "SAN" => Some(Self::AlternativeName(value.to_owned())),
            "SHA256" => {
                // As openssl prints it (AB:CD:…), or bare.
                let hex: String = value.chars().filter(|c| *c != ':').collect();
                let whole = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
                whole.then(|| Self::Fingerprint(hex.to_ascii_lowercase()))
            }
            _ => None,
        }
    }

    /// How exact it is; less is more exact.
    fn rank(&self) -> u8 {
        match self {
            Self::Fingerprint(_) => 0,
            Self::AlternativeName(_) => 1,
            Self::CommonName(_) => 2,
            Self::Unit(_) => 3,
            Self::Anybody => 4,
        }
    }

    fn fits(&self, identity: &Identity) -> bool {
        match self {
            Self::Fingerprint(hex) => *hex == identity.fingerprint,
            Self::AlternativeName(name) => identity.names.contains(name),
            Self::CommonName(name) => identity.common_names.contains(name),
            Self::Unit(name) => identity.units.contains(name),
            Self::Anybody => true,
        }
    }
}

/// Why a rule makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRule {
    /// What it looks at is nothing that a certificate has.
    #[error("write CN:NAME, OU:NAME, SAN:NAME, SHA256:FINGERPRINT, or * for everybody else")]
    Subject,
    /// There is no such level.
    #[error("allow full, read-only or none")]
    Level,
}

/// Who may do what. Without rules, whoever has a certificate of the authority may do everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(Vec<(Subject, Level)>);

impl Rules {
    /// Reads rules: what to look at in a certificate, and what its owner may do.
    ///
    /// # Errors
    /// The first rule that makes no sense, with its text.
    pub(crate) fn read(rules: &BTreeMap<String, String>) -> Result<Self, (String, InvalidRule)> {
        let one = |(subject, level): (&String, &String)| {
            let wrong = |reason| (format!("{subject}={level}"), reason);
            let read = Subject::parse(subject).ok_or_else(|| wrong(InvalidRule::Subject))?;
            let level = Level::parse(level).ok_or_else(|| wrong(InvalidRule::Level))?;
            Ok((read, level))
        };
        rules.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// What the owner of a certificate may do.
    fn level(&self, identity: &Identity) -> Level {
        let fitting = self.0.iter().filter(|(subject, _)| subject.fits(identity));
        let decisive = fitting.min_by_key(|(subject, level)| (subject.rank(), *level));
        decisive.map_or(Level::Full, |(_, level)| *level)
    }

    /// Whether a request may go on. `path` carries no version.
    ///
    /// # Errors
    /// 403, with who asked for what.
    pub(crate) fn check(
        &self,
        identity: &Identity,
        method: &Method,
        path: &str,
    ) -> Result<(), Refusal> {
        let allowed = match self.level(identity) {
            Level::Full => return Ok(()),
            Level::ReadOnly if readable::is_readable(method, path) => return Ok(()),
            Level::ReadOnly => "only look at things",
            Level::None => "do nothing here",
        };
        let message = format!(
            "access denied to {method} {path}: the owner of the certificate {identity} may {allowed}, as client-access in the daemon's configuration says"
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, message))
    }
}

/// The rules as they are at the moment. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access(Arc<RwLock<Arc<Rules>>>);

impl Access {
    pub(crate) fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// The rules that hold now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the rules, also for connections that are open.
    pub(crate) fn change(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect();
        let name: Option<String> = self.common_names.first().map(|name| shown(name));
        let name = name.or_else(|| self.names.first().map(|name| shown(name)));
        match name {
            Some(name) => write!(f, "{name:?}"),
            None => write!(f, "SHA256:{}", self.fingerprint),
        }
    }
}

#[cfg(test)]
mod tests;
