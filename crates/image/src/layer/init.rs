//! The layer between an image and what a container writes: the places that every container gets
//! things mounted on, so that they count neither as the container's nor as the image's.

use std::io;
use std::path::Path;

use sys::fs::{Mode, Root};

/// The layer's name below `layers/`.
pub(crate) const INIT: &str = "init";

const DIRECTORIES: [&str; 6] = ["dev", "dev/pts", "dev/shm", "etc", "proc", "sys"];
/// `.dockerenv` tells programs that they run in a container; Docker has it too.
const FILES: [&str; 4] = [".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the layer as the directory `init`; fine when it is there. For whoever puts layers together
/// where there is no store.
///
/// # Errors
/// Those of making files.
pub fn make_mount_points(layers: &Root) -> io::Result<()> {
    let top = Path::new(INIT);
    let mode = |bits| Mode::from_raw_mode(bits);
    layers.mkdir_all(top, mode(0o755))?;
    for name in DIRECTORIES {
        layers.mkdir_all(top.join(name), mode(0o755))?;
    }
    for name in FILES {
        layers.touch_all(top.join(name), mode(0o755), mode(0o755))?;
    }
    match layers.symlink("/proc/mounts", top.join("etc/mtab")) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
