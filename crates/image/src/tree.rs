//! Walking directory trees that somebody else may be changing, and writing them as tars.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use sys::entry;
use sys::fs::{FileType, OFlags, Root, Stat, major, minor};

use crate::archive::IdMap;
use crate::tarball::{Header, Kind, TarWriter, padding};

/// Deeper trees than this are refused: each level costs an open directory.
const MAX_DEPTH: usize = 900;

/// A file with more runs of content than this is written with its holes.
const MAX_EXTENTS: usize = 1 << 16;

/// A name met on a walk.
pub(crate) struct Found<'a> {
    /// Path from where the walk began, without a leading slash.
    pub(crate) path: &'a [u8],
    /// The directory that has the name.
    pub(crate) dir: BorrowedFd<'a>,
    /// The name.
    pub(crate) name: &'a OsStr,
    /// `lstat` of it.
    pub(crate) stat: &'a Stat,
}

impl Found<'_> {
    pub(crate) fn kind(&self) -> FileType {
        entry::kind(self.stat)
    }
}

/// Visits everything below `dir`, parents first, each directory in sorted order. Names that vanish
/// meanwhile are passed over. The visitor says whether to go into a directory.
pub(crate) fn walk(
    dir: BorrowedFd<'_>,
    visit: &mut dyn FnMut(&Found<'_>) -> io::Result<bool>,
) -> io::Result<()> {
    walk_from(entry::reopen_dir(dir)?, &mut Vec::new(), 0, visit)
}

/// As [`walk`], with a prefix for the paths.
pub(crate) fn walk_from(
    dir: OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
    visit: &mut dyn FnMut(&Found<'_>) -> io::Result<bool>,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        let shown = String::from_utf8_lossy(&path[..path.len().min(100)]).into_owned();
        return Err(io::Error::other(format!("directories are nested too deeply in {shown}…")));
    }
    for name in names(dir.as_fd())? {
        let stat = match entry::stat(&dir, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let len = path.len();
        if len > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let found = Found { path, dir: dir.as_fd(), name: &name, stat: &stat };
        if visit(&found)? && entry::kind(&stat) == FileType::Directory {
            match entry::open_dir(&dir, &name) {
                Ok(inner) => walk_from(inner, path, depth + 1, visit)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        path.truncate(len);
    }
    Ok(())
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let root = Root::from(entry::reopen_dir(dir)?);
    match root.read_dir(".") {
        // Removed while it was open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => Ok(other?.into_iter().map(|found| found.name).collect()),
    }
}

/// The mount that a walk began on.
#[derive(Clone, Copy)]
pub(crate) struct MountPoint {
    device: u64,
    mount: Option<u64>,
}

impl MountPoint {
    pub(crate) fn of(root: BorrowedFd<'_>) -> io::Result<Self> {
        let device = entry::stat_fd(root)?.st_dev;
        Ok(Self { device, mount: entry::mount_of(root, OsStr::new(""))? })
    }

    /// Whether something is on it, too. A name that has just vanished is.
    pub(crate) fn has(&self, found: &Found<'_>) -> io::Result<bool> {
        if found.stat.st_dev == self.device {
            return Ok(true);
        }
        match entry::mount_of(found.dir, found.name) {
            Ok(mount) => Ok(mount.is_some() && mount == self.mount),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Writes names of a tree into a tar.
pub(crate) struct TreeWriter<'a, W: Write> {
    pub(crate) tar: TarWriter<W>,
    ids: &'a IdMap,
    /// First name in the tar of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Files on any other mount are shown empty, as what a mount covers would be.
    pub(crate) only_mount: Option<MountPoint>,
    /// Holes of files are left out, in the way of GNU tar's version 1.0.
    pub(crate) sparse: bool,
    buffer: Vec<u8>,
}

impl<'a, W: Write> TreeWriter<'a, W> {
    pub(crate) fn new(output: W, ids: &'a IdMap) -> Self {
        let (tar, links) = (TarWriter::new(output), HashMap::new());
        Self { tar, ids, links, only_mount: None, sparse: false, buffer: vec![0; 128 << 10] }
    }

    /// Writes one name, as `as_name` in the tar. Sockets are left out.
    pub(crate) fn append(&mut self, found: &Found<'_>, as_name: &[u8]) -> io::Result<()> {
        let Some(mut described) = Described::new(found, as_name)? else { return Ok(()) };
        let stat = found.stat;
        described.uid = self.ids.uid_inside(stat.st_uid);
        described.gid = self.ids.gid_inside(stat.st_gid);
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 && described.kind != Kind::Dir {
            if let Some(first) = self.links.get(&key) {
                return self.tar.header(&described.hard_link(first));
            }
            self.links.insert(key, described.name.clone());
        }
        let here = match &self.only_mount {
            Some(mount) => mount.has(found)?,
            None => true,
        };
        if described.kind == Kind::File && here {
            return self.file(found, described.header(0));
        }
        self.tar.header(&described.header(0))
    }

    fn file(&mut self, found: &Found<'_>, header: Header<'_>) -> io::Result<()> {
        let fd = match entry::open(found.dir, found.name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let stat = entry::stat_fd(&fd)?;
        if entry::kind(&stat) != FileType::RegularFile {
            // Replaced between the two looks.
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let file = File::from(fd);
        // Blocks count 512 bytes: a file with fewer than it has bytes has holes, or is compressed.
        let taken = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if self.sparse
            && taken < size
            && let Some(extents) = sys::content::extents(&file, MAX_EXTENTS)?
        {
            return self.with_holes(&file, size, &extents, &header);
        }
        self.tar.header(&Header { size, ..header })?;
        self.content(&file, 0, size)?;
        self.tar.pad(size)
    }

    /// A file without its holes: their map goes before the content.
    fn with_holes(
        &mut self,
        file: &File,
        size: u64,
        extents: &[(u64, u64)],
        header: &Header<'_>,
    ) -> io::Result<()> {
        // The last run says how long the file is, where that ends in a hole.
        let ends = extents.last().is_none_or(|(_, end)| *end < size).then_some((size, size));
        let runs = || extents.iter().copied().chain(ends);
        let mut map = format!("{}\n", runs().count());
        for (start, end) in runs() {
            map.push_str(&format!("{start}\n{}\n", end - start));
        }
        let map_size = map.len() + padding(map.len() as u64);
        let content: u64 = extents.iter().map(|(start, end)| end - start).sum();
        let base = header.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let placeholder = [b"./GNUSparseFile.0/", &base[..base.len().min(60)]].concat();
        let payload = map_size as u64 + content;
        let sparse = Some((header.name, size));
        self.tar.header(&Header { name: &placeholder, size: payload, sparse, ..header.clone() })?;
        let mut bytes = map.into_bytes();
        bytes.resize(map_size, 0);
        self.tar.output().write_all(&bytes)?;
        for (start, end) in extents {
            self.content(file, *start, end - start)?;
        }
        self.tar.pad(payload)
    }

    /// Bytes of a file from an offset on.
    fn content(&mut self, file: &File, mut at: u64, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let want = left.min(self.buffer.len() as u64) as usize;
            let mut n = file.read_at(&mut self.buffer[..want], at)?;
            if n == 0 {
                // It has shrunk; the header promised more.
                self.buffer[..want].fill(0);
                n = want;
            }
            self.tar.output().write_all(&self.buffer[..n])?;
            left -= n as u64;
            at += n as u64;
        }
        Ok(())
    }
}

/// What a tar says of a name.
pub(crate) struct Described {
    /// As it stands in the tar.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since the epoch.
    pub(crate) mtime: i64,
    /// Where a symlink leads.
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Described {
    /// `None` for a socket: a tar has no way to say it.
    pub(crate) fn new(found: &Found<'_>, as_name: &[u8]) -> io::Result<Option<Self>> {
        let stat = found.stat;
        let (mut name, mut link, mut device) = (as_name.to_vec(), Vec::new(), (0, 0));
        let kind = match found.kind() {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        };
        match kind {
            Kind::Dir => name.push(b'/'),
            Kind::Symlink => link = entry::read_link(found.dir, found.name)?.into_vec(),
            Kind::Char | Kind::Block => device = (major(stat.st_rdev), minor(stat.st_rdev)),
            _ => {}
        }
        Ok(Some(Self {
            name,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            link,
            device,
            xattrs: xattrs(found)?,
        }))
    }

    /// The header for content of this size.
    pub(crate) fn header(&self, size: u64) -> Header<'_> {
        Header {
            name: &self.name,
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size,
            mtime: self.mtime,
            link: &self.link,
            device: self.device,
            xattrs: &self.xattrs,
            sparse: None,
        }
    }

    /// The header of a further name of a file.
    pub(crate) fn hard_link<'a>(&'a self, first: &'a [u8]) -> Header<'a> {
        Header { kind: Kind::HardLink, link: first, xattrs: &[], device: (0, 0), ..self.header(0) }
    }
}

/// The attributes that travel: what the file's owner or a package set, not what overlayfs or the
/// host's security modules did.
fn xattrs(found: &Found<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut out = Vec::new();
    let keys = match entry::xattr_keys(found.dir, found.name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(out),
        other => other?,
    };
    for key in keys {
        let bytes = key.as_bytes();
        let travels = bytes == b"security.capability"
            || bytes.starts_with(b"user.")
            || bytes.starts_with(b"system.posix_acl_");
        if travels && let Some(value) = entry::xattr(found.dir, found.name, &key)? {
            out.push((bytes.to_vec(), value));
        }
    }
    out.sort();
    Ok(out)
}
