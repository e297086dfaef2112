//! Unpacking a layer's tar into a directory of its own.
//!
//! Nothing outside of that directory is ever touched: parents are opened with `openat2` in-root,
//! and the last component is made with calls that never follow a symlink. Every byte that is no
//! file content goes to the split.

mod file;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;

use sys::entry::{self, FileTime};
use sys::fs::{FileType, Root};

use super::directory::{Directories, Opened, join, names, split};
use super::sharing::{Key, Sharing};
use crate::error::{Error, Result, Step};
use crate::materialize;
use crate::overlay;
use crate::split::SplitWriter;
use crate::tarball::{Entry, Kind, TarReader};

use file::Sharer;

/// What begins the name of a whiteout.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// A directory with this in it hides what is below.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this kind were aufs' own and mean nothing to anybody else.
const WHITEOUT_META: &[u8] = b".wh..wh.";

/// What unpacking a tar came to.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of its files.
    pub(crate) size: u64,
    /// Contents in `kept/`.
    pub(crate) kept: u64,
    /// Files that other layers may share, and their sizes.
    pub(crate) shareable: Vec<(Key, u64)>,
}

/// Reads the tar to the end of the input and unpacks it into `diff`; `kept` takes the content of
/// files that a later entry replaces.
///
/// # Errors
/// [`Error::BadTar`], [`Error::BadEntry`], [`Error::TooLarge`], [`Error::Input`], [`Error::Io`].
pub(crate) fn unpack_into<W: Write>(
    input: impl BufRead,
    diff: Root,
    kept: &OwnedFd,
    split: W,
    max_entries: u64,
    sharing: &Arc<Sharing>,
) -> Result<(Unpacked, W)> {
    let sharer = diff.try_clone().map(|diff| Sharer::new(sharing, diff));
    let mut unpacker = Unpacker {
        sharer: sharer.step("open the layer's directory")?,
        dirs: Directories::new(diff).step("open the layer's directory")?,
        kept,
        split: SplitWriter::new(split).step("write the layer's split")?,
        contents: HashMap::new(),
        next_content: 0,
        dir_times: Vec::new(),
        done: Unpacked::default(),
    };
    let mut reader = TarReader::new(input);
    let mut entries = 0;
    while let Some(found) = reader.next()? {
        entries += 1;
        if entries > max_entries {
            return Err(Error::TooLarge {
                what: "the number of a layer's files",
                limit: max_entries,
            });
        }
        unpacker.entry(&mut reader, &found)?;
    }
    while reader.trailer()? {
        unpacker.flush_raw(&mut reader)?;
    }
    unpacker.flush_raw(&mut reader)?;
    unpacker.share_again().step("share a layer's files")?;
    unpacker.done.shareable = unpacker.sharer.shareable();
    unpacker.set_dir_times().step("set a directory's time")?;
    let split = unpacker.split.finish().step("write the layer's split")?;
    Ok((unpacker.done, split))
}

struct Unpacker<'a, W: Write> {
    dirs: Directories,
    kept: &'a OwnedFd,
    split: SplitWriter<W>,
    /// The number of the content that an inode holds.
    contents: HashMap<u64, u64>,
    next_content: u64,
    sharer: Sharer,
    /// Directories get their times last: every name made in them changes those.
    dir_times: Vec<(Vec<u8>, FileTime)>,
    done: Unpacked,
}

