//! One layer in the place of several.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::entry::{self, FileTime};
use sys::fs::{Mode, Root};

use super::adopt::Adopted;
use super::copy::{copy_chosen, copy_tree};
use super::staging::Staged;
use super::store::Layers;
use crate::compare::{self, Difference};
use crate::error::{Result, Step};
use crate::model::ChangeKind;
use crate::overlay;

/// A directory that goes when this is dropped.
struct Temporary<'a> {
    layers: &'a Root,
    name: String,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let _ = self.layers.remove_all(&self.name);
    }
}

impl Layers {
    /// Makes the layer that leads from one tree to another; from nothing, if there is no first.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(crate) fn merge(&self, from: Option<BorrowedFd<'_>>, to: BorrowedFd<'_>) -> Result<Staged> {
        let temporary = Temporary { layers: self.dir(), name: self.tmp_name() };
        let make = || -> io::Result<Root> {
            self.dir().mkdir(&temporary.name, Mode::from_raw_mode(0o700))?;
            let parent = self.dir().sub_root(&temporary.name)?;
            parent.mkdir("upper", Mode::from_raw_mode(0o755))?;
            let upper = entry::open_dir(&parent, OsStr::new("upper"))?;
            let to = entry::reopen_dir(to)?;
            match from {
                None => copy_tree(&to, &upper)?,
                Some(from) => {
                    let found = compare::differences(from, to.as_fd())?;
                    let chosen = chosen(&found);
                    copy_chosen(&to, &upper, &|path| chosen.contains(path), &|upper| {
                        hide(&found, upper)
                    })?;
                }
            }
            Ok(parent)
        };
        let parent = make().step("merge layers")?;
        self.adopt(&Adopted {
            parent: &parent,
            name: OsStr::new("upper"),
            consume: true,
            latest: None,
            below: &|_| false,
        })
    }
}

/// The paths that the layer has: what is new or other, and the directories on the way to that and
/// to what is gone, for a directory of a layer says what it is for all layers below.
fn chosen(found: &[Difference]) -> BTreeSet<&[u8]> {
    let mut out = BTreeSet::new();
    for difference in found {
        let mut path = &difference.path[..];
        if difference.kind != ChangeKind::Deleted {
            out.insert(path);
        }
        while let Some(end) = path.iter().rposition(|byte| *byte == b'/') {
            path = &path[..end];
            if !out.insert(path) {
                break;
            }
        }
    }
    out
}

/// Makes whiteouts for what is gone, unless its directory is. What is gone has no time: theirs is the
/// epoch, so that the same files give the same layer whenever they are merged.
fn hide(found: &[Difference], upper: &Root) -> io::Result<()> {
    for difference in found {
        if difference.kind != ChangeKind::Deleted {
            continue;
        }
        match upper.parent(Path::new(OsStr::from_bytes(&difference.path))) {
            Ok((dir, name)) => {
                overlay::make_whiteout(&dir, name)?;
                entry::set_times(&dir, name, FileTime::default(), FileTime::default())?;
            }
            // A whiteout, or a file in its place.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
