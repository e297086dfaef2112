//! Unpacking an upload into a container.
//!
//! In contrast to a layer, what is there stays unless the tar names it, a name that begins with
//! `.wh.` is only a name, and the container may be changing the same files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sys::entry::{self, FileTime};
use sys::fs::{FileType, Mode, Root};

use super::{IdMap, open_root};
use crate::archive::path::Asked;
use crate::error::{Error, Result, Step};
use crate::materialize;
use crate::stream::Coding;
use crate::tarball::{Entry, Kind, TarReader};

/// How an upload is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions {
    /// Refuse to replace a directory by something else and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to this user and group (`copyUIDGID`); otherwise to the tar's.
    pub owner: Option<(u32, u32)>,
    /// The directory that is unpacked into was made for this: it gets what the tar says of it.
    pub top: bool,
}

/// Unpacks a tar (compressed or not) into the directory that `path` leads to.
///
/// # Errors
/// [`Error::NoSuchPath`], [`Error::NotADirectory`], [`Error::Overwrite`]; those of the tar.
pub fn put(
    root: BorrowedFd<'_>,
    path: &str,
    input: &mut (dyn Read + Send),
    options: &PutOptions,
    ids: &IdMap,
) -> Result<()> {
    if *ids == IdMap::default() {
        return unpack(root, path, input, options, ids);
    }
    // Where the host's root has no id it can make nothing (EOVERFLOW), so be the container's. Ids
    // belong to a thread; this one ends with the upload.
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let (uid, gid) = ids.outside(0, 0);
            sys::fsids::set(uid, gid).step("become the container's root")?;
            unpack(root, path, input, options, ids)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn unpack(
    root: BorrowedFd<'_>,
    path: &str,
    input: &mut (dyn Read + Send),
    options: &PutOptions,
    ids: &IdMap,
) -> Result<()> {
    let root = open_root(root)?;
    let asked = Asked::new(path);
    // In the root's own terms and without symlinks: the tar's names go below it.
    let target = root.resolve(asked.absolute()).and_then(|target| {
        let stat = root.stat(&target)?;
        Ok((target, stat))
    });
    let target = match target {
        Ok((target, stat)) if entry::kind(&stat) == FileType::Directory => target,
        Ok(_) => return Err(Error::NotADirectory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoSuchPath(asked.absolute().to_owned()));
        }
        Err(source) => return Err(Error::Io { step: "look the path up", source }),
    };
    let mut buffered = BufReader::with_capacity(128 << 10, input);
    let coding = Coding::sniff(buffered.fill_buf().map_err(Error::Input)?);
    let plain = coding.decoder(buffered)?;
    let mut reader = TarReader::new(BufReader::with_capacity(128 << 10, plain));
    let mut upload =
        Upload { root, target, options, ids, open: HashMap::new(), dir_times: Vec::new() };
    while let Some(found) = reader.next()? {
        reader.raw().clear();
        upload.entry(&mut reader, &found)?;
        reader.skip_payload()?;
    }
    while reader.trailer()? {
        reader.raw().clear();
    }
    upload.set_dir_times();
    Ok(())
}

struct Upload<'a> {
    root: Root,
    /// Where the tar's names go, absolute in the container.
    target: PathBuf,
    options: &'a PutOptions,
    ids: &'a IdMap,
    /// Directories that were opened, by their path in the tar.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    dir_times: Vec<(Vec<u8>, FileTime)>,
}

