//! Answers about images.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use types::digest::Digest;
use types::reference::Reference;
use types::time::Timestamp;

use crate::error::{Error, Result};
use crate::labels::matches_all;
use crate::model::*;
use crate::store::{State, Store};

/// What clients look for; the layers are overlayfs layers, as with dockerd's driver of this name.
pub(crate) const DRIVER: &str = "overlay2";

impl Store {
    /// All there is to know of an image.
    ///
    /// # Errors
    /// Those of [`Store::resolve`] and [`Store::config`].
    pub fn inspect(&self, name: &str) -> Result<Inspect> {
        let id = self.resolve(name)?;
        let config = self.config(&id)?;
        let state = self.state();
        let record = state.catalog.images.get(&id);
        let record = record.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        let (repo_tags, repo_digests) = state.catalog.familiar_names(&id);
        let size = state.size_of(&record.layers);
        Ok(Inspect {
            repo_tags,
            repo_digests,
            parent: record.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            // dockerd's commits keep their message in the history only.
            comment: match config.history.last() {
                Some(step) if config.comment.is_empty() => step.comment.clone(),
                _ => config.comment.clone(),
            },
            created: config.created,
            container: config.container.clone(),
            container_config: config.container_config.clone(),
            docker_version: config.docker_version.clone(),
            author: config.author.clone(),
            config: config.config.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            os_version: config.os_version.clone(),
            size,
            virtual_size: size,
            graph_driver: self.image_driver(&record.layers),
            root_fs: RootFsSummary { kind: "layers".to_owned(), layers: record.layers.clone() },
            metadata: ImageMetadata { last_tag_time: record.last_tag_time },
            id,
        })
    }

    /// An image's layers as dockerd shows them: the top one is the upper one.
    fn image_driver(&self, layers: &[Digest]) -> GraphDriver {
        let mut paths = layers.iter().rev().map(|layer| self.layers.diff_path(layer));
        let mut data = BTreeMap::new();
        if let Some(top) = paths.next() {
            data.insert("UpperDir".to_owned(), text(&top));
            data.insert("MergedDir".to_owned(), text(&top.with_file_name("merged")));
            data.insert("WorkDir".to_owned(), text(&top.with_file_name("work")));
        }
        let lower: Vec<String> = paths.map(|path| text(&path)).collect();
        if !lower.is_empty() {
            data.insert("LowerDir".to_owned(), lower.join(":"));
        }
        GraphDriver { name: DRIVER.to_owned(), data }
    }

