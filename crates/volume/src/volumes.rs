//! The volumes below one data root.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sys::entry;
use sys::fs::{FileType, Root};
use types::time::Timestamp;

use crate::draft::{DATA, Draft, RECORD};
use crate::error::{Error, Result, Step};
use crate::model::{
    ANONYMOUS, CreateOptions, ListFilter, NewVolume, PruneFilter, Pruned, Volume, has_label,
};
use crate::name::{check_name, random_name};
use crate::{populate, source};

const LOCAL: &str = "local";

/// All volumes. Share it in an `Arc`.
#[derive(Debug)]
pub struct Volumes {
    dir: PathBuf,
    known: Mutex<BTreeMap<String, Volume>>,
}

impl Volumes {
    /// Opens `volumes/` below the data root, creates it if need be and removes what a crash left
    /// half made or half removed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::DamagedRecord`].
    pub fn open(data_root: impl AsRef<Path>) -> Result<Volumes> {
        let dir = data_root.as_ref().join("volumes");
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir).step("create volumes")?;
        let root = Root::open_host(&dir).step("open volumes")?;
        let mut known = BTreeMap::new();
        for found in root.read_dir(".").step("list volumes")? {
            let Some(name) = found.name.to_str() else { continue };
            if name.starts_with(".new-") || name.starts_with(".old-") {
                root.remove_all(name).step("remove a volume's remains")?;
            } else if let Some(volume) = read_record(&dir, name)? {
                known.insert(name.to_owned(), volume);
            }
        }
        Ok(Volumes { dir, known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        // The map is changed in one step after the disk, so a panic leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a volume, or returns the one that is there if driver and options agree. The flag says
    /// whether it is new.
    ///
    /// # Errors
    /// Errors of the name and the options; [`Error::Exists`]; [`Error::Io`].
    pub fn create(&self, options: &CreateOptions) -> Result<(Volume, bool)> {
        let mut options = options.clone();
        if options.name.is_empty() {
            options.name = random_name()?;
            options.labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        check_name(&options.name)?;
        if !matches!(options.driver.as_str(), "" | LOCAL) {
            return Err(Error::NoSuchDriver(options.driver));
        }
        source::plan(&options.name, &options.driver_opts)?;
        let mut known = self.known();
        if let Some(volume) = known.get(&options.name) {
            let same = volume.options.clone().unwrap_or_default() == options.driver_opts;
            if same || options.driver_opts.is_empty() {
                return Ok((volume.clone(), false));
            }
            return Err(Error::Exists(options.name));
        }
        let some = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
        let volume = Volume {
            labels: some(options.labels),
            options: some(options.driver_opts),
            ..self.plain(&options.name)
        };
        let draft = Draft::new(&self.dir)?;
        draft.write_record(&volume).step("create volume")?;
        draft.take_place(&volume.name, false).step("create volume")?;
        known.insert(volume.name.clone(), volume.clone());
        Ok((volume, true))
    }

    /// A volume without labels and options.
    fn plain(&self, name: &str) -> Volume {
        Volume {
            created_at: Timestamp::now(),
            driver: LOCAL.to_owned(),
            labels: None,
            mountpoint: self.data(name).to_string_lossy().into_owned(),
            name: name.to_owned(),
            options: None,
            scope: LOCAL.to_owned(),
            read_only: false,
            snapshot_of: None,
        }
    }

    /// A place for the content of a volume that is to be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn draft(&self) -> Result<Draft> {
        Draft::new(&self.dir)
    }

    /// Copies the files of a volume, which may be in use, into a draft: each file is as it was at
    /// some moment of the copying. Blocks are shared where the file system can.
    ///
    /// # Errors
    /// As [`Volumes::mount`]; [`Error::Io`].
    pub fn copy(&self, from: &str, draft: &Draft) -> Result<()> {
        let source = self.mount(from)?;
        populate::copy_tree(source.as_fd(), draft.data()).step("copy the volume's files")
    }

    /// Flushes a draft's files and writes down what volume they will be.
    ///
    /// # Errors
    /// Errors of the name; [`Error::Io`].
    pub fn prepare(&self, draft: &Draft, new: NewVolume) -> Result<Volume> {
        check_name(&new.name)?;
        let volume = Volume {
            labels: (!new.labels.is_empty()).then_some(new.labels),
            read_only: new.snapshot_of.is_some(),
            snapshot_of: new.snapshot_of,
            ..self.plain(&new.name)
        };
        entry::syncfs(draft.data()).step("flush the volume's files")?;
        draft.write_record(&volume).step("create volume")?;
        Ok(volume)
    }

    /// Makes a draft the volume that it was prepared as. With `replace` it takes the place of a
    /// volume of that name, which nobody may be using.
    ///
    /// # Errors
    /// [`Error::Taken`]; [`Error::Io`].
    pub fn place(&self, draft: Draft, volume: Volume, replace: bool) -> Result<Volume> {
        let mut known = self.known();
        let taken = known.contains_key(&volume.name);
        if taken && !replace {
            return Err(Error::Taken(volume.name));
        }
        let old = draft.take_place(&volume.name, taken).step("create volume")?;
        known.insert(volume.name.clone(), volume.clone());
        drop(known);
        // Takes its time when something was replaced.
        drop(old);
        Ok(volume)
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`].
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.known().get(name).cloned().ok_or_else(|| Error::NoSuchVolume(name.to_owned()))
    }

    /// The volumes that a filter lets through, by name.
    pub fn list(&self, filter: &ListFilter) -> Vec<Volume> {
        let any = |wanted: &[String], matches: &dyn Fn(&String) -> bool| {
            wanted.is_empty() || wanted.iter().any(matches)
        };
        let shows = |volume: &&Volume| {
            any(&filter.names, &|name| volume.name.contains(name.as_str()))
                && any(&filter.drivers, &|driver| volume.driver == *driver)
                && filter.labels.iter().all(|label| has_label(volume.labels.as_ref(), label))
        };
        self.known().values().filter(shows).cloned().collect()
    }

    /// Removes a volume with its files. `containers` are the ids of those that use it. With `force`
    /// a missing volume is fine; one in use is never removed.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::InUse`], [`Error::Io`].
    pub fn remove(&self, name: &str, force: bool, containers: &[String]) -> Result<()> {
        if !containers.is_empty() {
            let (name, containers) = (name.to_owned(), containers.to_vec());
            return Err(Error::InUse { name, containers });
        }
        // Not by its name, which may be as long as a name can be.
        let old = format!(".old-{}", &random_name()?[..16]);
        {
            let mut known = self.known();
            if !known.contains_key(name) {
                return if force { Ok(()) } else { Err(Error::NoSuchVolume(name.to_owned())) };
            }
            fs::rename(self.dir.join(name), self.dir.join(&old)).step("remove volume")?;
            known.remove(name);
        }
        entry::fsync(File::open(&self.dir).step("open volumes")?).step("flush volumes")?;
        // From here on the volume is gone; the sweep at the next start finishes what fails now.
        let root = Root::open_host(&self.dir).step("open volumes")?;
        root.remove_all(&old).step("remove the volume's files")
    }

    /// Removes unused volumes; `is_used` is asked for each. Goes on after a failure, which leaves
    /// that volume out of the answer.
    pub fn prune(&self, filter: &PruneFilter, is_used: &dyn Fn(&str) -> bool) -> Pruned {
        let chosen: Vec<Volume> = self
            .known()
            .values()
            .filter(|volume| filter.all || volume.is_anonymous())
            .filter(|volume| filter.labels.iter().all(|l| has_label(volume.labels.as_ref(), l)))
            .filter(|volume| {
                !filter.not_labels.iter().any(|l| has_label(volume.labels.as_ref(), l))
            })
            .cloned()
            .collect();
        let mut pruned = Pruned::default();
        for volume in chosen {
            if is_used(&volume.name) {
                continue;
            }
            let size = self.size(&volume.name).unwrap_or(0);
            if self.remove(&volume.name, false, &[]).is_ok() {
                pruned.removed.push(volume.name);
                pruned.reclaimed += size;
            }
        }
        pruned
    }

    /// Bytes of the files in a volume's own directory; hard links count once.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::Io`].
    pub fn size(&self, name: &str) -> Result<u64> {
        let volume = self.get(name)?;
        if !source::plan(name, &volume.options.unwrap_or_default())?.is_directory() {
            return Ok(0);
        }
        let mut total = 0;
        let mut seen = std::collections::HashSet::new();
        let root = Root::open_host(self.data(name)).step("open volume")?;
        root.walk(".", &mut |found| {
            let counts = found.kind() != FileType::Directory
                && (found.stat.st_nlink < 2 || seen.insert(found.stat.st_ino));
            if counts {
                total += u64::try_from(found.stat.st_size).unwrap_or(0);
            }
            Ok(())
        })
        .step("measure volume")?;
        Ok(total)
    }

    /// The volume as a detached mount, to be attached in a container's mount namespace.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`]; [`Error::Mount`] when what its options describe cannot be mounted.
    pub fn mount(&self, name: &str) -> Result<OwnedFd> {
        let options = self.get(name)?.options.unwrap_or_default();
        source::plan(name, &options)?.mount(&self.data(name)).map_err(|source| Error::Mount {
            name: name.to_owned(),
            device: options.get("device").cloned().unwrap_or_default(),
            data: options.get("o").cloned().unwrap_or_default(),
            source,
        })
    }

    /// Whether the volume's files are in memory, and in another one for every mount.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`].
    pub fn in_memory(&self, name: &str) -> Result<bool> {
        let options = self.get(name)?.options.unwrap_or_default();
        Ok(source::plan(name, &options)?.in_memory())
    }

    /// Gives a copy of one of the volume's mounts what a new one would have: whether it is
    /// read-only and such.
    ///
    /// # Errors
    /// As [`Volumes::mount`].
    pub fn dress(&self, name: &str, mount: BorrowedFd<'_>) -> Result<()> {
        let options = self.get(name)?.options.unwrap_or_default();
        source::plan(name, &options)?.dress(mount).map_err(|source| Error::Mount {
            name: name.to_owned(),
            device: options.get("device").cloned().unwrap_or_default(),
            data: options.get("o").cloned().unwrap_or_default(),
            source,
        })
    }

    /// Fills an empty volume with a directory of an image: `from` is that directory, already
    /// resolved inside the image's root. Does nothing when the volume has files. Says whether it
    /// has copied.
    ///
    /// # Errors
    /// As [`Volumes::mount`]; [`Error::Io`].
    pub fn populate(&self, name: &str, from: BorrowedFd<'_>) -> Result<bool> {
        if self.get(name)?.read_only {
            return Ok(false);
        }
        let mount = self.mount(name)?;
        if !populate::is_empty(mount.as_fd()).step("list volume")? {
            return Ok(false);
        }
        populate::copy_tree(from, mount.as_fd()).step("copy the image's files to the volume")?;
        Ok(true)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join(DATA)
    }
}

/// The record of a volume, or `None` for a directory that is none.
fn read_record(dir: &Path, name: &str) -> Result<Option<Volume>> {
    if check_name(name).is_err() {
        return Ok(None);
    }
    let text = match fs::read(dir.join(name).join(RECORD)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        Err(e) => return Err(e).step("read a volume's record"),
    };
    let mut volume: Volume = serde_json::from_slice(&text).map_err(|error| {
        Error::DamagedRecord { name: name.to_owned(), reason: error.to_string() }
    })?;
    // The data root may have been moved since.
    volume.mountpoint = dir.join(name).join(DATA).to_string_lossy().into_owned();
    Ok(Some(volume))
}

#[cfg(test)]
mod tests;
