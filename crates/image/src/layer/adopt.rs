//! Making a layer of files that are on disk already, with overlayfs' marks on them: what a
//! container or a step of a build has written.
//!
//! No tar is written. The files are where they stay, and walking them in order gives the bytes that
//! their tar would have: headers go to the split and the hash, content to the hash alone.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest as _, Sha256};
use sys::entry::{self, FileTime};
use sys::fs::{FileType, Mode, OFlags, Root};
use types::digest::Digest;

use super::copy::copy_tree;
use super::sharing::{self, Attributes, Sharing};
use super::staging::{Staged, Staging};
use super::store::Layers;
use super::unpack;
use super::unpack::Unpacked;
use crate::error::{Result, Step};
use crate::overlay;
use crate::split::SplitWriter;
use crate::stream::Passed;
use crate::tarball::{BLOCK, Header, Kind, Segment, TarWriter, padding};
use crate::tree::{self, Described, Found};

/// Attributes that only root sees: overlayfs' notes, and what does not travel in layers.
const TRUSTED: &[u8] = b"trusted.";

/// What a layer is made of.
pub(crate) struct Adopted<'a> {
    /// The directory that has the upper directory.
    pub(crate) parent: &'a Root,
    /// Its name there.
    pub(crate) name: &'a OsStr,
    /// Move the files rather than copy them.
    pub(crate) consume: bool,
    /// No time is later, in seconds since the epoch.
    pub(crate) latest: Option<i64>,
    /// Whether a path is a directory in the layers below.
    pub(crate) below: &'a dyn Fn(&[u8]) -> bool,
}

impl Layers {
    /// Makes a layer of an upper directory, under a temporary name.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(crate) fn adopt(&self, adopted: &Adopted<'_>) -> Result<Staged> {
        let staging = Staging::begin(self)?;
        let layer = &staging.layer;
        take(adopted, layer).step("take a container's files")?;
        let diff = layer.open("diff", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        let diff = diff.step("open a layer")?;
        let split = io::BufWriter::with_capacity(64 << 10, staging.split()?);
        let record = Record {
            split: SplitWriter::new(split).step("write the layer's split")?,
            hash: Sha256::new(),
            size: 0,
        };
        let mut adopter = Adopter {
            adopted,
            tar: TarWriter::new(record),
            links: HashMap::new(),
            shared: HashSet::new(),
            times: Vec::new(),
            sharing: &staging.sharing,
            number: staging.sharing.begin(layer.sub_root("diff").step("open a layer")?),
            tmp: entry::reopen_dir(layer).step("open a layer")?,
            done: Unpacked::default(),
            buffer: vec![0; 128 << 10],
        };
        plain_root(&diff).and_then(|()| adopter.walk(&diff)).step("read a container's files")?;
        let Adopter { tar, done, .. } = adopter;
        let passed = tar.into_output().finish().step("write the layer's split")?;
        staging.finish(done, passed)
    }
}

/// Brings the files into the layer's directory.
fn take(adopted: &Adopted<'_>, layer: &Root) -> io::Result<()> {
    if adopted.consume {
        match entry::rename(adopted.parent, adopted.name, layer, OsStr::new("diff"), false) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            other => return other,
        }
    }
    layer.mkdir("diff", Mode::from_raw_mode(0o755))?;
    let from = entry::open_dir(adopted.parent, adopted.name)?;
    let to = layer.open("diff", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    copy_tree(&from, &to)
}

/// Makes the layer's root directory what it is without a layer, which says nothing of it.
fn plain_root(diff: &OwnedFd) -> io::Result<()> {
    strip(diff.as_fd(), OsStr::new("."), &|_| false)?;
    entry::chown_fd(diff, 0, 0)?;
    entry::chmod_fd(diff, 0o755)
}

/// The bytes of a tar: hashed, and written down unless they are content.
struct Record<W: Write> {
    split: SplitWriter<W>,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Record<W> {
    fn content(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn finish(self) -> io::Result<Passed> {
        self.split.finish()?.flush()?;
        let diff_id = Digest::from_sha256(self.hash.finalize().into());
        Ok(Passed { blob: None, diff_id, size: self.size })
    }
}

impl<W: Write> Write for Record<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.split.raw(bytes)?;
        self.content(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Adopter<'a, W: Write> {
    adopted: &'a Adopted<'a>,
    tar: TarWriter<Record<W>>,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Files of other layers that are this one's as well.
    shared: HashSet<u64>,
    /// Directories get their times last: taking names out of them changes those.
    times: Vec<(Vec<u8>, FileTime)>,
    sharing: &'a Sharing,
    number: u32,
    tmp: OwnedFd,
    done: Unpacked,
    buffer: Vec<u8>,
}

impl<W: Write> Adopter<'_, W> {
    fn time(&self, seconds: i64) -> i64 {
        self.adopted.latest.map_or(seconds, |latest| seconds.min(latest))
    }

    fn walk(&mut self, diff: &OwnedFd) -> io::Result<()> {
        tree::walk(diff.as_fd(), &mut |found| self.visit(found))?;
        self.tar.end()?;
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            let root = Root::from(entry::reopen_dir(diff)?);
            let (dir, name) = root.parent(OsStr::from_bytes(&path).as_ref())?;
            entry::set_times(&dir, name, time, time)?;
        }
        Ok(())
    }

