use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::null_default;

use super::{Descriptor, media_type};

/// One image: its configuration and its layers, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// 2.
    pub schema_version: u32,
    /// What this document is; OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the artifact is, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// What this one refers to, such as the image that a signature is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free words about it.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl ImageManifest {
    /// A manifest in Docker's spelling, which every registry takes.
    pub fn docker(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self::of(media_type::DOCKER_MANIFEST, config, layers)
    }

    /// A manifest in OCI's spelling.
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self::of(media_type::OCI_MANIFEST, config, layers)
    }

    fn of(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The document as it is pushed and hashed: indented by three spaces, as Docker writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::document::written(self)
    }
}

/// The manifests of one name for several platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// 2.
    pub schema_version: u32,
    /// What this document is; OCI allows it to be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the artifact is, when these are no images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, and perhaps further indexes.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// What this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free words about it.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl ImageIndex {
    /// A list in Docker's spelling.
    pub fn docker(manifests: Vec<Descriptor>) -> Self {
        Self::of(media_type::DOCKER_LIST, manifests)
    }

    /// An index in OCI's spelling.
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self::of(media_type::OCI_INDEX, manifests)
    }

    fn of(media_type: &str, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The document as it is pushed and hashed: indented by three spaces, as Docker writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::document::written(self)
    }
}
