//! Volumes.

use docker_api::volume::{Volume, VolumeUsage};

/// A volume. That it is a snapshot stands where drivers tell of the state of theirs.
pub(crate) fn volume(found: engine::Volume) -> Volume {
    let status = found.snapshot_of.map(|of| ("SnapshotOf".to_owned(), of.into()));
    Volume {
        status: status.into_iter().collect(),
        created_at: found.created_at,
        driver: found.driver,
        labels: found.labels,
        mountpoint: found.mountpoint,
        name: found.name,
        options: found.options,
        scope: found.scope,
        ..Volume::default()
    }
}

/// A volume, how large it is, and how many containers use it.
pub(crate) fn usage(found: engine::VolumeUse) -> Volume {
    let usage = VolumeUsage { ref_count: found.containers, size: found.size };
    Volume { usage_data: Some(usage), ..volume(found.volume) }
}
