//! Hints to the file system about where on the disk things go.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

/// Marks a directory as one whose subdirectories have nothing to do with each other. Says whether
/// the file system heeds that.
///
/// ext4 puts the files of a directory near it, and a directory near its parent unless that has this
/// flag. Trees that are made and removed in one directory all meet in a few block groups; there,
/// each new inode is searched for past every one that was freed in the last minutes
/// (`recently_deleted` in `fs/ext4/ialloc.c`): half the time of unpacking 20 000 files was spent so
/// on 6.18. With the flag each subdirectory begins in a group chosen by its name, and several
/// can be filled at once.
///
/// # Errors
/// When the directory cannot be opened, or its flags not be changed although there are such.
pub fn spread_subdirectories(directory: &Path) -> io::Result<bool> {
    let directory = File::open(directory)?;
    let flags = match ioctl_getflags(&directory) {
        Ok(flags) => flags,
        // ENOTTY: a file system without flags; EOPNOTSUPP: overlayfs over one.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if flags.contains(IFlags::TOPDIR) {
        return Ok(true);
    }
    match ioctl_setflags(&directory, flags | IFlags::TOPDIR) {
        Ok(()) => Ok(true),
        // xfs, btrfs and tmpfs have flags, but not this one.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_asked_and_may_decline() {
        let folder = std::env::temp_dir().join(format!("isopod-placement-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let heeded = spread_subdirectories(&folder).expect("asked");
        assert_eq!(spread_subdirectories(&folder).expect("asked again"), heeded);
        std::fs::remove_dir(&folder).expect("removed");
        assert!(!spread_subdirectories(Path::new("/proc")).expect("no such flags"));
        assert!(spread_subdirectories(&folder).is_err(), "it has gone");
    }
}
