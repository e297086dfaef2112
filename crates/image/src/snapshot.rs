//! What a container writes on top of its image.

mod changes;
mod commit;
mod disks;
mod mount;
mod upper;

pub use changes::changes_between;
pub use commit::CommitOptions;
pub use mount::MountOptions;
pub use upper::{HeldLayer, UpperOptions};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::fs::{FileType, Mode, Root};
use types::ContainerId;
use types::digest::Digest;

use crate::error::{Error, Result, Step};
use crate::model::GraphDriver;
use crate::query::DRIVER;
use crate::store::{State, Store};

const RECORD: &str = "snapshot.json";

/// What is below a container (`snapshot.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// None when it lies on layers that are no image (a build's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Digest>,
    /// Bottom first. Kept apart from the image, which may be removed by force.
    layers: Vec<Digest>,
}

/// `containers/` of the data root, as far as it is the store's.
#[derive(Debug)]
pub(crate) struct Snapshots {
    path: PathBuf,
    dir: Root,
}

impl Snapshots {
    /// Opens the directory; returns the layers below each container.
    pub(crate) fn open(path: &Path) -> Result<(Self, HashMap<String, Vec<Digest>>)> {
        std::fs::create_dir_all(path).step("create the container directory")?;
        let dir = Root::open_host(path).step("open the container directory")?;
        dir.chmod(".", Mode::from_raw_mode(0o710)).step("protect the container directory")?;
        let snapshots = Self { path: path.to_owned(), dir };
        let mut layers = HashMap::new();
        for found in snapshots.dir.read_dir(".").step("list containers")? {
            let Some(id) = found.name.to_str() else { continue };
            match snapshots.read(id)? {
                Some(record) if record.image.is_some() => {
                    layers.insert(id.to_owned(), record.layers);
                }
                // A build does not outlive its engine, and its layers may never have been flushed.
                Some(_) => snapshots.remove(id)?,
                None => {}
            }
        }
        Ok((snapshots, layers))
    }

    /// The record of a container; a damaged one (a crash before it was flushed) is none.
    fn read(&self, container: &str) -> Result<Option<Record>> {
        match self.dir.read(Path::new(container).join(RECORD), 1 << 20) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).step("read a snapshot's record"),
        }
    }

    /// Removes what is the store's of a container's directory, and that if it is empty then.
    fn remove(&self, container: &str) -> Result<()> {
        let top = Path::new(container);
        let mut first = Ok(());
        for name in ["upper", "work", ".tmp-snapshot", RECORD] {
            let removed = self.dir.remove_all(top.join(name)).step("remove a snapshot");
            if first.is_ok() {
                first = removed;
            }
        }
        first?;
        // ENOTEMPTY: the engine's files are still there.
        let _ = self.dir.remove_dir(top);
        Ok(())
    }

    /// A directory of the container's on the host.
    fn path(&self, container: &ContainerId, name: &str) -> PathBuf {
        self.path.join(container.as_str()).join(name)
    }
}

impl Store {
    /// Makes a container's writable layer on top of an image; fine when it is there already.
    ///
    /// Nothing is flushed: this is on the way to every start. After a crash of the whole machine
    /// a container may be known whose snapshot is not; as it cannot have written anything that it
    /// flushed, prepare it again.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::SnapshotExists`] when it is for another image.
    pub fn prepare(&self, container: &ContainerId, image: &Digest) -> Result<()> {
        let mut state = self.state();
        let catalog = &state.catalog;
        let record = catalog.images.get(image);
        let layers = match (record, self.snapshots.read(container.as_str())?) {
            (_, Some(found)) if found.image.as_ref() == Some(image) => {
                // Its files may have become a layer before a crash.
                let dir = Path::new(container.as_str()).join("upper");
                if self.snapshots.dir.exists(dir) {
                    return Ok(());
                }
                found.layers
            }
            (_, Some(_)) => return Err(Error::SnapshotExists(container.short().to_owned())),
            (None, None) => return Err(Error::NoSuchImage(image.to_string())),
            (Some(record), None) => record.layers.clone(),
        };
        self.create_record(&mut state, container, Record { image: Some(image.clone()), layers })?;
        if let Some(record) = state.catalog.images.get_mut(image) {
            record.last_used = types::time::Timestamp::now();
        }
        Ok(())
    }

    /// As [`Store::prepare`], on layers that need not be an image's.
    fn prepare_layers(&self, container: &ContainerId, layers: &[Digest]) -> Result<()> {
        let mut state = self.state();
        match self.snapshots.read(container.as_str())? {
            Some(found) if found.image.is_none() && found.layers == layers => return Ok(()),
            Some(_) => return Err(Error::SnapshotExists(container.short().to_owned())),
            None => {}
        }
        self.create_record(&mut state, container, Record { image: None, layers: layers.to_vec() })
    }

