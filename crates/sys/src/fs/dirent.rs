//! Listing, walking and removing directory trees below a [`Root`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::Root;

/// One name in a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// The name, never `.` or `..`.
    pub name: OsString,
    /// What the directory says it is; `Unknown` on file systems that do not say.
    pub kind: FileType,
    /// Inode number.
    pub ino: u64,
}

/// What [`Root::walk`] shows for each name.
#[derive(Debug)]
pub struct WalkEntry<'a> {
    /// Path relative to where the walk began.
    pub path: &'a Path,
    /// The open directory that holds the name.
    pub dir: BorrowedFd<'a>,
    /// The last component.
    pub name: &'a OsStr,
    /// `lstat` of the name.
    pub stat: &'a Stat,
}

impl WalkEntry<'_> {
    /// The type of the file.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// The text of the symlink that this entry is.
    ///
    /// # Errors
    /// `EINVAL` when it is no symlink.
    pub fn read_link(&self) -> io::Result<PathBuf> {
        let text = rustix::fs::readlinkat(self.dir, self.name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(text.to_bytes())))
    }

    /// Opens the entry; a symlink is `ELOOP`.
    ///
    /// # Errors
    /// Those of `openat(2)`.
    pub fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(self.dir, self.name, flags, Mode::empty())?)
    }
}

impl Root {
    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// As [`Root::open`]; `ENOTDIR`.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
        let dir = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut names = list(dir)?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Visits every name below `path`, parents before children, each directory in sorted order.
    /// Symlinks are shown and never followed; directories are held open while they are walked, so
    /// a rename meanwhile leads nowhere else.
    ///
    /// # Errors
    /// The first failure, the visitor's included.
    pub fn walk(
        &self,
        path: impl AsRef<Path>,
        visit: &mut dyn FnMut(&WalkEntry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let top = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        walk_dir(top, &mut PathBuf::new(), visit)
    }
}

fn walk_dir(
    dir: OwnedFd,
    prefix: &mut PathBuf,
    visit: &mut dyn FnMut(&WalkEntry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut names = list(dir.try_clone()?)?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    for DirEntry { name, .. } in names {
        let stat = statat(&dir, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        prefix.push(&name);
        visit(&WalkEntry { path: prefix, dir: dir.as_fd(), name: &name, stat: &stat })?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            walk_dir(openat(&dir, name.as_os_str(), flags, Mode::empty())?, prefix, visit)?;
        }
        prefix.pop();
    }
    Ok(())
}

/// All names of an open directory but `.` and `..`.
fn list(dir: OwnedFd) -> io::Result<Vec<DirEntry>> {
    let mut out = Vec::new();
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            out.push(DirEntry {
                name: OsStr::from_bytes(name).to_owned(),
                kind: entry.file_type(),
                ino: entry.ino(),
            });
        }
    }
    Ok(out)
}

/// Removes `name` and, if it is a directory, everything in it; goes on after failures.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // POSIX says EPERM for a directory, Linux says EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut first = None;
    match inner.try_clone().and_then(list) {
        Ok(names) => {
            for entry in names {
                if let Err(e) = remove_tree(inner.as_fd(), &entry.name) {
                    first.get_or_insert(e);
                }
            }
        }
        Err(e) => first = Some(e),
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => {
            first.get_or_insert(e.into());
        }
    }
    first.map_or(Ok(()), Err)
}