    /// The images that a filter lets through, newest first.
    ///
    /// # Errors
    /// Those of [`Store::resolve`] for `before` and `since`; damaged documents.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Summary>> {
        let made = |name: &Option<String>| -> Result<Option<Timestamp>> {
            let Some(name) = name else { return Ok(None) };
            Ok(Some(self.config(&self.resolve(name)?)?.created.unwrap_or_default()))
        };
        let (before, since) = (made(&filter.before)?, made(&filter.since)?);
        let ids: Vec<Digest> = self.state().catalog.images.keys().cloned().collect();
        let mut out: Vec<(Timestamp, Summary)> = Vec::new();
        for id in ids {
            let config = match self.config(&id) {
                // Removed meanwhile.
                Err(Error::NoSuchImage(_)) => continue,
                other => other?,
            };
            let created = config.created.unwrap_or_default();
            let labels = config.config.as_ref().map(|config| &config.labels);
            let in_time = before.is_none_or(|before| created < before)
                && since.is_none_or(|since| created > since)
                && filter.until.is_none_or(|until| created < until);
            if !in_time || !matches_all(labels, &filter.labels) {
                continue;
            }
            let state = self.state();
            if let Some(mut summary) = summary(&state, &id, filter) {
                summary.created = if created.is_never() { 0 } else { created.seconds() };
                summary.labels = labels.filter(|labels| !labels.is_empty()).cloned();
                out.push((created, summary));
            }
        }
        out.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
        Ok(out.into_iter().map(|(_, summary)| summary).collect())
    }

    /// How an image was made, newest step first.
    ///
    /// # Errors
    /// Those of [`Store::resolve`] and [`Store::config`]; [`Error::BadConfig`] when the steps name
    /// more layers than there are.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        let id = self.resolve(name)?;
        let config = self.config(&id)?;
        let state = self.state();
        let mut layers = config.rootfs.diff_ids.iter();
        let mut items = Vec::with_capacity(config.history.len());
        for step in &config.history {
            let size = if step.empty_layer {
                0
            } else {
                let layer = layers.next().ok_or_else(|| {
                    Error::BadConfig("too many non-empty layers in History section".into())
                })?;
                state.size_of(std::slice::from_ref(layer))
            };
            items.push(HistoryItem {
                id: "<missing>".to_owned(),
                created: step.created.filter(|t| !t.is_never()).map_or(0, Timestamp::seconds),
                created_by: step.created_by.clone(),
                tags: None,
                size,
                comment: step.comment.clone(),
            });
        }
        items.reverse();
        // The newest step made this image, and those before it its parents, as far as they are here.
        let mut current = Some(id);
        for item in &mut items {
            let Some(id) = current.take() else { break };
            let Some(record) = state.catalog.images.get(&id) else { break };
            let tags = state.catalog.familiar_names(&id).0;
            item.tags = (!tags.is_empty()).then_some(tags);
            item.id = id.to_string();
            current.clone_from(&record.parent);
        }
        Ok(items)
    }

    /// Disk usage. `users` are the containers there are.
    ///
    /// # Errors
    /// Those of [`Store::list`].
    pub fn usage(&self, users: &[ContainerUse]) -> Result<Usage> {
        let filter = ListFilter { all: true, shared_size: true, ..ListFilter::default() };
        let mut images = self.list(&filter)?;
        for image in &mut images {
            let count = users.iter().filter(|user| user.image == image.id).count();
            image.containers = i64::try_from(count).unwrap_or(i64::MAX);
        }
        let (layers_size, layers): (u64, Vec<Digest>) = {
            let state = self.state();
            let size = state.layers.values().map(|layer| layer.size).sum();
            (size, state.layers.keys().cloned().collect())
        };
        let disk_size = layers_size.saturating_sub(self.layers.shared_bytes(layers.iter()))
            + self.layers.disks_size(layers.iter());
        let content = self.content.blobs().list()?;
        let content_size = content.iter().map(|(_, size)| size).sum();
        Ok(Usage { layers_size, disk_size, content_size, images })
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An image in the list, if the filter's conditions on names let it through.
fn summary(state: &State, id: &Digest, filter: &ListFilter) -> Option<Summary> {
    let catalog = &state.catalog;
    let record = catalog.images.get(id)?;
    let names = catalog.names_of(id);
    let shown: Vec<&Reference> = names
        .iter()
        .filter(|name| {
            filter.references.is_empty()
                || filter.references.iter().any(|pattern| matches_pattern(name, pattern))
        })
        .collect();
    if !filter.references.is_empty() && shown.is_empty() {
        return None;
    }
    let dangling = names.is_empty() && !catalog.has_children(id);
    let nameless = !names.iter().any(|name| name.digest().is_none());
    match filter.dangling {
        Some(true) if !nameless || catalog.has_children(id) => return None,
        Some(false) if nameless => return None,
        // Intermediate images are for `all` only.
        None if !filter.all && names.is_empty() && !dangling => return None,
        _ => {}
    }
    let familiar = |digest: bool| {
        let of_kind = shown.iter().filter(|name| name.digest().is_some() == digest);
        of_kind.map(|name| name.familiar()).collect()
    };
    let size = state.size_of(&record.layers);
    Some(Summary {
        id: id.clone(),
        parent_id: record.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_tags: familiar(false),
        repo_digests: familiar(true),
        created: 0,
        size,
        shared_size: if filter.shared_size { shared_size(state, &record.layers) } else { -1 },
        virtual_size: size,
        labels: None,
        containers: -1,
    })
}

/// Bytes of the layers that more than one image has.
fn shared_size(state: &State, layers: &[Digest]) -> i64 {
    let mut count: HashMap<&Digest, usize> = HashMap::new();
    for record in state.catalog.images.values() {
        for layer in &record.layers {
            *count.entry(layer).or_default() += 1;
        }
    }
    let shared: Vec<Digest> =
        layers.iter().filter(|layer| count.get(layer).is_some_and(|n| *n > 1)).cloned().collect();
    i64::try_from(state.size_of(&shared)).unwrap_or(i64::MAX)
}

/// Whether a name matches a pattern with `*`, `?` and `[…]`, in its familiar form with or without
/// the tag.
fn matches_pattern(name: &Reference, pattern: &str) -> bool {
    glob(pattern.as_bytes(), name.familiar().as_bytes())
        || glob(pattern.as_bytes(), name.familiar_name().as_bytes())
}

/// Go's `path.Match`: `*` and `?` never match a slash.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=end).any(|at| glob(rest, &text[at..]))
        }
        Some((b'?', rest)) => {
            text.split_first().is_some_and(|(byte, text)| *byte != b'/' && glob(rest, text))
        }
        Some((b'[', rest)) => class(rest, text),
        Some((b'\\', rest)) if !rest.is_empty() => {
            text.first() == rest.first() && glob(&rest[1..], &text[1..])
        }
        Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

/// `[a-z]`, `[^a-z]`; a class without its end matches nothing.
fn class(pattern: &[u8], text: &[u8]) -> bool {
    let Some((byte, text)) = text.split_first() else { return false };
    let (negated, mut left) = match pattern.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    loop {
        match left {
            [b']', rest @ ..] => return found != negated && *byte != b'/' && glob(rest, text),
            [low, b'-', high, rest @ ..] => {
                found |= (low..=high).contains(&byte);
                left = rest;
            }
            [one, rest @ ..] => {
                found |= one == byte;
                left = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_with_and_without_the_tag() {
        let name = Reference::parse("me/app:1.2").expect("name");
        for pattern in ["me/app", "me/*", "*/app:1*", "me/ap?", "me/[a-c]pp:1.2", "me/[^x]pp"] {
            assert!(matches_pattern(&name, pattern), "{pattern}");
        }
        for pattern in ["app", "*", "me", "me/app:2", "me/[x-z]pp", "me/[app", ""] {
            assert!(!matches_pattern(&name, pattern), "{pattern}");
        }
    }
}
