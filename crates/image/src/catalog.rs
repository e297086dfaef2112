//! Which images there are and what they are called: plain data and decisions, no I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::digest::Digest;
use types::reference::{Reference, is_image_id};
use types::time::Timestamp;

use crate::error::{Error, Result};

/// What is known of an image besides its configuration document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The image it was made from, if that is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// Its layers, bottom first.
    pub(crate) layers: Vec<Digest>,
    /// When a name was last given to it.
    #[serde(default)]
    pub(crate) last_tag_time: Timestamp,
    /// When a container was last made of it, as far as is known: it is written together with the
    /// next change of something else.
    #[serde(default)]
    pub(crate) last_used: Timestamp,
    /// The manifests that it was pulled by, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sources: Vec<Source>,
}

/// A manifest that an image was pulled by. All digests are those of blobs in the content store, as
/// far as they are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Source {
    /// The manifest.
    pub(crate) manifest: StoredDocument,
    /// The index it was chosen from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<StoredDocument>,
    /// The layers as the manifest names them, bottom first.
    pub(crate) blobs: Vec<Digest>,
}

/// A document in the content store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredDocument {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
}

/// Manifests that are remembered of one image; whoever pulls one image from ever more places does
/// not make the catalog grow for ever.
const MAX_SOURCES: usize = 16;

impl Record {
    /// Everything in the content store that the image refers to, besides its configuration.
    pub(crate) fn content(&self) -> impl Iterator<Item = &Digest> {
        self.sources.iter().flat_map(|source| {
            let index = source.index.as_ref().map(|index| &index.digest);
            std::iter::once(&source.manifest.digest).chain(index).chain(&source.blobs)
        })
    }
}

/// All images and names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Catalog {
    /// Image ids to records.
    pub(crate) images: BTreeMap<Digest, Record>,
    /// Names (each with a tag or a digest) to image ids.
    pub(crate) names: BTreeMap<Reference, Digest>,
}

impl Catalog {
    /// The image that a user means by `text`: a full id, a name (`latest` is added), a digest
    /// reference or the beginning of an id, in this order.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`], [`Error::Reference`].
    pub(crate) fn resolve(&self, text: &str) -> Result<Digest> {
        let full = if is_image_id(text) { format!("sha256:{text}") } else { text.to_owned() };
        if let Ok(id) = full.parse::<Digest>() {
            if self.images.contains_key(&id) {
                return Ok(id);
            }
            return Err(Error::NoSuchImage(full));
        }
        let name = match Reference::parse(text) {
            Ok(name) => name,
            // What is no name may still be the beginning of an id (`sha256:ab`).
            Err(error) => return self.by_prefix(text)?.ok_or(Error::Reference(error)),
        };
        if let Some(id) = self.named(&name) {
            return Ok(id.clone());
        }
        self.by_prefix(text)?.ok_or_else(|| Error::NoSuchImage(name.or_latest().familiar()))
    }

    /// The image of a name. A digest counts more than a tag beside it.
    pub(crate) fn named(&self, name: &Reference) -> Option<&Digest> {
        match name.digest() {
            Some(digest) => self.names.get(&name.with_digest(digest.clone())),
            None => self.names.get(&name.clone().or_latest()),
        }
    }

