//! Listing, walking and removing directory trees below a [`Root`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::fs::{openat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::Root;

/// The deepest tree that is walked.
const MAX_WALK: usize = 900;
/// How deep a removal goes before it moves what is below up.
const MAX_NESTING: usize = 100;

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
    /// a rename meanwhile leads nowhere else. Names that vanish meanwhile are passed over.
    ///
    /// # Errors
    /// The first failure, the visitor's included; an error for trees deeper than [`MAX_WALK`], which
    /// would need as many open files and as much stack.
    pub fn walk(
        &self,
        path: impl AsRef<Path>,
        visit: &mut dyn FnMut(&WalkEntry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let top = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        walk_dir(top, &mut PathBuf::new(), 0, visit)
    }
}

fn walk_dir(
    dir: OwnedFd,
    prefix: &mut PathBuf,
    depth: usize,
    visit: &mut dyn FnMut(&WalkEntry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if depth > MAX_WALK {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    let mut names = list(dir.try_clone()?)?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    for DirEntry { name, .. } in names {
        let stat = match statat(&dir, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        prefix.push(&name);
        visit(&WalkEntry { path: prefix, dir: dir.as_fd(), name: &name, stat: &stat })?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match openat(&dir, name.as_os_str(), DIRECTORY, Mode::empty()) {
                Ok(inner) => walk_dir(inner, prefix, depth + 1, visit)?,
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
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
///
/// A container can nest directories far deeper than a stack or the limit of open files allows. What
/// lies below [`MAX_NESTING`] is therefore moved up to the top of the tree and removed from there.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let Some(top) = unlink_or_open(dir, name)? else { return Ok(()) };
    let mut removal = Removal { top, moved: 0, first: None };
    loop {
        let moved = removal.moved;
        // Opened anew each time: a directory's offset is shared by copies of its fd.
        let here = openat(&removal.top, ".", DIRECTORY, Mode::empty())?;
        removal.empty(here.as_fd(), 0);
        if removal.moved == moved {
            break;
        }
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => {
            removal.first.get_or_insert(e.into());
        }
    }
    removal.first.map_or(Ok(()), Err)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes anything but a directory; opens a directory. `None` when nothing is there any more.
fn unlink_or_open(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        // POSIX says EPERM for a directory, Linux says EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    match openat(dir, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

struct Removal {
    top: OwnedFd,
    /// Directories moved to the top so far.
    moved: u64,
    first: Option<io::Error>,
}

impl Removal {
    /// Removes everything in a directory that can be.
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) {
        let names =
            match openat(dir, ".", DIRECTORY, Mode::empty()).map_err(Into::into).and_then(list) {
                Ok(names) => names,
                Err(e) => {
                    self.first.get_or_insert(e);
                    return;
                }
            };
        for entry in names {
            if let Err(e) = self.one(dir, &entry.name, depth) {
                self.first.get_or_insert(e);
            }
        }
    }

    fn one(&mut self, dir: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
        let Some(inner) = unlink_or_open(dir, name)? else { return Ok(()) };
        if depth < MAX_NESTING {
            self.empty(inner.as_fd(), depth + 1);
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if depth >= MAX_NESTING => {}
            // What is left in it has been told.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.first.is_some() => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        loop {
            let to = format!(".isopod-deep-{}", self.moved);
            self.moved += 1;
            match renameat_with(dir, name, &self.top, to.as_str(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
    }
}
