//! Removing what nobody refers to.
//!
//! Three things refer to layers and blobs: images (their configuration, manifests, layers and
//! kept blobs), containers (their layers), and operations under way (holds). An operation holds
//! what it is going to need *before* it looks whether that is there, and whoever collects decides
//! and takes the name away under the same lock: nothing is ever found and then gone.
//!
//! With watermarks, images are removed as well when the disk is fuller than the high one, those
//! that were used longest ago first, until it is no fuller than the low one.

mod sweeps;
mod watermark;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use types::digest::Digest;

use crate::error::{Error, Result, Step};
use crate::layer::LayerMeta;
use crate::store::{State, Store};

pub(crate) use sweeps::Sweeps;
pub use watermark::Watermarks;

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers, by their diff ids.
    pub layers: Vec<Digest>,
    /// Blobs: compressed layers and documents.
    pub blobs: Vec<Digest>,
    /// Bytes of all these.
    pub bytes: u64,
}

impl Store {
    /// Removes everything that nobody refers to. What an interrupted pull has left stays for a
    /// while (see [`crate::Options::keep_interrupted`]).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), after everything that could be removed has been.
    pub fn collect_garbage(&self) -> Result<Collected> {
        let layers: BTreeSet<Digest> = self.state().layers.keys().cloned().collect();
        let layers = self.collect(&layers);
        let blobs = self.old_blobs().and_then(|old| self.collect_blobs(&old));
        let copies = if self.options.keep_blobs { Ok(Vec::new()) } else { self.drop_all_blobs() };
        let uploads = self.content.blobs().sweep(self.options.keep_interrupted);
        let (layers, mut blobs) = (layers?, blobs?);
        blobs.extend(copies?);
        uploads?;
        let bytes = layers.iter().map(|layer| layer.size).sum::<u64>()
            + blobs.iter().map(|(_, size)| size).sum::<u64>();
        Ok(Collected {
            layers: layers.into_iter().map(|layer| layer.diff_id.clone()).collect(),
            blobs: blobs.into_iter().map(|(digest, _)| digest).collect(),
            bytes,
        })
    }

    /// Removes damaged layers that were set aside, unless a container may have them mounted or an
    /// image has nothing else of them.
    pub(crate) fn remove_aside(&self) -> Result<()> {
        let mut kept = false;
        for (name, layer) in self.layers.aside()? {
            let needed = {
                let state = self.state();
                let lost = !state.layers.contains_key(&layer);
                state.is_below(&layer) || lost && state.is_wanted(&layer)
            };
            kept |= needed;
            if !needed {
                self.layers.sweep(&name)?;
            }
        }
        self.state().aside = kept;
        Ok(())
    }

    /// Blobs that came long enough ago not to be those of a pull that will be tried again.
    fn old_blobs(&self) -> Result<BTreeSet<Digest>> {
        let blobs = self.content.blobs();
        let mut old = BTreeSet::new();
        for (digest, _) in blobs.list()? {
            if blobs.age(&digest)?.is_some_and(|age| age >= self.options.keep_interrupted) {
                old.insert(digest);
            }
        }
        Ok(old)
    }

    /// Lets go of what was kept, and removes those layers that nobody wants then: their names at
    /// once, their files later, for whoever drops a guard may be in a hurry.
    pub(crate) fn let_go(&self, held: Vec<Digest>) {
        self.release(&held);
        // What cannot be removed now is removed at the next start.
        let Ok((_, remains)) = self.detach_layers(&held.into_iter().collect()) else { return };
        if let Ok(root) = self.layers.dir().try_clone()
            && !remains.is_empty()
        {
            self.sweeps.begin(root, remains);
        }
    }

    /// Removes those of the given layers that nobody wants; returns them.
    pub(crate) fn collect(&self, candidates: &BTreeSet<Digest>) -> Result<Vec<Arc<LayerMeta>>> {
        let (gone, remains) = self.detach_layers(candidates)?;
        let mut first = Ok(());
        for tmp in remains {
            first = first.and(self.layers.sweep(&tmp));
        }
        first.map(|()| gone)
    }

    /// Takes their names away from those of the given layers that nobody wants. Returns them, and
    /// what their files are called now.
    pub(crate) fn detach_layers(
        &self,
        candidates: &BTreeSet<Digest>,
    ) -> Result<(Vec<Arc<LayerMeta>>, Vec<String>)> {
        let (mut gone, mut remains) = (Vec::new(), Vec::new());
        let mut first = Ok(());
        let mut state = self.state();
        let there = candidates.iter().filter(|layer| state.layers.contains_key(layer));
        for layer in state.unwanted(there) {
            match self.layers.unpublish(&layer) {
                Ok(tmp) => remains.push(tmp),
                // There is nothing to remove: `check` has seen it, or will.
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    first = first.and(Err(error));
                    continue;
                }
            }
            gone.extend(state.layers.remove(&layer));
        }
        drop(state);
        if first.is_err() {
            // Those that did go are swept at the next start at the latest.
            for tmp in &remains {
                first = first.and(self.layers.sweep(tmp));
            }
        }
        first.map(|()| (gone, remains))
    }

    /// Removes those of the given blobs that nobody wants; returns them and their sizes.
    pub(crate) fn collect_blobs(
        &self,
        candidates: &BTreeSet<Digest>,
    ) -> Result<Vec<(Digest, u64)>> {
        self.detach_blobs(|state| state.unwanted(candidates.iter()))
    }

    /// Removes the blobs that `choose` names under the lock.
    fn detach_blobs(
        &self,
        choose: impl FnOnce(&State) -> Vec<Digest>,
    ) -> Result<Vec<(Digest, u64)>> {
        let blobs = self.content.blobs();
        let (mut gone, mut remains) = (Vec::new(), Vec::new());
        let mut first = Ok(());
        {
            let state = self.state();
            for digest in choose(&state) {
                // The name goes under the lock, the bytes (which may be many) after it.
                match blobs.detach(&digest) {
                    Ok(Some((tmp, size))) => {
                        remains.push(tmp);
                        gone.push((digest, size));
                    }
                    Ok(None) => {}
                    Err(error) => first = first.and(Err(error)),
                }
            }
        }
        for tmp in remains {
            let removed = crate::durable::remove(blobs.dir(), &tmp).step("remove a blob");
            first = first.and(removed);
        }
        first.map(|()| gone)
    }
}

#[cfg(test)]
mod tests;