    fn visit(&mut self, found: &Found<'_>) -> io::Result<bool> {
        if overlay::is_whiteout(found.stat) {
            let (name, mtime) = (hidden(found.path), self.time(found.stat.st_mtime));
            self.tar.header(&Header { name: &name, mode: 0o600, mtime, ..Header::default() })?;
            return Ok(false);
        }
        if found.kind() == FileType::Socket {
            // A tar has no way to say it.
            entry::unlink(found.dir, found.name)?;
            return Ok(false);
        }
        let is_dir = found.kind() == FileType::Directory;
        // The kernel marks every new directory; the mark means nothing where nothing is below.
        let opaque = is_dir
            && overlay::is_opaque(found.dir, found.name)?
            && (self.adopted.below)(found.path);
        strip(found.dir, found.name, &|key| opaque && key == overlay::OPAQUE.as_bytes())?;
        self.plain(found, found.path)?;
        if opaque {
            let name = [found.path, b"/", unpack::OPAQUE].concat();
            let mtime = self.time(found.stat.st_mtime);
            self.tar.header(&Header { name: &name, mode: 0o600, mtime, ..Header::default() })?;
        }
        Ok(is_dir)
    }

    /// One name, as the tar has it.
    fn plain(&mut self, found: &Found<'_>, as_name: &[u8]) -> io::Result<()> {
        let Some(mut described) = Described::new(found, as_name)? else { return Ok(()) };
        described.mtime = self.time(described.mtime);
        let key = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1 && described.kind != Kind::Dir {
            if let Some(first) = self.links.get(&key) {
                return self.tar.header(&described.hard_link(first));
            }
            self.links.insert(key, described.name.clone());
        }
        match described.kind {
            Kind::File => self.file(found, &described)?,
            Kind::Symlink => {
                self.done.size += described.link.len() as u64;
                self.tar.header(&described.header(0))?;
            }
            _ => self.tar.header(&described.header(0))?,
        }
        self.set_time(found, &described)
    }

    fn set_time(&mut self, found: &Found<'_>, described: &Described) -> io::Result<()> {
        let time = FileTime { seconds: described.mtime, nanoseconds: 0 };
        if described.kind == Kind::Dir {
            if !found.path.is_empty() {
                self.times.push((found.path.to_vec(), time));
            }
            return Ok(());
        }
        if described.kind == Kind::File && found.stat.st_nlink == 1 {
            // Done before the file was shared.
            return Ok(());
        }
        entry::set_times(found.dir, found.name, time, time)
    }

    fn file(&mut self, found: &Found<'_>, described: &Described) -> io::Result<()> {
        let file = entry::open_regular(found.dir, found.name)?;
        let mut file = File::from(file.ok_or(io::ErrorKind::NotFound)?);
        let size = u64::try_from(found.stat.st_size).unwrap_or(0);
        self.tar.header(&described.header(size))?;
        if size > 0 {
            let whole = [Segment { offset: 0, len: size }];
            self.tar.output().split.file(found.path, &whole)?;
        }
        let mut left = size;
        while left > 0 {
            let want = left.min(self.buffer.len() as u64) as usize;
            let n = file.read(&mut self.buffer[..want])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tar.output().content(&self.buffer[..n]);
            left -= n as u64;
        }
        self.tar.output().write_all(&[0; BLOCK][..padding(size)])?;
        self.done.size += size;
        if found.stat.st_nlink == 1 {
            self.share(found, described, file)?;
        }
        Ok(())
    }

    /// Gives the file its time, and puts another layer's in its place if that is the same.
    fn share(&mut self, found: &Found<'_>, described: &Described, file: File) -> io::Result<()> {
        let time = FileTime { seconds: described.mtime, nanoseconds: 0 };
        entry::set_times_fd(&file, time, time)?;
        let xattrs = &described.xattrs;
        let attributes = Attributes { mtime: time, ..Attributes::of(found.stat, xattrs) };
        let Some(key) = attributes.key(found.path) else { return Ok(()) };
        self.done.shareable.push((key, attributes.size));
        match self.sharing.find(self.number, key, found.path, &attributes) {
            // Two files of this layer must not become one.
            Some(other) if !self.shared.contains(&other.inode) => {
                io::Seek::rewind(&mut &file)?;
                if sharing::same_content(&file, &other.file)?
                    && sharing::replace(&other, found.dir, found.name, self.tmp.as_fd())?
                {
                    self.shared.insert(other.inode);
                }
            }
            _ => {
                self.sharing.tell(key, self.number);
            }
        }
        Ok(())
    }
}

/// Takes attributes off that are no part of the layer, but for those to keep.
fn strip(dir: impl AsFd, name: &OsStr, keep: &dyn Fn(&[u8]) -> bool) -> io::Result<()> {
    for key in entry::xattr_keys(&dir, name)? {
        let bytes = key.as_bytes();
        if bytes.starts_with(TRUSTED) && !keep(bytes) {
            entry::remove_xattr(&dir, name, &key)?;
        }
    }
    Ok(())
}

/// The name of the whiteout for a path.
fn hidden(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    [&path[..at], unpack::WHITEOUT, &path[at..]].concat()
}

#[cfg(test)]
mod tests;
