//! What a repository needs, found from its manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use types::digest::Digest;

use super::is_old;
use crate::manifest::{self, Manifest};
use crate::name::Name;
use crate::storage::{Result, Storage};

/// What was found in a repository.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// Blobs and manifests that the manifests which stay refer to.
    pub(super) needed: BTreeSet<Digest>,
    /// Manifests that nothing leads to.
    pub(super) unused: Vec<Digest>,
}

/// What makes a manifest stay by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// It needs a tag.
    pub(super) untagged: bool,
    /// Unless it has come since.
    pub(super) cutoff: SystemTime,
    /// It must have been asked for since, tag or not.
    pub(super) unused: Option<SystemTime>,
}

/// Looks through one repository.
pub(super) fn mark(storage: &Storage, name: &Name, terms: Terms) -> Result<Marked> {
    let repository = storage.repository(name);
    let mut manifests = BTreeMap::new();
    let mut roots = BTreeSet::new();
    let mut unused = BTreeSet::new();
    for digest in repository.manifests()? {
        let stored = match repository.manifest(&digest) {
            Ok(stored) => stored,
            // One that is damaged is somebody else's business; what it needs cannot be known, and
            // it is not removed either.
            Err(error) => {
                tracing::warn!("{digest} of {name}: {error}");
                roots.insert(digest);
                continue;
            }
        };
        let parsed =
            stored.and_then(|stored| manifest::parse(Some(&stored.media_type), &stored.bytes).ok());
        let link = super::place(repository.folder(), "_manifests", &digest);
        if let (Some(limit), true) = (terms.unused, parsed.is_some())
            && is_old(&link, limit)?
        {
            unused.insert(digest.clone());
        } else if !terms.untagged || parsed.is_none() || !is_old(&link, terms.cutoff)? {
            // One that has just come may be about to be tagged, or to be put into an index.
            roots.insert(digest.clone());
        }
        manifests.insert(digest, parsed.unwrap_or_default());
    }
    for tag in repository.tags()? {
        roots.extend(repository.resolve(&tag)?.filter(|digest| !unused.contains(digest)));
    }
    Ok(spread(&manifests, roots))
}

/// Follows what manifests refer to, and what refers to them. Pure.
pub(super) fn spread(manifests: &BTreeMap<Digest, Manifest>, roots: BTreeSet<Digest>) -> Marked {
    let mut about: BTreeMap<&Digest, Vec<&Digest>> = BTreeMap::new();
    for (digest, manifest) in manifests {
        if let Some(subject) = &manifest.subject {
            about.entry(subject).or_default().push(digest);
        }
    }
    let mut needed = BTreeSet::new();
    let mut left: Vec<Digest> = roots.into_iter().collect();
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    while let Some(digest) = left.pop() {
        // Indexes may refer to each other in a circle only if somebody breaks SHA-256; a subject
        // may, without that.
        if !seen.insert(digest.clone()) {
            continue;
        }
        if let Some(manifest) = manifests.get(&digest) {
            needed.extend(manifest.blobs.iter().map(|(blob, _)| blob.clone()));
            left.extend(manifest.manifests.iter().cloned());
        }
        left.extend(about.get(&digest).into_iter().flatten().map(|digest| (*digest).clone()));
        needed.insert(digest);
    }
    let unused = manifests.keys().filter(|digest| !seen.contains(*digest)).cloned().collect();
    Marked { needed, unused }
}
