//! Regular files of a layer: written, or shared with another layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use sys::entry;
use sys::fs::{Root, Stat};

use super::{Unpacker, owner};
use crate::error::{Result, Step};
use crate::layer::directory::{Opened, join, split};
use crate::layer::sharing::{self, Attributes, Candidate, Key, Sharing};
use crate::materialize;
use crate::tarball::{Entry, Segment, TarReader};

/// Bytes that are compared at a time.
const COMPARED: usize = 128 << 10;

/// Which files of the layer are shared with others.
pub(super) struct Sharer {
    sharing: Arc<Sharing>,
    layer: u32,
    /// Files that others may link to, by inode.
    own: HashMap<u64, (Key, u64)>,
    /// Paths of files that a layer made at the same time has as well.
    twice: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Sharer {
    pub(super) fn new(sharing: &Arc<Sharing>, diff: Root) -> Self {
        let layer = sharing.begin(diff);
        let (own, twice, buffer) = (HashMap::new(), Vec::new(), Vec::new());
        Self { sharing: Arc::clone(sharing), layer, own, twice, buffer }
    }

    fn find(&self, key: Key, path: &[u8], attributes: &Attributes<'_>) -> Option<Candidate> {
        self.sharing.find(self.layer, key, path, attributes)
    }

    /// A file that was written.
    fn tell(&mut self, inode: u64, key: Key, size: u64, path: Vec<u8>) {
        self.own.insert(inode, (key, size));
        if !self.sharing.tell(key, self.layer) {
            self.twice.push(path);
        }
    }

    /// Nobody may share this file: it has several names in its own layer, or none any more.
    pub(super) fn drop_inode(&mut self, inode: u64) {
        if let Some((key, _)) = self.own.remove(&inode) {
            self.sharing.take_back(key, self.layer);
        }
    }

    pub(super) fn shareable(&mut self) -> Vec<(Key, u64)> {
        std::mem::take(&mut self.own).into_values().collect()
    }

    /// How many bytes of the payload are the candidate's as well; those have been read.
    fn compare<R: BufRead>(
        &mut self,
        reader: &mut TarReader<R>,
        found: &Entry,
        candidate: &File,
    ) -> Result<u64> {
        self.buffer.resize(COMPARED, 0);
        let mut same = 0;
        while same < found.payload {
            let bytes = reader.payload((found.payload - same).min(COMPARED as u64))?;
            let n = bytes.len();
            let read = candidate.read_exact_at(&mut self.buffer[..n], same);
            if read.is_err() || self.buffer[..n] != *bytes {
                break;
            }
            reader.used(n);
            same += n as u64;
        }
        Ok(same)
    }
}

/// What of a tar's entry makes two files the same.
fn attributes<'a>(found: &Entry, xattrs: &'a [(Vec<u8>, Vec<u8>)]) -> Attributes<'a> {
    let Entry { size, mode, uid, gid, mtime, .. } = *found;
    Attributes { size, mode, uid, gid, mtime, xattrs }
}

