//! Images as a registry has them.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use manifest::{Descriptor, ImageManifest, media_type};
use types::digest::Digest;

use super::{Spec, tar};
use crate::config::{ImageConfig, RootFs};
use crate::error::Result;
use crate::ingest::{Document, Ingest, PulledImage};
use crate::store::{Options, Store};
use crate::stream::sha256;

/// An image in a registry.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Document,
    pub(crate) layers: Vec<RemoteLayer>,
}

/// A layer in a registry.
#[derive(Clone)]
pub(crate) struct RemoteLayer {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// Compressed with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

impl RemoteLayer {
    pub(crate) fn new(tar: &[u8]) -> Self {
        let bytes = gzip(tar);
        let (digest, size) = (sha256(&bytes), bytes.len() as u64);
        let blob = Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size);
        Self { blob, diff_id: sha256(tar), bytes }
    }
}

impl Remote {
    pub(crate) fn new(comment: &str, layers: &[&[Spec<'_>]]) -> Self {
        Self::of(comment, layers.iter().map(|layer| RemoteLayer::new(&tar(layer))).collect())
    }

    pub(crate) fn of(comment: &str, layers: Vec<RemoteLayer>) -> Self {
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            comment: comment.to_owned(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            },
            ..ImageConfig::default()
        };
        let config = config.to_json().expect("JSON");
        let described =
            Descriptor::new(media_type::DOCKER_CONFIG, sha256(&config), config.len() as u64);
        let blobs = layers.iter().map(|layer| layer.blob.clone()).collect();
        let manifest = Document {
            media_type: media_type::DOCKER_MANIFEST.to_owned(),
            bytes: ImageManifest::docker(described, blobs).to_bytes(),
        };
        Self { config, manifest, layers }
    }

    pub(crate) fn id(&self) -> Digest {
        sha256(&self.config)
    }

    /// What is named in the end: a tag, and the same repository with the manifest's digest.
    pub(crate) fn pulled(&self, name: &str) -> PulledImage {
        let name: types::reference::Reference = name.parse().expect("name");
        PulledImage {
            config: self.config.clone(),
            manifest: self.manifest.clone(),
            index: None,
            repo_digests: vec![name.with_digest(self.manifest.digest())],
            names: vec![name],
        }
    }

    /// Brings all layers that are not there.
    pub(crate) fn bring(&self, ingest: &Ingest) -> Result<()> {
        for layer in &self.layers {
            if ingest.has_layer(&layer.diff_id) {
                continue;
            }
            let from = ingest.partial(&layer.blob.digest);
            let mut rest = &layer.bytes[usize::try_from(from).expect("size")..];
            ingest.layer(&layer.blob, &layer.diff_id, from, &mut rest, &mut |_| {})?;
        }
        Ok(())
    }
}

/// Pulls an image from memory.
pub(crate) fn pull(store: &Arc<Store>, remote: &Remote, name: &str) -> Result<Digest> {
    let ingest = store.ingest();
    remote.bring(&ingest)?;
    ingest.finish(remote.pulled(name))
}

/// A store that several threads share, in a directory that goes away with it.
pub(crate) struct Host {
    pub(crate) store: Arc<Store>,
    pub(crate) dir: tempfile::TempDir,
}

fn open(dir: &Path, options: Options) -> Arc<Store> {
    Arc::new(Store::open(dir, options).expect("open"))
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        Self { store: open(dir.path(), options), dir }
    }

    pub(crate) fn reopen(self, options: Options) -> Self {
        drop(self.store);
        Self { store: open(self.dir.path(), options), dir: self.dir }
    }

    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(dir)).expect("list");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("entry").file_name().into_string().expect("name")
        };
        entries.map(name).collect()
    }

    pub(crate) fn blobs(&self) -> usize {
        self.names("content/blobs/sha256").len()
    }

    pub(crate) fn layers(&self) -> usize {
        self.names("layers").iter().filter(|name| name.len() == 64).count()
    }

    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut out = self.names("content/partial");
        out.extend(self.names("layers").into_iter().filter(|name| name.starts_with("tmp-")));
        out
    }
}
