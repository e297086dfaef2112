//! Limits of single block devices: replaced list by list.

use std::path::Path;

use types::resources::{Resources, ThrottleDevice};

/// Which lists of devices are to be empty. One that is not, and is not given, stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmptiedDevices {
    /// `BlkioWeightDevice`.
    pub weights: bool,
    /// `BlkioDeviceReadBps`.
    pub read_bps: bool,
    /// `BlkioDeviceWriteBps`.
    pub write_bps: bool,
    /// `BlkioDeviceReadIOps`.
    pub read_iops: bool,
    /// `BlkioDeviceWriteIOps`.
    pub write_iops: bool,
}

fn rates(resources: &mut Resources) -> [&mut Vec<ThrottleDevice>; 4] {
    [
        &mut resources.blkio_device_read_bps,
        &mut resources.blkio_device_write_bps,
        &mut resources.blkio_device_read_iops,
        &mut resources.blkio_device_write_iops,
    ]
}

/// Puts lists that are given over those that were; says whether any was given.
pub(super) fn replace(old: &mut Resources, new: &Resources, emptied: EmptiedDevices) -> bool {
    let mut new = new.clone();
    let mut changed = false;
    if emptied.weights || !new.blkio_weight_device.is_empty() {
        old.blkio_weight_device = std::mem::take(&mut new.blkio_weight_device);
        changed = true;
    }
    let empty = [emptied.read_bps, emptied.write_bps, emptied.read_iops, emptied.write_iops];
    for ((old, new), empty) in rates(old).into_iter().zip(rates(&mut new)).zip(empty) {
        if empty || !new.is_empty() {
            *old = std::mem::take(new);
            changed = true;
        }
    }
    changed
}

/// Limits as a running container is told of them: what no longer stands in a list is lifted, which
/// the kernel calls a rate of 0.
pub(super) fn lifting(before: &Resources, after: &Resources) -> Resources {
    let (mut before, mut told) = (before.clone(), after.clone());
    for (old, new) in rates(&mut before).into_iter().zip(rates(&mut told)) {
        let gone = |device: &&ThrottleDevice| {
            // A device that is not there any more has no limit either.
            !new.iter().any(|other| other.path == device.path) && Path::new(&device.path).exists()
        };
        let lifted: Vec<_> = old.iter().filter(gone).map(|one| one.path.clone()).collect();
        new.extend(lifted.into_iter().map(|path| ThrottleDevice { path, rate: 0 }));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(path: &str, rate: u64) -> Vec<ThrottleDevice> {
        vec![ThrottleDevice { path: path.to_owned(), rate }]
    }

    #[test]
    fn lists_are_replaced_emptied_or_stay() {
        let mut old = Resources {
            blkio_device_read_bps: rate("/dev/null", 1),
            blkio_device_write_bps: rate("/dev/null", 2),
            blkio_device_read_iops: rate("/dev/null", 3),
            ..Resources::default()
        };
        let before = old.clone();
        assert!(!replace(&mut old, &Resources::default(), EmptiedDevices::default()));
        assert_eq!(old, before);
        let new =
            Resources { blkio_device_write_bps: rate("/dev/zero", 5), ..Resources::default() };
        let emptied = EmptiedDevices { read_bps: true, ..EmptiedDevices::default() };
        assert!(replace(&mut old, &new, emptied));
        assert!(old.blkio_device_read_bps.is_empty());
        assert_eq!(old.blkio_device_write_bps, rate("/dev/zero", 5));
        assert_eq!(old.blkio_device_read_iops, rate("/dev/null", 3));
        let told = lifting(&before, &old);
        assert_eq!(told.blkio_device_read_bps, rate("/dev/null", 0));
        assert_eq!(told.blkio_device_write_bps.len(), 2);
        assert_eq!(told.blkio_device_read_iops, rate("/dev/null", 3));
        let gone = Resources { blkio_device_read_bps: rate("/no/such", 1), ..Resources::default() };
        assert!(lifting(&gone, &Resources::default()).blkio_device_read_bps.is_empty());
    }
}
