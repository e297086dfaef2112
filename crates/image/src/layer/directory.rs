//! The directories of a layer that is being unpacked, opened once and found by path.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sys::entry::{self, Errno};
use sys::fs::{Mode, OFlags, ResolveFlags, Root, proc_fd_path};

/// Open directories that are kept at a time.
const MAX_OPEN: usize = 128;

/// A directory, and where it is without symlinks.
pub(super) struct Opened {
    pub(super) fd: OwnedFd,
    /// Path from the root, free of symlinks; empty for the root.
    pub(super) path: Vec<u8>,
}

/// Finds directories below a root by the paths that a tar uses.
pub(super) struct Directories {
    root: Root,
    /// Where the root itself is, to cut it off what `/proc/self/fd` says.
    root_path: PathBuf,
    open: HashMap<Vec<u8>, Rc<Opened>>,
}

impl Directories {
    pub(super) fn new(root: Root) -> io::Result<Self> {
        let root_path = std::fs::read_link(proc_fd_path(&root))?;
        Ok(Self { root, root_path, open: HashMap::new() })
    }

    /// The directory at `path`, which must be clean; what is missing on the way is made (0755, as
    /// Docker does for directories that a layer only implies). Symlinks are followed inside the
    /// root.
    ///
    /// # Errors
    /// `ENOTDIR`, `ELOOP`, …
    pub(super) fn open(&mut self, path: &[u8]) -> io::Result<Rc<Opened>> {
        if let Some(found) = self.open.get(path) {
            return Ok(Rc::clone(found));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let at = Path::new(OsStr::from_bytes(path));
        // The plain way first: it tells without a further call that there is no symlink.
        let direct = self.root.open_with(at, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        let opened = match direct {
            Ok(fd) => Opened { fd, path: path.to_vec() },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.root.mkdir_all(at, Mode::from_raw_mode(0o755))?;
                self.open_anyhow(at)?
            }
            // RESOLVE_NO_SYMLINKS says ELOOP for a symlink; a real circle will say it again.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                match self.open_anyhow(at) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.root.mkdir_all(at, Mode::from_raw_mode(0o755))?;
                        self.open_anyhow(at)?
                    }
                    other => other?,
                }
            }
            Err(error) => return Err(error),
        };
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        let opened = Rc::new(opened);
        self.open.insert(path.to_vec(), Rc::clone(&opened));
        Ok(opened)
    }

    /// Follows symlinks, and asks the kernel where that led.
    fn open_anyhow(&self, path: &Path) -> io::Result<Opened> {
        let fd = self.root.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let full = std::fs::read_link(proc_fd_path(&fd))?;
        let inside = full.strip_prefix(&self.root_path).map_err(io::Error::other)?;
        let path = inside.as_os_str().to_owned().into_vec();
        Ok(Opened { fd, path })
    }

    /// Forgets what is open: a directory or symlink has been replaced, so paths may lead elsewhere.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }
}

/// Splits a clean path into its directory and its last component.
pub(super) fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], OsStr::from_bytes(&path[at + 1..])),
        None => (b"", OsStr::from_bytes(path)),
    }
}

/// Joins a directory's path and a name.
pub(super) fn join(dir: &[u8], name: &OsStr) -> Vec<u8> {
    let name = name.as_bytes();
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

/// The names in an open directory.
pub(super) fn names(dir: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    let root = Root::from(entry::reopen_dir(dir)?);
    Ok(root.read_dir(".")?.into_iter().map(|found| found.name).collect())
}
