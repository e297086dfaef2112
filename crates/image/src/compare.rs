//! How the files of two images differ.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use sys::entry;
use sys::fs::{FileType, Stat};
use types::digest::Digest;

use crate::error::{Error, Result, Step};
use crate::layer::same_content;
use crate::materialize::takes_xattr;
use crate::model::ChangeKind;
use crate::snapshot::MountOptions;
use crate::store::Store;
use crate::tree;

/// Deeper trees than this are refused: each level costs two open directories.
const MAX_DEPTH: usize = 450;

/// A path that is not the same in two images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageChange {
    /// Absolute path; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// In which way, on the way from the first to the second image.
    pub kind: ChangeKind,
    /// Bytes of it in the first image; 0 for anything but a file.
    pub old_size: u64,
    /// Bytes of it in the second image.
    pub size: u64,
    /// What of a modified path is not the same: `type`, `content`, `target`, `device`, `mode`,
    /// `owner`, `xattrs`, `time`.
    pub what: Vec<&'static str>,
}

/// A difference with all that was found out about it.
pub(crate) struct Difference {
    /// Without a leading slash.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: ChangeKind,
    old: Option<Stat>,
    new: Option<Stat>,
    what: Vec<&'static str>,
}

impl Store {
    /// How the second image's files differ from the first's, in the order of their paths. Times
    /// count for regular files only: those of directories change with every name in them.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Io`].
    pub fn compare(&self, first: &Digest, second: &Digest) -> Result<Vec<ImageChange>> {
        let layers = |id: &Digest| -> Result<Vec<Digest>> {
            let state = self.state();
            let record = state.catalog.images.get(id);
            Ok(record.ok_or_else(|| Error::NoSuchImage(id.to_string()))?.layers.clone())
        };
        let (a, b) = (layers(first)?, layers(second)?);
        let _hold = self.hold(a.iter().chain(&b).cloned());
        let mount = |id| self.mount_image(id, MountOptions::default());
        let (a, b) = (mount(first)?, mount(second)?);
        let found = differences(a.as_fd(), b.as_fd()).step("compare images")?;
        Ok(found.into_iter().filter(Difference::is_shown).map(ImageChange::from).collect())
    }
}

impl Difference {
    fn is_shown(&self) -> bool {
        let is_file = self.new.is_some_and(|stat| is(&stat, FileType::RegularFile));
        is_file || self.what != ["time"]
    }
}

impl From<Difference> for ImageChange {
    fn from(found: Difference) -> Self {
        let size = |stat: Option<Stat>| match stat {
            Some(stat) if is(&stat, FileType::RegularFile) => {
                u64::try_from(stat.st_size).unwrap_or(0)
            }
            _ => 0,
        };
        Self {
            path: format!("/{}", String::from_utf8_lossy(&found.path)),
            kind: found.kind,
            old_size: size(found.old),
            size: size(found.new),
            what: found.what,
        }
    }
}