impl Upload<'_> {
    fn owner(&self, found: &Entry) -> (u32, u32) {
        let (uid, gid) = self.options.owner.unwrap_or((found.uid, found.gid));
        self.ids.outside(uid, gid)
    }

    /// A directory of the tar; what is missing on the way is made.
    fn dir(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Some(found) = self.open.get(path) {
            return Ok(Rc::clone(found));
        }
        let full = self.target.join(Path::new(OsStr::from_bytes(path)));
        let fd = self.root.mkdir_all(&full, Mode::from_raw_mode(0o755))?;
        // mkdir_all gives an O_PATH handle, on which fchmod and the like do not work.
        let fd = Rc::new(entry::reopen_dir(&fd)?);
        if self.open.len() >= 64 {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), Rc::clone(&fd));
        Ok(fd)
    }

    fn entry<R: BufRead>(&mut self, reader: &mut TarReader<R>, found: &Entry) -> Result<()> {
        if found.kind == Kind::Nothing {
            return Ok(());
        }
        let path = found.clean_name()?;
        let fail = |error: io::Error| found.failed(error);
        if path.is_empty() {
            return self.top(found).map_err(fail);
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], OsStr::from_bytes(&path[at + 1..])),
            None => (&path[..0], OsStr::from_bytes(&path)),
        };
        let dir = self.dir(parent).map_err(fail)?;
        let exists = self.make_room(found, &path, &dir, name)?;
        let owner = self.owner(found);
        match found.kind {
            Kind::File => {
                let file = File::from(entry::create(&dir, name, 0o600).map_err(fail)?);
                materialize::content(reader, &file, found, 0)?;
                materialize::finish(&file, found, owner, None).map_err(fail)
            }
            Kind::HardLink => self.link(found, &dir, name),
            _ => {
                if !exists {
                    materialize::make(&dir, name, found).map_err(fail)?;
                }
                materialize::attributes(&dir, name, found, owner).map_err(fail)?;
                if found.kind == Kind::Dir {
                    self.dir_times.push((path.clone(), found.mtime));
                    return Ok(());
                }
                entry::set_times(&dir, name, found.mtime, found.mtime).map_err(fail)
            }
        }
    }

    /// The directory that is unpacked into keeps what it is, unless it was made for this.
    fn top(&mut self, found: &Entry) -> io::Result<()> {
        if !self.options.top || found.kind != Kind::Dir {
            return Ok(());
        }
        let dir = self.dir(b"")?;
        materialize::attributes(&dir, OsStr::new("."), found, self.owner(found))
    }

    /// Takes away what the entry replaces. Says whether a directory is there that stays.
    fn make_room(
        &mut self,
        found: &Entry,
        path: &[u8],
        dir: &OwnedFd,
        name: &OsStr,
    ) -> Result<bool> {
        let stat = match entry::stat(dir, name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(found.failed(error)),
        };
        let (is_dir, becomes_dir) =
            (entry::kind(&stat) == FileType::Directory, found.kind == Kind::Dir);
        if is_dir && becomes_dir {
            return Ok(true);
        }
        if self.options.no_overwrite_dir_non_dir && is_dir != becomes_dir {
            let path = self.target.join(Path::new(OsStr::from_bytes(path)));
            let (path, target) = (path.display(), self.target.display());
            return Err(Error::Overwrite(if is_dir {
                format!("cannot overwrite directory \"{path}\" with non-directory \"{target}\"")
            } else {
                format!("cannot overwrite non-directory \"{path}\" with directory \"{target}\"")
            }));
        }
        if is_dir || entry::kind(&stat) == FileType::Symlink {
            self.open.clear();
        }
        let removed = if is_dir {
            let parent = entry::reopen_dir(dir).map(Root::from);
            parent.and_then(|parent| parent.remove_all(Path::new(name)))
        } else {
            entry::unlink(dir, name)
        };
        removed.map_err(|error| found.failed(error))?;
        Ok(false)
    }

    /// The target of a hard link is a name of the tar, so below the directory unpacked into.
    fn link(&mut self, found: &Entry, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        let target = found.clean_link()?;
        let full = self.target.join(Path::new(OsStr::from_bytes(&target)));
        let linked = self
            .root
            .parent(&full)
            .and_then(|(target_dir, target_name)| entry::link(&target_dir, target_name, dir, name));
        linked.map_err(|error| found.failed(error))
    }

    /// Times are a courtesy: the container may have taken the directory away again.
    fn set_dir_times(&mut self) {
        for (path, time) in std::mem::take(&mut self.dir_times).into_iter().rev() {
            let full = self.target.join(Path::new(OsStr::from_bytes(&path)));
            if let Ok((dir, name)) = self.root.parent(&full)
                && entry::stat(&dir, name).is_ok_and(|s| entry::kind(&s) == FileType::Directory)
            {
                let _ = entry::set_times(&dir, name, time, time);
            }
        }
    }
}
