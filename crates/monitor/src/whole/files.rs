//! The files that are a machine's disks.

use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proto::launch;
use sys::fs::OFlags;

use super::StartError;

pub(super) fn open(path: &Path, access: OFlags) -> Result<OwnedFd, StartError> {
    // O_NONBLOCK: a pipe that has been put in its place would wait for its other end.
    let opened = sys::fs::open_host(path, access | OFlags::NONBLOCK | OFlags::NOCTTY);
    opened.map_err(|error| StartError::Disk(path.to_owned(), error))
}

/// Opens the file that the engine has looked at, and no other. The one that is written to is locked
/// until the machine's process, which has the same descriptor, ends.
pub(super) fn open_layer(layer: &launch::DiskLayer, write: bool) -> Result<OwnedFd, StartError> {
    let path = &layer.path;
    let failed = |error| StartError::Disk(path.clone(), error);
    let file = open(path, if write { OFlags::RDWR } else { OFlags::RDONLY })?;
    let file = File::from(file);
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || seen(&found) != layer.seen {
        return Err(StartError::Another(path.clone()));
    }
    if write && !sys::entry::try_lock(&file).map_err(failed)? {
        return Err(StartError::InUse(path.clone()));
    }
    Ok(file.into())
}

fn seen(found: &Metadata) -> launch::Seen {
    launch::Seen {
        device: found.dev(),
        inode: found.ino(),
        length: found.len(),
        seconds: found.mtime(),
        nanoseconds: found.mtime_nsec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_or_is_another_is_not_opened_and_none_is_written_by_two() {
        let folder = tempfile::tempdir().expect("directory");
        let path = folder.path().join("layer");
        std::fs::write(&path, "one").expect("written");
        let found = std::fs::metadata(&path).expect("file");
        let layer = launch::DiskLayer { path: path.clone(), qcow2: true, seen: seen(&found) };
        let held = open_layer(&layer, true).expect("the same");
        assert!(matches!(open_layer(&layer, true), Err(StartError::InUse(_))));
        assert!(open_layer(&layer, false).is_ok(), "others may read it");
        drop(held);
        assert!(open_layer(&layer, true).is_ok());
        std::fs::rename(&path, folder.path().join("kept")).expect("renamed");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("linked");
        assert!(matches!(open_layer(&layer, false), Err(StartError::Another(_))));
        std::fs::remove_file(&path).expect("removed");
        std::fs::rename(folder.path().join("kept"), &path).expect("renamed");
        std::fs::write(&path, "more").expect("written");
        assert!(matches!(open_layer(&layer, true), Err(StartError::Another(_))));
    }
}
