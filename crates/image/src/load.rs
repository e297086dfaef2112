//! Taking archives of images in: Docker's (old, with a directory a layer, and new) and OCI's.
//!
//! The archive is read once, as it comes. A layer is unpacked as soon as it appears, under a
//! temporary name and keyed by what it turns out to be; small JSON documents are kept in memory;
//! when the archive has ended, `manifest.json` or `index.json` says what belongs together.

mod archive;
mod assemble;
mod documents;
mod unpackers;

use std::io::Read;

use types::digest::Digest;
use types::reference::Reference;

use crate::error::Result;
use crate::model::{Loaded, Progress};
use crate::platform::Platform;
use crate::store::Store;

/// What `load` takes from an archive.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `os/arch[/variant]`, to choose from an image index; the host's if `None`.
    pub platform: Option<String>,
}

impl Store {
    /// Takes in an archive (Docker's or OCI's, compressed or not, of one or several images). Every
    /// digest is checked; either all images of the archive are there afterwards, or none is new.
    ///
    /// # Errors
    /// [`Error::BadArchive`](crate::Error::BadArchive),
    /// [`Error::WrongDigest`](crate::Error::WrongDigest); those of tars and the disk.
    pub fn load(
        &self,
        input: &mut (dyn Read + Send),
        options: &LoadOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<Loaded>> {
        let platform = Platform::or_host(options.platform.as_deref())?;
        // Layers that are there already must stay until the catalog names them.
        let mut hold = self.hold([]);
        let mut content = archive::read(self, &mut hold, input, progress)?;
        let images = assemble::images(&content, &platform, &self.options)?;
        hold.add(images.iter().flat_map(|image| image.layers.iter().cloned()));
        let staged = content.take_layers(images.iter().flat_map(|image| &image.layers));
        for layer in &staged {
            let (diff_id, existed) = (layer.meta.diff_id.clone(), false);
            progress(Progress::LayerDone { diff_id, existed });
        }
        self.publish(staged)?;
        let mut loaded = Vec::with_capacity(images.len());
        for image in images {
            let mut taken = self.owners(&image.names);
            let id = self.add_image(&image.config, &image.layers, image.parent, &image.names)?;
            taken.retain(|(_, owner)| *owner != id);
            let names = image.names.iter().map(Reference::familiar).collect();
            loaded.push(Loaded { id, names, taken });
        }
        Ok(loaded)
    }

    /// Images that have the names.
    fn owners(&self, names: &[Reference]) -> Vec<(String, Digest)> {
        let state = self.state();
        let owner = |name: &Reference| Some((name.familiar(), state.catalog.named(name)?.clone()));
        names.iter().filter_map(owner).collect()
    }
}
