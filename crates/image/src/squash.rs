//! Making one layer of several.

use std::os::fd::AsFd;

use types::digest::Digest;
use types::reference::Reference;
use types::time::Timestamp;

use crate::config::History;
use crate::error::{Error, Result};
use crate::layer::EMPTY_TAR;
use crate::snapshot::MountOptions;
use crate::store::Store;

/// What `squash` makes of an image.
#[derive(Clone, Debug, Default)]
pub struct SquashOptions {
    /// The layers of this image, or up to this layer, stay as they are: a name, an id or the digest
    /// of a layer's tar. All become one if `None`.
    pub from: Option<String>,
    /// The name that the new image gets.
    pub reference: Option<Reference>,
    /// The remark in its history; one is made up if it is empty.
    pub comment: String,
}

impl Store {
    /// Makes an image with the same files and configuration as another, whose layers above
    /// [`SquashOptions::from`] are one. What a later layer hides is not in it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::Invalid`] when the image does not stand on `from`.
    pub fn squash(&self, image: &Digest, options: &SquashOptions) -> Result<Digest> {
        let config = self.config(image)?;
        let mut config = (*config).clone();
        let all = config.rootfs.diff_ids.clone();
        let _hold = self.hold(all.iter().cloned());
        let (keep, from) = self.base(&all, options.from.as_deref())?;
        let mut layers = all[..keep].to_vec();
        if all.len() > keep {
            let staged = self.merged(&all, keep)?;
            if staged.meta.diff_id.as_str() != EMPTY_TAR {
                layers.push(staged.meta.diff_id.clone());
                self.keep(&staged.meta.diff_id);
                self.publish_unflushed(staged)?;
            }
        }
        let now = Timestamp::now();
        let (mut at, made) = (0, layers.len() > keep);
        for step in &mut config.history {
            if !step.empty_layer {
                at += 1;
                step.empty_layer = at > keep;
            }
        }
        let comment = match (&options.comment, &from) {
            (comment, _) if !comment.is_empty() => comment.clone(),
            (_, Some(from)) => format!("merge {from} to {image}"),
            (_, None) => format!("create new from {image}"),
        };
        let step = History { created: Some(now), comment, ..History::default() };
        config.history.push(History { empty_layer: !made, ..step });
        config.created = Some(now);
        config.rootfs.diff_ids.clone_from(&layers);
        let names: Vec<Reference> =
            options.reference.iter().cloned().map(Reference::or_latest).collect();
        let added = self.add_image(&config.to_json()?, &layers, from, &names);
        if made {
            self.release(&layers[keep..]);
        }
        added
    }

    /// How many of an image's layers are to stay, and the image that has just those.
    fn base(&self, layers: &[Digest], from: Option<&str>) -> Result<(usize, Option<Digest>)> {
        let Some(from) = from else { return Ok((0, None)) };
        if let Ok(layer) = from.parse::<Digest>()
            && let Some(at) = layers.iter().rposition(|found| *found == layer)
        {
            return Ok((at + 1, None));
        }
        let id = self.resolve(from)?;
        let state = self.state();
        let record = state.catalog.images.get(&id);
        let base = &record.ok_or_else(|| Error::NoSuchImage(id.to_string()))?.layers;
        if !layers.starts_with(base) {
            return Err(Error::Invalid(format!("the image does not stand on {from}")));
        }
        Ok((base.len(), Some(id)))
    }

    /// The layer that leads from the first `keep` layers to all of them.
    fn merged(&self, all: &[Digest], keep: usize) -> Result<crate::layer::Staged> {
        let view = MountOptions::default();
        let below = if keep > 0 { Some(self.mount_layers(&all[..keep], view)?) } else { None };
        let whole = self.mount_layers(all, view)?;
        self.layers.merge(below.as_ref().map(AsFd::as_fd), whole.as_fd())
    }
}

#[cfg(test)]
mod tests;
