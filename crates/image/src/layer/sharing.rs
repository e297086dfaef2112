//! Files that stand in several layers and cost their bytes once.
//!
//! A file of a layer that is being made is not written when another layer has one **at the same
//! path, with the same size, owner, mode, time, attributes and content**: it becomes a hard link
//! to that one. Layers are read-only and overlayfs breaks links when a container writes, so
//! nobody can tell, but for the number of links that `stat` shows. Where programs look at that
//! (cron refuses tables with several links), files are not shared.
//!
//! ```text
//! layers/<diff-id hex>/files   the layer's files that may be shared: a magic line, then sorted
//!                              records of 16 bytes, the key and the size (both little-endian)
//! ```
//!
//! A key is but a hint of where to look: attributes and content are compared before every link. So
//! a list that is missing, old or damaged costs bytes on disk and nothing else, and nobody has to
//! count references: the file system does, and an inode goes with its last layer.
//!
//! The keys of all layers are in memory only while layers are being made.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::flusher::Flusher;
use sha2::{Digest as _, Sha256};
use sys::entry::{self, FileTime};
use sys::fs::{FileType, Mode, OFlags, ResolveFlags, Root, Stat};

/// The list's name in a layer's directory.
const LIST: &str = "files";
const MAGIC: &[u8; 16] = b"isopod files 1\n\0";
const RECORD: usize = 16;
/// A list that is longer (67 million files) is not looked at.
const MAX_LIST: u64 = 1 << 30;
/// Even smaller files take a block and an inode, but ten thousand of them only that much as one
/// large one, and each would have a line in the lists.
pub(crate) const MIN_SIZE: u64 = 128;
/// ext4 stops at 65000 links, XFS at 2^31, btrfs at 65535 (some hundred in one directory).
const MAX_LINKS: u64 = 60_000;
/// Below these, programs refuse files with several links (cron, some mail and print spoolers).
const NEVER: [&[u8]; 2] = [b"etc/", b"var/spool/"];
/// How many layers are asked for a file of the same key.
const TRIES: usize = 2;

/// Digest of a file's path and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u64);

/// All of a file but its name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: FileTime,
    /// Sorted.
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(stat: &Stat, xattrs: &'a [(Vec<u8>, Vec<u8>)]) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: FileTime {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            xattrs,
        }
    }

    /// The key of a file at this path; `None` when it is none that is shared.
    pub(crate) fn key(&self, path: &[u8]) -> Option<Key> {
        if self.size < MIN_SIZE || NEVER.iter().any(|dir| path.starts_with(dir)) {
            return None;
        }
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(path);
        for (key, value) in self.xattrs {
            field(key);
            field(value);
        }
        for number in [self.size, u64::from(self.mode), u64::from(self.uid), u64::from(self.gid)] {
            hash.update(number.to_le_bytes());
        }
        hash.update(self.mtime.seconds.to_le_bytes());
        hash.update(self.mtime.nanoseconds.to_le_bytes());
        let digest = hash.finalize();
        digest.first_chunk().map(|bytes| Key(u64::from_le_bytes(*bytes)))
    }

    /// Whether a file has these.
    fn are_of(&self, file: &File, stat: &Stat) -> io::Result<bool> {
        let same = entry::kind(stat) == FileType::RegularFile
            && Attributes { xattrs: self.xattrs, ..Attributes::of(stat, &[]) } == *self;
        Ok(same && self.xattrs == entry::xattrs_fd(file, crate::materialize::takes_xattr)?)
    }
}

/// A file of another layer that may be the same.
pub(crate) struct Candidate {
    pub(crate) file: File,
    pub(crate) inode: u64,
}

/// Which files of which layers may be shared, while layers are being made.
#[derive(Debug)]
pub(crate) struct Sharing {
    dir: Root,
    flusher: Flusher,
    published: OnceLock<Published>,
    fresh: Mutex<Fresh>,
}

/// Layers that had been published when they were first asked for.
#[derive(Debug, Default)]
struct Published {
    layers: Vec<String>,
    /// Sorted, with the layer's place in `layers`.
    files: Vec<(Key, u32)>,
}

/// Layers that are being made.
#[derive(Debug, Default)]
struct Fresh {
    layers: Vec<Root>,
    files: HashMap<Key, u32>,
}

impl Sharing {
    /// `dir` is the directory of all layers.
    pub(crate) fn new(dir: Root) -> Self {
        let flusher = Flusher::default();
        Self { dir, flusher, published: OnceLock::new(), fresh: Mutex::default() }
    }

    /// Says that a file was written.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.flusher.wrote(bytes, &self.dir);
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a layer; `diff` is where its files are, whatever it is called later.
    pub(crate) fn begin(&self, diff: Root) -> u32 {
        let mut fresh = self.fresh();
        fresh.layers.push(diff);
        fresh.layers.len() as u32 - 1
    }

