//! Manifests that are pushed: what they are, and what they refer to. Pure; the bytes are anybody's.

use std::collections::BTreeMap;

use serde::Deserialize;
use types::digest::Digest;

/// The most bytes that a manifest may have; the distribution specification names this limit.
pub(crate) const LARGEST: usize = 4 << 20;
/// What a manifest without a media type of its own is taken for.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index; answers about referrers are one.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Why a manifest cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidManifest {
    /// It is not JSON of the expected shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The first version of the format, which carries no digests of its layers' archives.
    #[error("schema version 1 is no longer taken: push with a client that speaks version 2")]
    SchemaOne,
    /// A schema version that does not exist.
    #[error("schema version {0} is not known")]
    Schema(u64),
    /// A kind of manifest that is not known.
    #[error("the media type {0:?} is no manifest's")]
    MediaType(String),
    /// The header and the document do not agree.
    #[error("the document says {document:?} and the Content-Type {header:?}")]
    Disagree {
        /// In the document.
        document: String,
        /// In the header.
        header: String,
    },
    /// An index has layers, or a manifest manifests: one digest must not mean two images.
    #[error("{0:?} has no place in a document of this media type")]
    Ambiguous(&'static str),
    /// An image manifest needs a configuration.
    #[error("there is no config")]
    NoConfig,
}

/// What the registry has to know of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Its media type.
    pub(crate) media_type: String,
    /// Blobs that must be in the repository, with their sizes.
    pub(crate) blobs: Vec<(Digest, u64)>,
    /// Manifests that must be in the repository.
    pub(crate) manifests: Vec<Digest>,
    /// The manifest that this one is about, which need not be there.
    pub(crate) subject: Option<Digest>,
    /// What kind of thing it is, for those who look for referrers.
    pub(crate) artifact_type: Option<String>,
    /// Shown to those who look for referrers.
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    urls: Option<Vec<String>>,
}

impl Descriptor {
    /// Layers that may only be had elsewhere, such as those of Windows.
    fn is_elsewhere(&self) -> bool {
        let kind = &self.media_type;
        let foreign = kind.contains(".nondistributable.") || kind.contains(".foreign.");
        foreign && self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
    }
}

/// Reads a manifest that came with this `Content-Type`.
///
/// # Errors
/// [`InvalidManifest`].
pub(crate) fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Manifest, InvalidManifest> {
    let document: Document = serde_json::from_slice(bytes)?;
    let header = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    let media_type = media_type(header.filter(|text| !text.is_empty()), &document)?;
    match document.schema_version {
        Some(1) => return Err(InvalidManifest::SchemaOne),
        Some(2) => {}
        // The artifact manifest has none; others must say which they are.
        None if media_type == OCI_ARTIFACT => {}
        other => return Err(InvalidManifest::Schema(other.unwrap_or(0))),
    }
    let Document { config, layers, blobs, manifests, subject, annotations, .. } = document;
    let mut all = Vec::new();
    let mut below = Vec::new();
    let mut artifact_type = document.artifact_type.filter(|kind| !kind.is_empty());
    match media_type.as_str() {
        OCI_INDEX | DOCKER_LIST => {
            if layers.is_some() || config.is_some() || document.fs_layers.is_some() {
                return Err(InvalidManifest::Ambiguous("layers"));
            }
            below = manifests.unwrap_or_default();
        }
        OCI_ARTIFACT => all = blobs.unwrap_or_default(),
        _ => {
            if manifests.is_some() || document.fs_layers.is_some() {
                return Err(InvalidManifest::Ambiguous("manifests"));
            }
            let config = config.ok_or(InvalidManifest::NoConfig)?;
            artifact_type.get_or_insert_with(|| config.media_type.clone());
            all.push(config);
            all.extend(layers.unwrap_or_default());
        }
    }
    Ok(Manifest {
        media_type,
        blobs: all
            .into_iter()
            .filter(|blob| !blob.is_elsewhere())
            .map(|blob| (blob.digest, blob.size))
            .collect(),
        manifests: below.into_iter().map(|manifest| manifest.digest).collect(),
        subject: subject.map(|subject| subject.digest),
        artifact_type,
        annotations: annotations.unwrap_or_default(),
    })
}

/// What the document is, by its header, its own word, or its shape.
fn media_type(header: Option<&str>, document: &Document) -> Result<String, InvalidManifest> {
    let own = document.media_type.as_deref().filter(|text| !text.is_empty());
    let guessed = if document.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
    let chosen = match (header, own) {
        (Some(header), Some(own)) if header != own => {
            return Err(InvalidManifest::Disagree {
                document: own.to_owned(),
                header: header.to_owned(),
            });
        }
        // Some clients of old put everything as plain JSON.
        (Some("application/json") | None, None) => guessed,
        (Some(text), _) | (None, Some(text)) => text,
    };
    match chosen {
        OCI_MANIFEST | OCI_INDEX | OCI_ARTIFACT | DOCKER_MANIFEST | DOCKER_LIST => {
            Ok(chosen.to_owned())
        }
        text if text.contains("manifest.v1+") && text.contains("docker") => {
            Err(InvalidManifest::SchemaOne)
        }
        text => Err(InvalidManifest::MediaType(text.chars().take(128).collect())),
    }
}

#[cfg(test)]
mod tests;
