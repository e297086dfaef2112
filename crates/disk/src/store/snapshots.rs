//! Snapshots of machines' disks.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sys::durable;
use types::Timestamp;

use super::{Manifest, taken};
use crate::error::{At, Error};

/// A word of the API in the place of a name: a snapshot of this name could not be removed.
const RESERVED: &str = "create";

/// A disk as it was at a moment, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that its layers take on the host's disk, which machines may share.
    pub taken: u64,
    /// The image that is below them all.
    pub base: PathBuf,
}

/// Where snapshots are kept. There is one of these for a data root: what changes a name waits for
/// others that do.
#[derive(Debug)]
pub struct Snapshots {
    directory: PathBuf,
    turn: Mutex<()>,
}

impl Snapshots {
    /// Those of a data root.
    pub fn new(data_root: &Path) -> Self {
        Self { directory: data_root.join("machines/snapshots"), turn: Mutex::new(()) }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could have left half changed.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a snapshot of the disk in a directory, which nothing writes to meanwhile. What is
    /// written there afterwards goes into a new layer. Whenever a crash comes, no layer that a
    /// snapshot has is written to: the machine has the new one before the snapshot has its name.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::BadName`], [`Error::Reserved`], [`Error::Deep`]; those of the files.
    /// The machine has the layers that it had then.
    pub fn make(&self, directory: &Path, name: &str) -> Result<(), Error> {
        let place = self.place(name)?;
        if name == RESERVED {
            return Err(Error::Reserved(name.to_owned()));
        }
        let before = Manifest::read(directory)?;
        // Nobody waits for this: it may take long.
        before.flush(directory)?;
        let _turn = self.turn();
        if place.exists() {
            return Err(Error::Taken(name.to_owned()));
        }
        durable::make_directories(&self.directory).at("make", &self.directory)?;
        let temporary = self.directory.join(format!(".{name}"));
        clear(&temporary)?;
        let made = Self::prepare(&before, directory, &temporary)
            .and_then(|()| Self::switch(&before, directory))
            .and_then(|after| {
                self.publish(name).inspect_err(|_| {
                    // The machine goes on as it was, if nothing has the name and that can be written.
                    if temporary.is_dir() && before.write(directory).is_ok() {
                        after.take_back(directory);
                    }
                })
            });
        if made.is_err() {
            let _ = clear(&temporary);
            return made;
        }
        durable::flush(&self.directory).at("flush", &self.directory)
    }

    /// The snapshot with all that is in it, in a directory that counts for nothing yet.
    pub(super) fn prepare(
        before: &Manifest,
        directory: &Path,
        temporary: &Path,
    ) -> Result<(), Error> {
        std::fs::create_dir(temporary).at("make", temporary)?;
        before.link(directory, temporary)?;
        let kept = Manifest { created: Timestamp::now(), ..before.clone() };
        kept.write(temporary)
    }

    /// Has the machine go on in a new layer.
    pub(super) fn switch(before: &Manifest, directory: &Path) -> Result<Manifest, Error> {
        let mut after = before.clone();
        after.grow(directory, before.size)?;
        after.write(directory)?;
        Ok(after)
    }

    /// Gives what was prepared its name.
    fn publish(&self, name: &str) -> Result<(), Error> {
        let folder = File::open(&self.directory).at("open", &self.directory)?;
        let temporary = format!(".{name}");
        match sys::entry::rename(&folder, OsStr::new(&temporary), &folder, OsStr::new(name), false)
        {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::Taken(name.to_owned()))
            }
            other => other.at("make", &self.directory.join(name)),
        }
    }

    /// Removes a snapshot. Machines that began as its clones keep what they need of it.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; those of the files.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let place = self.place(name)?;
        let gone = self.directory.join(format!(".{name}"));
        let _turn = self.turn();
        clear(&gone)?;
        match std::fs::rename(&place, &gone) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::NoSnapshot(name.to_owned()));
            }
            other => other.at("remove", &place)?,
        }
        durable::flush(&self.directory).at("flush", &self.directory)?;
        clear(&gone)
    }

    /// Removes what attempts that a crash ended have left. Tries all of it, and returns what could
    /// not be removed.
    pub fn sweep(&self) -> Vec<Error> {
        let _turn = self.turn();
        match self.entries() {
            Err(error) => vec![error],
            Ok(entries) => entries
                .into_iter()
                .filter(|(name, _)| name.starts_with('.'))
                .filter_map(|(_, path)| clear(&path).err())
                .collect(),
        }
    }

    /// What is in the directory, by name.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("list", &self.directory)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &self.directory)?;
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        found.sort();
        Ok(found)
    }

    /// All of them, by name; and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<(Vec<Snapshot>, Vec<Error>), Error> {
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for (name, path) in self.entries()? {
            if name.starts_with('.') {
                continue;
            }
            match read(name, &path) {
                Ok(snapshot) => found.push(snapshot),
                // It has been removed meanwhile.
                Err(_) if !path.exists() => {}
                Err(error) => unreadable.push(error),
            }
        }
        Ok((found, unreadable))
    }

    /// Gives a machine's directory the layers of a snapshot that its disk is to begin as.
    pub(super) fn lend(&self, name: &str, directory: &Path) -> Result<Manifest, Error> {
        let missing = || Error::NoSuchDisk(name.to_owned());
        let place = self.place(name).map_err(|_| missing())?;
        let _turn = self.turn();
        if !place.is_dir() {
            return Err(missing());
        }
        let manifest = Manifest::read(&place)?;
        manifest.link(&place, directory)?;
        Ok(manifest)
    }

    fn place(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let good = (2..=128).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain);
        if good { Ok(self.directory.join(name)) } else { Err(Error::BadName(name.to_owned())) }
    }
}

fn read(name: String, path: &Path) -> Result<Snapshot, Error> {
    let manifest = Manifest::read(path)?;
    Ok(Snapshot {
        name,
        created: manifest.created,
        size: manifest.size,
        taken: taken(path)?,
        base: manifest.base.path,
    })
}

/// Removes whatever is there, if anything is.
fn clear(path: &Path) -> Result<(), Error> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}
