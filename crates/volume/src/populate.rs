//! Filling a new volume with what the image has at its place.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use sys::entry::{self, Errno, FileTime};
use sys::fs::{FileType, Node, OFlags, Root, Stat};

/// Copies everything in `from` into `to`, and `from`'s own owner, mode and times onto `to`. Ids,
/// extended attributes, hard links, devices and times stay; symlinks stay symlinks.
pub(crate) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut copied = Copied { top: root_of(to)?, here: PathBuf::new(), links: HashMap::new() };
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
    /// First path of each file that has several, by device and inode of the original.
    links: HashMap<(u64, u64), PathBuf>,
}

fn copy_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>, copied: &mut Copied) -> io::Result<()> {
    for name in root_of(from)?.read_dir(".")? {
        let name = name.name.as_os_str();
        let stat = entry::stat(from, name)?;
        if entry::kind(&stat) == FileType::Directory {
            entry::mkdir(to, name, 0o700)?;
            let source = entry::open_dir(from, name)?;
            let target = entry::open_dir(to, name)?;
            copied.here.push(name);
            copy_dir(source.as_fd(), target.as_fd(), copied)?;
            copied.here.pop();
            finish_dir(source.as_fd(), target.as_fd(), &stat)?;
            continue;
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = copied.links.get(&key) {
            copied.top.hard_link(first, copied.here.join(name))?;
            continue;
        }
        copy_other(from, to, name, &stat)?;
        if stat.st_nlink > 1 {
            copied.links.insert(key, copied.here.join(name));
        }
    }
    Ok(())
}

fn copy_other(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
) -> io::Result<()> {
    let node = match entry::kind(stat) {
        FileType::RegularFile => {
            // NONBLOCK: harmless for a file, and a fifo that was put there meanwhile cannot hang us.
            let source = entry::open(from, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let target = entry::create(to, name, 0o600)?;
            io::copy(&mut File::from(source), &mut File::from(target))?;
            None
        }
        FileType::Symlink => {
            entry::symlink(&entry::read_link(from, name)?, to, name)?;
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
    entry::set_times(to, name, accessed, modified)
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
    for key in entry::xattr_keys(from, name)? {
        // overlayfs' own and the labels of the host's security module belong to where they are.
        let text = key.to_string_lossy();
        if text.starts_with("trusted.overlay.") || text == "security.selinux" {
            continue;
        }
        let Some(value) = entry::xattr(from, name, &key)? else { continue };
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
