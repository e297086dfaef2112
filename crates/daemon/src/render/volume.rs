//! Volumes.

use docker_api::volume::{Volume, VolumeUsage};

/// A volume.
pub(crate) fn volume(found: engine::Volume) -> Volume {
    Volume {
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
