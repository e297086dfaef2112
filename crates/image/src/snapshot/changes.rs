//! How a container's files differ from its image (`docker diff`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::entry;
use sys::fs::{FileType, Root, Stat};
use types::ContainerId;

use crate::error::{Result, Step};
use crate::model::{Change, ChangeKind};
use crate::overlay;
use crate::store::Store;
use crate::tree::{self, Found};

impl Store {
    /// How a container's files differ from its image, sorted by path.
    ///
    /// A directory counts as modified when its own attributes differ or when names in it were
    /// added or deleted; a file whenever the container has a copy of its own.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`](crate::Error::NoSnapshot), [`Error::Io`](crate::Error::Io).
    pub fn changes(&self, container: &ContainerId) -> Result<Vec<Change>> {
        let record = self.record_of(container)?;
        let upper = self.upper(container)?;
        let below = Root::from(self.mount_below(&record.layers)?);
        changes_between(upper, below)
    }
}

/// How an overlay's upper directory changes what is below it, as [`Store::changes`]: where the
/// layers are not a store's.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn changes_between(upper: Root, below: Root) -> Result<Vec<Change>> {
    let mut changes = Changes { below, found: BTreeMap::new(), opaque: Vec::new() };
    tree::walk(upper.as_fd(), &mut |found| changes.visit(found))
        .step("compare a container with its image")?;
    let text = |path: Vec<u8>| format!("/{}", String::from_utf8_lossy(&path));
    Ok(changes.found.into_iter().map(|(path, kind)| Change { path: text(path), kind }).collect())
}

struct Changes {
    /// The image.
    below: Root,
    found: BTreeMap<Vec<u8>, ChangeKind>,
    /// The opaque directory that the walk is in, if any: what the image has there is gone.
    opaque: Vec<u8>,
}

impl Changes {
    fn visit(&mut self, found: &Found<'_>) -> io::Result<bool> {
        let path = found.path;
        let below = self.stat_below(path)?;
        if overlay::is_whiteout(found.stat) {
            if below.is_some() {
                self.record(path, ChangeKind::Deleted);
            }
            return Ok(false);
        }
        match &below {
            None => self.record(path, ChangeKind::Added),
            Some(below) if is_dir(below) && is_dir(found.stat) => {
                if !same_dir(below, found.stat) {
                    self.record(path, ChangeKind::Modified);
                }
            }
            Some(_) => self.record(path, ChangeKind::Modified),
        }
        if !is_dir(found.stat) {
            return Ok(false);
        }
        let inside = !self.opaque.is_empty()
            && path.starts_with(&self.opaque)
            && path.get(self.opaque.len()) == Some(&b'/');
        if !inside && overlay::is_opaque(found.dir, found.name)? {
            self.opaque = path.to_vec();
        }
        let hides = self.opaque == path || inside;
        if hides && below.as_ref().is_some_and(is_dir) {
            self.missing(found)?;
        }
        Ok(true)
    }

    /// Names that the image has in a directory and the container has not.
    fn missing(&mut self, found: &Found<'_>) -> io::Result<()> {
        let here = entry::open_dir(found.dir, found.name)?;
        for name in self.below.read_dir(Path::new(OsStr::from_bytes(found.path)))? {
            match entry::stat(&here, &name.name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let path = [found.path, b"/", name.name.as_bytes()].concat();
                    self.record(&path, ChangeKind::Deleted);
                }
                other => {
                    other?;
                }
            }
        }
        Ok(())
    }

    fn stat_below(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        match self.below.lstat(Path::new(OsStr::from_bytes(path))) {
            Ok(stat) => Ok(Some(stat)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, path: &[u8], kind: ChangeKind) {
        self.found.insert(path.to_vec(), kind);
        let parent = path.iter().rposition(|byte| *byte == b'/').map(|at| &path[..at]);
        if kind != ChangeKind::Modified
            && let Some(parent) = parent
        {
            self.found.entry(parent.to_vec()).or_insert(ChangeKind::Modified);
        }
    }
}

fn is_dir(stat: &Stat) -> bool {
    entry::kind(stat) == FileType::Directory
}

/// Whether a directory is there only because something below it has changed.
fn same_dir(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
        && (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}
