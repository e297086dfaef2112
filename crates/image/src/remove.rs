//! Removing names and images by Docker's rules.
//!
//! [`Plan`] decides on a copy of the catalog; [`Store::remove`] and [`Store::prune`] carry it out.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use types::digest::Digest;
use types::reference::{Reference, is_image_id};

use crate::catalog::{Catalog, Record};
use crate::error::{Error, Result};
use crate::labels::matches_all;
use crate::model::{ContainerUse, PruneFilter, Pruned, Removal};
use crate::store::Store;

/// How an image is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Also when it has several names or stopped containers use it.
    pub force: bool,
    /// Leave nameless parents.
    pub no_prune: bool,
}

/// Why an image has to stay.
struct Conflict {
    /// Even `force` does not help.
    hard: bool,
    /// A container uses it.
    used: bool,
    message: String,
}

/// Which conflicts count.
#[derive(Clone, Copy)]
struct Mask {
    names: bool,
    stopped: bool,
}

/// A removal being decided.
struct Plan<'a> {
    catalog: &'a mut Catalog,
    users: &'a [ContainerUse],
    done: Vec<Removal>,
    /// Images that are gone, with what was known of them.
    gone: Vec<(Digest, Record)>,
}

impl Plan<'_> {
    /// Removes what the user calls `text`: a name first, and the image when it was the last one;
    /// or the image, when it is an id.
    fn remove(&mut self, text: &str, options: RemoveOptions) -> Result<()> {
        let id = self.catalog.resolve(text)?;
        let names = self.catalog.names_of(&id);
        let mut quiet = false;
        if is_id_prefix(&id, text) {
            if is_single(&names) {
                let mask = Mask { names: false, stopped: !options.force };
                if let Some(conflict) = self.conflict(&id, mask) {
                    return Err(refused(&id, &conflict));
                }
                self.untag(&names, &id);
            }
        } else {
            if !options.force && is_single(&names) {
                self.refuse_dangling(text, &id)?;
            }
            let name = Reference::parse(text)?.or_latest();
            self.untag(std::slice::from_ref(&name), &id);
            let mut left = self.catalog.names_of(&id);
            let same_repository = |other: &&Reference| other.name() == name.name();
            let tagged =
                left.iter().any(|other| other.digest().is_none() && same_repository(&other));
            if name.digest().is_none() && !tagged {
                // With the last tag of a repository go its digests.
                let digests: Vec<Reference> =
                    left.iter().filter(same_repository).cloned().collect();
                self.untag(&digests, &id);
                left = self.catalog.names_of(&id);
            }
            if !left.is_empty() {
                return Ok(());
            }
            quiet = true;
        }
        self.delete(&id, options.force, !options.no_prune, quiet)
    }

    /// The last name of an image that a container uses may only go by force: what stays would be
    /// an image that nobody can name.
    fn refuse_dangling(&self, text: &str, id: &Digest) -> Result<()> {
        match self.users.iter().find(|user| user.image == *id) {
            Some(user) => Err(Error::InUse(format!(
                "unable to remove repository reference \"{text}\" (must force) - container {} is \
                 using its referenced image {}",
                short(&user.container),
                id.short()
            ))),
            None => Ok(()),
        }
    }

    fn untag(&mut self, names: &[Reference], id: &Digest) {
        for name in names {
            if self.catalog.names.remove(name).is_some() {
                let reference = name.familiar();
                self.done.push(Removal::Untagged { reference, image: id.clone() });
            }
        }
    }

    /// Removes an image with all its names and, with `prune`, the parents that nobody needs then.
    fn delete(&mut self, id: &Digest, force: bool, prune: bool, quiet: bool) -> Result<()> {
        let mask = Mask { names: !force, stopped: !force };
        if let Some(conflict) = self.conflict(id, mask) {
            // A name was removed and that is all: the user need not know why the image stays.
            if quiet && (!self.is_dangling(id) || conflict.used) {
                return Ok(());
            }
            return Err(refused(id, &conflict));
        }
        let names = self.catalog.names_of(id);
        self.untag(&names, id);
        let Some(record) = self.catalog.images.remove(id) else {
            return Ok(());
        };
        let parent = record.parent.clone();
        self.done.push(Removal::DeletedImage(id.clone()));
        self.gone.push((id.clone(), record));
        match parent {
            Some(parent) if prune && self.catalog.images.contains_key(&parent) => {
                self.delete(&parent, false, true, true)
            }
            _ => Ok(()),
        }
    }

    /// Neither named nor the parent of another.
    fn is_dangling(&self, id: &Digest) -> bool {
        self.catalog.names_of(id).is_empty() && !self.catalog.has_children(id)
    }

    fn conflict(&self, id: &Digest, mask: Mask) -> Option<Conflict> {
        let conflict = |hard, used, message| Some(Conflict { hard, used, message });
        let user =
            |running| self.users.iter().find(|user| user.image == *id && user.running == running);
        if self.catalog.has_children(id) {
            return conflict(true, false, "image has dependent child images".to_owned());
        }
        if let Some(user) = user(true) {
            let container = short(&user.container);
            let message = format!("image is being used by running container {container}");
            return conflict(true, true, message);
        }
        if mask.names && !self.catalog.names_of(id).is_empty() {
            let message = "image is referenced in multiple repositories".to_owned();
            return conflict(false, false, message);
        }
        if mask.stopped
            && let Some(user) = user(false)
        {
            let container = short(&user.container);
            let message = format!("image is being used by stopped container {container}");
            return conflict(false, true, message);
        }
        None
    }
}

