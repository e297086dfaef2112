//! `ADD` of what is elsewhere: web addresses and git repositories.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use sys::fs::Root;
use types::digest::Digest;

use super::Running;
use super::copy::unpack;
use super::sources::Excluded;
use crate::cache::Temporary;
use crate::context::git_remote;
use crate::copy::{self, Destination, Found, Loose, Writer, inside};
use crate::dockerfile::Copy;
use crate::error::{Error, Result, Step as _};
use crate::worker::Pulling;

/// Whether `ADD` looks for a source elsewhere.
pub(super) fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://") || git_remote(source).is_some()
}

/// Something that was fetched.
pub(super) enum Remote {
    /// A file.
    File {
        /// Where it was put.
        path: PathBuf,
        /// What it is called.
        name: String,
        /// `Last-Modified`.
        modified: Option<i64>,
        /// Of its content.
        digest: Digest,
    },
    /// A repository's files.
    Tree {
        /// Where they were put.
        root: Root,
    },
}

/// Fetches a source into a directory.
pub(super) fn fetch(
    running: &Running<'_>,
    address: &str,
    copy: &Copy,
    directory: &Temporary,
    number: usize,
) -> Result<Remote> {
    let worker = running.build.shop.worker;
    let path = directory.path().join(number.to_string());
    if let Some(remote) = git_remote(address) {
        std::fs::create_dir(&path).step("create a directory for a repository")?;
        let commit = worker.git(&remote, copy.keep_git_dir, &path)?;
        if let Some(expected) = copy.checksum.as_deref().filter(|sum| !commit.starts_with(*sum)) {
            return Err(mismatch(address, expected, &commit));
        }
        let mut root = Root::open_host(&path).step("open a repository")?;
        if !remote.subdirectory.is_empty() {
            let inner = inside(Path::new(&remote.subdirectory));
            root = root.sub_root(&inner).at("open", &remote.subdirectory)?;
        }
        return Ok(Remote::Tree { root });
    }
    let mut fetched = worker.fetch(address)?;
    let name = fetched.name.take().unwrap_or_else(|| name_in(address));
    let total = fetched.length.unwrap_or(0);
    let mut file = File::create_new(&path).step("create a file for what is fetched")?;
    let (mut sum, mut done) = (Sha256::new(), 0);
    let mut buffer = vec![0; 128 << 10];
    loop {
        running.build.check()?;
        let count = fetched.body.read(&mut buffer).at("fetch", address)?;
        if count == 0 {
            break;
        }
        sum.update(&buffer[..count]);
        file.write_all(&buffer[..count]).step("keep what is fetched")?;
        done += count as u64;
        let part = Pulling {
            item: address.to_owned(),
            status: "downloading".to_owned(),
            current: done,
            total,
        };
        running.build.progress(running.number, part);
    }
    let digest = Digest::from_sha256(sum.finalize().into());
    if let Some(expected) = copy.checksum.as_deref().filter(|sum| *sum != digest.as_str()) {
        return Err(mismatch(address, expected, digest.as_str()));
    }
    Ok(Remote::File { path, name, modified: fetched.modified, digest })
}

fn mismatch(address: &str, expected: &str, found: &str) -> Error {
    let (address, expected, found) = (address.to_owned(), expected.to_owned(), found.to_owned());
    Error::Checksum { address, expected, found }
}

/// The last part of an address's path.
fn name_in(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let (_, path) = path.split_once('/').unwrap_or_default();
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

impl Remote {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self, Self::Tree { .. })
    }

    fn whole() -> Found {
        let nowhere = PathBuf::new;
        Found { path: nowhere(), given: nowhere(), kept: nowhere(), is_dir: true }
    }

    /// Of its content.
    pub(super) fn digest(&self, excluded: &Excluded) -> Result<Digest> {
        match self {
            Self::File { digest, name, .. } => {
                Ok(copy::Hasher::new("fetched").with(name).with(digest.hex()).finish())
            }
            Self::Tree { root } => {
                copy::of_tree(root, &Self::whole(), false, &|path| excluded.has(path))
            }
        }
    }

    /// Puts it in its place.
    pub(super) fn write(
        &self,
        writer: &Writer<'_>,
        destination: &Destination,
        unpacks: bool,
    ) -> Result<()> {
        let owner = Some(writer.owner.unwrap_or((0, 0)));
        let writer = Writer { owner, ..*writer };
        match self {
            Self::Tree { root } => writer.copy(root, &Self::whole(), &destination.path),
            Self::File { path, name, modified, .. } => {
                let mut content = File::open(path).step("read what was fetched")?;
                if unpacks && is_tar(&content).step("read what was fetched")? {
                    return unpack(writer.target, &destination.path, &mut content, None);
                }
                let content = &mut content;
                let mut loose = Loose { name, content, mode: 0o600, modified: *modified };
                let place = loose.place(writer.target, destination)?;
                writer.loose(&mut loose, &place)
            }
        }
    }
}

/// Looks without moving on.
fn is_tar(file: &File) -> io::Result<bool> {
    let mut again = file.try_clone()?;
    let found = image::archive::is_tar(&again);
    io::Seek::rewind(&mut again)?;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_with_names() {
        assert_eq!(name_in("https://host/a/b.tar.gz?x=1#y"), "b.tar.gz");
        assert_eq!(name_in("https://host/a/"), "a");
        assert_eq!(name_in("https://host"), "");
        assert!(is_remote("https://host/x"));
        assert!(is_remote("git@host:x/y.git"));
        assert!(!is_remote("a/b"));
    }
}
