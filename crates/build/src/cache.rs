//! What builds remember: which step gave which layer.
//!
//! ```text
//! build/                 of the data root
//!   cache.json           every record; replaced atomically once a build has added some
//!   mounts/<sha256>/     directories of `RUN --mount=type=cache`
//!   empty/               the files of an image without layers
//!   tmp-*                contexts of builds under way; swept at the start
//! ```
//!
//! A record's key is a digest over everything that decides what the step gives: the key of the
//! step before it, the instruction with its variables replaced, the content of what it copies, the
//! arguments and mounts that its process sees. No time goes into a key, and no secret.
//!
//! The layers of records stay in the image store: while the cache is open by a hold on each, and
//! over a restart because the store is told of [`pinned`] ones when it is opened. A record whose
//! layer is gone says nothing and is forgotten.

mod mounts;
mod records;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::{HeldLayer, Store};
use serde::{Deserialize, Serialize};
use sys::fs::{Mode, Root};
use types::Timestamp;
use types::digest::Digest;

use crate::error::{Error, Step};

pub use mounts::CacheMount;
pub use records::{Pruned, Record, RecordKind};

const FILE: &str = "cache.json";
const TMP: &str = "tmp-";
const MOUNTS: &str = "mounts";
const EMPTY: &str = "empty";

/// Records that are kept at most; those that were not used for longest go first.
const MOST: usize = 20_000;

/// The longest `cache.json` that is read.
const LIMIT: u64 = 256 << 20;

/// What is remembered of a step (an item of `cache.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saved {
    key: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<Digest>,
    /// None for a step that changed no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<Digest>,
    /// When the step was done; it is in the history of the images that have it.
    created: Timestamp,
    last_used: Timestamp,
    #[serde(default)]
    uses: u64,
    /// The instruction, for people.
    description: String,
}

/// The digest of files that were copied out of layers, remembered because layers do not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// Over the layers and what was taken of them.
    of: Digest,
    /// As it stands in the history.
    content: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    steps: Vec<Saved>,
    contents: Vec<Content>,
}

#[derive(Debug)]
struct Entry {
    saved: Saved,
    held: Option<Arc<HeldLayer>>,
}

#[derive(Debug, Default)]
struct State {
    steps: HashMap<Digest, Entry>,
    contents: HashMap<Digest, String>,
    changed: bool,
}

/// The build cache. Share it in an `Arc`.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    dir: Root,
    state: Mutex<State>,
    /// Held while the file is written, so that an older state never replaces a newer one.
    writing: Mutex<()>,
    mounts: mounts::InUse,
}

/// A step that is known.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its layer; none if it changed no file.
    pub layer: Option<Arc<HeldLayer>>,
    /// When it was done.
    pub created: Timestamp,
}

/// The layers that the cache below `path` refers to: for the store to keep when it is opened.
pub fn pinned(path: &Path) -> Vec<Digest> {
    let Ok(dir) = Root::open_host(path) else { return Vec::new() };
    read(&dir).steps.into_iter().filter_map(|saved| saved.layer).collect()
}

