//! `GET /system/df`.

use types::Timestamp;

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::Volume;

api_json! {
/// What takes space: until API 1.52 as lists, since then as sums (both in 1.52). What was not asked
/// for is `null` in the former and absent in the latter.
pub struct DiskUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_usage: Option<ImagesUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_usage: Option<ContainersUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_usage: Option<VolumesUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_cache_usage: Option<BuildCacheUsage>,
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

/// Images: how many, how many of them in use, bytes, bytes that nobody needs; each with `verbose`.
pub struct ImagesUsage {
    pub active_count: i64,
    pub total_count: i64,
    pub reclaimable: i64,
    pub total_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ImageSummary>>,
}

/// The same of containers.
pub struct ContainersUsage {
    pub active_count: i64,
    pub total_count: i64,
    pub reclaimable: i64,
    pub total_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ContainerSummary>>,
}

/// The same of volumes.
pub struct VolumesUsage {
    pub active_count: i64,
    pub total_count: i64,
    pub reclaimable: i64,
    pub total_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Volume>>,
}

/// The same of the build cache.
pub struct BuildCacheUsage {
    pub active_count: i64,
    pub total_count: i64,
    pub reclaimable: i64,
    pub total_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<BuildCache>>,
}

/// A record of the build cache.
pub struct BuildCache {
    #[serde(rename = "ID")]
    pub id: String,
    /// Before API 1.42, where it was the only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
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

/// Whether a container in this state counts as active.
pub fn is_active(state: &str) -> bool {
    matches!(state, "running" | "paused" | "restarting")
}

impl DiskUsage {
    /// Fills the sums from the lists, which may or may not stay: `verbose` puts them into the sums.
    #[must_use]
    pub fn summed(mut self, verbose: bool) -> Self {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.image_usage = self.images.as_ref().map(|images| {
            let active = images.iter().filter(|image| image.containers > 0);
            let sized = active.clone().filter(|image| image.size != -1 && image.shared_size != -1);
            let used: i64 = sized.map(|image| image.size - image.shared_size).sum();
            ImagesUsage {
                active_count: number(active.count()),
                total_count: number(images.len()),
                reclaimable: self.layers_size - used,
                total_size: self.layers_size,
                items: verbose.then(|| images.clone()),
            }
        });
        self.container_usage = self.containers.as_ref().map(|containers| {
            let size = |one: &&ContainerSummary| one.size_rw.unwrap_or(0);
            let idle = containers.iter().filter(|one| !is_active(&one.state));
            ContainersUsage {
                active_count: number(containers.len() - idle.clone().count()),
                total_count: number(containers.len()),
                reclaimable: idle.map(|one| size(&one)).sum(),
                total_size: containers.iter().map(|one| size(&one)).sum(),
                items: verbose.then(|| containers.clone()),
            }
        });
        self.volume_usage = self.volumes.as_ref().map(|volumes| {
            let known = volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
            let size = |used: fn(i64) -> bool| {
                let fitting = known.clone().filter(|usage| used(usage.ref_count));
                fitting.map(|usage| usage.size.max(0)).sum()
            };
            VolumesUsage {
                active_count: number(known.clone().filter(|usage| usage.ref_count > 0).count()),
                total_count: number(volumes.len()),
                reclaimable: size(|users| users == 0),
                total_size: size(|_| true),
                items: verbose.then(|| volumes.clone()),
            }
        });
        self.build_cache_usage = self.build_cache.as_ref().map(|records| {
            let own = records.iter().filter(|record| !record.shared);
            BuildCacheUsage {
                active_count: number(records.iter().filter(|record| record.in_use).count()),
                total_count: number(records.len()),
                reclaimable: own.clone().filter(|one| !one.in_use).map(|one| one.size).sum(),
                total_size: own.map(|record| record.size).sum(),
                items: verbose.then(|| records.clone()),
            }
        });
        self
    }

    /// Fills the lists from the sums where only those came, as from daemons since API 1.53.
    #[must_use]
    pub fn listed(mut self) -> Self {
        if let Some(usage) = &mut self.image_usage
            && self.images.is_none()
        {
            self.images = usage.items.take();
            self.layers_size = usage.total_size;
        }
        let containers = self.container_usage.as_mut().and_then(|usage| usage.items.take());
        self.containers = self.containers.or(containers);
        let volumes = self.volume_usage.as_mut().and_then(|usage| usage.items.take());
        self.volumes = self.volumes.or(volumes);
        let records = self.build_cache_usage.as_mut().and_then(|usage| usage.items.take());
        self.build_cache = self.build_cache.or(records);
        self
    }
}
