//! One entry of a tar, all its headers taken together.

use std::io;

use sys::entry::{Errno, FileTime};

use super::sparse::Segment;
use crate::error::{Error, Result};

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symlink.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
    /// Nothing (a volume label, a global extended header).
    Nothing,
}

/// An entry of a tar.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The name as it stands there.
    pub(crate) name: Vec<u8>,
    /// Where a link leads.
    pub(crate) link: Vec<u8>,
    /// What it makes.
    pub(crate) kind: Kind,
    /// Permission bits, set-id and sticky bits included.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Bytes of the file that it makes.
    pub(crate) size: u64,
    /// Bytes that follow the headers.
    pub(crate) payload: u64,
    /// Where those go in the file, if it has holes.
    pub(crate) segments: Option<Vec<Segment>>,
    /// Last change.
    pub(crate) mtime: FileTime,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    /// Extended attributes.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The name for messages.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// An error about this entry.
    pub(crate) fn error(&self, reason: impl ToString) -> Error {
        Error::BadEntry { path: self.shown(), reason: reason.to_string() }
    }

    /// A failed call on this entry: the disk's fault, or the tar's.
    pub(crate) fn failed(&self, source: io::Error) -> Error {
        const DISK: [Errno; 7] = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::IO,
            Errno::ROFS,
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
        ];
        match Errno::from_io_error(&source) {
            Some(errno) if DISK.contains(&errno) => Error::Disk { path: self.shown(), source },
            _ => self.error(source),
        }
    }

    /// The name as clean components joined by `/`; empty for the root.
    ///
    /// # Errors
    /// [`Error::BadEntry`] when it leads outside, has a NUL byte, or a component is too long.
    pub(crate) fn clean_name(&self) -> Result<Vec<u8>> {
        clean(&self.name).map_err(|reason| self.error(reason))
    }

    /// The target of a hard link, cleaned in the same way.
    ///
    /// # Errors
    /// As [`Entry::clean_name`].
    pub(crate) fn clean_link(&self) -> Result<Vec<u8>> {
        clean(&self.link).map_err(|reason| self.error(format!("its hard link target {reason}")))
    }
}

/// Takes `.`, `..` and empty components out, by the text alone. An absolute path means the root of
/// the archive, and `..` there stays there; a relative path may not climb out.
fn clean(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    if path.contains(&0) {
        return Err("has a NUL byte in its name");
    }
    let absolute = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() && !absolute {
                    return Err("leads outside of the archive");
                }
            }
            _ if part.len() > 255 => return Err("has a component of more than 255 bytes"),
            _ => parts.push(part),
        }
    }
    let clean = parts.join(&b'/');
    // PATH_MAX; every lookup below would fail with ENAMETOOLONG.
    if clean.len() >= 4096 { Err("is longer than 4095 bytes") } else { Ok(clean) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_never_climb_out() {
        for (name, clean_name) in [
            ("./", ""),
            ("/", ""),
            ("a//b/./c/", "a/b/c"),
            ("/a/../b", "b"),
            ("/../../etc", "etc"),
            ("a/b/../../c", "c"),
        ] {
            assert_eq!(clean(name.as_bytes()), Ok(clean_name.as_bytes().to_vec()), "{name}");
        }
        for name in ["..", "../x", "a/../../x", "a\0b"] {
            assert!(clean(name.as_bytes()).is_err(), "{name}");
        }
        assert!(clean("x".repeat(256).as_bytes()).is_err());
        assert!(clean("x/".repeat(2100).as_bytes()).is_err());
    }
}
