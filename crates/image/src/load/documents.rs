//! The documents of an archive, as far as they are needed.

use std::collections::HashMap;

use serde::Deserialize;
use types::digest::Digest;

/// An entry of Docker's `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerManifest {
    /// Path of the configuration document.
    pub(super) config: String,
    /// Names.
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) repo_tags: Vec<String>,
    /// Paths of the layers, bottom first.
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) layers: Vec<String>,
    /// Id of the image it was made from.
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) parent: Option<String>,
}

/// A pointer to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    #[serde(default)]
    pub(super) platform: Option<DescriptorPlatform>,
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) annotations: HashMap<String, String>,
}

/// The platform of a descriptor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DescriptorPlatform {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: String,
}

/// A manifest or an index: whichever fields are there say which.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OciDocument {
    #[serde(default)]
    pub(super) config: Option<Descriptor>,
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "types::null_default")]
    pub(super) manifests: Vec<Descriptor>,
}
