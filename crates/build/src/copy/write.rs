//! Writing what was found into the image that is being built.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::entry::{self, FileTime};
use sys::fs::{FileType, Mode, Node, OFlags, Root, Stat, WalkEntry};

use super::{Found, Loose, ModeChange, dot, inside};
use crate::error::{Error, Result, Step};

/// Whether an extended attribute goes along: what overlayfs and the security modules of the host
/// keep for themselves does not.
pub(super) fn is_kept(key: &[u8]) -> bool {
    key == b"security.capability"
        || key.starts_with(b"user.")
        || key.starts_with(b"system.posix_acl_")
}

/// How files are written.
pub(crate) struct Writer<'a> {
    /// The image that is being built.
    pub(crate) target: &'a Root,
    /// To whom everything belongs; to whom it belonged if `None`.
    pub(crate) owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub(crate) mode: Option<&'a ModeChange>,
    /// Which files below a source are left out.
    pub(crate) excluded: &'a dyn Fn(&Path) -> bool,
}

/// Makes a directory and what is above it; what is new belongs to `owner`. Says whether the
/// directory itself is new.
///
/// # Errors
/// Something on the way is no directory.
pub(crate) fn make_dirs(root: &Root, path: &Path, owner: (u32, u32)) -> Result<bool> {
    let mut new = false;
    let above: Vec<&Path> = path.ancestors().collect();
    for dir in above.into_iter().rev() {
        if matches!(dir.to_str(), Some("" | "/")) {
            continue;
        }
        match root.stat(dir) {
            Ok(stat) if entry::kind(&stat) == FileType::Directory => new = false,
            Ok(_) => {
                let path = dir.display().to_string();
                return Err(Error::Kind { what: "a directory", there: "a file", path });
            }
            Err(_) if root.lstat(dir).is_ok() => {
                // A link that leads to nothing: what it leads to is made.
                drop(root.mkdir_all(dir, Mode::from_raw_mode(0o755)).at("create", dir)?);
                new = true;
            }
            Err(_) => {
                let made = root.mkdir(dir, Mode::from_raw_mode(0o755));
                // Whatever the umask of the daemon is.
                made.and_then(|()| root.chmod(dir, Mode::from_raw_mode(0o755)))
                    .at("create", dir)?;
                if owner != (0, 0) {
                    root.chown(dir, owner.0, owner.1).at("create", dir)?;
                }
                new = true;
            }
        }
    }
    Ok(new)
}

/// Links that are followed for one destination; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Where a file goes that is written to `place`: through links, whether they lead to something or
/// not, as in Docker.
fn landing(root: &Root, place: &Path) -> PathBuf {
    let mut place = place.to_owned();
    for _ in 0..MAX_LINKS {
        let is_link = root.lstat(&place).is_ok_and(|stat| entry::kind(&stat) == FileType::Symlink);
        let (true, Ok(text), Some(above)) = (is_link, root.read_link(&place), place.parent())
        else {
            break;
        };
        let above = root.resolve(above).unwrap_or_else(|_| above.to_owned());
        place = Path::new("/").join(inside(&Path::new("/").join(above).join(text)));
    }
    place
}

/// A directory that is being filled.
struct Open {
    fd: Option<OwnedFd>,
    /// Its time, to be set when nothing more is written into it.
    time: Option<FileTime>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let (Some(fd), Some(time)) = (&self.fd, self.time) {
            // A time is a courtesy.
            let _ = entry::set_times_fd(fd, time, time);
        }
    }
}

/// Where hard links of a source have been written: by device and inode, below the destination.
type Links = HashMap<(u64, u64), PathBuf>;

