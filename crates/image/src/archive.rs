//! Files in and out of a container as tars (`docker cp`, `docker export`).
//!
//! Every function works on a directory fd that is the container's root: the detached overlay of a
//! stopped container, or `/proc/<pid>/root` of a running one. Paths are the container's: they are
//! resolved inside that root, whatever symlinks the container has put there.

mod layer;
mod path;
mod put;
mod sniff;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;
use sys::entry;
use sys::fs::{FileType, Root, Stat};
use types::time::Timestamp;

use crate::error::{Error, Result, Step};
use crate::tree::{self, Found, MountPoint, TreeWriter};

pub use layer::layer;
use path::Asked;
pub use put::{PutOptions, put};
pub use sniff::is_tar;

/// What the API says of a path, base64 of its JSON in `X-Docker-Container-Path-Stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathStat {
    /// Last component of the path that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode` bits.
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Where a symlink leads, absolute in the container; else empty.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// How the ids in a container differ from those that its root fd shows: `first inside, first
/// outside, count`, for containers in a user namespace of their own. Empty: not at all. A detached
/// mount without a user namespace shows the ids of the image and needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Ranges of user ids.
    pub uids: Vec<(u32, u32, u32)>,
    /// Ranges of group ids.
    pub gids: Vec<(u32, u32, u32)>,
}

/// The id that the kernel shows for those without a mapping.
const OVERFLOW: u32 = 65534;

impl IdMap {
    pub(crate) fn uid_inside(&self, uid: u32) -> u32 {
        translate(self.uids.iter().map(|(inside, outside, count)| (*outside, *inside, *count)), uid)
    }

    pub(crate) fn gid_inside(&self, gid: u32) -> u32 {
        translate(self.gids.iter().map(|(inside, outside, count)| (*outside, *inside, *count)), gid)
    }

    pub(crate) fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        (translate(self.uids.iter().copied(), uid), translate(self.gids.iter().copied(), gid))
    }
}

fn translate(ranges: impl Iterator<Item = (u32, u32, u32)>, id: u32) -> u32 {
    let mut any = false;
    for (from, to, count) in ranges {
        any = true;
        if id >= from && id - from < count {
            return to + (id - from);
        }
    }
    if any { OVERFLOW } else { id }
}

/// Looks a path up; a symlink at its end is not followed.
///
/// # Errors
/// [`Error::NoSuchPath`]; [`Error::Io`] for a file where a directory should be.
pub fn stat(root: BorrowedFd<'_>, path: &str) -> Result<PathStat> {
    let root = open_root(root)?;
    let asked = Asked::new(path);
    let (_, stat) = look_up(&root, &asked)?;
    let link_target = if entry::kind(&stat) == FileType::Symlink {
        let target = root.resolve(asked.absolute()).step("follow a symlink")?;
        target.to_string_lossy().into_owned()
    } else {
        String::new()
    };
    let nanoseconds =
        stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
    Ok(PathStat {
        name: asked.shown_name().to_owned(),
        size: stat.st_size,
        mode: go_mode(&stat),
        mtime: Timestamp(nanoseconds),
        link_target,
    })
}

/// Writes the path as a tar, in the way of `docker cp`: its entries begin with the last component
/// that was asked for. Call [`stat`] first for the header.
///
/// # Errors
/// As [`stat`]; [`Error::Output`].
pub fn get(root: BorrowedFd<'_>, path: &str, ids: &IdMap, output: &mut dyn Write) -> Result<()> {
    let root = open_root(root)?;
    let asked = Asked::new(path);
    let (dir, stat) = look_up(&root, &asked)?;
    let name = OsStr::from_bytes(asked.name_below().as_bytes());
    write_tree(dir.as_fd(), name, &stat, asked.prefix().as_bytes(), (ids, false), output)
}

/// Writes a directory and everything below it as a tar whose names begin with `./`; holes of files
/// are left out.
///
/// # Errors
/// [`Error::Output`], [`Error::Io`].
pub fn pack(dir: BorrowedFd<'_>, output: &mut dyn Write) -> Result<()> {
    let root = open_root(dir)?;
    let here = OsStr::new(".");
    let stat = entry::stat(&root, here).step("open the directory")?;
    write_tree(root.as_fd(), here, &stat, b".", (&IdMap::default(), true), output)
}

/// Writes the whole file system as a tar (`docker export`). What a running container has mounted
/// on it is left out: the places are empty directories and files.
///
/// # Errors
/// [`Error::Output`], [`Error::Io`].
pub fn export(root: BorrowedFd<'_>, ids: &IdMap, output: &mut dyn Write) -> Result<()> {
    let mut output = Guarded { output, failed: false };
    let mount = MountPoint::of(root).step("open the container's root")?;
    let mut writer = TreeWriter::new(&mut output, ids);
    writer.only_mount = Some(mount);
    let done = tree::walk(root, &mut |found| {
        writer.append(found, found.path)?;
        mount.has(found)
    })
    .and_then(|()| writer.tar.end());
    output.explain(done)
}

fn open_root(root: BorrowedFd<'_>) -> Result<Root> {
    entry::reopen_dir(root).map(Root::from).step("open the container's root")
}

/// The directory that has the last component, and what that is.
fn look_up(root: &Root, asked: &Asked) -> Result<(Root, Stat)> {
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoSuchPath(asked.absolute().to_owned()),
        _ => Error::Io { step: "look the path up", source: error },
    };
    let dir = root.sub_root(asked.dir()).map_err(missing)?;
    let name = OsStr::from_bytes(asked.name_below().as_bytes());
    let stat = entry::stat(&dir, name).map_err(missing)?;
    Ok((dir, stat))
}

/// Writes one name and everything below it.
fn write_tree(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    prefix: &[u8],
    (ids, sparse): (&IdMap, bool),
    output: &mut dyn Write,
) -> Result<()> {
    let mut output = Guarded { output, failed: false };
    let mut writer = TreeWriter::new(&mut output, ids);
    writer.sparse = sparse;
    let top = Found { path: prefix, dir, name, stat };
    let done = writer.append(&top, prefix).and_then(|()| {
        if entry::kind(stat) == FileType::Directory {
            let inner = entry::open_dir(dir, name)?;
            tree::walk(inner.as_fd(), &mut |found| {
                let as_name = [prefix, b"/", found.path].concat();
                writer.append(found, &as_name)?;
                Ok(true)
            })?;
        }
        writer.tar.end()
    });
    output.explain(done)
}

/// The permission and type bits as Go's `os.FileMode` has them.
fn go_mode(stat: &Stat) -> u32 {
    let kind = match entry::kind(stat) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::CharacterDevice => (1 << 26) | (1 << 21),
        _ => 0,
    };
    let mut mode = kind | (stat.st_mode & 0o777);
    for (unix, go) in [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)] {
        if stat.st_mode & unix != 0 {
            mode |= go;
        }
    }
    mode
}

/// Remembers whether it was the output that failed.
struct Guarded<'a> {
    output: &'a mut dyn Write,
    failed: bool,
}

impl Guarded<'_> {
    fn explain(&self, result: io::Result<()>) -> Result<()> {
        if self.failed {
            result.map_err(Error::Output)
        } else {
            result.step("read the container's files")
        }
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes).inspect_err(|_| self.failed = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush().inspect_err(|_| self.failed = true)
    }
}

#[cfg(test)]
mod tests;
