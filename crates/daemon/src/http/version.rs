//! API versions: the prefix of a path, and what it means.

use std::fmt;

use docker_api::{MIN_API_VERSION, NEWEST_API_VERSION};

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The one that is spoken to those who ask for none.
    pub fn latest() -> Self {
        Self::parse(docker_api::API_VERSION)
    }

    /// The newest that may be asked for.
    pub fn newest() -> Self {
        Self::parse(NEWEST_API_VERSION)
    }

    /// Whether the client speaks at least this version.
    pub fn at_least(self, minor: u32) -> bool {
        self >= Self(1, minor)
    }

    /// Reads `1.41`, or `1` for `1.0`; further parts are of no importance.
    fn parse(text: &str) -> Self {
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self(parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A version that is not spoken here, in dockerd's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unspoken {
    /// Above the newest.
    #[error("client version {0} is too new. Maximum supported API version is {NEWEST_API_VERSION}")]
    TooNew(String),
    /// Below the oldest.
    #[error(
        "client version {0} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
    )]
    TooOld(String),
}

/// Splits the version off a path: `/v1.41/info` is `/info` for a client of version 1.41, `/info`
/// is for one that speaks whatever is newest. What only looks similar (`/version`) is left alone.
///
/// # Errors
/// When the version is not spoken here.
pub fn negotiate(path: &str) -> Result<(Version, &str), Unspoken> {
    let first = path.strip_prefix("/v").unwrap_or("");
    let (text, rest) = match first.find('/') {
        Some(slash) => first.split_at(slash),
        None => (first, ""),
    };
    let numeric = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !numeric {
        return Ok((Version::latest(), path));
    }
    let version = Version::parse(text);
    if version > Version::newest() {
        return Err(Unspoken::TooNew(text.to_owned()));
    }
    if version < Version::parse(MIN_API_VERSION) {
        return Err(Unspoken::TooOld(text.to_owned()));
    }
    Ok((version, if rest.is_empty() { "/" } else { rest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_split_off() {
        assert_eq!(negotiate("/v1.24/info"), Ok((Version(1, 24), "/info")));
        assert_eq!(
            negotiate("/v1.51/containers/a/json"),
            Ok((Version(1, 51), "/containers/a/json"))
        );
        assert_eq!(Version::newest().to_string(), NEWEST_API_VERSION);
        assert!(Version::latest() <= Version::newest());
        for path in ["/info", "/version", "/volumes", "/vv1/x", "/v/x", "/v1a/x", "/", "", "*"] {
            assert_eq!(negotiate(path), Ok((Version::latest(), path)), "{path}");
        }
        assert_eq!(negotiate("/v1.30"), Ok((Version(1, 30), "/")));
        assert!(Version(1, 41) < Version(1, 51) && Version(1, 9) < Version(1, 24));
    }

    #[test]
    fn other_versions_are_refused_in_dockers_words() {
        let message = |path| negotiate(path).expect_err("refused").to_string();
        assert_eq!(
            message("/v1.99/info"),
            format!(
                "client version 1.99 is too new. Maximum supported API version is {NEWEST_API_VERSION}"
            )
        );
        assert!(message("/v1.12/info").starts_with("client version 1.12 is too old. Minimum"));
        assert!(message("/v1/info").contains("too old"));
        assert!(message("/v2.0/info").contains("too new"));
        assert!(message("/v99999999999999999999.1/x").contains("too old"));
        assert!(message("/v.../x").contains("too old"));
    }
}
