//! One repository's links.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::blobs::Upload;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::digest::Digest;

use super::{Result, Step, Storage, StorageError, absent, digests_in, durable, names_in};
use crate::manifest::{LARGEST, Manifest};
use crate::route::Tag;

/// Links that are younger are not touched again when somebody asks for them.
const FRESH: Duration = Duration::from_secs(60);
/// How exactly it is known when a manifest was last asked for.
const USED: Duration = Duration::from_secs(3600);

/// A repository's place in the storage.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    storage: &'a Storage,
    folder: PathBuf,
}

/// A manifest that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// Why a manifest is not put.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What it refers to is not in the repository.
    #[error("{} digests are not in the repository", .0.len())]
    Missing(Vec<Digest>),
    /// A blob has another size.
    #[error("{digest} has {found} bytes and not {said}")]
    Size { digest: Digest, said: u64, found: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    media_type: String,
}

impl<'a> Repository<'a> {
    pub(super) fn new(storage: &'a Storage, folder: PathBuf) -> Self {
        Self { storage, folder }
    }

    /// The directory with this repository's links.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn at(&self, kind: &str, digest: &Digest) -> PathBuf {
        self.folder.join(kind).join(digest.algorithm()).join(digest.hex())
    }

    fn blob_link(&self, digest: &Digest) -> PathBuf {
        self.at("_blobs", digest)
    }

    fn manifest_link(&self, digest: &Digest) -> PathBuf {
        self.at("_manifests", digest)
    }

    fn tag_link(&self, tag: &Tag) -> PathBuf {
        self.folder.join("_tags").join(tag.as_str())
    }

    fn referrer_link(&self, subject: &Digest, digest: &Digest) -> PathBuf {
        let name = format!("{}-{}", digest.algorithm(), digest.hex());
        self.at("_referrers", subject).join(name)
    }

    /// Whether anything has ever been put here.
    pub(crate) fn exists(&self) -> bool {
        self.folder.join("_manifests").is_dir()
    }

    pub(super) fn has_manifests(&self) -> bool {
        let Ok(algorithms) = fs::read_dir(self.folder.join("_manifests")) else { return false };
        let filled = |folder: fs::DirEntry| {
            fs::read_dir(folder.path()).is_ok_and(|mut links| links.next().is_some())
        };
        algorithms.flatten().any(filled)
    }

    /// The size of a blob of this repository. A manifest counts as one.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let link = self.blob_link(digest);
        let linked = link.try_exists().step("look for", &link)?
            || self.manifest_link(digest).try_exists().step("look for", &link)?;
        if linked { Ok(self.storage.blobs().size(digest)?) } else { Ok(None) }
    }

    /// Somebody is to be told that the blob is here, and will rely on it. False if it has been
    /// collected since it was looked for.
    pub(crate) fn promise(&self, digest: &Digest) -> Result<bool> {
        let link = self.blob_link(digest);
        match age(&link)? {
            // It may be a manifest, which is never collected as a blob.
            None => return self.has_manifest(digest),
            Some(age) if age < FRESH => return Ok(true),
            Some(_) => {}
        }
        let _gate = self.storage.shared()?;
        durable::touch(&link)
    }

    /// Makes a blob that is stored one of this repository; `None` if it is not stored.
    pub(crate) fn link(&self, digest: &Digest) -> Result<Option<u64>> {
        let _gate = self.storage.shared()?;
        let size = self.storage.blobs().size(digest)?;
        if size.is_some() {
            durable::mark(&self.blob_link(digest))?;
        }
        Ok(size)
    }

    /// Finishes an upload: verifies it and makes it a blob of this repository.
    pub(crate) fn commit(&self, upload: Upload, digest: &Digest) -> Result<u64> {
        // Verifying and flushing may take long, so nobody is kept waiting meanwhile.
        let ready = upload.ready(digest)?;
        // A collector must not find the name without the link, nor take the new file for an old
        // one of the same name.
        let _gate = self.storage.shared()?;
        let size = ready.name()?;
        durable::mark(&self.blob_link(digest))?;
        Ok(size)
    }

    /// Takes a blob out of this repository; its bytes go when they are collected.
    pub(crate) fn unlink(&self, digest: &Digest) -> Result<bool> {
        let _gate = self.storage.alone()?;
        durable::remove(&self.blob_link(digest))
    }

    /// What a tag stands for.
    pub(crate) fn resolve(&self, tag: &Tag) -> Result<Option<Digest>> {
        let path = self.tag_link(tag);
        let Some(text) = absent(fs::read_to_string(&path)).step("read", &path)? else {
            return Ok(None);
        };
        let damaged = |error: types::digest::InvalidDigest| StorageError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        };
        text.trim_end().parse().map(Some).map_err(damaged)
    }

    /// A manifest of this repository, verified.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Option<Stored>> {
        let path = self.manifest_link(digest);
        let Some(text) = absent(fs::read(&path)).step("read", &path)? else { return Ok(None) };
        let link: Link = serde_json::from_slice(&text)
            .map_err(|error| StorageError::Damaged { path, reason: error.to_string() })?;
        let bytes = match self.storage.blobs().read(digest, LARGEST as u64) {
            Err(image::Error::NoSuchBlob(_)) => return Ok(None),
            bytes => bytes?,
        };
        Ok(Some(Stored { media_type: link.media_type, digest: digest.clone(), bytes }))
    }

    /// Somebody has asked for a manifest, which is remembered as its link's time: see `--unused`.
    pub(crate) fn used(&self, digest: &Digest) -> Result<()> {
        let link = self.manifest_link(digest);
        if age(&link)?.is_some_and(|age| age >= USED) {
            let _gate = self.storage.shared()?;
            durable::touch(&link)?;
        }
        Ok(())
    }

    /// Whether a manifest is one of this repository.
    pub(crate) fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        let link = self.manifest_link(digest);
        link.try_exists().step("look for", &link)
    }

    /// Puts a manifest, after everything that it needs. With `checked` it must all be here; a
    /// cache has a manifest before it has the blobs.
    pub(crate) fn put_manifest(
        &self,
        manifest: &Manifest,
        digest: &Digest,
        bytes: &[u8],
        tag: Option<&Tag>,
        checked: bool,
    ) -> std::result::Result<(), PutError> {
        let _gate = self.storage.shared()?;
        if checked {
            self.check(manifest)?;
        }
        self.storage.blobs().put_as(digest, bytes).map_err(StorageError::from)?;
        let link = Link { media_type: manifest.media_type.clone() };
        let link = serde_json::to_vec(&link).unwrap_or_default();
        durable::write(&self.manifest_link(digest), &link)?;
        if let Some(subject) = &manifest.subject {
            let descriptor = descriptor(manifest, digest, bytes.len());
            let text = descriptor.to_string();
            durable::write(&self.referrer_link(subject, digest), text.as_bytes())?;
        }
        if let Some(tag) = tag {
            durable::write(&self.tag_link(tag), format!("{digest}\n").as_bytes())?;
        }
        Ok(())
    }

    /// Looks for everything that a manifest refers to, and keeps it from being collected.
    fn check(&self, manifest: &Manifest) -> std::result::Result<(), PutError> {
        let mut missing = Vec::new();
        for (digest, said) in &manifest.blobs {
            match self.blob(digest)? {
                None => missing.push(digest.clone()),
                Some(found) if found != *said => {
                    return Err(PutError::Size { digest: digest.clone(), said: *said, found });
                }
                Some(_) => {
                    durable::touch(&self.blob_link(digest))?;
                }
            }
        }
        for digest in &manifest.manifests {
            let link = self.manifest_link(digest);
            if self.storage.blobs().size(digest).map_err(StorageError::from)?.is_none()
                || !durable::touch(&link)?
            {
                missing.push(digest.clone());
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(PutError::Missing(missing)) }
    }

    /// Removes a manifest and every tag that stands for it; false if it is not there.
    pub(crate) fn delete_manifest(&self, digest: &Digest) -> Result<bool> {
        let _gate = self.storage.alone()?;
        self.remove_manifest(digest)
    }

    /// The same for those who are alone already.
    pub(crate) fn remove_manifest(&self, digest: &Digest) -> Result<bool> {
        if !self.has_manifest(digest)? {
            return Ok(false);
        }
        // Tags first: one that stands for nothing would be worse than one that is gone.
        for tag in self.tags()? {
            if self.resolve(&tag)?.as_ref() == Some(digest) {
                durable::remove(&self.tag_link(&tag))?;
            }
        }
        // One that cannot be read has its entry among the referrers left behind, where it is
        // not shown because there is no such manifest.
        if let Ok(Some(stored)) = self.manifest(digest)
            && let Ok(manifest) = crate::manifest::parse(Some(&stored.media_type), &stored.bytes)
            && let Some(subject) = manifest.subject
        {
            durable::remove(&self.referrer_link(&subject, digest))?;
        }
        durable::remove(&self.manifest_link(digest))
    }

    /// Removes a tag; the manifest stays. False if there is no such tag.
    pub(crate) fn delete_tag(&self, tag: &Tag) -> Result<bool> {
        let _gate = self.storage.alone()?;
        durable::remove(&self.tag_link(tag))
    }

    /// All tags, sorted.
    pub(crate) fn tags(&self) -> Result<Vec<Tag>> {
        let names = names_in(&self.folder.join("_tags"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// All manifests.
    pub(crate) fn manifests(&self) -> Result<Vec<Digest>> {
        digests_in(&self.folder.join("_manifests"))
    }

    /// Descriptors of the manifests that are about this one, sorted by digest.
    pub(crate) fn referrers(&self, subject: &Digest) -> Result<Vec<Value>> {
        let folder = self.at("_referrers", subject);
        let mut found = Vec::new();
        for name in names_in(&folder)? {
            let Ok(digest) = name.replacen('-', ":", 1).parse::<Digest>() else { continue };
            if !self.has_manifest(&digest)? {
                continue;
            }
            let path = folder.join(&name);
            let Some(text) = absent(fs::read(&path)).step("read", &path)? else { continue };
            found.push(
                serde_json::from_slice(&text)
                    .map_err(|error| StorageError::Damaged { path, reason: error.to_string() })?,
            );
        }
        Ok(found)
    }
}

/// How long ago a link was made or touched; `None` if it is not there.
fn age(link: &Path) -> Result<Option<Duration>> {
    let time = absent(fs::metadata(link).and_then(|found| found.modified()));
    let time = time.step("look for", link)?;
    Ok(time.map(|time| SystemTime::now().duration_since(time).unwrap_or_default()))
}

/// What those who look for referrers are shown.
fn descriptor(manifest: &Manifest, digest: &Digest, size: usize) -> Value {
    let mut descriptor = serde_json::json!({
        "mediaType": manifest.media_type,
        "digest": digest,
        "size": size,
    });
    if let Some(kind) = &manifest.artifact_type {
        descriptor["artifactType"] = kind.as_str().into();
    }
    if !manifest.annotations.is_empty() {
        descriptor["annotations"] = serde_json::json!(manifest.annotations);
    }
    descriptor
}