/// All differences of two trees on one file system, parents first. Trees that share layers have the
/// same inodes there, which are not read.
pub(crate) fn differences(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> io::Result<Vec<Difference>> {
    let mut walk = Walk { path: Vec::new(), found: Vec::new() };
    let (a, b) = (entry::reopen_dir(a)?, entry::reopen_dir(b)?);
    walk.dirs(Some(&a), Some(&b), 0)?;
    Ok(walk.found)
}

struct Walk {
    path: Vec<u8>,
    found: Vec<Difference>,
}

impl Walk {
    fn dirs(&mut self, a: Option<&OwnedFd>, b: Option<&OwnedFd>, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other("directories are nested too deeply"));
        }
        let names = |dir: Option<&OwnedFd>| -> io::Result<Vec<OsString>> {
            dir.map_or_else(|| Ok(Vec::new()), |dir| tree::names(dir.as_fd()))
        };
        let mut all = names(a)?;
        all.extend(names(b)?);
        all.sort_unstable();
        all.dedup();
        for name in all {
            let len = self.path.len();
            if len > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            self.name(a, b, &name, depth)?;
            self.path.truncate(len);
        }
        Ok(())
    }

    fn name(
        &mut self,
        a: Option<&OwnedFd>,
        b: Option<&OwnedFd>,
        name: &OsStr,
        depth: usize,
    ) -> io::Result<()> {
        let (old, new) = (stat(a, name)?, stat(b, name)?);
        let (kind, what) = match (&old, &new, a, b) {
            (Some(old), Some(new), Some(a), Some(b)) => {
                (ChangeKind::Modified, what(a, b, name, old, new)?)
            }
            (Some(_), _, _, _) => (ChangeKind::Deleted, Vec::new()),
            _ => (ChangeKind::Added, Vec::new()),
        };
        let open = |dir: Option<&OwnedFd>, stat: &Option<Stat>| match (dir, stat) {
            (Some(dir), Some(stat)) if is(stat, FileType::Directory) => {
                entry::open_dir(dir, name).map(Some)
            }
            _ => Ok(None),
        };
        let (a, b) = (open(a, &old)?, open(b, &new)?);
        if kind != ChangeKind::Modified || !what.is_empty() {
            self.found.push(Difference { path: self.path.clone(), kind, old, new, what });
        }
        if a.is_some() || b.is_some() {
            self.dirs(a.as_ref(), b.as_ref(), depth + 1)?;
        }
        Ok(())
    }
}

fn stat(dir: Option<&OwnedFd>, name: &OsStr) -> io::Result<Option<Stat>> {
    let Some(dir) = dir else { return Ok(None) };
    match entry::stat(dir, name) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    entry::kind(stat) == kind
}

/// What of a name is not the same.
fn what(
    a: &OwnedFd,
    b: &OwnedFd,
    name: &OsStr,
    old: &Stat,
    new: &Stat,
) -> io::Result<Vec<&'static str>> {
    let mut out = Vec::new();
    let kind = entry::kind(new);
    if entry::kind(old) != kind {
        out.push("type");
        return Ok(out);
    }
    // The numbers are those of the layers' file system, so this is one file that both have.
    if old.st_ino == new.st_ino && kind != FileType::Directory {
        return Ok(out);
    }
    match kind {
        FileType::RegularFile if !same_file(a, b, name, old, new)? => out.push("content"),
        FileType::Symlink if entry::read_link(a, name)? != entry::read_link(b, name)? => {
            out.push("target");
        }
        FileType::CharacterDevice | FileType::BlockDevice if old.st_rdev != new.st_rdev => {
            out.push("device");
        }
        _ => {}
    }
    if old.st_mode & 0o7777 != new.st_mode & 0o7777 {
        out.push("mode");
    }
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) {
        out.push("owner");
    }
    if xattrs(a, name)? != xattrs(b, name)? {
        out.push("xattrs");
    }
    if (old.st_mtime, old.st_mtime_nsec) != (new.st_mtime, new.st_mtime_nsec) {
        out.push("time");
    }
    Ok(out)
}

fn same_file(a: &OwnedFd, b: &OwnedFd, name: &OsStr, old: &Stat, new: &Stat) -> io::Result<bool> {
    if old.st_size != new.st_size {
        return Ok(false);
    }
    let open = |dir| {
        let file = entry::open_regular(dir, name)?.ok_or(io::ErrorKind::NotFound)?;
        io::Result::Ok(File::from(file))
    };
    same_content(&open(a)?, &open(b)?)
}

fn xattrs(dir: &OwnedFd, name: &OsStr) -> io::Result<Vec<(OsString, Option<Vec<u8>>)>> {
    let mut out = Vec::new();
    for key in entry::xattr_keys(dir, name)? {
        if takes_xattr(key.as_bytes()) {
            let value = entry::xattr(dir, name, &key)?;
            out.push((key, value));
        }
    }
    out.sort_unstable();
    Ok(out)
}

#[cfg(test)]
mod tests;
