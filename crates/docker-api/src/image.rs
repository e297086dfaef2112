//! Images.

use std::collections::BTreeMap;

use types::container::Set;
use types::health::HealthConfig;
use types::{Timestamp, Words};

use crate::container::GraphDriver;

api_json! {
/// An item of `GET /images/json`.
pub struct ImageSummary {
    /// Number of containers that use it; -1 when it was not counted.
    pub containers: i64,
    /// Seconds since the epoch.
    pub created: i64,
    pub id: String,
    /// `null` when there are none.
    pub labels: Option<BTreeMap<String, String>>,
    pub parent_id: String,
    pub repo_digests: Vec<String>,
    pub repo_tags: Vec<String>,
    /// Bytes shared with other images; -1 when it was not counted.
    pub shared_size: i64,
    pub size: i64,
    /// Only before API 1.44, where it equals `Size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// Only when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestSummary>>,
}

/// `GET /images/{name}/json`.
pub struct ImageInspect {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Gone since API 1.50 unless it says something.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
    pub comment: String,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub created: Timestamp,
    pub docker_version: String,
    pub author: String,
    pub config: Option<ImageConfig>,
    pub architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    pub size: i64,
    /// Only before API 1.44, where it equals `Size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: ImageMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// Only when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestSummary>>,
}

/// One manifest of an image, of those that its name stood for in the registry.
pub struct ManifestSummary {
    #[serde(rename = "ID")]
    pub id: String,
    pub descriptor: Descriptor,
    /// All that it names is here.
    pub available: bool,
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ManifestImage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation_data: Option<ManifestAttestation>,
}

/// Bytes of a manifest and all that it names.
pub struct ManifestSize {
    /// With what is unpacked.
    pub total: i64,
    /// In the content store.
    pub content: i64,
}

/// A manifest that stands for an image.
pub struct ManifestImage {
    pub platform: Platform,
    /// Ids of the containers that use it.
    pub containers: Vec<String>,
    pub size: UnpackedSize,
}

/// Bytes of what is unpacked.
pub struct UnpackedSize {
    pub unpacked: i64,
}

/// A manifest that says something about another.
pub struct ManifestAttestation {
    /// The digest of that other.
    #[serde(rename = "For")]
    pub target: String,
}

/// What containers of an image inherit. What is not set is absent.
pub struct ImageConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: Set,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Words>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: Set,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// The layers of an image, lowest first, as digests of their uncompressed tars.
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What this daemon knows of an image beyond its content.
pub struct ImageMetadata {
    pub last_tag_time: Timestamp,
}

/// An item of `GET /images/{name}/history`, newest first.
pub struct HistoryItem {
    pub comment: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub created_by: String,
    /// `<missing>` for all but the newest, as Docker says where it knows no image for the layer.
    pub id: String,
    pub size: i64,
    #[serde(serialize_with = "types::empty_null")]
    pub tags: Vec<String>,
}

/// An item of the answer to `DELETE /images/{name}`.
pub struct DeleteResponse {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub untagged: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deleted: String,
}

/// Answer of `POST /images/prune`.
pub struct ImagesPruneReport {
    #[serde(serialize_with = "types::empty_null")]
    pub images_deleted: Vec<DeleteResponse>,
    pub space_reclaimed: u64,
}
}

/// An OCI descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: i64,
    /// Free key-value pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Go's name of the architecture.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows only.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v7`, `v8`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}
