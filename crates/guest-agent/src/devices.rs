//! The machine's devices, by the order in which the monitor named them.
//!
//! A virtio device has a number of the kernel's own, and a place on the bus that it is found at:
//! `…/LNRO0005:0A/virtio3`. The places count up as the monitor named the devices.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

const DEVICES: &str = "/sys/bus/virtio/devices";
const DRIVERS: &str = "/sys/bus/virtio/drivers";

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Network,
    Disk,
    Share,
    Balloon,
}

impl Kind {
    /// The number that virtio's specification has for it.
    fn id(self) -> &'static str {
        match self {
            Self::Network => "0x0001",
            Self::Disk => "0x0002",
            Self::Share => "0x001a",
            Self::Balloon => "0x0005",
        }
    }

    fn driver(self) -> &'static str {
        match self {
            Self::Network => "virtio_net",
            Self::Disk => "virtio_blk",
            Self::Share => "virtiofs",
            Self::Balloon => "virtio_balloon",
        }
    }

    /// The directory in the device's that has its name, if it has one.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Network => Some("net"),
            Self::Disk => Some("block"),
            Self::Share | Self::Balloon => None,
        }
    }
}

/// All devices of a kind, in the monitor's order.
pub(crate) fn all(kind: Kind) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(DEVICES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let id = std::fs::read_to_string(path.join("device")).unwrap_or_default();
        if id.trim() == kind.id() {
            found.push((place(&std::fs::read_link(&path)?), path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What the device's place sorts by: hexadecimal numbers count as such.
fn place(link: &Path) -> (u64, String) {
    let parent = link.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let number = parent.rsplit([':', '.']).next().unwrap_or_default();
    (u64::from_str_radix(number, 16).unwrap_or(u64::MAX), parent.into_owned())
}

/// Gives a device to its driver, and says what it is called then, if anything.
pub(crate) fn bind(device: &Path, kind: Kind) -> io::Result<String> {
    if !device.join("driver").exists() {
        let name = device.file_name().unwrap_or_default();
        let driver = Path::new(DRIVERS).join(kind.driver()).join("bind");
        sys::fs::write_file(driver, name.as_encoded_bytes())?;
    }
    let Some(class) = kind.class() else { return Ok(String::new()) };
    let mut names = std::fs::read_dir(device.join(class))?;
    let first = names.next().ok_or(io::ErrorKind::NotFound)??;
    Ok(first.file_name().to_string_lossy().into_owned())
}

/// Gives all devices of a kind to their driver.
pub(crate) fn bind_all(kind: Kind) -> io::Result<()> {
    all(kind)?.iter().try_for_each(|device| bind(device, kind).map(drop))
}

/// Takes all devices of a kind away from their driver.
pub(crate) fn unbind_all(kind: Kind) -> io::Result<()> {
    let driver = Path::new(DRIVERS).join(kind.driver()).join("unbind");
    for device in all(kind)?.iter().filter(|device| device.join("driver").exists()) {
        sys::fs::write_file(&driver, device.file_name().unwrap_or_default().as_encoded_bytes())?;
    }
    Ok(())
}

/// The device node of a block device.
pub(crate) fn node(name: impl AsRef<OsStr>) -> PathBuf {
    Path::new("/dev").join(name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_in_hexadecimal_digits() {
        let mut links = ["10", "9", "0F", "0A"].map(|number| {
            place(Path::new(&format!("../../../devices/platform/LNRO0005:{number}/virtio1")))
        });
        links.sort();
        let numbers: Vec<u64> = links.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [9, 10, 15, 16]);
        assert_eq!(place(Path::new("virtio0")).0, u64::MAX);
    }
}
