use bytes::Bytes;
use types::digest::Digest;
use types::reference::Reference;

use crate::client::Client;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::upload::Source;

/// One repository of a registry.
#[derive(Clone, Debug)]
pub struct Repository {
    client: Client,
    name: Reference,
    credentials: Option<Credentials>,
}

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

/// A blob on its way. Interruptions are survived by asking for the rest.
#[derive(Debug)]
pub struct BlobStream {
    size: u64,
}

impl BlobStream {
    /// The blob's length in bytes, from its beginning.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes; `None` after the last. Exactly as many come as the descriptor says, less
    /// those that were skipped; whether they are the right ones is for the caller to check.
    ///
    /// # Errors
    /// [`Error`] when all attempts to get the rest have failed.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

impl Repository {
    pub(crate) fn new(client: Client, name: Reference, credentials: Option<Credentials>) -> Self {
        Self { client, name, credentials }
    }

    /// The repository's name.
    pub fn name(&self) -> &Reference {
        &self.name
    }

    fn absent<T>(&self) -> Result<T> {
        let _ = (&self.client, &self.credentials);
        Err(Error::Address { address: self.name.to_string(), reason: "not reachable yet" })
    }

    /// Fetches the manifest of a tag or a digest. That of a digest is checked.
    ///
    /// # Errors
    /// [`Error`], see [`Error::for_pull`].
    pub async fn manifest(&self, _tag_or_digest: &str) -> Result<Fetched> {
        self.absent()
    }

    /// Asks what a tag or a digest stands for; `bytes` stay empty.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn head_manifest(&self, _tag_or_digest: &str) -> Result<Fetched> {
        self.absent()
    }

    /// Fetches a blob from the byte `from` on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn blob(&self, _descriptor: &Descriptor, _from: u64) -> Result<BlobStream> {
        self.absent()
    }

    /// The length of a blob if the repository has it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn has_blob(&self, _digest: &Digest) -> Result<Option<u64>> {
        self.absent()
    }

    /// Asks the registry to take a blob over from another of its repositories (a path such as
    /// `library/busybox`). `false` if it wants it uploaded.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mount(&self, _digest: &Digest, _from_repository: &str) -> Result<bool> {
        self.absent()
    }

    /// Uploads a blob; its digest, which the registry has checked.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn upload(&self, _source: &mut dyn Source) -> Result<Digest> {
        self.absent()
    }

    /// Puts a manifest under a tag or its digest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_manifest(
        &self,
        _tag_or_digest: &str,
        _media_type: &str,
        _bytes: Bytes,
    ) -> Result<Digest> {
        self.absent()
    }

    /// All tags.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tags(&self) -> Result<Vec<String>> {
        self.absent()
    }

    /// The manifests that refer to this one, all or those of one artifact type.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn referrers(
        &self,
        _digest: &Digest,
        _artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        self.absent()
    }

    /// Deletes a manifest by digest, or a tag where the registry allows that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_manifest(&self, _tag_or_digest: &str) -> Result<()> {
        self.absent()
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_blob(&self, _digest: &Digest) -> Result<()> {
        self.absent()
    }
}
