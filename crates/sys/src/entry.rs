//! Single names in an open directory: the `*at` calls on one component, for code that writes or
//! reads whole trees and holds the directories open itself.
//!
//! Nothing here ever follows a symlink at the name. A name must be one component; a `/` in it is
//! refused with `EINVAL`, so that a name out of a tar can be passed as it is.

mod xattr;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, RenameFlags, Stat, StatxFlags, Timespec,
};
use rustix::fs::{Timestamps, Uid};
pub use rustix::io::Errno;

use crate::fs::{Node, proc_fd_path};
pub use xattr::{remove_xattr, set_xattr, set_xattr_fd, xattr, xattr_keys, xattrs_fd};

/// Checks that a name is one component.
fn one(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    Ok(name)
}

/// Opens a name; `O_NOFOLLOW|O_CLOEXEC` are added.
///
/// # Errors
/// Those of `openat(2)`; `ELOOP` for a symlink unless `O_PATH` was asked for.
pub fn open(dir: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, one(name)?, flags, Mode::empty())?)
}

/// Opens a regular file for reading; `None` for anything else, which is not opened at all: opening
/// a device has effects, and who made an image or runs a container may have put one there.
///
/// # Errors
/// Those of `openat(2)`.
pub fn open_regular(dir: impl AsFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    reopen_regular(open(dir, name, OFlags::PATH)?)
}

/// As [`open_regular`], of what is open as a path.
///
/// # Errors
/// Those of `open(2)`.
pub fn reopen_regular(path: impl AsFd) -> io::Result<Option<OwnedFd>> {
    if kind(&stat_fd(&path)?) != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC;
    // The fd must stay open until then.
    let at = proc_fd_path(&path);
    match rustix::fs::open(&at, flags, Mode::empty()) {
        // Only the owner and root may leave the access time alone.
        Err(Errno::PERM) => {
            Ok(Some(rustix::fs::open(&at, flags - OFlags::NOATIME, Mode::empty())?))
        }
        other => Ok(Some(other?)),
    }
}

/// Opens a directory that can be listed.
///
/// # Errors
/// Those of `openat(2)`; `ENOTDIR` for anything else, symlinks included.
pub fn open_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens the directory itself anew, with an offset of its own.
///
/// # Errors
/// Those of `openat(2)`.
pub fn reopen_dir(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, ".", flags, Mode::empty())?)
}

/// Creates a regular file that must not exist, open for reading and writing.
///
/// # Errors
/// `EEXIST` when the name is taken, even by a dangling symlink; else those of `openat(2)`.
pub fn create(dir: impl AsFd, name: &OsStr, mode: RawMode) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, one(name)?, flags, Mode::from_raw_mode(mode))?)
}

/// Creates one directory; the umask applies.
///
/// # Errors
/// Those of `mkdirat(2)`.
pub fn mkdir(dir: impl AsFd, name: &OsStr, mode: RawMode) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, one(name)?, Mode::from_raw_mode(mode))?)
}

/// Makes a symlink; its text is not looked at.
///
/// # Errors
/// Those of `symlinkat(2)`.
pub fn symlink(target: &OsStr, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, one(name)?)?)
}

/// Makes a hard link to a name (not to what a symlink there points to).
///
/// # Errors
/// Those of `linkat(2)`.
pub fn link(old_dir: impl AsFd, old: &OsStr, new_dir: impl AsFd, new: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::linkat(old_dir, one(old)?, new_dir, one(new)?, AtFlags::empty())?)
}

/// Gives an open file another name.
///
/// # Errors
/// Those of `linkat(2)`: `EMLINK` when it has as many as the file system can count; `ENOENT` when
/// it has no name any more, or without `CAP_DAC_READ_SEARCH`.
pub fn link_fd(file: impl AsFd, dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::linkat(file, "", dir, one(name)?, AtFlags::EMPTY_PATH)?)
}

/// Makes a device node, fifo or socket; the umask applies.
///
/// # Errors
/// Those of `mknodat(2)`; `EPERM` in a user namespace.
pub fn mknod(dir: impl AsFd, name: &OsStr, node: Node, mode: RawMode) -> io::Result<()> {
    let (kind, dev) = match node {
        Node::Char(dev) => (FileType::CharacterDevice, dev),
        Node::Block(dev) => (FileType::BlockDevice, dev),
        Node::Fifo => (FileType::Fifo, 0),
        Node::Socket => (FileType::Socket, 0),
    };
    Ok(rustix::fs::mknodat(dir, one(name)?, kind, Mode::from_raw_mode(mode), dev)?)
}

/// `lstat` of a name; `.` is the directory itself.
///
/// # Errors
/// Those of `fstatat(2)`.
pub fn stat(dir: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, one(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The number of the mount that a name in a directory, or with no name the directory itself, is
/// on; `None` where the kernel does not tell (before Linux 5.8). The link itself if it is one.
///
/// On an overlay of several file systems it says what `st_dev` does not: there, each file has the
/// device of its layer (Documentation/filesystems/overlayfs.rst, "Inode properties").
///
/// # Errors
/// As `statx(2)`.
pub fn mount_of(dir: impl AsFd, name: &OsStr) -> io::Result<Option<u64>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(dir, name, flags, StatxFlags::MNT_ID)?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    Ok(told.then_some(found.stx_mnt_id))
}

/// `fstat`.
///
/// # Errors
/// Those of `fstat(2)`.
pub fn stat_fd(fd: impl AsFd) -> io::Result<Stat> {
    Ok(rustix::fs::fstat(fd)?)
}

/// The type bits of a mode.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The text of a symlink.
///
/// # Errors
/// Those of `readlinkat(2)`; `EINVAL` when it is no symlink.
pub fn read_link(dir: impl AsFd, name: &OsStr) -> io::Result<OsString> {
    let text = rustix::fs::readlinkat(dir, one(name)?, Vec::new())?;
    Ok(OsString::from_vec(text.into_bytes()))
}

/// Removes anything but a directory.
///
/// # Errors
/// Those of `unlinkat(2)`.
pub fn unlink(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, one(name)?, AtFlags::empty())?)
}

