use serde::{Deserialize, Serialize};

use super::media_type::{self, bare, is_index, is_manifest, is_schema1};
use super::{Descriptor, ImageIndex, ImageManifest};

/// How much of a stranger's document is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one document. OCI asks registries to take 4 MiB at least; dockerd reads no more.
    pub bytes: usize,
    /// Layers of one image, as many as overlay mounts are tested with.
    pub layers: usize,
    /// Manifests in one index.
    pub manifests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 20, layers: 490, manifests: 10_000 }
    }
}

/// A manifest or a list of manifests.
// There is never more than a handful of them: a box would only be in the way.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(ImageManifest),
    /// Several.
    Index(ImageIndex),
}

/// Why a document is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// More bytes than the limit.
    #[error("manifest of {size} bytes is larger than the {limit} bytes that are read")]
    TooLarge {
        /// Its length.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A manifest of the first kind.
    #[error(
        "media type \"{0}\" is no longer supported: Docker image format v1 and manifest version 2 \
         schema 1 were replaced; push the image again with a current version of the software it \
         was made with"
    )]
    Schema1(String),
    /// Some other kind of document.
    #[error("unsupported manifest media type: \"{0}\"")]
    MediaType(String),
    /// What the server and the document say about its kind disagree.
    #[error("manifest is served as \"{served}\" and says that it is \"{says}\"")]
    Disagrees {
        /// The server's word.
        served: String,
        /// The document's.
        says: String,
    },
    /// Fields of both kinds: two readers could see two images in it.
    #[error("manifest has both layers and manifests")]
    Ambiguous,
    /// Neither 2 nor absent.
    #[error("unsupported manifest schema version {0}")]
    SchemaVersion(u32),
    /// No JSON, or a field is missing or of the wrong type.
    #[error("invalid manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Too many layers or manifests.
    #[error("manifest lists {count} {what}; at most {limit} are allowed")]
    TooMany {
        /// Layers or manifests.
        what: &'static str,
        /// How many.
        count: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// The fields that tell one kind from another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document. `served_as` is the server's `Content-Type`, which may be empty or say
    /// only that it is JSON; then the document speaks for itself.
    ///
    /// # Errors
    /// [`InvalidManifest`]; in particular for manifests of schema 1, for those over a limit, and
    /// for those that could be read as two things.
    pub fn parse(served_as: &str, bytes: &[u8], limits: &Limits) -> Result<Self, InvalidManifest> {
        if bytes.len() > limits.bytes {
            return Err(InvalidManifest::TooLarge { size: bytes.len(), limit: limits.bytes });
        }
        let served = bare(served_as);
        if is_schema1(&served) {
            return Err(InvalidManifest::Schema1(served));
        }
        let outline: Outline = serde_json::from_slice(bytes)?;
        let kind = kind(served, &outline)?;
        if let Some(version) = outline.schema_version.filter(|version| *version != 2) {
            return Err(InvalidManifest::SchemaVersion(version));
        }
        if is_index(&kind) {
            let index: ImageIndex = serde_json::from_slice(bytes)?;
            within("manifests", index.manifests.len(), limits.manifests)?;
            return Ok(Self::Index(index));
        }
        let manifest: ImageManifest = serde_json::from_slice(bytes)?;
        within("layers", manifest.layers.len(), limits.layers)?;
        Ok(Self::Manifest(manifest))
    }

    /// What this document is: its own word, or OCI's for its shape.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => {
                manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST)
            }
            Self::Index(index) => index.media_type.as_deref().unwrap_or(media_type::OCI_INDEX),
        }
    }

    /// Everything that this document names and that has to be where it is: configuration and
    /// layers, or manifests.
    pub fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, list) = match self {
            Self::Manifest(manifest) => (Some(&manifest.config), &manifest.layers),
            Self::Index(index) => (None, &index.manifests),
        };
        config.into_iter().chain(list)
    }

    /// What this document refers to without containing it.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }
}

/// The kind of a document, from the server's word, the document's own, and its shape.
fn kind(served: String, outline: &Outline) -> Result<String, InvalidManifest> {
    let says = outline.media_type.as_deref().map(bare).filter(|says| !says.is_empty());
    if outline.fs_layers.is_some() || outline.schema_version == Some(1) {
        return Err(InvalidManifest::Schema1(says.unwrap_or(media_type::SCHEMA1.to_owned())));
    }
    let one = outline.layers.is_some() || outline.config.is_some();
    if one && outline.manifests.is_some() {
        // CVE-2021-41190: the same bytes meant an image to one reader and an index to another.
        return Err(InvalidManifest::Ambiguous);
    }
    let known = is_manifest(&served) || is_index(&served);
    match says {
        Some(says) if known && says != served => Err(InvalidManifest::Disagrees { served, says }),
        Some(says) if is_manifest(&says) || is_index(&says) => Ok(says),
        Some(says) if is_schema1(&says) => Err(InvalidManifest::Schema1(says)),
        Some(says) => Err(InvalidManifest::MediaType(says)),
        None if known => Ok(served),
        None if outline.manifests.is_some() => Ok(media_type::OCI_INDEX.to_owned()),
        None if one => Ok(media_type::OCI_MANIFEST.to_owned()),
        None => Err(InvalidManifest::MediaType(served)),
    }
}

fn within(what: &'static str, count: usize, limit: usize) -> Result<(), InvalidManifest> {
    if count > limit {
        return Err(InvalidManifest::TooMany { what, count, limit });
    }
    Ok(())
}

/// The JSON of a document that others will name by its digest.
pub(super) fn written<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    match document.serialize(&mut serializer) {
        Ok(()) => bytes,
        // Only maps with keys that are no strings and failing writers make errors here.
        Err(error) => unreachable!("a manifest is always JSON: {error}"),
    }
}

#[cfg(test)]
mod tests;
