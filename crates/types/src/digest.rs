//! Content digests: `algorithm:hex`, as images, layers and blobs are named.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A checked digest, `sha256:` with 64 or `sha512:` with 128 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is no digest; the words are those of Docker's digest library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// It is not `algorithm:hex`.
    #[error("invalid checksum digest format")]
    Format,
    /// Neither sha256 nor sha512.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// The wrong number of digits for its algorithm.
    #[error("invalid checksum digest length")]
    Length,
}

impl Digest {
    /// The digest that a finished SHA-256 makes.
    pub fn from_sha256(sum: [u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in sum {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        Self(text)
    }

    /// A SHA-256 digest from its bare 64 digits.
    ///
    /// # Errors
    /// [`InvalidDigest`] when they are something else.
    pub fn from_sha256_hex(hex: &str) -> Result<Self, InvalidDigest> {
        format!("sha256:{hex}").parse()
    }

    /// `sha256:…`, all of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        &self.0[..6]
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The first 12 digits, as users see and type them.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let (algorithm, hex) = text.split_once(':').ok_or(InvalidDigest::Format)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte);
        if algorithm.is_empty() || !algorithm.bytes().all(named) {
            return Err(InvalidDigest::Format);
        }
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(InvalidDigest::Algorithm),
        };
        if !hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(InvalidDigest::Format);
        }
        if hex.len() != length {
            return Err(InvalidDigest::Length);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_checked_and_split() {
        let digest = Digest::from_sha256([0xa5; 32]);
        assert_eq!(digest.algorithm(), "sha256");
        assert_eq!(digest.hex(), "a5".repeat(32));
        assert_eq!(digest.short(), "a5a5a5a5a5a5");
        assert_eq!(digest.as_str().parse(), Ok(digest.clone()));
        assert_eq!(Digest::from_sha256_hex(digest.hex()), Ok(digest));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let parse = |text: &str| text.parse::<Digest>().unwrap_err();
        assert_eq!(parse("sha256"), InvalidDigest::Format);
        assert_eq!(parse(":aa"), InvalidDigest::Format);
        assert_eq!(parse("md5:aa"), InvalidDigest::Algorithm);
        assert_eq!(parse("sha256:aa"), InvalidDigest::Length);
        assert_eq!(parse(&format!("sha256:{}", "A".repeat(64))), InvalidDigest::Format);
        assert_eq!(parse(&format!("sha256:{}", "../".repeat(22))), InvalidDigest::Format);
    }
}