    fn create_record(
        &self,
        state: &mut State,
        container: &ContainerId,
        record: Record,
    ) -> Result<()> {
        let layers = &record.layers;
        if let Some(missing) = layers.iter().find(|layer| !state.layers.contains_key(layer)) {
            return Err(Error::MissingLayer(missing.clone()));
        }
        self.create_snapshot(container, &record).step("create a snapshot")?;
        state.snapshot_layers.insert(container.as_str().to_owned(), record.layers);
        Ok(())
    }

    fn create_snapshot(&self, container: &ContainerId, record: &Record) -> io::Result<()> {
        let dir = &self.snapshots.dir;
        let mkdir = |path: &Path, mode| match dir.mkdir(path, Mode::from_raw_mode(mode)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        };
        let top = Path::new(container.as_str());
        mkdir(top, 0o710)?;
        mkdir(&top.join("upper"), 0o755)?;
        mkdir(&top.join("work"), 0o700)?;
        // The upper directory's own attributes are what the container sees of `/`.
        dir.chmod(top.join("upper"), Mode::from_raw_mode(0o755))?;
        // Last, so that a record means that the rest is there.
        let text = serde_json::to_vec(record)?;
        let tmp = top.join(".tmp-snapshot");
        dir.remove_all(&tmp)?;
        dir.create_file(&tmp, Mode::from_raw_mode(0o600))?.write_all(&text)?;
        dir.rename(&tmp, top.join(RECORD))
    }

    fn record_of(&self, container: &ContainerId) -> Result<Record> {
        let found = self.snapshots.read(container.as_str())?;
        found.ok_or_else(|| Error::NoSnapshot(container.short().to_owned()))
    }

    /// Removes a container's writable layer and lets go of its image's layers; fine when there is
    /// none. What else is in the container's directory is left alone; the directory goes if it is
    /// empty then.
    ///
    /// # Errors
    /// [`Error::Io`], after everything that could be removed has been.
    pub fn remove_snapshot(&self, container: &ContainerId) -> Result<()> {
        self.snapshots.remove(container.as_str())?;
        let layers = self.state().snapshot_layers.remove(container.as_str());
        let candidates: BTreeSet<Digest> = layers.into_iter().flatten().collect();
        self.collect(&candidates)?;
        let aside = self.state().aside;
        if aside { self.remove_aside() } else { Ok(()) }
    }

    /// Containers that have a snapshot.
    pub fn snapshots(&self) -> Vec<ContainerId> {
        self.state().snapshot_layers.keys().filter_map(|id| id.parse().ok()).collect()
    }

    /// Where a container's layers are, for inspect.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`].
    pub fn graph_driver(&self, container: &ContainerId) -> Result<GraphDriver> {
        let record = self.record_of(container)?;
        let lower: Vec<String> = record
            .layers
            .iter()
            .rev()
            .map(|layer| self.layers.diff_path(layer).to_string_lossy().into_owned())
            .collect();
        let own = |name: &str| self.snapshots.path(container, name).to_string_lossy().into_owned();
        let data = BTreeMap::from([
            ("LowerDir".to_owned(), lower.join(":")),
            ("UpperDir".to_owned(), own("upper")),
            ("WorkDir".to_owned(), own("work")),
            ("MergedDir".to_owned(), own("merged")),
        ]);
        Ok(GraphDriver { name: DRIVER.to_owned(), data })
    }

    /// Bytes that a container has written (`SizeRw`); hard links count once.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::Io`].
    pub fn size_rw(&self, container: &ContainerId) -> Result<u64> {
        self.record_of(container)?;
        let upper = self.upper(container)?;
        let (mut total, mut seen) = (0, HashSet::new());
        upper
            .walk(".", &mut |found| {
                let counts = found.kind() != FileType::Directory
                    && (found.stat.st_nlink < 2 || seen.insert(found.stat.st_ino));
                if counts {
                    total += u64::try_from(found.stat.st_size).unwrap_or(0);
                }
                Ok(())
            })
            .step("measure a container")?;
        Ok(total)
    }

    /// Those and the bytes of its image (`SizeRootFs`).
    ///
    /// # Errors
    /// As [`Store::size_rw`].
    pub fn size_root_fs(&self, container: &ContainerId) -> Result<u64> {
        let record = self.record_of(container)?;
        Ok(self.state().size_of(&record.layers) + self.size_rw(container)?)
    }

    fn upper(&self, container: &ContainerId) -> Result<Root> {
        let path = Path::new(container.as_str()).join(OsStr::new("upper"));
        self.snapshots.dir.sub_root(path).step("open a container's files")
    }
}

#[cfg(test)]
mod tests;