    /// A file of another layer than this one with this key and these attributes.
    pub(crate) fn find(
        &self,
        layer: u32,
        key: Key,
        path: &[u8],
        attributes: &Attributes<'_>,
    ) -> Option<Candidate> {
        let path = Path::new(OsStr::from_bytes(path));
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let open = |dir: &Root, path: &Path| {
            dir.open_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()
        };
        let fresh = {
            let fresh = self.fresh();
            let other = fresh.files.get(&key).filter(|other| **other != layer);
            other.and_then(|other| open(&fresh.layers[*other as usize], path))
        };
        let published = self.published.get_or_init(|| Published::read(&self.dir));
        let known = published.holding(key).take(TRIES).filter_map(|layer| {
            let diff = Path::new(layer).join("diff");
            open(&self.dir, &diff.join(path))
        });
        fresh.into_iter().chain(known).find_map(|fd| {
            // Keys are short, so whoever makes two layers can have the key of a file lead to a
            // device.
            let file = File::from(entry::reopen_regular(&fd).ok()??);
            let stat = entry::stat_fd(&file).ok()?;
            // Its type depends on the architecture.
            let fits =
                stat.st_nlink < MAX_LINKS as _ && attributes.are_of(&file, &stat).unwrap_or(false);
            fits.then(|| Candidate { inode: stat.st_ino, file })
        })
    }

    /// Tells of a complete file. `false` when another layer has told of one like it meanwhile.
    pub(crate) fn tell(&self, key: Key, layer: u32) -> bool {
        *self.fresh().files.entry(key).or_insert(layer) == layer
    }

    /// Takes back what was told: the file has several names in its own layer, or none any more.
    pub(crate) fn take_back(&self, key: Key, layer: u32) {
        let mut fresh = self.fresh();
        if fresh.files.get(&key) == Some(&layer) {
            fresh.files.remove(&key);
        }
    }
}

impl Published {
    /// Reads the lists of all layers. What cannot be read is left out.
    fn read(dir: &Root) -> Self {
        let mut out = Self::default();
        for found in dir.read_dir(".").unwrap_or_default() {
            let Some(name) = found.name.to_str().filter(|name| name.len() == 64) else { continue };
            let Ok(at) = u32::try_from(out.layers.len()) else { break };
            let list = read_list(dir, name).unwrap_or_default();
            out.files.extend(list.into_iter().map(|(key, _)| (key, at)));
            out.layers.push(name.to_owned());
        }
        out.files.sort_unstable();
        out
    }

    /// Layers with a file of this key.
    fn holding(&self, key: Key) -> impl Iterator<Item = &str> {
        let begin = self.files.partition_point(|(found, _)| *found < key);
        let same = self.files[begin..].iter().take_while(move |(found, _)| *found == key);
        same.map(|(_, at)| self.layers[*at as usize].as_str())
    }
}

/// Puts a link to another layer's file in the place of one that is the same. `tmp` is a directory of
/// the layer's own. `false` when that file cannot have any more names.
pub(crate) fn replace(
    other: &Candidate,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    tmp: BorrowedFd<'_>,
) -> io::Result<bool> {
    let tmp_name = OsStr::new("link");
    if entry::link_fd(&other.file, tmp, tmp_name).is_err() {
        return Ok(false);
    }
    entry::rename(tmp, tmp_name, dir, name, true)?;
    Ok(true)
}

/// Whether two files have the same content, from where they are read.
pub(crate) fn same_content(mut a: &File, mut b: &File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(b.read(&mut right)? == 0);
        }
        match b.read_exact(&mut right[..n]) {
            Ok(()) if left[..n] == right[..n] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Writes a layer's list.
pub(crate) fn write_list(layer: &Root, mut files: Vec<(Key, u64)>) -> io::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    files.sort_unstable();
    let file = layer.create_file(LIST, Mode::from_raw_mode(0o600))?;
    let mut output = io::BufWriter::with_capacity(64 << 10, file);
    output.write_all(MAGIC)?;
    for (Key(key), size) in files {
        output.write_all(&key.to_le_bytes())?;
        output.write_all(&size.to_le_bytes())?;
    }
    output.flush()
}

/// Reads a layer's list.
pub(crate) fn read_list(layers: &Root, layer: &str) -> io::Result<Vec<(Key, u64)>> {
    let bytes = layers.read(Path::new(layer).join(LIST), MAX_LIST)?;
    let records = bytes.strip_prefix(MAGIC).unwrap_or_default();
    let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(records.chunks_exact(RECORD).map(|r| (Key(number(r)), number(&r[8..]))).collect())
}

/// Bytes of files that layers share: what they would take more if every layer had its own.
pub(crate) fn shared_bytes(layers: &Root, names: impl Iterator<Item = String>) -> u64 {
    let mut files: Vec<(Key, u64)> =
        names.flat_map(|name| read_list(layers, &name).unwrap_or_default()).collect();
    files.sort_unstable();
    files.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].1).sum()
}

#[cfg(test)]
mod tests;