impl<W: Write> Unpacker<'_, W> {
    pub(super) fn file<R: BufRead>(
        &mut self,
        reader: &mut TarReader<R>,
        found: &Entry,
        dir: &Rc<Opened>,
        name: &OsStr,
    ) -> Result<()> {
        let path = join(&dir.path, name);
        let whole = [Segment { offset: 0, len: found.payload }];
        let segments = found.segments.as_deref().unwrap_or(&whole);
        if found.payload > 0 {
            self.flush_raw(reader)?;
            self.split.file(&path, segments).step("write the layer's split")?;
        }
        let takes = |(key, _): &&(Vec<u8>, Vec<u8>)| materialize::takes_xattr(key);
        let mut xattrs: Vec<_> = found.xattrs.iter().filter(takes).cloned().collect();
        xattrs.sort_unstable();
        let attributes = attributes(found, &xattrs);
        let key = if found.segments.is_none() { attributes.key(&path) } else { None };
        let candidate = key.and_then(|key| self.sharer.find(key, &path, &attributes));
        // Two files of this layer must not become one.
        let candidate = candidate.filter(|other| !self.contents.contains_key(&other.inode));
        let mut done = 0;
        if let (Some(key), Some(candidate)) = (key, &candidate) {
            done = self.sharer.compare(reader, found, &candidate.file)?;
            if done == found.payload && self.link(candidate, dir, name)? {
                self.number(candidate.inode);
                self.sharer.own.insert(candidate.inode, (key, found.size));
                self.done.size += found.size;
                return Ok(());
            }
        }
        let (file, made) = self.create(found, dir, name).map_err(|error| found.failed(error))?;
        if found.payload > 0 {
            self.number(made.st_ino);
        }
        if let Some(candidate) = candidate {
            self.copy(&candidate.file, &file, done).map_err(|error| found.failed(error))?;
        }
        materialize::content(reader, &file, found, done)?;
        self.sharer.sharing.wrote(found.payload);
        self.done.size += found.size;
        materialize::finish(&file, found, owner(found), Some(&made))
            .map_err(|error| found.failed(error))?;
        if let Some(key) = key {
            self.sharer.tell(made.st_ino, key, found.size, path);
        }
        Ok(())
    }

    /// Remembers which of the split's contents an inode holds.
    fn number(&mut self, inode: u64) {
        self.contents.insert(inode, self.next_content);
        self.next_content += 1;
    }

    fn create(&mut self, found: &Entry, dir: &Opened, name: &OsStr) -> io::Result<(File, Stat)> {
        // Set-id bits only when it is complete.
        let create = || entry::create(&dir.fd, name, found.mode & 0o777);
        let fd = match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.displace(dir, name)?;
                create()
            }
            other => other,
        }?;
        let stat = entry::stat_fd(&fd)?;
        Ok((File::from(fd), stat))
    }

    /// Gives another layer's file this name. `false` when it cannot have any more names.
    fn link(&mut self, candidate: &Candidate, dir: &Opened, name: &OsStr) -> Result<bool> {
        let link = || entry::link_fd(&candidate.file, &dir.fd, name);
        let linked = match link() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.displace(dir, name).step("replace a file of a layer")?;
                link()
            }
            other => other,
        };
        Ok(linked.is_ok())
    }

    /// The first bytes of a file that turned out not to be the same, or not to be shareable.
    fn copy(&mut self, from: &File, to: &File, len: u64) -> io::Result<()> {
        let mut at = 0;
        while at < len {
            let n = (len - at).min(COMPARED as u64) as usize;
            let buffer = &mut self.sharer.buffer[..n];
            from.read_exact_at(buffer, at)?;
            to.write_all_at(buffer, at)?;
            at += n as u64;
        }
        Ok(())
    }

    /// Shares what was written at the same time as the same file of another layer.
    pub(super) fn share_again(&mut self) -> io::Result<()> {
        for path in std::mem::take(&mut self.sharer.twice) {
            let (parent, name) = split(&path);
            let Ok(dir) = self.dirs.open(parent) else { continue };
            let Ok(Some(fd)) = entry::open_regular(&dir.fd, name) else { continue };
            let own = File::from(fd);
            let stat = entry::stat_fd(&own)?;
            let inode = stat.st_ino;
            // Replaced by a later entry, or it has a second name.
            let Some((key, size)) = self.sharer.own.get(&inode).copied() else { continue };
            let xattrs = entry::xattrs_fd(&own, materialize::takes_xattr)?;
            let other = self.sharer.find(key, &path, &Attributes::of(&stat, &xattrs));
            let other = other.filter(|other| !self.contents.contains_key(&other.inode));
            let Some(other) = other else { continue };
            if !sharing::same_content(&own, &other.file)?
                || !sharing::replace(&other, dir.fd.as_fd(), name, self.kept.as_fd())?
            {
                continue;
            }
            self.sharer.own.remove(&inode);
            self.sharer.own.insert(other.inode, (key, size));
            if let Some(number) = self.contents.remove(&inode) {
                self.contents.insert(other.inode, number);
            }
        }
        Ok(())
    }
}
