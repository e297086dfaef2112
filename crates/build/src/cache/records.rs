//! The cache as people see it: how much is there, and away with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use image::HeldLayer;
use sys::fs::FileType;
use types::Timestamp;
use types::digest::Digest;

use super::{Cache, Entry, MOUNTS};
use crate::error::{Error, Step};

/// What a record of the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A step's layer.
    Regular,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
}

impl RecordKind {
    /// BuildKit's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::CacheMount => "exec.cachemount",
        }
    }
}

/// A record of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id: the hexadecimal digits of its key.
    pub id: String,
    /// The step before it.
    pub parent: Option<String>,
    /// What it is.
    pub kind: RecordKind,
    /// The instruction.
    pub description: String,
    /// A build uses it at this moment.
    pub in_use: bool,
    /// An image has its layer as well, so that removing it frees nothing.
    pub shared: bool,
    /// Bytes of its files.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used.
    pub last_used: Timestamp,
    /// How often it was used.
    pub uses: u64,
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of the records that are gone.
    pub removed: Vec<String>,
    /// Bytes that were freed.
    pub reclaimed: u64,
}

impl Cache {
    /// Every record. `shared` says which layers images have.
    ///
    /// # Errors
    /// The directories of mounts cannot be read.
    pub fn records(&self, shared: &BTreeSet<Digest>) -> Result<Vec<Record>, Error> {
        let mut records = self.mount_records()?;
        let state = self.state();
        let mut users: HashMap<&Digest, usize> = HashMap::new();
        for layer in state.steps.values().filter_map(|entry| entry.saved.layer.as_ref()) {
            *users.entry(layer).or_default() += 1;
        }
        // A layer may be held by several records, and by builds under way beside them.
        let mut holds: HashMap<*const HeldLayer, usize> = HashMap::new();
        for held in state.steps.values().filter_map(|entry| entry.held.as_ref()) {
            *holds.entry(Arc::as_ptr(held)).or_default() += 1;
        }
        for Entry { saved, held } in state.steps.values() {
            let layer = saved.layer.as_ref();
            records.push(Record {
                id: saved.key.hex().to_owned(),
                parent: saved.parent.as_ref().map(|parent| parent.hex().to_owned()),
                kind: RecordKind::Regular,
                description: saved.description.clone(),
                in_use: held.as_ref().is_some_and(|held| {
                    Arc::strong_count(held) > holds.get(&Arc::as_ptr(held)).copied().unwrap_or(0)
                }),
                shared: layer.is_some_and(|layer| {
                    shared.contains(layer) || users.get(layer).is_some_and(|users| *users > 1)
                }),
                size: held.as_ref().map_or(0, |held| held.size()),
                created: saved.created,
                last_used: saved.last_used,
                uses: saved.uses,
            });
        }
        records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(records)
    }

    /// Removes the records that `chosen` chooses and no build uses.
    ///
    /// # Errors
    /// Those of the disk, after everything that could be removed has been.
    pub fn prune(
        &self,
        store: &image::Store,
        shared: &BTreeSet<Digest>,
        chosen: &dyn Fn(&Record) -> bool,
    ) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let mut first = Ok(());
        for record in self.records(shared)? {
            if record.in_use || !chosen(&record) {
                continue;
            }
            let gone = match record.kind {
                RecordKind::Regular => {
                    let mut state = self.state();
                    let key = Digest::from_sha256_hex(&record.id).ok();
                    state.changed = true;
                    key.is_some_and(|key| state.steps.remove(&key).is_some())
                }
                RecordKind::CacheMount => match self.remove_mount(&record.id) {
                    Ok(gone) => gone,
                    Err(error) => {
                        if first.is_ok() {
                            first = Err(error);
                        }
                        false
                    }
                },
            };
            if gone {
                if !record.shared {
                    pruned.reclaimed += record.size;
                }
                pruned.removed.push(record.id);
            }
        }
        self.state().contents.clear();
        self.save(store)?;
        first.map(|()| pruned)
    }

    fn mount_records(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let listed = self.dir.read_dir(MOUNTS).step("list the cache mounts")?;
        for found in listed.iter().filter(|found| found.kind == FileType::Directory) {
            let Some(name) = found.name.to_str() else { continue };
            let path = std::path::Path::new(MOUNTS).join(name);
            let stat = self.dir.lstat(&path).step("look at a cache mount")?;
            let mut size = 0;
            self.dir
                .walk(&path, &mut |file| {
                    if file.kind() == FileType::RegularFile {
                        size += u64::try_from(file.stat.st_size).unwrap_or(0);
                    }
                    Ok(())
                })
                .step("measure a cache mount")?;
            let description = self.dir.read(Self::mount_label(name), 1 << 16);
            records.push(Record {
                id: name.to_owned(),
                parent: None,
                kind: RecordKind::CacheMount,
                description: String::from_utf8_lossy(&description.unwrap_or_default()).into(),
                in_use: self.mounts.is_used(name),
                shared: false,
                size,
                created: Timestamp(stat.st_ctime.saturating_mul(1_000_000_000)),
                last_used: Timestamp(stat.st_mtime.saturating_mul(1_000_000_000)),
                uses: 0,
            });
        }
        Ok(records)
    }

    fn remove_mount(&self, name: &str) -> Result<bool, Error> {
        // Nobody begins to use it while it goes.
        let Some(_claim) = self.mounts.try_claim(name) else { return Ok(false) };
        let path = std::path::Path::new(MOUNTS).join(name);
        self.dir.remove_all(&path).step("remove a cache mount")?;
        self.dir.remove_all(Self::mount_label(name)).step("remove a cache mount")?;
        Ok(true)
    }
}
