//! Creating, changing and removing names below a [`Root`].

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid};
use rustix::fs::{XattrFlags, mkdirat, mknodat, unlinkat};
use rustix::io::Errno;

use super::{Root, dirent, proc_fd_path};

/// What `mknod(2)` may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Character device.
    Char(Dev),
    /// Block device.
    Block(Dev),
    /// Named pipe.
    Fifo,
    /// Socket (as found in layers: nothing listens).
    Socket,
}

impl Root {
    /// Creates a regular file that must not exist and opens it for reading and writing.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken, even by a dangling symlink; else as [`Root::open`].
    pub fn create_file(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<File> {
        let (dir, name) = self.parent(path.as_ref())?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&dir, name, flags, mode)?))
    }

    /// Creates one directory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, … of `mkdirat(2)`.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<()> {
        let (dir, name) = self.parent(path.as_ref())?;
        Ok(mkdirat(&dir, name, mode)?)
    }

    /// Creates a directory and all its missing parents and returns an `O_PATH` handle on it.
    /// Symlinks on the way are followed inside the root, and what they point to is created if it
    /// is missing, as the parents of a mount point are in Docker.
    ///
    /// # Errors
    /// `ENOTDIR` when something on the way is no directory, `ELOOP`, `EROFS`, …
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        match self.open_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        let resolved = self.resolve(path)?;
        let mut here = self.open_dir("/")?;
        for name in resolved.components().filter_map(|c| match c {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        }) {
            // NOFOLLOW: `resolve` left no symlink, so one that is here now was put by a racer.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = match rustix::fs::openat(&here, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match mkdirat(&here, name, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                    rustix::fs::openat(&here, name, flags, Mode::empty())?
                }
                other => other?,
            };
            here = next;
        }
        Ok(here)
    }

    /// Creates an empty file with all missing parents, unless something is there already, and
    /// returns an `O_PATH` handle on what is there. Used for the target of a file bind mount.
    ///
    /// # Errors
    /// As [`Root::mkdir_all`]; `EISDIR`… never: an existing directory is returned as it is.
    pub fn touch_all(
        &self,
        path: impl AsRef<Path>,
        mode: Mode,
        dir_mode: Mode,
    ) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        match self.open_path(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        let resolved = self.resolve(path)?;
        let (Some(parent), Some(name)) = (resolved.parent(), resolved.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        let dir = self.mkdir_all(parent, dir_mode)?;
        let flags =
            OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&dir, name, flags, mode) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&dir, name, flags, Mode::empty())?)
    }

    /// Makes a symlink; its text is not looked at.
    ///
    /// # Errors
    /// `EEXIST`, … of `symlinkat(2)`.
    pub fn symlink(&self, target: impl AsRef<OsStr>, path: impl AsRef<Path>) -> io::Result<()> {
        let (dir, name) = self.parent(path.as_ref())?;
        Ok(rustix::fs::symlinkat(Path::new(target.as_ref()), &dir, name)?)
    }

    /// Makes a hard link; neither last component is followed.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EXDEV`, … of `linkat(2)`.
    pub fn hard_link(&self, old: impl AsRef<Path>, new: impl AsRef<Path>) -> io::Result<()> {
        let (old_dir, old_name) = self.parent(old.as_ref())?;
        let (new_dir, new_name) = self.parent(new.as_ref())?;
        Ok(rustix::fs::linkat(&old_dir, old_name, &new_dir, new_name, AtFlags::empty())?)
    }

    /// Makes a device node, fifo or socket. The umask applies to `mode`.
    ///
    /// # Errors
    /// `EPERM` in a user namespace, `EEXIST`, … of `mknodat(2)`.
    pub fn mknod(&self, path: impl AsRef<Path>, node: Node, mode: Mode) -> io::Result<()> {
        let (dir, name) = self.parent(path.as_ref())?;
        let (kind, dev) = match node {
            Node::Char(dev) => (FileType::CharacterDevice, dev),
            Node::Block(dev) => (FileType::BlockDevice, dev),
            Node::Fifo => (FileType::Fifo, 0),
            Node::Socket => (FileType::Socket, 0),
        };
        Ok(mknodat(&dir, name, kind, mode, dev)?)
    }

    /// Renames inside the root, replacing what was at `new`.
    ///
    /// # Errors
    /// Those of `renameat(2)`.
    pub fn rename(&self, old: impl AsRef<Path>, new: impl AsRef<Path>) -> io::Result<()> {
        let (old_dir, old_name) = self.parent(old.as_ref())?;
        let (new_dir, new_name) = self.parent(new.as_ref())?;
        Ok(rustix::fs::renameat(&old_dir, old_name, &new_dir, new_name)?)
    }

    /// Renames inside the root; `EEXIST` when `new` is taken.
    ///
    /// # Errors
    /// Those of `renameat2(2)` with `RENAME_NOREPLACE`.
    pub fn rename_noreplace(&self, old: impl AsRef<Path>, new: impl AsRef<Path>) -> io::Result<()> {
        let (old_dir, old_name) = self.parent(old.as_ref())?;
        let (new_dir, new_name) = self.parent(new.as_ref())?;
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&old_dir, old_name, &new_dir, new_name, flags)?)
    }

    /// Lets two names change places, in one step.
    ///
    /// # Errors
    /// Those of `renameat2(2)` with `RENAME_EXCHANGE`.
    pub fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) -> io::Result<()> {
        let (one_dir, one_name) = self.parent(one.as_ref())?;
        let (other_dir, other_name) = self.parent(other.as_ref())?;
        let flags = RenameFlags::EXCHANGE;
        Ok(rustix::fs::renameat_with(&one_dir, one_name, &other_dir, other_name, flags)?)
    }

    /// Removes anything but a directory.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, … of `unlinkat(2)`.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (dir, name) = self.parent(path.as_ref())?;
        Ok(unlinkat(&dir, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `ENOENT`, … of `unlinkat(2)`.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (dir, name) = self.parent(path.as_ref())?;
        Ok(unlinkat(&dir, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes a whole tree (or a single file); a missing one is fine. Symlinks are removed, never
    /// followed. Goes on after a failure and returns the first.
    ///
    /// # Errors
    /// The first failure met; everything that could be removed has been.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (dir, name) = match self.parent(path.as_ref()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        dirent::remove_tree(dir.as_fd(), name)
    }

    /// Changes the owner of the name itself (a symlink is not followed).
    ///
    /// # Errors
    /// Those of `fchownat(2)`.
    pub fn chown(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
        let fd = self.open_path_nofollow(path)?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(rustix::fs::chownat(&fd, "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Changes the permission bits; a symlink at the end is `EOPNOTSUPP`.
    ///
    /// # Errors
    /// Those of `fchmod(2)`, and `EOPNOTSUPP`.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<()> {
        let fd = self.open_path_nofollow(path)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP.into());
        }
        // fchmod on an O_PATH fd is EBADF, and fchmodat2 is only there since 6.6.
        Ok(rustix::fs::chmod(proc_fd_path(&fd), mode)?)
    }

    /// Sets access and modification time of the name itself.
    ///
    /// # Errors
    /// Those of `utimensat(2)`.
    pub fn set_times(&self, path: impl AsRef<Path>, times: &Timestamps) -> io::Result<()> {
        let (dir, name) = self.parent(path.as_ref())?;
        Ok(rustix::fs::utimensat(&dir, name, times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets an extended attribute of the name itself.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EPERM`, … of `lsetxattr(2)`.
    pub fn set_xattr(
        &self,
        path: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
        value: &[u8],
    ) -> io::Result<()> {
        let (dir, file) = self.parent_or_self(path.as_ref())?;
        let at = proc_fd_path(&dir).join(file);
        Ok(rustix::fs::lsetxattr(at, name.as_ref(), value, XattrFlags::empty())?)
    }

    /// All extended attributes of the name itself, sorted by name.
    ///
    /// # Errors
    /// Those of `llistxattr(2)` and `lgetxattr(2)`; a file system without them gives none.
    pub fn xattrs(&self, path: impl AsRef<Path>) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        let (dir, file) = self.parent_or_self(path.as_ref())?;
        let at = proc_fd_path(&dir).join(file);
        let mut names = vec![0u8; 4096];
        let len = loop {
            match rustix::fs::llistxattr(&at, &mut names[..]) {
                Ok(len) => break len,
                Err(Errno::RANGE) if names.len() < 1 << 16 => names.resize(names.len() * 4, 0),
                Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                Err(e) => return Err(e.into()),
            }
        };
        let mut out = Vec::new();
        for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let mut value = vec![0u8; 1 << 16];
            match rustix::fs::lgetxattr(&at, OsStr::from_bytes(name), &mut value[..]) {
                Ok(len) => value.truncate(len),
                Err(Errno::NODATA) => continue,
                Err(e) => return Err(e.into()),
            }
            out.push((OsString::from_vec(name.to_vec()), value));
        }
        out.sort();
        Ok(out)
    }

    /// As [`Root::parent`], but the root itself is `(root, ".")`.
    fn parent_or_self(&self, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
        match self.parent(path) {
            Ok((dir, name)) => Ok((dir, PathBuf::from(name))),
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Ok((self.open_dir(path)?, PathBuf::from(".")))
            }
            Err(e) => Err(e),
        }
    }
}
