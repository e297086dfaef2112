//! Whether a layer is what its tar says.
//!
//! The tar is made again from the layer, which shows damage of contents, and unpacked once more
//! beside it, which shows everything else: names that are missing, owners, modes, attributes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::entry;
use sys::fs::{FileType, Stat};
use types::digest::Digest;

use super::{LayerMeta, Layers, Staged};
use crate::error::{Error, Result, Step};
use crate::materialize::takes_xattr;
use crate::overlay;
use crate::store::Options;
use crate::tree;

/// What a look at a layer has shown.
#[derive(Debug)]
pub(crate) enum Verified {
    /// It is as it was when it came.
    Good,
    /// Its contents are right and something else is not. What is staged is right.
    Differs {
        /// The first difference.
        what: String,
        /// The layer made again.
        staged: Box<Staged>,
    },
    /// Its tar cannot be made again.
    Damaged(String),
    /// It is not there.
    Missing,
}

/// Deeper trees than this cannot be unpacked.
const MAX_DEPTH: usize = 900;

impl Layers {
    /// Looks at every byte and every attribute of a layer.
    ///
    /// # Errors
    /// Those of writing the copy that it is compared with.
    pub(crate) fn verify(&self, meta: &LayerMeta) -> Result<Verified> {
        let staged = match self.stage_again(meta.diff_id.hex(), &meta.diff_id) {
            Ok(staged) => staged,
            Err(Error::MissingLayer(_)) => return Ok(Verified::Missing),
            Err(Error::DamagedLayer { found, .. }) => {
                return Ok(Verified::Damaged(format!("its contents give the digest {found}")));
            }
            Err(Error::Io { step: READ, source }) => {
                let what = match source.kind() {
                    io::ErrorKind::NotFound => "a file is missing".to_owned(),
                    io::ErrorKind::UnexpectedEof => "a file is too short".to_owned(),
                    _ => format!("it cannot be read: {source}"),
                };
                return Ok(Verified::Damaged(what));
            }
            Err(error) => return Err(error),
        };
        let found = (staged.meta.tar_size, staged.meta.size, staged.meta.kept);
        if found != (meta.tar_size, meta.size, meta.kept) {
            let what = "its record does not fit its files".to_owned();
            return Ok(Verified::Differs { what, staged: Box::new(staged) });
        }
        let open = |name: &str| {
            let diff = self.dir().sub_root(Path::new(name).join("diff"))?;
            entry::reopen_dir(&diff)
        };
        let compared = open(meta.diff_id.hex()).and_then(|is| {
            let should = open(&staged.name)?;
            compare(is, should, &mut Vec::new(), 0)
        });
        Ok(match compared.step("compare a layer")? {
            None => Verified::Good,
            Some(what) => Verified::Differs { what, staged: Box::new(staged) },
        })
    }

    /// Makes a layer's tar again, from the directory of this name, and unpacks it under a temporary
    /// name.
    ///
    /// # Errors
    /// As [`Layers::reproduce`]; those of the disk.
    pub(crate) fn stage_again(&self, name: &str, diff_id: &Digest) -> Result<Staged> {
        // It was within the limits when it came.
        let limits = Options {
            max_layer_bytes: u64::MAX,
            max_layer_entries: u64::MAX,
            ..Options::default()
        };
        let (mut reader, writer) = io::pipe().step("make a pipe")?;
        std::thread::scope(|scope| {
            let reproducing = scope.spawn(move || {
                let mut output = io::BufWriter::with_capacity(256 << 10, writer);
                self.reproduce_as(name, diff_id, &mut output)?;
                output.flush().map_err(Error::Output)
            });
            let staged = self.stage(&mut reader, false, &limits);
            // A writer that waits for room must see that nobody reads any more.
            drop(reader);
            let reproduced =
                reproducing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (reproduced, staged) {
                (Err(Error::Output(_)), Err(error)) => Err(error),
                (Err(error), _) => Err(error),
                (Ok(()), staged) => staged,
            }
        })
    }
}

/// The step at which [`Layers::reproduce`] says that a file is missing or too short.
const READ: &str = "read a layer";

/// The first difference of two directories.
fn compare(
    is: OwnedFd,
    should: OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
) -> io::Result<Option<String>> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    let (found, wanted) = (tree::names(is.as_fd())?, tree::names(should.as_fd())?);
    let shown = |path: &[u8], name: &OsStr| {
        format!("/{}", String::from_utf8_lossy(&[path, name.as_bytes()].concat()))
    };
    if let Some(missing) = wanted.iter().find(|name| found.binary_search(name).is_err()) {
        return Ok(Some(format!("{} is missing", shown(path, missing))));
    }
    if let Some(stray) = found.iter().find(|name| wanted.binary_search(name).is_err()) {
        return Ok(Some(format!("{} does not belong there", shown(path, stray))));
    }
    for name in &wanted {
        let (a, b) = (entry::stat(&is, name)?, entry::stat(&should, name)?);
        if let Some(what) = difference(&is, &should, name, &a, &b)? {
            return Ok(Some(format!("{what} of {} is wrong", shown(path, name))));
        }
        if entry::kind(&b) == FileType::Directory {
            let len = path.len();
            path.extend_from_slice(name.as_bytes());
            path.push(b'/');
            let inner = (entry::open_dir(&is, name)?, entry::open_dir(&should, name)?);
            let found = compare(inner.0, inner.1, path, depth + 1)?;
            path.truncate(len);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// What two names differ in.
fn difference(
    is: &OwnedFd,
    should: &OwnedFd,
    name: &OsStr,
    a: &Stat,
    b: &Stat,
) -> io::Result<Option<&'static str>> {
    let kind = entry::kind(b);
    if entry::kind(a) != kind {
        return Ok(Some("the type"));
    }
    if (a.st_uid, a.st_gid) != (b.st_uid, b.st_gid) {
        return Ok(Some("the owner"));
    }
    if a.st_mode != b.st_mode && !overlay::is_whiteout(b) {
        return Ok(Some("the mode"));
    }
    let special = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if special && a.st_rdev != b.st_rdev {
        return Ok(Some("the device number"));
    }
    if kind == FileType::RegularFile && a.st_size != b.st_size {
        return Ok(Some("the size"));
    }
    // Directories that a layer only implies, and whiteouts, have the time of their unpacking.
    let timed = kind != FileType::Directory && !overlay::is_whiteout(b);
    if timed && a.st_mtime != b.st_mtime {
        return Ok(Some("the time"));
    }
    if kind == FileType::Symlink && entry::read_link(is, name)? != entry::read_link(should, name)? {
        return Ok(Some("the target"));
    }
    if kind == FileType::Directory
        && overlay::is_opaque(is, name)? != overlay::is_opaque(should, name)?
    {
        return Ok(Some("the opaque mark"));
    }
    if xattrs(is, name)? != xattrs(should, name)? {
        return Ok(Some("an attribute"));
    }
    Ok(None)
}

/// Those attributes that a tar sets.
fn xattrs(dir: &OwnedFd, name: &OsStr) -> io::Result<BTreeMap<OsString, Option<Vec<u8>>>> {
    let mut out = BTreeMap::new();
    for key in entry::xattr_keys(dir, name)? {
        if takes_xattr(key.as_bytes()) {
            let value = entry::xattr(dir, name, &key)?;
            out.insert(key, value);
        }
    }
    Ok(out)
}
