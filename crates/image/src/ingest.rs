//! Taking an image in layer by layer, as a registry gives it.
//!
//! An [`Ingest`] is one pull. It holds whatever it was told about, so that nothing it relies on is
//! collected meanwhile; its layers may come from several threads at once. Nothing is visible
//! before [`Ingest::finish`] names the image with one change of the catalog. Dropped without that,
//! the layers go again; compressed blobs and halves of them stay for some time, for the pull that
//! is tried again.

mod claims;
mod incoming;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use manifest::{Descriptor, ImageManifest, Limits};
use types::digest::Digest;
use types::reference::Reference;

use crate::blobs::{Upload, hash};
use crate::catalog::{Source, StoredDocument};
use crate::config::ImageConfig;
use crate::error::{Error, Result};
use crate::layer::{Form, Staged};
use crate::store::Store;
use crate::stream::{Compression, sha256};

pub(crate) use claims::Claims;
use incoming::{Failure, Incoming};

/// A manifest or an index, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What the registry called it, or it calls itself.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        sha256(&self.bytes)
    }
}

/// What a pull has brought besides the layers.
#[derive(Clone, Debug)]
pub struct PulledImage {
    /// The configuration document, byte for byte; its digest becomes the image's id.
    pub config: Vec<u8>,
    /// The image's manifest.
    pub manifest: Document,
    /// The index that it was chosen from.
    pub index: Option<Document>,
    /// Names with tags that the image gets.
    pub names: Vec<Reference>,
    /// Names with digests that it gets.
    pub repo_digests: Vec<Reference>,
}

/// A sign of life of a layer that is on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerStep {
    /// Bytes of the compressed layer that are here; those of an interrupted download count.
    Read {
        /// How many.
        done: u64,
        /// Out of how many.
        total: u64,
    },
    /// All bytes are here; they are still being unpacked, or flushed.
    Complete,
    /// The layer is in the store.
    Unpacked,
    /// The layer was in the store already.
    Existed,
}

/// One pull under way.
#[derive(Debug)]
pub struct Ingest {
    store: Arc<Store>,
    held: Mutex<BTreeSet<Digest>>,
    repository: Option<String>,
}

impl Store {
    /// Begins to take an image in. Everything that this brings or finds stays until it is dropped,
    /// whatever is collected meanwhile.
    pub fn ingest(self: &Arc<Self>) -> Ingest {
        Ingest { store: Arc::clone(self), held: Mutex::default(), repository: None }
    }
}

impl Ingest {
    /// Says which repository (`host/path`) the layers come from, so that others of its registry may
    /// borrow them from there.
    #[must_use]
    pub fn came_from(mut self, repository: String) -> Self {
        self.repository = Some(repository);
        self
    }

