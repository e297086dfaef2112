//! Copies of whole trees on one host, with everything that a layer can hold.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::entry::{self, Errno, FileTime};
use sys::fs::{FileType, Node, Root, Stat};

use crate::tree::{self, Found};

/// Copies what is in a directory into another, which is empty. Sockets are left out. The blocks of
/// files are shared where the file system can.
pub(super) fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    copy_chosen(from, to, &|_| true, &|_| Ok(()))
}

/// As [`copy_tree`], but only those paths that are chosen; what a chosen path is in must be chosen,
/// too. `more` may make further names before the directories get their times.
pub(super) fn copy_chosen(
    from: &OwnedFd,
    to: &OwnedFd,
    chosen: &dyn Fn(&[u8]) -> bool,
    more: &dyn Fn(&Root) -> io::Result<()>,
) -> io::Result<()> {
    let mut copier = Copier {
        root: Root::from(entry::reopen_dir(to)?),
        open: (Vec::new(), entry::reopen_dir(to)?),
        links: HashMap::new(),
        dirs: Vec::new(),
    };
    let (dot, stat) = (OsStr::new("."), entry::stat_fd(from)?);
    tree::walk(from.as_fd(), &mut |found| match copier.copy(found, chosen) {
        // A container that is not paused has removed it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    })?;
    more(&copier.root)?;
    // Last: a default ACL would be handed down, and every name made in a directory changes its time.
    for (path, attributes) in copier.dirs.iter().rev() {
        let (dir, name) = copier.root.parent(Path::new(OsStr::from_bytes(path)))?;
        attributes.give(dir.as_fd(), name)?;
    }
    let top = Found { path: b"", dir: from.as_fd(), name: dot, stat: &stat };
    Attributes::of(&top)?.give(to.as_fd(), dot)
}

struct Copier {
    root: Root,
    /// The directory that was last written to, and its path.
    open: (Vec<u8>, OwnedFd),
    links: HashMap<(u64, u64), Vec<u8>>,
    dirs: Vec<(Vec<u8>, Attributes)>,
}

impl Copier {
    /// Opens the directory that a path is in.
    fn enter(&mut self, path: &[u8]) -> io::Result<()> {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if self.open.0 != path[..end] {
            let dir = match &path[..end] {
                b"" => entry::reopen_dir(&self.root)?,
                dir => entry::reopen_dir(self.root.open_dir(Path::new(OsStr::from_bytes(dir)))?)?,
            };
            self.open = (path[..end].to_vec(), dir);
        }
        Ok(())
    }

    fn copy(&mut self, found: &Found<'_>, chosen: &dyn Fn(&[u8]) -> bool) -> io::Result<bool> {
        if !chosen(found.path) {
            return Ok(false);
        }
        self.enter(found.path)?;
        let (dir, name) = (&self.open.1, found.name);
        let stat = found.stat;
        let is_dir = found.kind() == FileType::Directory;
        if stat.st_nlink > 1 && !is_dir {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let path = Path::new(OsStr::from_bytes(first));
                let (first_dir, first_name) = self.root.parent(path)?;
                entry::link(&first_dir, first_name, dir, name)?;
                return Ok(false);
            }
            self.links.insert(key, found.path.to_vec());
        }
        match found.kind() {
            FileType::RegularFile => return copy_file(found, dir).map(|()| false),
            FileType::Directory => entry::mkdir(dir, name, 0o700)?,
            FileType::Symlink => {
                entry::symlink(&entry::read_link(found.dir, name)?, dir, name)?;
            }
            FileType::CharacterDevice => entry::mknod(dir, name, Node::Char(stat.st_rdev), 0)?,
            FileType::BlockDevice => entry::mknod(dir, name, Node::Block(stat.st_rdev), 0)?,
            FileType::Fifo => entry::mknod(dir, name, Node::Fifo, 0)?,
            _ => return Ok(false),
        }
        let attributes = Attributes::of(found)?;
        if is_dir {
            self.dirs.push((found.path.to_vec(), attributes));
            return Ok(true);
        }
        attributes.give(dir.as_fd(), name)?;
        Ok(false)
    }
}

fn copy_file(found: &Found<'_>, dir: &OwnedFd) -> io::Result<()> {
    let from = entry::open_regular(found.dir, found.name)?;
    // Replaced between the two looks.
    let from = File::from(from.ok_or(io::ErrorKind::NotFound)?);
    let stat = entry::stat_fd(&from)?;
    let to = File::from(entry::create(dir, found.name, 0o600)?);
    content(&from, &to)?;
    entry::chown_fd(&to, stat.st_uid, stat.st_gid)?;
    for (key, value) in entry::xattrs_fd(&from, travels)? {
        entry::set_xattr_fd(&to, OsStr::from_bytes(&key), &value)?;
    }
    entry::chmod_fd(&to, stat.st_mode)?;
    entry::set_times_fd(&to, mtime(&stat), mtime(&stat))
}

fn content(mut from: &File, mut to: &File) -> io::Result<()> {
    loop {
        match entry::copy_range(from, to, 1 << 30) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // File systems that cannot copy (EINVAL, EOPNOTSUPP) or not to each other (EXDEV).
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS)
                ) =>
            {
                return io::copy(&mut from, &mut to).map(|_| ());
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a name has besides its content.
struct Attributes {
    stat: Stat,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    fn of(found: &Found<'_>) -> io::Result<Self> {
        let mut xattrs = Vec::new();
        for key in entry::xattr_keys(found.dir, found.name)? {
            if travels(key.as_bytes())
                && let Some(value) = entry::xattr(found.dir, found.name, &key)?
            {
                xattrs.push((key.as_bytes().to_vec(), value));
            }
        }
        Ok(Self { stat: *found.stat, xattrs })
    }

    fn give(&self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let Self { stat, xattrs } = self;
        entry::chown(dir, name, stat.st_uid, stat.st_gid)?;
        for (key, value) in xattrs {
            entry::set_xattr(dir, name, OsStr::from_bytes(key), value)?;
        }
        if entry::kind(stat) != FileType::Symlink {
            entry::chmod(dir, name, stat.st_mode)?;
        }
        entry::set_times(dir, name, mtime(stat), mtime(stat))
    }
}

/// What overlayfs or the host's security modules noted stays behind.
fn travels(key: &[u8]) -> bool {
    key == crate::overlay::OPAQUE.as_bytes() || crate::materialize::takes_xattr(key)
}

fn mtime(stat: &Stat) -> FileTime {
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    FileTime { seconds: stat.st_mtime, nanoseconds }
}