    fn by_prefix(&self, text: &str) -> Result<Option<Digest>> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.is_empty()
            || !prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(None);
        }
        let mut found = self.images.keys().filter(|id| id.hex().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Error::AmbiguousId(text.to_owned())),
            (found, _) => Ok(found.cloned()),
        }
    }

    /// The names of an image, sorted.
    pub(crate) fn names_of(&self, id: &Digest) -> Vec<Reference> {
        self.names.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone()).collect()
    }

    /// Familiar forms of an image's names: those with a tag, and those with a digest.
    pub(crate) fn familiar_names(&self, id: &Digest) -> (Vec<String>, Vec<String>) {
        let (digests, tags): (Vec<_>, Vec<_>) =
            self.names_of(id).into_iter().partition(|name| name.digest().is_some());
        let familiar = |names: Vec<Reference>| names.iter().map(Reference::familiar).collect();
        (familiar(tags), familiar(digests))
    }

    /// Images that were made from this one.
    pub(crate) fn has_children(&self, id: &Digest) -> bool {
        self.images.values().any(|record| record.parent.as_ref() == Some(id))
    }

    /// Gives a name to an image, taking it from another that had it. Returns that one. A name that
    /// the image has changes nothing, so that the catalog need not be written: a build that finds
    /// all in its cache ends this way.
    pub(crate) fn give_name(&mut self, name: Reference, id: &Digest) -> Option<Digest> {
        if self.names.get(&name) == Some(id) {
            return None;
        }
        if let Some(record) = self.images.get_mut(id) {
            record.last_tag_time = Timestamp::now();
        }
        self.names.insert(name, id.clone()).filter(|old| old != id)
    }

    /// Remembers a manifest that an image was pulled by.
    pub(crate) fn add_source(&mut self, id: &Digest, source: Source) {
        let Some(record) = self.images.get_mut(id) else { return };
        record.sources.retain(|known| known.manifest.digest != source.manifest.digest);
        record.sources.push(source);
        let excess = record.sources.len().saturating_sub(MAX_SOURCES);
        record.sources.drain(..excess);
    }

    /// Everything that images are, or refer to; much of it several times.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Digest> {
        self.images.iter().flat_map(|(id, record)| {
            std::iter::once(id).chain(&record.layers).chain(record.content())
        })
    }

    /// Whether an image is this, or refers to it.
    pub(crate) fn refers_to(&self, digest: &Digest) -> bool {
        self.images.contains_key(digest) || self.references().any(|found| found == digest)
    }

    /// Adds an image, or the parent of one that is there without.
    pub(crate) fn add(&mut self, id: &Digest, parent: Option<Digest>, layers: &[Digest]) {
        let record = self.images.entry(id.clone()).or_default();
        record.layers = layers.to_vec();
        if parent.is_some() && parent.as_ref() != Some(id) {
            record.parent = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> Digest {
        Digest::from_sha256([byte; 32])
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for byte in [0xaa, 0xab, 0xbe] {
            catalog.add(&id(byte), None, &[]);
        }
        catalog.give_name(Reference::parse("app:latest").expect("name"), &id(0xaa));
        catalog.give_name(Reference::parse("be:latest").expect("name"), &id(0xab));
        let digest = Reference::parse("app").expect("name").with_digest(id(7));
        catalog.give_name(digest, &id(0xbe));
        catalog
    }

    #[test]
    fn an_image_is_found_by_name_digest_or_beginning_of_its_id() {
        let catalog = catalog();
        let resolve = |text: &str| catalog.resolve(text).map_err(|error| error.to_string());
        assert_eq!(resolve("app"), Ok(id(0xaa)));
        assert_eq!(resolve("docker.io/library/app:latest"), Ok(id(0xaa)));
        assert_eq!(resolve(&format!("app@{}", id(7))), Ok(id(0xbe)));
        assert_eq!(resolve("be"), Ok(id(0xab)), "a name goes before an id");
        assert_eq!(resolve("bebe"), Ok(id(0xbe)));
        assert_eq!(resolve("sha256:bebe"), Ok(id(0xbe)));
        assert_eq!(resolve(id(0xaa).hex()), Ok(id(0xaa)));
        assert_eq!(resolve("a"), Err("Multiple IDs found with provided prefix: a".into()));
        assert_eq!(resolve("app:2"), Err("No such image: app:2".into()));
        assert_eq!(resolve("nope"), Err("No such image: nope:latest".into()));
        assert_eq!(resolve(id(1).as_str()), Err(format!("No such image: {}", id(1))));
        assert!(resolve("No").is_err_and(|error| error.contains("must be lowercase")));
    }

    #[test]
    fn a_name_moves_from_image_to_image() {
        let mut catalog = catalog();
        let name = Reference::parse("app:latest").expect("name");
        assert_eq!(catalog.give_name(name.clone(), &id(0xab)), Some(id(0xaa)));
        assert_eq!(catalog.give_name(name, &id(0xab)), None);
        assert!(catalog.names_of(&id(0xaa)).is_empty());
        assert_eq!(
            catalog.familiar_names(&id(0xab)).0,
            ["app:latest".to_owned(), "be:latest".to_owned()]
        );
    }
}
