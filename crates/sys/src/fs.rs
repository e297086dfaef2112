//! Files below a root that is not trusted.
//!
//! [`Root`] is a directory file descriptor together with the promise that no path handed to it can
//! leave it: every lookup goes through `openat2(2)` with `RESOLVE_IN_ROOT`, so that absolute
//! symlinks and `..` are confined as after a `chroot(2)`, and magic links (`/proc/*/fd`, …) are
//! refused. Paths may be given absolute or relative; both mean "from this root".
//!
//! Operations on a name (create, remove, stat without following) open the *parent* in-root and then
//! use the `*at` call on the last component, which never follows a symlink there.

mod dirent;
mod mutate;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

pub use dirent::{DirEntry, WalkEntry};
pub use mutate::Node;
pub use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Uid};
pub use rustix::fs::{CWD, major, makedev, minor};
use rustix::io::Errno;

/// Longest chain of symlinks that is followed by hand; the kernel's own limit (`MAXSYMLINKS`).
const MAX_SYMLINKS: usize = 40;

/// A directory that confines every lookup made through it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl From<OwnedFd> for Root {
    /// Takes a directory fd (may be `O_PATH`, may be a detached mount) as the root.
    fn from(dir: OwnedFd) -> Root {
        Root { dir }
    }
}

impl Root {
    /// Opens a directory named by a *trusted* host path as a root.
    ///
    /// # Errors
    /// Whatever `open(2)` says: `ENOENT`, `ENOTDIR`, `EACCES`, …
    pub fn open_host(path: impl AsRef<Path>) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root { dir: rustix::fs::open(path.as_ref(), flags, Mode::empty())? })
    }

    /// Opens a directory inside this root as a root of its own (symlinks resolved inside `self`).
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn sub_root(&self, path: impl AsRef<Path>) -> io::Result<Root> {
        Ok(Root { dir: self.open_dir(path)? })
    }

    /// A second handle on the same directory.
    ///
    /// # Errors
    /// `EMFILE` when out of descriptors.
    pub fn try_clone(&self) -> io::Result<Root> {
        Ok(Root { dir: self.dir.try_clone()? })
    }

    /// Gives the directory fd back.
    pub fn into_fd(self) -> OwnedFd {
        self.dir
    }

    /// `openat2` below the root; `O_CLOEXEC` is always added. With `O_NOFOLLOW` the last component
    /// is not followed, all others are (inside the root).
    ///
    /// `mode` counts only together with `O_CREAT`/`O_TMPFILE`.
    ///
    /// # Errors
    /// The errno of `openat2(2)`: `ENOENT`, `ENOTDIR`, `ELOOP`, `EXDEV` never.
    pub fn open(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(open_in(self.dir.as_fd(), path.as_ref(), flags, mode, ResolveFlags::empty())?)
    }

    /// As [`Root::open`], with further `RESOLVE_*` restrictions (say `NO_SYMLINKS`, `NO_XDEV`).
    ///
    /// # Errors
    /// As [`Root::open`]; `ELOOP`/`EXDEV` when the restriction was hit.
    pub fn open_with(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        Ok(open_in(self.dir.as_fd(), path.as_ref(), flags, mode, resolve)?)
    }

    /// An `O_PATH` handle on whatever the path leads to, symlinks followed inside the root.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_path(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH, Mode::empty())
    }

    /// An `O_PATH` handle on the last component itself, even if that is a symlink.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_path_nofollow(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// An `O_PATH` handle on a directory.
    ///
    /// # Errors
    /// As [`Root::open`]; `ENOTDIR` when it is something else.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// A regular file opened for reading; never blocks on a fifo or device.
    ///
    /// # Errors
    /// As [`Root::open`]; `EINVAL` when it is not a regular file.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open(path, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        Ok(File::from(fd))
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Root::open_file`]; `EFBIG` when it is longer.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let mut out = Vec::new();
        self.open_file(path)?.take(limit.saturating_add(1)).read_to_end(&mut out)?;
        if out.len() as u64 > limit {
            return Err(Errno::FBIG.into());
        }
        Ok(out)
    }

    /// Opens the parent directory of `path` and returns it with the last component, which has not
    /// been looked at. This is the way to every operation on a *name*.
    ///
    /// # Errors
    /// As [`Root::open`]; `EINVAL` when the path ends in `..` or is the root itself.
    pub fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name,
            _ => return Err(Errno::INVAL.into()),
        };
        let dir = path.parent().unwrap_or(Path::new(""));
        Ok((self.open_dir(dir)?, name))
    }

    /// `stat(2)` with symlinks followed inside the root.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn stat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.open_path(path)?)?)
    }

    /// `lstat(2)`: the last component is not followed.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn lstat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.open_path_nofollow(path)?)?)
    }

    /// Whether the path leads to anything (a dangling symlink does not).
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.open_path(path).is_ok()
    }

    /// The text of a symlink.
    ///
    /// # Errors
    /// As [`Root::open`]; `EINVAL` when it is no symlink.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let link = self.open_path_nofollow(path)?;
        read_link_fd(link.as_fd())
    }

    /// Where `path` leads inside the root, with every symlink expanded, as an absolute path *of the
    /// container*. Components that do not exist are kept as they are. For messages and for callers
    /// that must create what is missing; never join the result to a host path.
    ///
    /// # Errors
    /// `ELOOP` for a circle of symlinks, `ENOTDIR`, `EACCES`.
    pub fn resolve(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let mut done = PathBuf::new();
        let mut todo = components_reversed(path.as_ref());
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            let here = done.join(&name);
            match self.open_with(
                &here,
                OFlags::PATH | OFlags::NOFOLLOW,
                Mode::empty(),
                ResolveFlags::empty(),
            ) {
                Ok(fd) => {
                    let stat = rustix::fs::fstat(&fd)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                        links += 1;
                        if links > MAX_SYMLINKS {
                            return Err(Errno::LOOP.into());
                        }
                        let target = read_link_fd(fd.as_fd())?;
                        if target.is_absolute() {
                            done = PathBuf::new();
                        }
                        todo.extend(components_reversed(&target));
                    } else {
                        done = here;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => done = here,
                Err(e) => return Err(e),
            }
        }
        Ok(Path::new("/").join(done))
    }
}

/// The one `openat2` call. `EAGAIN` means that a rename raced with a `..` lookup (since 5.6).
fn open_in(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // openat2 is strict where openat is lax: a mode without O_CREAT is EINVAL.
    let creates = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if creates { mode } else { Mode::empty() };
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) if attempts < 128 => attempts += 1,
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The text of the symlink that an `O_PATH|O_NOFOLLOW` fd stands for.
fn read_link_fd(link: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let text = rustix::fs::readlinkat(link, "", Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(text.to_bytes())))
}

/// The normal and `..` components, last first, so that they can be popped.
fn components_reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// `/proc/self/fd/N`: a path that leads to an open fd for the calls that know paths only.
/// It needs a `/proc` of the calling process's own pid namespace.
pub fn proc_fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Opens a *trusted* host path, close-on-exec, symlinks followed.
///
/// # Errors
/// Those of `open(2)`.
pub fn open_host(path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// Changes the owner of an open file; `None` leaves that id.
///
/// # Errors
/// Those of `fchown(2)`.
pub fn chown_fd(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?)
}

pub use crate::entry::stat_fd;

/// The magic number of the file system that a file lies on (`PROC_SUPER_MAGIC`, …).
///
/// # Errors
/// Those of `fstatfs(2)`.
pub fn fs_magic(fd: impl AsFd) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64)
}

/// `chdir` to an open directory.
///
/// # Errors
/// `EACCES`, `ENOTDIR`.
pub fn chdir_fd(dir: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::fchdir(dir)?)
}

/// Makes a directory the root of the calling process, and its working directory.
///
/// # Errors
/// `EPERM` without `CAP_SYS_CHROOT`.
pub fn chroot_fd(dir: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(dir)?;
    rustix::process::chroot(".")?;
    Ok(())
}

/// `chdir("/")`.
///
/// # Errors
/// None in practice.
pub fn chdir_root() -> io::Result<()> {
    Ok(rustix::process::chdir("/")?)
}

/// Whether the *effective* ids may use the file in the given way (`X_OK`, …).
///
/// # Errors
/// `EACCES`, `ENOENT`, …
pub fn may_execute(path: impl AsRef<Path>) -> io::Result<()> {
    let (access, flags) = (rustix::fs::Access::EXEC_OK, AtFlags::EACCESS);
    Ok(rustix::fs::accessat(CWD, path.as_ref(), access, flags)?)
}

/// Writes `data` in one `write(2)` to an existing file below a trusted directory fd or, when `dir`
/// is the current directory, to a host path. For `/proc` and cgroup files, where one write is one
/// command.
///
/// # Errors
/// The errno of `openat(2)` or `write(2)`; `EIO` when the kernel took only a part.
pub fn write_at(dir: impl AsFd, path: impl AsRef<Path>, data: impl AsRef<[u8]>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, path.as_ref(), flags, Mode::empty())?;
    let data = data.as_ref();
    match rustix::io::retry_on_intr(|| rustix::io::write(&fd, data))? {
        n if n == data.len() => Ok(()),
        _ => Err(Errno::IO.into()),
    }
}

/// Writes `data` in one `write(2)` to an open file.
///
/// # Errors
/// The errno of `write(2)`; `EIO` when the kernel took only a part.
pub fn write_fd(fd: impl AsFd, data: impl AsRef<[u8]>) -> io::Result<()> {
    let (fd, data) = (fd.as_fd(), data.as_ref());
    match rustix::io::retry_on_intr(|| rustix::io::write(fd, data))? {
        n if n == data.len() => Ok(()),
        _ => Err(Errno::IO.into()),
    }
}

/// [`write_at`] for a trusted host path.
///
/// # Errors
/// As [`write_at`].
pub fn write_file(path: impl AsRef<Path>, data: impl AsRef<[u8]>) -> io::Result<()> {
    write_at(CWD, path, data)
}
