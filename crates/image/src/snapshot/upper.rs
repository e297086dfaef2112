//! Layers out of what was written on top of others: the steps of a build, and `commit`.
//!
//! A step of a build runs on a snapshot that lies on a list of layers; when it has ended,
//! [`Store::commit_upper`] makes a layer of what it wrote, and the next step lies on one layer more.

use std::sync::Arc;

use types::ContainerId;
use types::digest::Digest;
use types::reference::Reference;

use crate::config::ImageConfig;
use crate::error::Result;
use crate::layer::EMPTY_TAR;
use crate::store::Store;

/// How a layer is made of a container's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpperOptions {
    /// The container is not needed any more: its files are moved into the layer, not copied, and
    /// nothing is left of what it wrote. It must not run and must not be mounted. Without this the
    /// container keeps its files.
    pub consume: bool,
    /// No time in the layer is later than this, in seconds since the epoch (`SOURCE_DATE_EPOCH`),
    /// so that a build gives the same layer whenever it runs.
    pub clamp_time: Option<i64>,
}

/// A layer in the store. It stays there as long as this lives, whether an image has it or not.
#[derive(Debug)]
pub struct HeldLayer {
    store: Arc<Store>,
    diff_id: Digest,
    size: u64,
}

impl HeldLayer {
    /// Digest of the layer's tar.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.diff_id.as_str() == EMPTY_TAR
    }

    /// Whether it still is: a check may have found that the disk has damaged it, and removed it.
    pub fn is_there(&self) -> bool {
        self.store.layer(&self.diff_id).is_some()
    }

    /// Makes sure that this layer, and every other that has been made by now, survives a crash.
    /// Naming an image does so too; call this before something else that is durable names layers.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn flush(&self) -> Result<()> {
        self.store.layers.flush()
    }
}

impl Drop for HeldLayer {
    fn drop(&mut self) {
        // The layer stays for now: this may be the build cache on its way out of the process, and
        // after a restart it wants its layers. Whoever has made something useless collects.
        self.store.release(std::slice::from_ref(&self.diff_id));
    }
}

impl Store {
    /// Makes a writable layer on top of layers that need not be an image's, bottom first; fine when
    /// it is there already for the same layers. Hold the layers meanwhile: from here on they stay
    /// as long as the snapshot does, which goes when the store is opened anew: a build does not
    /// outlive its engine.
    ///
    /// # Errors
    /// [`Error::MissingLayer`](crate::Error::MissingLayer);
    /// [`Error::SnapshotExists`](crate::Error::SnapshotExists) when it is for other layers.
    pub fn prepare_on(&self, container: &ContainerId, layers: &[Digest]) -> Result<()> {
        self.prepare_layers(container, layers)
    }

    /// Makes a layer of what was written on a snapshot, without its tar ever being written: the
    /// files are moved or copied, and the tar's bytes only hashed. `None` when nothing was written.
    /// After this with [`UpperOptions::consume`] only [`Store::remove_snapshot`] makes sense.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`](crate::Error::NoSnapshot), [`Error::Io`](crate::Error::Io).
    pub fn commit_upper(
        self: &Arc<Self>,
        container: &ContainerId,
        options: UpperOptions,
    ) -> Result<Option<HeldLayer>> {
        let record = self.record_of(container)?;
        let staged = self.stage_upper(container, &record.layers, options)?;
        if staged.meta.diff_id.as_str() == EMPTY_TAR {
            return Ok(None);
        }
        let layer = self.hold_layer(&staged.meta.diff_id, staged.meta.size);
        self.publish_unflushed(staged)?;
        Ok(Some(layer))
    }

    /// Takes in a layer's tar, compressed or not.
    ///
    /// # Errors
    /// Those of the stream, the tar and the disk.
    pub fn layer_from_tar(
        self: &Arc<Self>,
        input: &mut (dyn std::io::Read + Send),
    ) -> Result<HeldLayer> {
        let staged = self.layers.stage(input, false, &self.options)?;
        let layer = self.hold_layer(&staged.meta.diff_id, staged.meta.size);
        self.publish_unflushed(staged)?;
        Ok(layer)
    }

    /// A layer that is there, kept from now on; `None` when it is not there.
    pub fn held_layer(self: &Arc<Self>, diff_id: &Digest) -> Option<HeldLayer> {
        // Held first, so that it cannot go between the two.
        let mut held = self.hold_layer(diff_id, 0);
        held.size = self.layer(diff_id)?.size;
        Some(held)
    }

    /// Names an image of layers that are held; `config.rootfs` says which. The same document gives
    /// the same id. `parent` is the image it was made from, if that is one of this store.
    ///
    /// # Errors
    /// [`Error::MissingLayer`](crate::Error::MissingLayer), [`Error::Io`](crate::Error::Io).
    pub fn create_image(
        &self,
        config: &ImageConfig,
        parent: Option<&Digest>,
        names: &[Reference],
    ) -> Result<Digest> {
        let names: Vec<Reference> = names.iter().cloned().map(Reference::or_latest).collect();
        self.add_image(&config.to_json()?, &config.rootfs.diff_ids, parent.cloned(), &names)
    }

    /// Waits until the layers that were made are on disk. An image that names them sees to that
    /// itself; who writes their names elsewhere calls this before.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn flush_layers(&self) -> Result<()> {
        self.layers.flush()
    }

    fn hold_layer(self: &Arc<Self>, diff_id: &Digest, size: u64) -> HeldLayer {
        self.keep(diff_id);
        HeldLayer { store: Arc::clone(self), diff_id: diff_id.clone(), size }
    }
}