    /// Keeps a layer or blob until this is dropped, whether it is there or not.
    fn hold(&self, digest: &Digest) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.contains(digest) {
            self.store.keep(digest);
            held.insert(digest.clone());
        }
    }

    /// Whether a layer is in the store; it stays from now on.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        // Held first, so that it cannot go between the two.
        self.hold(diff_id);
        self.store.layer(diff_id).is_some()
    }

    /// The layer that came, or was sent, as this blob before; it stays from now on.
    pub fn diff_id_of(&self, blob: &Digest) -> Option<Digest> {
        let diff_id = self.store.known_layer(blob)?;
        self.has_layer(&diff_id).then_some(diff_id)
    }

    /// Bytes of a blob that is in the store; it stays from now on.
    pub fn has_blob(&self, blob: &Digest) -> Option<u64> {
        self.hold(blob);
        self.store.content.blobs().size(blob).ok().flatten()
    }

    /// A small document that is in the store; it stays from now on.
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.hold(digest);
        self.store.content.get(digest, self.store.options.max_json_bytes).ok()
    }

    /// Bytes of a layer's blob that need not be downloaded: those of an interrupted download, or
    /// all of it.
    pub fn partial(&self, blob: &Digest) -> u64 {
        let here = || self.store.content.blobs().partial(blob.as_str()).ok().flatten();
        self.has_blob(blob).or_else(here).unwrap_or(0)
    }

    /// Takes a layer in while it streams: verifies the blob and what it decompresses to, keeps the
    /// blob (if the store does), unpacks. `input` begins at byte `from`, at most what
    /// [`Ingest::partial`] said; the bytes before are here.
    ///
    /// # Errors
    /// [`Error::Input`] when the input fails or ends early: what came stays, and the next try goes
    /// on behind it. [`Error::WrongDigest`], [`Error::TooLarge`] and those of bad tars: nothing
    /// stays. [`Error::Invalid`] when `from` is beyond what is here.
    pub fn layer(
        &self,
        blob: &Descriptor,
        diff_id: &Digest,
        from: u64,
        input: &mut (dyn Read + Send),
        progress: &mut (dyn FnMut(LayerStep) + Send),
    ) -> Result<()> {
        self.hold(&blob.digest);
        self.hold(diff_id);
        let limit = self.store.options.max_layer_bytes;
        if blob.size > limit {
            return Err(Error::TooLarge { what: "a layer", limit });
        }
        // Two that bring the same blob write the same file: the second waits and finds it.
        let _claim = self.store.claims.claim(&blob.digest);
        if self.store.layer(diff_id).is_some() {
            progress(LayerStep::Existed);
            return Ok(());
        }
        if self.has_blob(&blob.digest).is_some() {
            return self.unpack_kept(blob, diff_id, progress);
        }
        let mut upload = self.store.content.blobs().begin(blob.digest.as_str())?.without_hash();
        if from > upload.len() {
            let have = upload.len();
            return Err(Error::Invalid(format!("the layer begins at byte {from}, not {have}")));
        }
        upload.truncate(from)?;
        let before = upload.reader()?;
        let mut incoming = Incoming::new(before, input, &mut upload, blob.size, progress);
        let staged = self.store.layers.stage(&mut incoming, true, &self.store.options);
        let staged = match staged {
            Ok(staged) if incoming.failure().is_none() => Ok(staged),
            Ok(_) => Err(incoming.explain(Error::Input(io::ErrorKind::UnexpectedEof.into()))),
            Err(error) => {
                incoming.drain(&error);
                Err(incoming.explain(error))
            }
        };
        let keeps = matches!(incoming.failure(), Some(Failure::Input(_)));
        drop(incoming);
        match staged.and_then(|staged| self.publish(staged, blob, diff_id, &upload)) {
            Ok(()) if self.store.options.keep_blobs => {
                upload.commit_known(&blob.digest)?;
            }
            Ok(()) => upload.abandon()?,
            Err(error) => {
                let wrong = !keeps && is_about_content(&error);
                let wrong = wrong.then(|| digest_of(&upload, blob)).flatten();
                if keeps {
                    upload.keep();
                } else {
                    upload.abandon()?;
                }
                return Err(wrong.unwrap_or(error));
            }
        }
        progress(LayerStep::Unpacked);
        Ok(())
    }

    /// Checks what was unpacked and gives it its name.
    fn publish(
        &self,
        staged: Staged,
        blob: &Descriptor,
        diff_id: &Digest,
        upload: &Upload,
    ) -> Result<()> {
        let passed = staged.passed.blob.clone();
        let found = match passed {
            Some(found) if blob.digest.algorithm() == "sha256" => found,
            _ => hash(&blob.digest, &mut upload.reader()?).map_err(Error::Input)?,
        };
        if found != blob.digest {
            let what = "the layer's blob".to_owned();
            return Err(Error::WrongDigest { what, expected: blob.digest.clone(), found });
        }
        self.check_tar(&staged, diff_id)?;
        self.store.publish_with_form(staged, self.form(blob))
    }

    fn check_tar(&self, staged: &Staged, diff_id: &Digest) -> Result<()> {
        if staged.meta.diff_id != *diff_id {
            return Err(Error::WrongDigest {
                what: "the unpacked layer".to_owned(),
                expected: diff_id.clone(),
                found: staged.meta.diff_id.clone(),
            });
        }
        Ok(())
    }

    /// Unpacks a layer whose blob is in the store.
    fn unpack_kept(
        &self,
        blob: &Descriptor,
        diff_id: &Digest,
        progress: &mut (dyn FnMut(LayerStep) + Send),
    ) -> Result<()> {
        progress(LayerStep::Read { done: blob.size, total: blob.size });
        progress(LayerStep::Complete);
        let staged = self.store.stage_kept(&blob.digest);
        let published = staged.and_then(|staged| {
            self.check_tar(&staged, diff_id)?;
            self.store.publish_with_form(staged, self.form(blob))
        });
        if let Err(Error::DamagedRecord { .. }) = &published {
            // The next try downloads it.
            self.store.content.blobs().remove(&blob.digest)?;
        }
        published?;
        progress(LayerStep::Unpacked);
        Ok(())
    }

    /// Names the image once all its layers are here, with one change of the catalog. Returns its
    /// id.
    ///
    /// # Errors
    /// [`Error::WrongDigest`] when the manifest names another configuration; [`Error::BadConfig`]
    /// when the two disagree on the layers; [`Error::MissingLayer`]; [`Error::Io`].
    pub fn finish(self, image: PulledImage) -> Result<Digest> {
        let store = &self.store;
        let max = store.options.max_json_bytes;
        if image.config.len() as u64 > max {
            return Err(Error::TooLarge { what: "an image's configuration", limit: max });
        }
        let manifest = self.manifest(&image.manifest)?;
        let wanted = &manifest.config.digest;
        let found = hash(wanted, &mut &image.config[..]).map_err(Error::Input)?;
        if found != *wanted {
            let what = "the image's configuration".to_owned();
            return Err(Error::WrongDigest { what, expected: wanted.clone(), found });
        }
        let config: ImageConfig = serde_json::from_slice(&image.config)
            .map_err(|error| Error::BadConfig(error.to_string()))?;
        let layers = &config.rootfs.diff_ids;
        if layers.len() != manifest.layers.len() {
            return Err(Error::BadConfig(format!(
                "it names {} layers, its manifest {}",
                layers.len(),
                manifest.layers.len()
            )));
        }
        let stored = |document: &Document| -> Result<StoredDocument> {
            let digest = document.digest();
            self.hold(&digest);
            store.content.put(&document.bytes)?;
            Ok(StoredDocument { digest, media_type: document.media_type.clone() })
        };
        let source = Source {
            manifest: stored(&image.manifest)?,
            index: image.index.as_ref().map(stored).transpose()?,
            blobs: manifest.layers.into_iter().map(|layer| layer.digest).collect(),
        };
        self.hold(&sha256(&image.config));
        let names: Vec<Reference> =
            image.names.into_iter().map(Reference::or_latest).chain(image.repo_digests).collect();
        store.add_pulled(&image.config, layers, source, &names)
    }

    /// How a layer came, to be remembered with it.
    fn form(&self, blob: &Descriptor) -> Form {
        let compression = match blob.media_type.rsplit(['+', '.']).next() {
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => Compression::Plain,
        };
        let repositories = self.repository.iter().cloned().collect();
        Form { digest: blob.digest.clone(), size: blob.size, compression, repositories }
    }

    fn manifest(&self, document: &Document) -> Result<ImageManifest> {
        let limits = Limits { layers: self.store.options.max_layers, ..Limits::default() };
        match manifest::Document::parse(&document.media_type, &document.bytes, &limits)? {
            manifest::Document::Manifest(manifest) => Ok(manifest),
            manifest::Document::Index(_) => {
                Err(Error::BadConfig("an index stands where a manifest should be".to_owned()))
            }
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Layers that no image has got go with this.
        self.store.let_go(std::mem::take(held).into_iter().collect());
    }
}

/// Failures that other bytes than the announced ones could explain.
fn is_about_content(error: &Error) -> bool {
    matches!(error, Error::BadArchive(_) | Error::BadTar(_) | Error::BadEntry { .. })
}

/// The error of a blob that came whole and is not what was announced: it goes before what
/// unpacking it said.
fn digest_of(upload: &Upload, blob: &Descriptor) -> Option<Error> {
    if upload.len() != blob.size {
        return None;
    }
    let found = hash(&blob.digest, &mut upload.reader().ok()?).ok()?;
    (found != blob.digest).then(|| Error::WrongDigest {
        what: "the layer's blob".to_owned(),
        expected: blob.digest.clone(),
        found,
    })
}

#[cfg(test)]
mod tests;
