//! `GET /system/df`.

use types::Timestamp;

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::Volume;

api_json! {
/// What takes space. A list that was not asked for is `null`.
pub struct DiskUsage {
    /// Bytes of all layers, each counted once.
    pub layers_size: i64,
    /// Bytes that they take on disk, where a file of several layers counts once (Isopod's own).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_disk_size: Option<i64>,
    pub images: Option<Vec<ImageSummary>>,
    pub containers: Option<Vec<ContainerSummary>>,
    pub volumes: Option<Vec<Volume>>,
    pub build_cache: Option<Vec<BuildCache>>,
}

/// A record of the build cache.
pub struct BuildCache {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    #[serde(rename = "Type")]
    pub kind: String,
    pub description: String,
    pub in_use: bool,
    pub shared: bool,
    pub size: i64,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub usage_count: i64,
}

/// Answer of `POST /build/prune`.
pub struct BuildPruneReport {
    #[serde(serialize_with = "types::empty_null")]
    pub caches_deleted: Vec<String>,
    pub space_reclaimed: u64,
}
}