/// The file; a missing or damaged one holds nothing, for a cache may always be forgotten.
fn read(dir: &Root) -> File {
    let text = dir.read(FILE, LIMIT).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

impl Cache {
    /// Opens the cache below `path`, making the directory if need be, and removes what builds
    /// under way left when the machine or the daemon went down.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(path: &Path, store: &Arc<Store>) -> Result<Self, Error> {
        std::fs::create_dir_all(path.join(MOUNTS)).step("create the build directory")?;
        std::fs::create_dir_all(path.join(EMPTY)).step("create the build directory")?;
        let dir = Root::open_host(path).step("open the build directory")?;
        dir.chmod(".", Mode::from_raw_mode(0o710)).step("protect the build directory")?;
        for found in dir.read_dir(".").step("list the build directory")? {
            if found.name.as_encoded_bytes().starts_with(TMP.as_bytes()) {
                dir.remove_all(&found.name).step("remove what a build left")?;
            }
        }
        let file = read(&dir);
        let mut state = State::default();
        for saved in file.steps {
            let held = match &saved.layer {
                Some(layer) => match store.held_layer(layer) {
                    Some(held) => Some(Arc::new(held)),
                    None => continue,
                },
                None => None,
            };
            state.steps.insert(saved.key.clone(), Entry { saved, held });
        }
        state.contents = file.contents.into_iter().map(|c| (c.of, c.content)).collect();
        let mounts = mounts::InUse::default();
        let (state, writing) = (Mutex::new(state), Mutex::new(()));
        Ok(Self { path: path.to_owned(), dir, state, writing, mounts })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new directory that is removed when the cache is opened again, if not before.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn temporary(&self, name: &str) -> Result<Temporary, Error> {
        let name = format!("{TMP}{name}");
        self.dir.mkdir(&name, Mode::from_raw_mode(0o700)).step("create a build's directory")?;
        let path = self.path.join(&name);
        let dir = self.dir.try_clone().step("open the build directory")?;
        Ok(Temporary { dir: Arc::new(dir), name, path })
    }

    /// A directory without files.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn empty(&self) -> Result<Root, Error> {
        self.dir.sub_root(EMPTY).step("open the build directory")
    }

    /// What a step gave, if that is known.
    pub fn find(&self, key: &Digest) -> Option<Hit> {
        let mut state = self.state();
        let entry = state.steps.get_mut(key)?;
        if entry.held.as_ref().is_some_and(|layer| !layer.is_there()) {
            return None;
        }
        entry.saved.last_used = Timestamp::now();
        entry.saved.uses += 1;
        Some(Hit { layer: entry.held.clone(), created: entry.saved.created })
    }

    /// Remembers what a step gave. It survives once [`Cache::save`] has been called.
    pub fn add(
        &self,
        key: &Digest,
        parent: Option<&Digest>,
        layer: Option<Arc<HeldLayer>>,
        created: Timestamp,
        description: &str,
    ) {
        let saved = Saved {
            key: key.clone(),
            parent: parent.cloned(),
            layer: layer.as_ref().map(|layer| layer.diff_id().clone()),
            created,
            last_used: Timestamp::now(),
            uses: 0,
            description: description.to_owned(),
        };
        let mut state = self.state();
        state.steps.insert(key.clone(), Entry { saved, held: layer });
        state.changed = true;
    }

    /// The digest of files of layers, if it was asked for before.
    pub fn content(&self, of: &Digest) -> Option<String> {
        self.state().contents.get(of).cloned()
    }

    /// Remembers the digest of files of layers.
    pub fn add_content(&self, of: Digest, content: String) {
        let mut state = self.state();
        state.contents.insert(of, content);
        state.changed = true;
    }

    /// Writes down what has been added since the last time, once the layers are on disk.
    ///
    /// # Errors
    /// Those of the disk; what was there before is there still.
    pub fn save(&self, store: &Store) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = {
            let mut state = self.state();
            if !std::mem::take(&mut state.changed) {
                return Ok(());
            }
            state.forget_oldest();
            let mut steps: Vec<Saved> =
                state.steps.values().map(|entry| entry.saved.clone()).collect();
            steps.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
            let contents = state.contents.iter();
            let contents =
                contents.map(|(of, content)| Content { of: of.clone(), content: content.clone() });
            let file = File { steps, contents: contents.collect() };
            serde_json::to_vec(&file).map_err(std::io::Error::from)
        };
        let flushed = store.flush_layers().map_err(Error::Image);
        let written = flushed
            .and_then(|()| text.and_then(|text| self.replace(&text)).step("write the build cache"));
        if written.is_err() {
            self.state().changed = true;
        }
        written
    }

    fn replace(&self, text: &[u8]) -> std::io::Result<()> {
        let tmp = format!("{TMP}{FILE}");
        self.dir.remove_all(&tmp)?;
        let mut file = self.dir.create_file(&tmp, Mode::from_raw_mode(0o600))?;
        file.write_all(text)?;
        file.sync_all()?;
        self.dir.rename(&tmp, FILE)?;
        let top = sys::entry::reopen_dir(&self.dir)?;
        sys::entry::fsync(&top)
    }
}

impl State {
    fn forget_oldest(&mut self) {
        if self.contents.len() > MOST {
            self.contents.clear();
        }
        let Some(too_many) = self.steps.len().checked_sub(MOST).filter(|many| *many > 0) else {
            return;
        };
        let mut used: Vec<(Timestamp, Digest)> =
            self.steps.values().map(|e| (e.saved.last_used, e.saved.key.clone())).collect();
        used.sort();
        for (_, key) in used.into_iter().take(too_many) {
            self.steps.remove(&key);
        }
    }
}

/// A directory of a build; it goes soon after this, because nobody should wait for files to be
/// removed.
#[derive(Debug)]
pub struct Temporary {
    dir: Arc<Root>,
    name: String,
    path: PathBuf,
}

impl Temporary {
    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let (dir, name) = (Arc::clone(&self.dir), std::mem::take(&mut self.name));
        // What fails here is removed at the next start.
        let remove = move || drop(dir.remove_all(&name));
        drop(std::thread::Builder::new().name("sweep".to_owned()).spawn(remove));
    }
}

#[cfg(test)]
mod tests;
