use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};
use sha2::{Digest as _, Sha256, Sha512};
use types::digest::Digest;

use super::{PULL, Repository};
use crate::error::{Error, Result};
use crate::manifest::{Limits, media_type};
use crate::registry::Registry;
use crate::wire::{Answer, Request};

/// The header in which a registry says what digest it means.
pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What the registry calls it, without parameters.
    pub media_type: String,
    /// The document. Empty if only its head was asked for.
    pub bytes: Bytes,
    /// Its digest: computed from the bytes, or the registry's word for a head.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

impl Repository {
    /// Fetches the manifest of a tag or a digest. That of a digest is checked.
    ///
    /// # Errors
    /// [`Error`], see [`Error::for_pull`].
    pub async fn manifest(&self, tag_or_digest: &str) -> Result<Fetched> {
        for (position, source) in self.sources() {
            match self.manifest_from(source, tag_or_digest).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => self.pass_over(position, error)?,
            }
        }
        self.manifest_from(self.registry(), tag_or_digest).await
    }

    /// Asks what a tag or a digest stands for; `bytes` stay empty.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn head_manifest(&self, tag_or_digest: &str) -> Result<Fetched> {
        for (position, source) in self.sources() {
            match self.head_from(source, tag_or_digest).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => self.pass_over(position, error)?,
            }
        }
        self.head_from(self.registry(), tag_or_digest).await
    }

    async fn ask(&self, source: &Registry, method: Method, reference: &str) -> Result<Answer> {
        let url = source.base().await?.url(&self.path(&format!("manifests/{reference}")));
        // In one line: some servers read only the first.
        let request = Request::new(method, url)
            .header(ACCEPT_ENCODING, "identity")
            .header(ACCEPT, &media_type::ACCEPTED.join(", "));
        source.fetch(request, &self.scopes(PULL)).await
    }

    async fn manifest_from(&self, source: &Registry, reference: &str) -> Result<Fetched> {
        let mut answer = self.ask(source, Method::GET, reference).await?;
        if answer.is_encoded() {
            return Err(answer.protocol("the manifest is encoded although nobody asked for that"));
        }
        let bytes = answer.bytes(Limits::default().bytes as u64).await?;
        if answer.length().is_some_and(|length| length != bytes.len() as u64) {
            return Err(answer.protocol("the manifest's length is not the announced one"));
        }
        let expected: Option<Digest> = reference.parse().ok();
        let said: Option<Digest> = answer.header(DIGEST).and_then(|text| text.parse().ok());
        for expected in expected.iter().chain(&said) {
            let got = digest_like(expected, &bytes);
            if got != *expected {
                let (expected, got) = (expected.to_string(), got.to_string());
                return Err(Error::Digest { what: "manifest", expected, got });
            }
        }
        let digest = match expected {
            Some(digest) => digest,
            None => Digest::from_sha256(Sha256::digest(&bytes).into()),
        };
        let media_type = media_type::bare(answer.header(CONTENT_TYPE).unwrap_or_default());
        Ok(Fetched { media_type, size: bytes.len() as u64, bytes, digest })
    }

    async fn head_from(&self, source: &Registry, reference: &str) -> Result<Fetched> {
        let asked = self.ask(source, Method::HEAD, reference).await;
        let answer = match asked {
            Ok(answer) => answer,
            // The answer to a GET says in words what is wrong; and some know no HEAD.
            Err(Error::Refused(refusal)) if matches!(refusal.status, 400 | 403..=405) => {
                let fetched = self.manifest_from(source, reference).await?;
                return Ok(Fetched { bytes: Bytes::new(), ..fetched });
            }
            Err(error) => return Err(error),
        };
        let digest: Option<Digest> = answer.header(DIGEST).and_then(|text| text.parse().ok());
        let (Some(digest), Some(size)) = (digest, answer.length()) else {
            let fetched = self.manifest_from(source, reference).await?;
            return Ok(Fetched { bytes: Bytes::new(), ..fetched });
        };
        if reference.parse::<Digest>().is_ok_and(|expected| expected != digest) {
            let (expected, got) = (reference.to_owned(), digest.to_string());
            return Err(Error::Digest { what: "manifest", expected, got });
        }
        let media_type = media_type::bare(answer.header(CONTENT_TYPE).unwrap_or_default());
        Ok(Fetched { media_type, bytes: Bytes::new(), digest, size })
    }
}

/// The digest of bytes by the algorithm of another digest.
pub(super) fn digest_like(other: &Digest, bytes: &[u8]) -> Digest {
    if other.algorithm() == "sha512" {
        let sum = Sha512::digest(bytes);
        let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Ok(digest) = format!("sha512:{hex}").parse() {
            return digest;
        }
    }
    Digest::from_sha256(Sha256::digest(bytes).into())
}