/// Removes an empty directory.
///
/// # Errors
/// Those of `unlinkat(2)`.
pub fn rmdir(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, one(name)?, AtFlags::REMOVEDIR)?)
}

/// Renames, replacing what is at `new` (`replace`) or failing with `EEXIST`.
///
/// # Errors
/// Those of `renameat2(2)`.
pub fn rename(
    old_dir: impl AsFd,
    old: &OsStr,
    new_dir: impl AsFd,
    new: &OsStr,
    replace: bool,
) -> io::Result<()> {
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    Ok(rustix::fs::renameat_with(old_dir, one(old)?, new_dir, one(new)?, flags)?)
}

/// Changes the owner of a name; clears the set-id bits, so change the mode afterwards.
///
/// # Errors
/// Those of `fchownat(2)`.
pub fn chown(dir: impl AsFd, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(rustix::fs::chownat(dir, one(name)?, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Changes the owner of an open file (not `O_PATH`).
///
/// # Errors
/// Those of `fchown(2)`.
pub fn chown_fd(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Changes the permission bits of a name. `fchmodat(2)` follows symlinks (no
/// `AT_SYMLINK_NOFOLLOW` before `fchmodat2` of 6.6), so the caller must know that it is none and
/// that nobody else can write to the directory.
///
/// # Errors
/// Those of `fchmodat(2)`.
pub fn chmod(dir: impl AsFd, name: &OsStr, mode: RawMode) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode & 0o7777);
    Ok(rustix::fs::chmodat(dir, one(name)?, mode, AtFlags::empty())?)
}

/// Changes the permission bits of an open file (not `O_PATH`).
///
/// # Errors
/// Those of `fchmod(2)`.
pub fn chmod_fd(fd: impl AsFd, mode: RawMode) -> io::Result<()> {
    Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(mode & 0o7777))?)
}

/// A moment as the kernel takes it: seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since the epoch, negative before it.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999 999 999.
    pub nanoseconds: u32,
}

fn timestamps(accessed: FileTime, modified: FileTime) -> Timestamps {
    let spec =
        |time: FileTime| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: spec(accessed), last_modification: spec(modified) }
}

/// Sets both times of a name.
///
/// # Errors
/// Those of `utimensat(2)`.
pub fn set_times(
    dir: impl AsFd,
    name: &OsStr,
    accessed: FileTime,
    modified: FileTime,
) -> io::Result<()> {
    let times = timestamps(accessed, modified);
    Ok(rustix::fs::utimensat(dir, one(name)?, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets both times of an open file.
///
/// # Errors
/// Those of `futimens(3)`.
pub fn set_times_fd(fd: impl AsFd, accessed: FileTime, modified: FileTime) -> io::Result<()> {
    Ok(rustix::fs::futimens(fd, &timestamps(accessed, modified))?)
}

/// Sets the length of a file; what is beyond its old end reads as zeros and takes no space.
///
/// # Errors
/// Those of `ftruncate(2)`.
pub fn truncate(fd: impl AsFd, len: u64) -> io::Result<()> {
    Ok(rustix::fs::ftruncate(fd, len)?)
}

/// Flushes the whole file system that `fd` lies on.
///
/// # Errors
/// Those of `syncfs(2)`; since 5.8 also a write-back failure since the fd was opened.
pub fn syncfs(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

/// The bytes of the file system that `fd` lies on: all of them, and those that programs without
/// privileges may still use.
///
/// # Errors
/// Those of `fstatvfs(3)`.
pub fn space(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstatvfs(fd)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_blocks), bytes(found.f_bavail)))
}

/// Flushes one file or directory.
///
/// # Errors
/// Those of `fsync(2)`.
pub fn fsync(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(fd)?)
}

/// Locks an open file against everybody else who asks, in this process or another, until the last
/// copy of the fd is closed. Says whether it could; it never waits.
///
/// # Errors
/// Those of `flock(2)` but `EWOULDBLOCK`.
pub fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(fd, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Locks an open file for this open file description alone, and waits until that can be
/// (`flock(2)`).
///
/// # Errors
/// `ENOLCK`, `EOPNOTSUPP`.
pub fn lock(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let exclusive = || rustix::fs::flock(fd, rustix::fs::FlockOperation::LockExclusive);
    Ok(rustix::io::retry_on_intr(exclusive)?)
}

/// Lets go of a lock at once, also while copies of the fd are open: a process that is being started
/// has one until its `execve`.
///
/// # Errors
/// Those of `flock(2)`.
pub fn unlock(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::flock(fd, rustix::fs::FlockOperation::Unlock)?)
}

/// Copies between two files inside the kernel, at most `len` bytes from both current offsets;
/// shares the blocks where the file system can.
///
/// # Errors
/// Those of `copy_file_range(2)`; `EXDEV`, `EINVAL`, `EOPNOTSUPP` mean: copy by hand.
pub fn copy_range(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    Ok(rustix::fs::copy_file_range(from, None, to, None, len)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_name_is_one_component() {
        let dir = std::fs::File::open("/").expect("root");
        for name in ["", "..", "a/b", "/etc"] {
            let error = stat(&dir, OsStr::new(name)).expect_err(name);
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{name:?}");
        }
        assert!(stat(&dir, OsStr::new(".")).is_ok());
    }
}
