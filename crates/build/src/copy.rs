//! `COPY` and `ADD`: what is found, how it is told apart, and where it goes.
//!
//! Sources and destinations are resolved inside the trees that they belong to, whatever symlinks
//! and `..` these hold.

mod digest;
mod glob;
mod mode;
mod write;

use std::path::{Component, Path, PathBuf};

use sys::entry;
use sys::fs::{FileType, Root};

use crate::error::{Error, Result, Step};

pub(crate) use digest::{Hasher, combined, of_bytes, of_tree};
pub(crate) use mode::ModeChange;
pub(crate) use write::{Writer, make_dirs};

/// Where sources come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The tree.
    pub(crate) root: &'a Root,
    /// `build context`, or the name of a stage or image: for people.
    pub(crate) place: &'a str,
}

/// A source that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its place in the tree, without symlinks.
    pub(crate) path: PathBuf,
    /// Its place as it was named, relative: what the last part is called.
    pub(crate) given: PathBuf,
    /// Where the part of it begins that `--parents` keeps: behind `/./`.
    pub(crate) kept: PathBuf,
    /// It is a directory, whose content is copied.
    pub(crate) is_dir: bool,
}

/// Finds what names and patterns mean.
///
/// # Errors
/// [`Error::NoSource`], [`Error::NoMatch`], [`Error::Pattern`]; those of the disk.
pub(crate) fn find(
    keyword: &'static str,
    origin: Origin<'_>,
    sources: &[String],
) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for source in sources {
        let (before, after) = match source.split_once("/./") {
            Some((before, after)) => (Some(before), after),
            None => (None, source.as_str()),
        };
        let base = before.map(|before| inside(Path::new(before))).unwrap_or_default();
        let literal = glob::is_literal(source);
        let matched = if literal {
            vec![inside(Path::new(&glob::unescape(source)))]
        } else {
            let whole = inside(Path::new(source));
            glob::find(origin.root, &whole.to_string_lossy())?
        };
        for given in matched {
            let kept = match before {
                Some(_) => given.strip_prefix(&base).unwrap_or(Path::new(after)).to_owned(),
                None => given.clone(),
            };
            let looked = dot(&given);
            let missing = |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    let (place, path) = (origin.place.to_owned(), source.clone());
                    Error::NoSource { keyword, place, path }
                }
                _ => Error::File {
                    step: "look at",
                    path: given.display().to_string(),
                    source: error,
                },
            };
            let path = match origin.root.resolve(looked) {
                Ok(path) => path,
                // A pattern matches dangling links too; they lead nowhere.
                Err(_) if !literal => continue,
                Err(error) => return Err(missing(error)),
            };
            let stat = origin.root.lstat(dot(&path)).map_err(missing)?;
            let is_dir = entry::kind(&stat) == FileType::Directory;
            all.push(Found { path, given, kept, is_dir });
        }
    }
    if all.is_empty() {
        return Err(Error::NoMatch(keyword));
    }
    Ok(all)
}

/// The path, relative to the root of its tree and never out of it.
pub(crate) fn inside(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The same, as system calls want it.
pub(crate) fn dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// A destination, absolute in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The path, clean.
    pub(crate) path: PathBuf,
    /// It was written as a directory: it ends with a slash, or is `.`.
    pub(crate) slash: bool,
}

impl Destination {
    /// Reads a destination; a relative one is meant from the working directory.
    pub(crate) fn new(text: &str, working_dir: &str) -> Self {
        let slash = text.ends_with('/')
            || matches!(text, "." | "..")
            || text.ends_with("/.")
            || text.ends_with("/..");
        let joined = Path::new("/").join(working_dir).join(text);
        Self { path: Path::new("/").join(inside(&joined)), slash }
    }
}

/// Where each of `found` goes.
///
/// # Errors
/// [`Error::ManySources`].
pub(crate) fn places(
    keyword: &'static str,
    found: &[Found],
    target: &Root,
    destination: &Destination,
    parents: bool,
) -> Result<Vec<PathBuf>> {
    if found.len() > 1 && !destination.slash && !parents {
        return Err(Error::ManySources(keyword));
    }
    let existing = target.stat(&destination.path);
    let is_dir =
        destination.slash || existing.is_ok_and(|stat| entry::kind(&stat) == FileType::Directory);
    let place = |found: &Found| {
        if parents {
            return destination.path.join(&found.kept);
        }
        match found.given.file_name() {
            Some(name) if is_dir && !found.is_dir => destination.path.join(name),
            _ => destination.path.clone(),
        }
    };
    Ok(found.iter().map(place).collect())
}

/// Writes a file that comes from no tree: a here-document, or what an address gave.
pub(crate) struct Loose<'a> {
    /// What it is called if the destination is a directory.
    pub(crate) name: &'a str,
    /// Its content.
    pub(crate) content: &'a mut dyn std::io::Read,
    /// Its permissions unless `--chmod` says otherwise.
    pub(crate) mode: u32,
    /// Its time, in seconds since the epoch; now if `None`.
    pub(crate) modified: Option<i64>,
}

impl Loose<'_> {
    /// Where it goes.
    ///
    /// # Errors
    /// The name is none.
    pub(crate) fn place(&self, target: &Root, destination: &Destination) -> Result<PathBuf> {
        let existing = target.stat(&destination.path);
        let is_dir = destination.slash
            || existing.is_ok_and(|stat| entry::kind(&stat) == FileType::Directory);
        if !is_dir {
            return Ok(destination.path.clone());
        }
        let name = inside(Path::new(self.name));
        if name.as_os_str().is_empty() {
            return Err(Error::Invalid(format!(
                "cannot tell what the file from {:?} is called: name it in the destination",
                self.name
            )));
        }
        Ok(destination.path.join(name))
    }
}

/// Whether a file of a tree can be read as a tar: what `ADD` unpacks.
///
/// # Errors
/// Those of the disk.
pub(crate) fn is_archive(root: &Root, path: &Path) -> Result<bool> {
    let stat = root.stat(path).at("look at", path)?;
    if entry::kind(&stat) != FileType::RegularFile {
        return Ok(false);
    }
    let file = root.open_file(path).at("read", path)?;
    image::archive::is_tar(file).at("read", path)
}

#[cfg(test)]
mod tests;
