//! Who we are to a registry, and where that is kept.

mod file;
mod program;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use types::null_default;

pub use file::{ConfigFile, HUB, Kept, StoreError, host_of, server_of};
pub use program::ProgramError;

/// The most an `X-Registry-Auth` header is read of, in bytes.
const MAX_HEADER: usize = 64 << 10;

/// What a registry is told about us, as the Docker API's `X-Registry-Auth` and `/auth` carry it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// The user's name.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password, or a token in its place.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Unused by registries of today.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The registry this is for: a host or a URL.
    #[serde(
        rename = "serveraddress",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub server_address: String,
    /// A refresh token, exchanged for access tokens instead of a password.
    #[serde(
        rename = "identitytoken",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub identity_token: String,
    /// An access token that is sent as it is.
    #[serde(
        rename = "registrytoken",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub registry_token: String,
}

/// A header that holds no credentials.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHeader {
    /// Longer than anything sensible.
    #[error("invalid X-Registry-Auth header: too long")]
    TooLong,
    /// Not base64.
    #[error("invalid X-Registry-Auth header: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not the expected JSON.
    #[error("invalid X-Registry-Auth header: {0}")]
    Json(#[from] serde_json::Error),
}

/// Clients differ in alphabet and padding.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

impl Credentials {
    /// A name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into(), ..Self::default() }
    }

    /// Reads an `X-Registry-Auth` header: JSON in base64, either alphabet, padded or not. An
    /// empty one, or one that holds nothing, is nobody.
    ///
    /// # Errors
    /// [`InvalidHeader`].
    pub fn decode_header(text: &str) -> Result<Option<Self>, InvalidHeader> {
        let text = text.trim();
        if text.len() > MAX_HEADER {
            return Err(InvalidHeader::TooLong);
        }
        let bytes = decode_base64(text)?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        // Clients without credentials send `null`, or `{}`.
        let credentials: Option<Self> = serde_json::from_slice(&bytes)?;
        Ok(credentials.filter(|credentials| !credentials.is_empty()))
    }

    /// The `X-Registry-Auth` header for these credentials.
    pub fn encode_header(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE.encode(json)
    }

    /// Whether nothing here tells a registry who we are.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.identity_token.is_empty()
            && self.registry_token.is_empty()
    }

    /// A value for `Authorization`, if there is a name.
    pub(crate) fn basic_header(&self) -> Option<String> {
        (!self.username.is_empty()).then(|| {
            let pair = format!("{}:{}", self.username, self.password);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        })
    }
}

impl std::fmt::Debug for Credentials {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

/// Base64 in either alphabet.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let url = text.contains(['-', '_']);
    let alphabet = if url { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_means_what_was_put_into_it(name in "\\PC{1,40}", secret in "\\PC{0,40}") {
            let who = Credentials::basic(name, secret);
            let read = Credentials::decode_header(&who.encode_header());
            prop_assert_eq!(read.expect("valid"), Some(who));
        }

        #[test]
        fn any_header_is_read_or_refused(text in "[A-Za-z0-9+/=_-]{0,200}") {
            if let Ok(Some(who)) = Credentials::decode_header(&text) {
                prop_assert!(!who.is_empty());
            }
        }
    }

    #[test]
    fn headers_are_read_in_every_dialect() {
        let json = r#"{"username":"me?>","password":"~~~","email":null,"serveraddress":"r:5000"}"#;
        let url = base64::engine::general_purpose::URL_SAFE.encode(json);
        let plain = base64::engine::general_purpose::STANDARD.encode(json);
        for text in [url.as_str(), url.trim_end_matches('='), &plain, plain.trim_end_matches('=')] {
            let read = Credentials::decode_header(text).expect("valid").expect("somebody");
            assert_eq!((read.username.as_str(), read.password.as_str()), ("me?>", "~~~"));
            assert_eq!(read.server_address, "r:5000");
        }
        let again = Credentials::decode_header(&Credentials::basic("a", "b").encode_header());
        assert_eq!(again.expect("valid"), Some(Credentials::basic("a", "b")));
    }

    #[test]
    fn nobody_is_nobody() {
        for text in ["", "e30=", "bnVsbA==", "e30"] {
            assert_eq!(Credentials::decode_header(text).expect(text), None, "{text}");
        }
        assert!(matches!(Credentials::decode_header("*"), Err(InvalidHeader::Base64(_))));
        assert!(matches!(Credentials::decode_header("e3s"), Err(InvalidHeader::Json(_))));
        assert!(matches!(
            Credentials::decode_header(&"A".repeat(70_000)),
            Err(InvalidHeader::TooLong)
        ));
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", Credentials::basic("me", "hunter2"));
        assert!(text.contains("me") && !text.contains("hunter2"), "{text}");
    }
}
