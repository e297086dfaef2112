//! The manifests that an image came by: what tools that know multi-platform images ask for.

use manifest::{Descriptor, ImageIndex, ImageManifest};
use types::digest::Digest;

use crate::catalog::{Source, StoredDocument};
use crate::error::{Error, Result};
use crate::store::Store;

/// The latest manifest that an image was pulled by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What its name stood for in the registry: an index, or the manifest itself.
    pub target: Descriptor,
    /// The manifests that this lists; of those only the image's own is here.
    pub manifests: Vec<OriginManifest>,
}

/// One manifest of an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginManifest {
    /// The manifest, with its platform if an index says so.
    pub descriptor: Descriptor,
    /// Whether the image that it describes is here.
    pub available: bool,
    /// Bytes in the content store of the manifest and all that it names.
    pub content: u64,
}

impl Store {
    /// What an image's name stood for in the registry it was last pulled from; nothing for those
    /// that were loaded, imported or built.
    pub fn target(&self, id: &Digest) -> Option<Descriptor> {
        let document = {
            let state = self.state();
            let source = state.catalog.images.get(id)?.sources.last()?;
            source.index.as_ref().unwrap_or(&source.manifest).clone()
        };
        let size = self.content.blobs().size(&document.digest).ok().flatten()?;
        Some(Descriptor::new(document.media_type, document.digest, size))
    }

    /// Where an image came from; nothing for those that were loaded, imported or built.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`].
    pub fn origin(&self, id: &Digest) -> Result<Option<Origin>> {
        let source = {
            let state = self.state();
            let record = state.catalog.images.get(id);
            let record = record.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
            record.sources.last().cloned()
        };
        // A damaged document is `check`'s business.
        Ok(source.and_then(|source| self.origin_of(&source)))
    }

    fn origin_of(&self, source: &Source) -> Option<Origin> {
        let (own, bytes) = self.stored(&source.manifest)?;
        let manifest: ImageManifest = serde_json::from_slice(&bytes).ok()?;
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        let sizes = blobs.filter_map(|blob| self.content.blobs().size(&blob.digest).ok().flatten());
        let content = own.size + sizes.sum::<u64>();
        let Some((target, bytes)) = source.index.as_ref().and_then(|index| self.stored(index))
        else {
            let manifests =
                vec![OriginManifest { descriptor: own.clone(), available: true, content }];
            return Some(Origin { target: own, manifests });
        };
        let index: ImageIndex = serde_json::from_slice(&bytes).ok()?;
        let manifests = index.manifests.into_iter().map(|descriptor| {
            let available = descriptor.digest == own.digest;
            OriginManifest { content: if available { content } else { 0 }, available, descriptor }
        });
        Some(Origin { target, manifests: manifests.collect() })
    }

    fn stored(&self, document: &StoredDocument) -> Option<(Descriptor, Vec<u8>)> {
        let bytes = self.content.get(&document.digest, self.options.max_json_bytes).ok()?;
        let size = bytes.len() as u64;
        let digest = document.digest.clone();
        Some((Descriptor::new(document.media_type.clone(), digest, size), bytes))
    }
}
