//! Names of repositories, as they are in paths of URLs and below the storage's root.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The most characters that a name may have.
const LONGEST: usize = 255;

/// A checked repository name, `library/busybox`. No component can be `.`, `..`, empty, or begin
/// with `_`, so a name is safe as a relative path and never meets the storage's own directories.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(String);

/// Why a text names no repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidName {
    /// It does not follow the grammar.
    #[error("invalid repository name")]
    Format(String),
    /// It is too long.
    #[error("repository name must not be more than {LONGEST} characters")]
    TooLong(String),
}

impl InvalidName {
    /// The text that is no name, cut to a length that can be shown.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Format(name) | Self::TooLong(name) => name,
        }
    }
}

impl Name {
    /// `library/busybox`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory of the repository below the directory of all.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let shown = || text.chars().take(LONGEST).collect();
        if text.len() > LONGEST {
            return Err(InvalidName::TooLong(shown()));
        }
        if !text.split('/').all(is_component) {
            return Err(InvalidName::Format(shown()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes.split(|byte| word(*byte)).all(|between| {
        matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "library/busybox", "a.b_c__d-e--f/0", "a/b/c/d/e", "tags/list"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/../b", "..", ".", "a.", "_a", "a___b", "a._b",
            "a b", "a%2fb", "ä", "a/_tags", "a\0", "a..b",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!("a".repeat(255).parse::<Name>().is_ok());
        assert_eq!("a".repeat(256).parse::<Name>(), Err(InvalidName::TooLong("a".repeat(255))),);
    }
}
