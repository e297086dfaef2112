//! Layers that are needed for a while.

use types::digest::Digest;

use super::Store;

/// Layers that must stay until this is dropped.
pub(crate) struct Hold<'a> {
    store: &'a Store,
    layers: Vec<Digest>,
}

impl<'a> Hold<'a> {
    /// Layers that are kept already, to be let go of.
    pub(super) fn new(store: &'a Store, layers: Vec<Digest>) -> Self {
        Self { store, layers }
    }

    /// Keeps further layers.
    pub(crate) fn add(&mut self, layers: impl IntoIterator<Item = Digest>) {
        for layer in layers {
            self.store.keep(&layer);
            self.layers.push(layer);
        }
    }

    /// As [`Store::known_layer`]; the layer stays from now on.
    pub(crate) fn known_layer(&mut self, blob: &Digest) -> Option<Digest> {
        let diff_id = self.store.known_layer(blob)?;
        // It may have gone before it was held.
        self.add([diff_id.clone()]);
        self.store.layer(&diff_id).map(|_| diff_id)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.store.release(&self.layers);
    }
}
