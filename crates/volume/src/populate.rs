//! Filling a new volume with what the image has at its place, or another volume has.
//!
//! A container may be changing what is copied: what has vanished meanwhile is left out, and nothing
//! is followed or opened that is not what it was looked at.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use sys::entry::{self, Errno, FileTime};
use sys::fs::{FileType, Node, Root, Stat};

/// The deepest tree that is copied: every level costs two open files and some stack.
const MAX_DEPTH: usize = 900;

/// Copies everything in `from` into `to`, and `from`'s own owner, mode and times onto `to`. Ids,
/// extended attributes, hard links, devices and times stay; symlinks stay symlinks.
pub(crate) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut copied =
        Copied { top: root_of(to)?, here: PathBuf::new(), depth: 0, links: HashMap::new() };
    copy_dir(from, to, &mut copied)?;
    let stat = entry::stat_fd(from)?;
    finish_dir(from, to, &stat)
}

/// Whether a directory has no names in it.
pub(crate) fn is_empty(dir: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(root_of(dir)?.read_dir(".")?.is_empty())
}

fn root_of(dir: BorrowedFd<'_>) -> io::Result<Root> {
    Ok(Root::from(entry::reopen_dir(dir)?))
}

/// Where the copy stands.
struct Copied {
    /// The top of the copy.
    top: Root,
    /// Path of the directory being copied, from the top.
    here: PathBuf,
    /// How deep that is.
    depth: usize,
    /// First path of each file that has several, by device and inode of the original.
    links: HashMap<(u64, u64), PathBuf>,
}

fn copy_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>, copied: &mut Copied) -> io::Result<()> {
    if copied.depth > MAX_DEPTH {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    for name in root_of(from)?.read_dir(".")? {
        let name = name.name.as_os_str();
        let Some(stat) = there(entry::stat(from, name))? else { continue };
        if entry::kind(&stat) == FileType::Directory {
            let Some(source) = there(entry::open_dir(from, name))? else { continue };
            entry::mkdir(to, name, 0o700)?;
            let target = entry::open_dir(to, name)?;
            copied.here.push(name);
            copied.depth += 1;
            copy_dir(source.as_fd(), target.as_fd(), copied)?;
            copied.depth -= 1;
            copied.here.pop();
            finish_dir(source.as_fd(), target.as_fd(), &stat)?;
            continue;
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = copied.links.get(&key)
            && copied.top.hard_link(first, copied.here.join(name)).is_ok()
        {
            continue;
        }
        if copy_other(from, to, name, &stat)? && stat.st_nlink > 1 {
            copied.links.insert(key, copied.here.join(name));
        }
    }
    Ok(())
}

/// `None` for what has gone, or has become something else.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if vanished(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn vanished(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::INVAL)
    )
}

/// Copies anything but a directory; false when it has gone.
fn copy_other(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
) -> io::Result<bool> {
    let node = match entry::kind(stat) {
        FileType::RegularFile => {
            let Some(Some(source)) = there(entry::open_regular(from, name))? else {
                return Ok(false);
            };
            let target = entry::create(to, name, 0o600)?;
            sys::content::copy(&source, &target)?;
            None
        }
        FileType::Symlink => {
            let Some(text) = there(entry::read_link(from, name))? else { return Ok(false) };
            entry::symlink(&text, to, name)?;
            None
        }
        FileType::CharacterDevice => Some(Node::Char(stat.st_rdev)),
        FileType::BlockDevice => Some(Node::Block(stat.st_rdev)),
        FileType::Fifo => Some(Node::Fifo),
        _ => Some(Node::Socket),
    };
    if let Some(node) = node {
        entry::mknod(to, name, node, 0o600)?;
    }
    entry::chown(to, name, stat.st_uid, stat.st_gid)?;
    if entry::kind(stat) != FileType::Symlink {
        entry::chmod(to, name, stat.st_mode & 0o7777)?;
    }
    copy_xattrs(from, to, name)?;
    let (accessed, modified) = times(stat);
    entry::set_times(to, name, accessed, modified)?;
    Ok(true)
}

fn finish_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let here = OsStr::new(".");
    entry::chown(to, here, stat.st_uid, stat.st_gid)?;
    entry::chmod(to, here, stat.st_mode & 0o7777)?;
    copy_xattrs(from, to, here)?;
    let (accessed, modified) = times(stat);
    entry::set_times(to, here, accessed, modified)
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    for key in there(entry::xattr_keys(from, name))?.unwrap_or_default() {
        // overlayfs' own and the labels of the host's security module belong to where they are.
        let text = key.to_string_lossy();
        if text.starts_with("trusted.overlay.") || text == "security.selinux" {
            continue;
        }
        let Some(Some(value)) = there(entry::xattr(from, name, &key))? else { continue };
        match entry::set_xattr(to, name, &key, &value) {
            // A target without extended attributes (tmpfs before 6.6, NFS) takes the file as it is.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> (FileTime, FileTime) {
    let time = |seconds: i64, nanoseconds: u64| FileTime {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    };
    (time(stat.st_atime, stat.st_atime_nsec), time(stat.st_mtime, stat.st_mtime_nsec))
}