fn refused(id: &Digest, conflict: &Conflict) -> Error {
    let force = if conflict.hard { "cannot be forced" } else { "must be forced" };
    let message = &conflict.message;
    Error::InUse(format!("unable to delete {} ({force}) - {message}", id.short()))
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}

fn is_id_prefix(id: &Digest, text: &str) -> bool {
    id.as_str().starts_with(text) || id.hex().starts_with(text) || is_image_id(text)
}

/// At most one tag, and digests of that repository only.
fn is_single(names: &[Reference]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let tags: Vec<&Reference> = names.iter().filter(|name| name.digest().is_none()).collect();
    let repository = tags.first().map_or_else(|| names[0].name(), |tag| tag.name());
    tags.len() <= 1 && names.iter().all(|name| name.name() == repository)
}

/// The chain ids of a list of layers: each names a layer and all below it.
pub(crate) fn chain_ids(layers: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(layers.len());
    for layer in layers {
        chain.push(match chain.last() {
            None => layer.clone(),
            Some(below) => Digest::from_sha256(Sha256::digest(format!("{below} {layer}")).into()),
        });
    }
    chain
}

impl Store {
    /// Removes a name, or an image when the name was its last or an id was given. `users` are the
    /// containers there are. Says what happened, in order.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] and the like; [`Error::InUse`] with Docker's message.
    pub fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        users: &[ContainerUse],
    ) -> Result<Vec<Removal>> {
        self.remove_counting(name, options, users).map(|(removed, _)| removed)
    }

    /// As [`Store::remove`]; says also how many bytes were freed: those of layers, and of the
    /// compressed copies that were kept of them.
    pub(crate) fn remove_counting(
        &self,
        name: &str,
        options: RemoveOptions,
        users: &[ContainerUse],
    ) -> Result<(Vec<Removal>, u64)> {
        let (mut done, mut gone) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            self.change(&mut state, |catalog| {
                let mut plan = Plan { catalog, users, done: Vec::new(), gone: Vec::new() };
                plan.remove(name, options)?;
                (done, gone) = (plan.done, plan.gone);
                Ok(())
            })?;
            for (id, _) in &gone {
                state.configs.remove(id);
            }
        }
        let candidates: BTreeSet<Digest> =
            gone.iter().flat_map(|(_, record)| record.layers.iter().cloned()).collect();
        let mut collected = self.collect(&candidates)?;
        let ids = gone.iter().map(|(id, _)| id);
        let content = gone.iter().flat_map(|(_, record)| record.content());
        let blobs = self.collect_blobs(&ids.chain(content).cloned().collect())?;
        let copies: BTreeSet<&Digest> = gone
            .iter()
            .flat_map(|(_, record)| record.sources.iter().flat_map(|source| &source.blobs))
            .collect();
        let freed = collected.iter().map(|layer| layer.size).sum::<u64>()
            + blobs.iter().filter(|(blob, _)| copies.contains(blob)).map(|(_, n)| n).sum::<u64>();
        // Clients show the top layer first, by its chain id.
        for (_, record) in &gone {
            for (layer, chain) in record.layers.iter().zip(chain_ids(&record.layers)).rev() {
                if let Some(at) = collected.iter().position(|meta| meta.diff_id == *layer) {
                    let size = collected.swap_remove(at).size;
                    done.push(Removal::DeletedLayer { chain, size });
                }
            }
        }
        Ok((done, freed))
    }

    /// Removes the images that the filter selects and that nothing uses. Images that turn out to be
    /// in use are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] and the like; never [`Error::InUse`].
    pub fn prune(&self, filter: &PruneFilter, users: &[ContainerUse]) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for id in self.prunable(filter)? {
            if users.iter().any(|user| user.image == id) {
                continue;
            }
            let names: Vec<String> = self.names(&id).iter().map(ToString::to_string).collect();
            let targets = if names.is_empty() { vec![id.to_string()] } else { names };
            for target in targets {
                match self.remove_counting(&target, RemoveOptions::default(), users) {
                    Ok((removed, freed)) => {
                        pruned.removed.extend(removed);
                        pruned.reclaimed += freed;
                    }
                    Err(Error::InUse(_) | Error::NoSuchImage(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(pruned)
    }

    /// What the filter selects: no intermediate images, and with `dangling` none that has a tag.
    fn prunable(&self, filter: &PruneFilter) -> Result<Vec<Digest>> {
        let candidates: Vec<Digest> = {
            let state = self.state();
            let catalog = &state.catalog;
            let selects = |id: &&Digest| {
                let names = catalog.names_of(id);
                let tagged = names.iter().any(|name| name.digest().is_none());
                let intermediate = names.is_empty() && catalog.has_children(id);
                !(intermediate || filter.dangling && tagged)
            };
            catalog.images.keys().filter(selects).cloned().collect()
        };
        let mut out = Vec::new();
        for id in candidates {
            let config = self.config(&id)?;
            let labels = config.config.as_ref().map(|config| &config.labels);
            let young = filter
                .until
                .is_some_and(|until| config.created.is_none_or(|created| created > until));
            let excluded = filter
                .not_labels
                .iter()
                .any(|label| matches_all(labels, std::slice::from_ref(label)));
            if !young && !excluded && matches_all(labels, &filter.labels) {
                out.push(id);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
