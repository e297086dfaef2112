//! Turning an entry of a tar into what is on disk: the parts that layers and uploads share.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use sys::entry::{self, Errno};
use sys::fs::{Node, Stat, makedev};

use crate::error::Result;
use crate::tarball::{Entry, Kind, Segment, TarReader};

/// Copies the entry's payload to where it belongs in the file; its first `done` bytes are there.
///
/// # Errors
/// Those of the input; [`Error::BadEntry`](crate::Error::BadEntry) when the file cannot be written.
pub(crate) fn content<R: BufRead>(
    reader: &mut TarReader<R>,
    file: &File,
    found: &Entry,
    done: u64,
) -> Result<()> {
    let whole = [Segment { offset: done, len: found.payload - done }];
    for segment in found.segments.as_deref().unwrap_or(&whole) {
        let (mut offset, mut left) = (segment.offset, segment.len);
        while left > 0 {
            let bytes = reader.payload(left)?;
            if bytes.is_empty() {
                return Err(found.error("its content is shorter than its header says"));
            }
            let n = bytes.len();
            file.write_all_at(bytes, offset).map_err(|error| found.failed(error))?;
            reader.used(n);
            offset += n as u64;
            left -= n as u64;
        }
    }
    Ok(())
}

/// Gives a file that has its content its length, owner, attributes, mode and times. `made` is what
/// it was when it was made, if that is known: what is right already is not set again.
pub(crate) fn finish(
    file: &File,
    found: &Entry,
    (uid, gid): (u32, u32),
    made: Option<&Stat>,
) -> io::Result<()> {
    if found.segments.is_some() {
        entry::truncate(file, found.size)?;
    }
    // Owner first: chown takes the set-id bits and the file capabilities away.
    if made.is_none_or(|made| (made.st_uid, made.st_gid) != (uid, gid)) {
        entry::chown_fd(file, uid, gid)?;
    }
    for (key, value) in &found.xattrs {
        if takes_xattr(key) {
            ignore_unsupported(entry::set_xattr_fd(file, OsStr::from_bytes(key), value))?;
        }
    }
    // An ACL changes the mode.
    if !found.xattrs.is_empty() || made.is_none_or(|made| made.st_mode & 0o7777 != found.mode) {
        entry::chmod_fd(file, found.mode)?;
    }
    entry::set_times_fd(file, found.mtime, found.mtime)
}

/// Gives a name that is no regular file its owner, attributes and mode.
pub(crate) fn attributes(
    dir: &OwnedFd,
    name: &OsStr,
    found: &Entry,
    (uid, gid): (u32, u32),
) -> io::Result<()> {
    entry::chown(dir, name, uid, gid)?;
    for (key, value) in &found.xattrs {
        if takes_xattr(key) {
            ignore_unsupported(entry::set_xattr(dir, name, OsStr::from_bytes(key), value))?;
        }
    }
    if found.kind != Kind::Symlink {
        entry::chmod(dir, name, found.mode)?;
    }
    Ok(())
}

/// Makes a name that needs nothing but the entry: anything but files and hard links.
pub(crate) fn make(dir: &OwnedFd, name: &OsStr, found: &Entry) -> io::Result<()> {
    let device = || makedev(found.device.0, found.device.1);
    let node = match found.kind {
        Kind::Dir => return entry::mkdir(dir, name, 0o755),
        Kind::Symlink => return entry::symlink(OsStr::from_bytes(&found.link), dir, name),
        Kind::Char => Node::Char(device()),
        Kind::Block => Node::Block(device()),
        Kind::Fifo => Node::Fifo,
        Kind::File | Kind::HardLink | Kind::Nothing => return Ok(()),
    };
    entry::mknod(dir, name, node, 0o600)
}

/// Attributes that a tar may set. overlayfs' own would let it redirect lookups; labels and hashes
/// of the host's security modules are the host's business.
pub(crate) fn takes_xattr(key: &[u8]) -> bool {
    key == b"security.capability"
        || key.starts_with(b"user.")
        || key.starts_with(b"system.posix_acl_")
        || (key.starts_with(b"trusted.") && !key.starts_with(b"trusted.overlay."))
}

/// A file system without such attributes takes the file without them, as Docker does; user.*
/// is EPERM on symlinks and device nodes everywhere.
fn ignore_unsupported(result: io::Result<()>) -> io::Result<()> {
    match result.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
        _ => result,
    }
}
