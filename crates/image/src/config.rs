//! An image's configuration: the JSON document whose digest is the image's id.
//!
//! The document is kept byte for byte; [`ImageConfig`] is a view of it that ignores what it does
//! not know. New documents (import, commit, build) are written from it.

use serde::{Deserialize, Serialize};
use types::container::ContainerConfig;
use types::digest::Digest;
use types::time::Timestamp;

use crate::error::{Error, Result};

/// What the layers are, bottom first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layer tars, bottom first.
    #[serde(default, deserialize_with = "types::null_default")]
    pub diff_ids: Vec<Digest>,
}

/// How a layer (or a change of the configuration alone) came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A remark.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// There is no layer for this step.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The configuration document of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Go's name of the processor architecture.
    #[serde(deserialize_with = "types::null_default")]
    pub architecture: String,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "types::null_default")]
    pub author: String,
    /// A remark.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "types::null_default")]
    pub comment: String,
    /// What containers of this image start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ContainerConfig>,
    /// The container it was committed from.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "types::null_default")]
    pub container: String,
    /// That container's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<ContainerConfig>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The engine that made it.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "types::null_default")]
    pub docker_version: String,
    /// The steps, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "types::null_default")]
    pub history: Vec<History>,
    /// The operating system.
    #[serde(deserialize_with = "types::null_default")]
    pub os: String,
    /// Its version (Windows).
    #[serde(
        rename = "os.version",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "types::null_default"
    )]
    pub os_version: String,
    /// The layers.
    pub rootfs: RootFs,
    /// Variant of the architecture (`v7`, `v8`).
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "types::null_default")]
    pub variant: String,
}

impl ImageConfig {
    /// What containers of this image start from; empty when the document says nothing.
    pub fn container(&self) -> ContainerConfig {
        self.config.clone().unwrap_or_default()
    }

    /// The document as it is stored.
    ///
    /// # Errors
    /// [`Error::BadConfig`]; it does not happen with this type.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::BadConfig(error.to_string()))
    }
}

/// Docker's (Go's) name of the architecture this program runs on, and its variant.
pub fn host_architecture() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", ""),
        "arm" => ("arm", "v7"),
        "powerpc64" => ("ppc64le", ""),
        "loongarch64" => ("loong64", ""),
        other => (other, ""),
    }
}
