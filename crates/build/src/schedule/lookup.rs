//! What a build looks up beyond its stages: images, further contexts, and steps of other images.

use std::sync::{Arc, PoisonError};

use image::{HeldLayer, ImageConfig, Store};
use types::Timestamp;
use types::digest::Digest;

use super::{Build, Shop};
use crate::cache::Hit;
use crate::context::Further;
use crate::error::{Error, Result};
use crate::progress::{Event, StepInfo};
use crate::stage::Built;

/// What a step is called that brings an image of `--cache-from`; its name follows.
const IMPORTING: &str = "importing cache manifest from ";

/// What a name that is no stage's means.
pub(crate) enum Meaning<'n> {
    /// An image.
    Image(&'n str),
    /// Files that have an address.
    Address(&'n str),
}

/// The configuration of an image that is in the store.
pub(super) fn here(store: &Store, name: &str) -> Option<Arc<ImageConfig>> {
    store.config(&store.resolve(name).ok()?).ok()
}

impl Build<'_> {
    /// Steps that bring the images of `--cache-from` that are not here. The classic builder takes
    /// only what is.
    pub(crate) fn cache_steps(&self) -> Vec<StepInfo> {
        if self.request.only_cache_from {
            return Vec::new();
        }
        let away = self.request.cache_from.iter();
        let away = away.filter(|name| here(self.shop.store, name).is_none());
        let step = |name: &String| StepInfo {
            number: self.next_number(1),
            name: format!("{IMPORTING}{name}"),
            ..StepInfo::default()
        };
        away.map(step).collect()
    }

    /// Does such a step. A cache that cannot be had is no reason to build nothing.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn import_cache(&self, step: &StepInfo) -> Result<()> {
        let name = step.name.strip_prefix(IMPORTING).unwrap_or_default();
        self.begin(step.number);
        let Shop { store, worker, .. } = self.shop;
        let mut tell = |part| self.progress(step.number, part);
        let found = worker.image(name, &self.request.platform, false, &mut tell);
        self.check()?;
        match found.map_err(Error::from).and_then(|id| Ok(store.config(&id)?)) {
            Ok(config) => {
                self.cache_from.lock().unwrap_or_else(PoisonError::into_inner).push(config);
            }
            Err(error) => {
                let message = format!("no cache was imported from {name}: {error}");
                self.tell(Event::Warning { message, place: (0, 0) });
            }
        }
        self.tell(Event::Finished { step: step.number, cached: false, image: None });
        Ok(())
    }

    /// The files of a further context, fetched when they are first asked for.
    pub(crate) fn further(&self, address: &str) -> Result<Arc<Further>> {
        let mut all = self.further.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(address) {
            return Ok(Arc::clone(found));
        }
        let Shop { cache, worker, .. } = self.shop;
        let fetched = Arc::new(Further::open(address, self.request, cache, worker)?);
        all.insert(address.to_owned(), Arc::clone(&fetched));
        Ok(fetched)
    }

    /// What the request says that a name means, if anything.
    pub(crate) fn meaning<'n>(&'n self, name: &'n str) -> Meaning<'n> {
        match self.request.contexts.get(name).map(String::as_str) {
            None => Meaning::Image(name),
            Some(text) => match text.strip_prefix("docker-image://") {
                Some(image) => Meaning::Image(image),
                None => Meaning::Address(text),
            },
        }
    }

    /// An image, looked for once however many ask for it.
    pub(crate) fn image(
        &self,
        name: &str,
        platform: &str,
        find: impl FnOnce() -> Result<Built>,
    ) -> Result<Arc<Built>> {
        let key = (name.to_owned(), platform.to_owned());
        let slot = {
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(images.entry(key).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*slot {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(find()?);
        *slot = Some(Arc::clone(&found));
        Ok(found)
    }

    /// A step that one of the `--cache-from` images has had done on just the same image.
    pub(crate) fn in_cache_from(&self, image: &ImageConfig, created_by: &str) -> Option<Hit> {
        let same = |source: &&Arc<ImageConfig>| {
            let done = image.history.len();
            let layers = image.rootfs.diff_ids.len();
            source.history.get(..done).is_some_and(|history| {
                history
                    .iter()
                    .zip(&image.history)
                    .all(|(a, b)| a.created_by == b.created_by && a.empty_layer == b.empty_layer)
            }) && source.rootfs.diff_ids.get(..layers) == Some(&image.rootfs.diff_ids[..])
                && source.history.get(done).is_some_and(|next| next.created_by == created_by)
        };
        let sources = self.cache_from.lock().unwrap_or_else(PoisonError::into_inner);
        let source = sources.iter().find(same)?;
        let next = &source.history[image.history.len()];
        let layer = if next.empty_layer {
            None
        } else {
            let diff_id: &Digest = source.rootfs.diff_ids.get(image.rootfs.diff_ids.len())?;
            let held: HeldLayer = self.shop.store.held_layer(diff_id)?;
            Some(Arc::new(held))
        };
        Some(Hit { layer, created: next.created.unwrap_or(Timestamp::NEVER) })
    }
}