impl<W: Write> Unpacker<'_, W> {
    fn flush_raw<R: BufRead>(&mut self, reader: &mut TarReader<R>) -> Result<()> {
        let raw = reader.raw();
        self.split.raw(raw).step("write the layer's split")?;
        raw.clear();
        Ok(())
    }

    /// Payload that no file holds is kept in the split.
    fn payload_to_split<R: BufRead>(&mut self, reader: &mut TarReader<R>) -> Result<()> {
        while reader.some_payload_to_raw()? {
            self.flush_raw(reader)?;
        }
        Ok(())
    }

    fn entry<R: BufRead>(&mut self, reader: &mut TarReader<R>, found: &Entry) -> Result<()> {
        if reader.raw().len() > 256 << 10 {
            self.flush_raw(reader)?;
        }
        if found.kind == Kind::Nothing {
            return self.payload_to_split(reader);
        }
        let path = found.clean_name()?;
        if path.is_empty() {
            self.payload_to_split(reader)?;
            return Self::root(found).map_err(|error| found.failed(error));
        }
        let (parent, name) = split(&path);
        let dir = self.dirs.open(parent).map_err(|error| found.failed(error))?;
        if name.as_bytes().starts_with(WHITEOUT) {
            self.payload_to_split(reader)?;
            return self.whiteout(&dir, name).map_err(|error| found.failed(error));
        }
        if found.kind == Kind::File {
            return self.file(reader, found, &dir, name);
        }
        self.other(found, &dir, name)
    }

    /// What a tar says of its root directory counts for nothing, as in Docker and containerd: whoever
    /// packs a directory says more of `/` than he means to (`mktemp -d` makes it his own, 0700).
    fn root(found: &Entry) -> io::Result<()> {
        if found.kind != Kind::Dir {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the root is no directory"));
        }
        Ok(())
    }

    fn whiteout(&mut self, dir: &Rc<Opened>, name: &OsStr) -> io::Result<()> {
        if name.as_bytes() == OPAQUE {
            return overlay::set_opaque(&dir.fd, OsStr::new("."));
        }
        if name.as_bytes().starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name.as_bytes()[WHITEOUT.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it hides nothing"));
        }
        match overlay::make_whiteout(&dir.fd, hidden) {
            // What is in the same layer stays (a whiteout is for the layers below), and a file
            // hides what is below anyway.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let stat = entry::stat(&dir.fd, hidden)?;
                if entry::kind(&stat) == FileType::Directory {
                    overlay::set_opaque(&dir.fd, hidden)?;
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Everything without content.
    fn other(&mut self, found: &Entry, dir: &Rc<Opened>, name: &OsStr) -> Result<()> {
        let fail = |error: io::Error| found.failed(error);
        match self.make(found, dir, name) {
            Ok(()) => {}
            Err(MakeError::Step(error)) => return Err(error),
            Err(MakeError::Call(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                if found.kind == Kind::Dir && self.keep_dir(dir, name).map_err(fail)? {
                    // A second entry for a directory changes what it says of it.
                } else if found.kind == Kind::HardLink && self.is_same(found, dir, name)? {
                    return Ok(());
                } else {
                    self.displace(dir, name).map_err(fail)?;
                    match self.make(found, dir, name) {
                        Ok(()) => {}
                        Err(MakeError::Step(error)) => return Err(error),
                        Err(MakeError::Call(error)) => return Err(fail(error)),
                    }
                }
            }
            Err(MakeError::Call(error)) => return Err(fail(error)),
        }
        match found.kind {
            // Owner, mode and times are those of the file, which has them already.
            Kind::HardLink => Ok(()),
            Kind::Dir => {
                self.dir_times.push((join(&dir.path, name), found.mtime));
                materialize::attributes(&dir.fd, name, found, owner(found)).map_err(fail)
            }
            _ => {
                materialize::attributes(&dir.fd, name, found, owner(found)).map_err(fail)?;
                entry::set_times(&dir.fd, name, found.mtime, found.mtime).map_err(fail)
            }
        }
    }

    fn make(&mut self, found: &Entry, dir: &Rc<Opened>, name: &OsStr) -> Result<(), MakeError> {
        if found.kind == Kind::HardLink {
            let target = found.clean_link().map_err(MakeError::Step)?;
            let (target_dir, target_name) = split(&target);
            let target_dir = self.dirs.open(target_dir)?;
            entry::link(&target_dir.fd, target_name, &dir.fd, name)?;
            self.sharer.drop_inode(entry::stat(&dir.fd, name)?.st_ino);
            return Ok(());
        }
        materialize::make(&dir.fd, name, found)?;
        if found.kind == Kind::Symlink {
            self.done.size += found.link.len() as u64;
        }
        Ok(())
    }

    /// Whether a hard link's name and its target are one file already.
    fn is_same(&mut self, found: &Entry, dir: &Rc<Opened>, name: &OsStr) -> Result<bool> {
        let target = found.clean_link()?;
        let (target_dir, target_name) = split(&target);
        let same = self.dirs.open(target_dir).and_then(|target_dir| {
            let (a, b) = (entry::stat(&target_dir.fd, target_name)?, entry::stat(&dir.fd, name)?);
            Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
        });
        same.map_err(|error| found.failed(error))
    }

    /// Whether what is there is a directory. A whiteout becomes one that hides what is below.
    fn keep_dir(&mut self, dir: &Rc<Opened>, name: &OsStr) -> io::Result<bool> {
        let stat = entry::stat(&dir.fd, name)?;
        if overlay::is_whiteout(&stat) {
            entry::unlink(&dir.fd, name)?;
            entry::mkdir(&dir.fd, name, 0o755)?;
            overlay::set_opaque(&dir.fd, name)?;
            return Ok(true);
        }
        Ok(entry::kind(&stat) == FileType::Directory)
    }

    /// Takes away what a new entry replaces. Content that the split refers to is kept.
    fn displace(&mut self, dir: &Opened, name: &OsStr) -> io::Result<()> {
        let stat = entry::stat(&dir.fd, name)?;
        match entry::kind(&stat) {
            FileType::Directory => {
                let inner = Opened { fd: entry::open_dir(&dir.fd, name)?, path: Vec::new() };
                for name in names(&inner.fd)? {
                    self.displace(&inner, &name)?;
                }
                self.dirs.forget();
                return entry::rmdir(&dir.fd, name);
            }
            FileType::Symlink => self.dirs.forget(),
            _ => {}
        }
        if stat.st_nlink == 1 {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            self.done.size = self.done.size.saturating_sub(size);
        }
        self.sharer.drop_inode(stat.st_ino);
        if let Some(content) = self.contents.remove(&stat.st_ino) {
            self.done.kept += 1;
            let kept = content.to_string();
            return entry::rename(&dir.fd, name, self.kept, OsStr::new(&kept), true);
        }
        entry::unlink(&dir.fd, name)
    }

    /// Inner directories come after outer ones in most tars; going backwards spares the outer
    /// directory's access time at best, but costs nothing.
    fn set_dir_times(&mut self) -> io::Result<()> {
        for (path, time) in std::mem::take(&mut self.dir_times).into_iter().rev() {
            if path.is_empty() {
                let dir = self.dirs.open(b"")?;
                entry::set_times(&dir.fd, OsStr::new("."), time, time)?;
                continue;
            }
            let (parent, name) = split(&path);
            let set = self.dirs.open(parent).and_then(|dir| {
                let stat = entry::stat(&dir.fd, name)?;
                // A later entry may have replaced the directory.
                if entry::kind(&stat) != FileType::Directory {
                    return Ok(());
                }
                entry::set_times(&dir.fd, name, time, time)
            });
            match set {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Layers keep the ids of their tar; a container's user namespace maps them at the mount.
fn owner(found: &Entry) -> (u32, u32) {
    (found.uid, found.gid)
}

/// Failures of the call that makes a name are told from those before it.
enum MakeError {
    Call(io::Error),
    Step(Error),
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        Self::Call(error)
    }
}
