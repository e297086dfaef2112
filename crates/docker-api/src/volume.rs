//! Volumes.

use std::collections::BTreeMap;

use types::Timestamp;

api_json! {
/// A volume.
pub struct Volume {
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub created_at: Timestamp,
    pub driver: String,
    /// `null` when there are none.
    pub labels: Option<BTreeMap<String, String>>,
    pub mountpoint: String,
    pub name: String,
    /// `null` when there are none.
    pub options: Option<BTreeMap<String, String>>,
    /// `local`.
    pub scope: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub status: BTreeMap<String, serde_json::Value>,
    /// Only in `/system/df`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsage>,
}

/// How much a volume takes and how many containers use it; -1 means unknown.
pub struct VolumeUsage {
    pub ref_count: i64,
    pub size: i64,
}

/// Answer of `GET /volumes`.
pub struct VolumeListResponse {
    pub volumes: Vec<Volume>,
    #[serde(serialize_with = "types::empty_null")]
    pub warnings: Vec<String>,
}

/// Body of `POST /volumes/create`.
pub struct VolumeCreateBody {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Body of `POST /volumes/{name}/clone` and `POST /volumes/{name}/snapshot` (Isopod's own).
pub struct VolumeCopyBody {
    /// The new volume's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Take the place of an unused volume of that name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Freeze the containers that may write to it meanwhile; unless said otherwise, for snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<bool>,
}

/// Answer of `POST /volumes/prune`.
pub struct VolumesPruneReport {
    #[serde(serialize_with = "types::empty_null")]
    pub volumes_deleted: Vec<String>,
    pub space_reclaimed: u64,
}
}