impl Writer<'_> {
    fn new_owner(&self) -> (u32, u32) {
        self.owner.unwrap_or((0, 0))
    }

    /// Copies one source to its place.
    ///
    /// # Errors
    /// [`Error::Kind`]; those of the disk.
    pub(crate) fn copy(&self, source: &Root, found: &Found, place: &Path) -> Result<()> {
        if found.is_dir {
            return self.directory(source, &found.path, place);
        }
        let from = dot(&found.path);
        let place = &landing(self.target, place);
        let (dir, name) = self.parent_of(place)?;
        let stat = source.lstat(from).at("look at", from)?;
        let (from_dir, from_name) = source.parent(from).at("read", from)?;
        self.make_room(dir.as_fd(), &name, false, place)?;
        self.file(from_dir.as_fd(), from_name, &stat, dir.as_fd(), &name).at("copy", from)
    }

    /// Opens the directory above a place, made if need be.
    fn parent_of(&self, place: &Path) -> Result<(OwnedFd, std::ffi::OsString)> {
        let (Some(above), Some(name)) = (place.parent(), place.file_name()) else {
            let path = place.display().to_string();
            return Err(Error::Kind { what: "a file", there: "a directory", path });
        };
        make_dirs(self.target, above, self.new_owner())?;
        let opened = self.target.open_dir(above).and_then(|dir| entry::reopen_dir(&dir));
        Ok((opened.at("open", above)?, name.to_owned()))
    }

    /// Writes a file that comes from no tree.
    ///
    /// # Errors
    /// As [`Writer::copy`].
    pub(crate) fn loose(&self, loose: &mut Loose<'_>, place: &Path) -> Result<()> {
        let place = &landing(self.target, place);
        let (dir, name) = self.parent_of(place)?;
        self.make_room(dir.as_fd(), &name, false, place)?;
        let mut write = || -> io::Result<()> {
            let mut file = File::from(entry::create(&dir, &name, 0o600)?);
            io::copy(&mut loose.content, &mut file)?;
            let (uid, gid) = self.new_owner();
            entry::chown_fd(&file, uid, gid)?;
            let mode = self.mode.map_or(loose.mode, |change| change.apply(loose.mode, false));
            entry::chmod_fd(&file, mode)?;
            if let Some(seconds) = loose.modified {
                let time = FileTime { seconds, nanoseconds: 0 };
                entry::set_times_fd(&file, time, time)?;
            }
            Ok(())
        };
        write().at("write", place)
    }

    fn directory(&self, source: &Root, path: &Path, place: &Path) -> Result<()> {
        let from = dot(path);
        let stat = source.lstat(from).at("look at", from)?;
        let new = make_dirs(self.target, place, self.new_owner())?;
        let opened = self.target.open_dir(place).and_then(|dir| entry::reopen_dir(&dir));
        let top = opened.at("open", place)?;
        let mut open = Open { fd: None, time: None };
        if new {
            self.dir_attributes(&top, &stat).at("write", place)?;
            open.time = Some(modified(&stat));
        }
        open.fd = Some(top);
        let (mut stack, mut links) = (vec![open], Links::new());
        // What an operation says of the file it failed at is kept beside the walk's own error.
        let mut failure = None;
        let walked = source.walk(from, &mut |file| {
            if (self.excluded)(file.path) {
                if file.kind() == FileType::Directory {
                    close_down(&mut stack, depth(file.path));
                    stack.push(Open { fd: None, time: None });
                }
                return Ok(());
            }
            self.entry(file, place, &mut stack, &mut links).map_err(|error| {
                failure = Some(error);
                io::Error::other("stopped")
            })
        });
        close_down(&mut stack, 0);
        match failure {
            Some(error) => Err(error),
            None => walked.at("copy", from),
        }
    }

    fn entry(
        &self,
        file: &WalkEntry<'_>,
        top: &Path,
        stack: &mut Vec<Open>,
        links: &mut Links,
    ) -> Result<()> {
        close_down(stack, depth(file.path));
        // Directories that were left out, but not all that is in them.
        for (at, open) in stack.iter_mut().enumerate() {
            if open.fd.is_none() {
                let part: PathBuf = file.path.components().take(at).collect();
                let place = top.join(part);
                make_dirs(self.target, &place, self.new_owner())?;
                let opened = self.target.open_dir(&place).and_then(|dir| entry::reopen_dir(&dir));
                open.fd = Some(opened.at("open", &place)?);
            }
        }
        let Some(dir) = stack.last().and_then(|open| open.fd.as_ref()) else { return Ok(()) };
        let place = top.join(file.path);
        let is_dir = file.kind() == FileType::Directory;
        let exists = self.make_room(dir.as_fd(), file.name, is_dir, &place)?;
        if is_dir {
            let make = || -> io::Result<OwnedFd> {
                if !exists {
                    entry::mkdir(dir, file.name, 0o755)?;
                }
                let made = entry::open_dir(dir, file.name)?;
                self.dir_attributes(&made, file.stat)?;
                Ok(made)
            };
            let made = make().at("create", &place)?;
            stack.push(Open { fd: Some(made), time: Some(modified(file.stat)) });
            return Ok(());
        }
        if file.kind() == FileType::RegularFile && file.stat.st_nlink > 1 {
            let key = (file.stat.st_dev, file.stat.st_ino);
            if let Some(first) = links.get(&key) {
                return self.target.hard_link(first, &place).at("link", &place);
            }
            links.insert(key, place.clone());
        }
        self.file(file.dir, file.name, file.stat, dir.as_fd(), file.name).at("copy", file.path)
    }

    /// Takes away what is in the way. Says whether a directory is there that stays.
    fn make_room(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        becomes_dir: bool,
        place: &Path,
    ) -> Result<bool> {
        let stat = match entry::stat(dir, name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).at("look at", place),
        };
        let is_dir = entry::kind(&stat) == FileType::Directory;
        let clash =
            |what, there| Err(Error::Kind { what, there, path: place.display().to_string() });
        match (is_dir, becomes_dir) {
            (true, true) => Ok(true),
            (true, false) => clash("a file", "a directory"),
            (false, true) => clash("a directory", "a file"),
            (false, false) => entry::unlink(dir, name).at("replace", place).map(|()| false),
        }
    }

    fn dir_attributes(&self, dir: &OwnedFd, stat: &Stat) -> io::Result<()> {
        let (uid, gid) = self.owner.unwrap_or((stat.st_uid, stat.st_gid));
        entry::chown_fd(dir, uid, gid)?;
        let mode = stat.st_mode & 0o7777;
        entry::chmod_fd(dir, self.mode.map_or(mode, |change| change.apply(mode, true)))
    }

    /// Copies anything but a directory to a name that is free.
    fn file(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &OsStr,
        stat: &Stat,
        dir: BorrowedFd<'_>,
        name: &OsStr,
    ) -> io::Result<()> {
        let (uid, gid) = self.owner.unwrap_or((stat.st_uid, stat.st_gid));
        let mode = stat.st_mode & 0o7777;
        let mode = self.mode.map_or(mode, |change| change.apply(mode, false));
        let time = modified(stat);
        let node = match entry::kind(stat) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let mut input = File::from(entry::open(from_dir, from, flags)?);
                let mut output = File::from(entry::create(dir, name, 0o600)?);
                io::copy(&mut input, &mut output)?;
                entry::chown_fd(&output, uid, gid)?;
                entry::chmod_fd(&output, mode)?;
                // A change of the owner takes capabilities away, so they come after it.
                for (key, value) in entry::xattrs_fd(&input, is_kept)? {
                    entry::set_xattr_fd(
                        &output,
                        std::os::unix::ffi::OsStrExt::from_bytes(&key[..]),
                        &value,
                    )?;
                }
                return entry::set_times_fd(&output, time, time);
            }
            FileType::Symlink => {
                entry::symlink(&entry::read_link(from_dir, from)?, dir, name)?;
                entry::chown(dir, name, uid, gid)?;
                return entry::set_times(dir, name, time, time);
            }
            FileType::CharacterDevice => Node::Char(stat.st_rdev),
            FileType::BlockDevice => Node::Block(stat.st_rdev),
            FileType::Fifo => Node::Fifo,
            // A socket is nothing without the process that listens.
            _ => return Ok(()),
        };
        entry::mknod(dir, name, node, mode)?;
        entry::chown(dir, name, uid, gid)?;
        entry::chmod(dir, name, mode)?;
        entry::set_times(dir, name, time, time)
    }
}

/// How many directories are above a path of a walk, the top included.
fn depth(path: &Path) -> usize {
    path.components().count()
}

/// Closes directories until so many are open, the innermost first.
fn close_down(stack: &mut Vec<Open>, depth: usize) {
    while stack.len() > depth {
        stack.pop();
    }
}

fn modified(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}
