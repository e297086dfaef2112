//! Digests of files: what they are, not when they were written.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use sys::entry;
use sys::fs::{FileType, OFlags, Root, Stat};
use types::digest::Digest;

use super::{Found, dot};
use crate::error::{Result, Step};

/// Puts values together so that no two lists of them give the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Begins, with a word that keeps kinds of digests apart.
    pub(crate) fn new(kind: &str) -> Self {
        Self(Sha256::new()).with(kind)
    }

    /// Adds a value.
    pub(crate) fn add(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
    }

    /// The same, in a chain.
    pub(crate) fn with(mut self, value: impl AsRef<[u8]>) -> Self {
        self.add(value);
        self
    }

    /// The digest.
    pub(crate) fn finish(self) -> Digest {
        Digest::from_sha256(self.0.finalize().into())
    }
}

/// The digest of a text.
pub(crate) fn of_bytes(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// The digest of one source: of everything about it that a copy keeps, except times.
/// `keeps_owner`: owners are kept. `excluded` says which files below it do not count.
///
/// # Errors
/// Those of the disk.
pub(crate) fn of_tree(
    root: &Root,
    found: &Found,
    keeps_owner: bool,
    excluded: &dyn Fn(&Path) -> bool,
) -> Result<Digest> {
    let path = dot(&found.path);
    if !found.is_dir {
        let stat = root.lstat(path).at("look at", path)?;
        let (dir, name) = root.parent(path).at("look at", path)?;
        let mut hasher = Hasher::new("file");
        one(&mut hasher, dir, name, &stat, keeps_owner).at("read", path)?;
        return Ok(hasher.finish());
    }
    let mut hasher = Hasher::new("directory");
    let stat = root.lstat(path).at("look at", path)?;
    attributes(&mut hasher, &stat, keeps_owner);
    root.walk(path, &mut |file| {
        if excluded(file.path) {
            return Ok(());
        }
        hasher.add(file.path.as_os_str().as_bytes());
        one(&mut hasher, file.dir, file.name, file.stat, keeps_owner)
    })
    .at("read", path)?;
    Ok(hasher.finish())
}

fn attributes(hasher: &mut Hasher, stat: &Stat, keeps_owner: bool) {
    hasher.add(stat.st_mode.to_be_bytes());
    if keeps_owner {
        hasher.add(stat.st_uid.to_be_bytes());
        hasher.add(stat.st_gid.to_be_bytes());
    }
}

fn one(
    hasher: &mut Hasher,
    dir: impl std::os::fd::AsFd,
    name: &std::ffi::OsStr,
    stat: &Stat,
    keeps_owner: bool,
) -> std::io::Result<()> {
    attributes(hasher, stat, keeps_owner);
    match entry::kind(stat) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let mut file = File::from(entry::open(&dir, name, flags)?);
            for (key, value) in entry::xattrs_fd(&file, super::write::is_kept)? {
                hasher.add(key);
                hasher.add(value);
            }
            let mut content = Sha256::new();
            let mut buffer = vec![0; if stat.st_size > 1 << 20 { 256 << 10 } else { 16 << 10 }];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    count => content.update(&buffer[..count]),
                }
            }
            hasher.add(content.finalize());
        }
        FileType::Symlink => hasher.add(entry::read_link(&dir, name)?.as_bytes()),
        FileType::CharacterDevice | FileType::BlockDevice => {
            hasher.add(stat.st_rdev.to_be_bytes());
        }
        _ => {}
    }
    Ok(())
}

/// How Docker writes what was copied into the history: one source, or several.
pub(crate) fn combined(sources: &[(bool, Digest)]) -> String {
    match sources {
        [(true, digest)] => format!("dir:{}", digest.hex()),
        [(false, digest)] => format!("file:{}", digest.hex()),
        several => {
            let mut hasher = Hasher::new("several");
            for (is_dir, digest) in several {
                hasher.add([u8::from(*is_dir)]);
                hasher.add(digest.hex());
            }
            format!("multi:{}", hasher.finish().hex())
        }
    }
}
