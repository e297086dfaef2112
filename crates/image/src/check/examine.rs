//! Looking at everything, on as many threads as there are processors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use types::digest::Digest;

use super::{CheckStep, Subject};
use crate::catalog::Catalog;
use crate::config::ImageConfig;
use crate::error::{Error, Result, Step};
use crate::layer::{LayerMeta, Staged, Verified};
use crate::store::Store;

/// What belongs into `content/` besides temporary files.
const CONTENT: [&str; 5] = ["blobs", "images.json", "index.json", "oci-layout", "partial"];
/// What belongs into `layers/` besides layers.
const LAYERS: [&str; 2] = ["empty", "init"];

/// What is checked; all of it is held.
pub(super) struct Scope<'a> {
    store: &'a Store,
    pub(super) catalog: Catalog,
    /// Containers and the layers below them.
    pub(super) containers: HashMap<String, Vec<Digest>>,
    layers: BTreeMap<Digest, Arc<LayerMeta>>,
    blobs: Vec<(Digest, u64)>,
    held: Vec<Digest>,
}

/// How a layer is.
#[derive(Debug)]
pub(super) enum LayerState {
    Good,
    /// It cannot be made again from itself; why.
    Damaged(String),
    /// It can: what is wrong, and the layer made again.
    Differs(String, Option<Box<Staged>>),
    Missing,
    /// It could not be looked at.
    Unknown(String),
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) layers: BTreeMap<Digest, LayerState>,
    /// What is wrong with the blobs that are there; `None` is nothing.
    pub(super) blobs: BTreeMap<Digest, Option<String>>,
    /// The layers that each image's configuration names, or what is wrong with it.
    pub(super) configs: BTreeMap<Digest, Result<Vec<Digest>, String>>,
    /// Blobs that may be turned into a layer.
    pub(super) sources: BTreeMap<Digest, Vec<Digest>>,
    /// Damaged layers that were set aside: names below `layers/`, and digests.
    pub(super) aside: Vec<(String, Digest)>,
    /// Files that are none of the store's, below the data root.
    pub(super) strays: Vec<PathBuf>,
    pub(super) bytes: u64,
}

enum Item {
    Blob(Digest, u64),
    Layer(Arc<LayerMeta>),
}

impl<'a> Scope<'a> {
    pub(super) fn take(store: &'a Store) -> Result<Self> {
        let mut scope = {
            let mut state = store.state();
            let layers = state.layers.iter().map(|(k, v)| (k.clone(), Arc::clone(v))).collect();
            let catalog = state.catalog.clone();
            let containers = state.snapshot_layers.clone();
            let blobs = Vec::new();
            let mut scope = Self { store, catalog, containers, layers, blobs, held: Vec::new() };
            // Under the same lock, so that nothing of it goes in between and seems to be missing.
            scope.held = scope.everything().into_iter().collect();
            for digest in &scope.held {
                state.hold(digest);
            }
            scope
        };
        // Those that came meanwhile are looked at as well; those that go are passed over.
        scope.blobs = store.content.blobs().list()?;
        Ok(scope)
    }

    /// All that images and containers refer to, and all layers there are.
    fn everything(&self) -> BTreeSet<Digest> {
        self.catalog
            .references()
            .chain(self.containers.values().flatten())
            .chain(self.layers.keys())
            .cloned()
            .collect()
    }

    /// Looks at everything.
    pub(super) fn examine(&self, progress: &mut (dyn FnMut(CheckStep) + Send)) -> Result<Findings> {
        let mut findings = Findings { strays: self.strays()?, ..Findings::default() };
        let mut items: Vec<Item> =
            self.blobs.iter().map(|(digest, size)| Item::Blob(digest.clone(), *size)).collect();
        items.extend(self.layers.values().map(|meta| Item::Layer(Arc::clone(meta))));
        findings.bytes = items.iter().map(Item::bytes).sum();
        self.examine_items(items, &mut findings, progress);
        let wanted = self.catalog.images.values().flat_map(|record| &record.layers);
        for layer in wanted.chain(self.containers.values().flatten()) {
            findings.layers.entry(layer.clone()).or_insert(LayerState::Missing);
        }
        for id in self.catalog.images.keys() {
            findings.configs.insert(id.clone(), self.config(id));
        }
        self.find_sources(&mut findings);
        self.find_aside(&mut findings)?;
        Ok(findings)
    }

    fn examine_items(
        &self,
        items: Vec<Item>,
        findings: &mut Findings,
        progress: &mut (dyn FnMut(CheckStep) + Send),
    ) {
        let total = findings.bytes;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
        let queue = Mutex::new((items.into_iter(), 0u64, progress));
        let results = Mutex::new(findings);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let item = {
                            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                            let Some(item) = queue.0.next() else { return };
                            let (subject, done) = (item.subject(), queue.1);
                            queue.1 += item.bytes();
                            (queue.2)(CheckStep::Checking { subject, done, total });
                            item
                        };
                        self.examine_item(item, &results);
                    }
                });
            }
        });
    }

    fn examine_item(&self, item: Item, results: &Mutex<&mut Findings>) {
        let results = || results.lock().unwrap_or_else(PoisonError::into_inner);
        match item {
            Item::Blob(digest, _) => {
                let wrong = match self.store.content.blobs().verify(&digest) {
                    Ok(()) => None,
                    // Another process shares the directory, or it was nobody's.
                    Err(Error::NoSuchBlob(_)) => return,
                    Err(Error::DamagedRecord { reason, .. }) => Some(reason),
                    Err(error) => Some(error.to_string()),
                };
                results().blobs.insert(digest, wrong);
            }
            Item::Layer(meta) => {
                let state = match self.store.layers.verify(&meta) {
                    Ok(Verified::Good) => LayerState::Good,
                    Ok(Verified::Damaged(reason)) => LayerState::Damaged(reason),
                    Ok(Verified::Differs { what, staged }) => {
                        LayerState::Differs(what, Some(staged))
                    }
                    Ok(Verified::Missing) => LayerState::Missing,
                    Err(error) => LayerState::Unknown(error.to_string()),
                };
                results().layers.insert(meta.diff_id.clone(), state);
            }
        }
    }

    fn config(&self, id: &Digest) -> Result<Vec<Digest>, String> {
        let text = self.store.config_text(id).map_err(|error| match error {
            Error::NoSuchBlob(_) => "its configuration is missing".to_owned(),
            Error::DamagedRecord { .. } => "its configuration is damaged".to_owned(),
            error => error.to_string(),
        })?;
        let config = serde_json::from_slice::<ImageConfig>(&text);
        config.map(|config| config.rootfs.diff_ids).map_err(|error| error.to_string())
    }

    /// Blobs that are there, are right, and may hold a layer: those that it is known to have come
    /// as, and those that a manifest has in its place. The layer's digest has the last word.
    fn find_sources(&self, findings: &mut Findings) {
        let bad: Vec<Digest> = findings
            .layers
            .iter()
            .filter(|(_, state)| matches!(state, LayerState::Damaged(_) | LayerState::Missing))
            .map(|(layer, _)| layer.clone())
            .collect();
        for layer in bad {
            let mut blobs: Vec<Digest> = vec![layer.clone()];
            blobs.extend(self.layers.get(&layer).iter().flat_map(|meta| meta.blobs.clone()));
            blobs.extend(self.store.layers.forms(&layer).into_iter().map(|form| form.digest));
            for record in self.catalog.images.values() {
                for source in &record.sources {
                    let pairs = record.layers.iter().zip(&source.blobs);
                    blobs.extend(pairs.filter(|(l, _)| **l == layer).map(|(_, b)| b.clone()));
                }
            }
            let mut seen = BTreeSet::new();
            blobs.retain(|blob| {
                seen.insert(blob.clone()) && findings.blobs.get(blob).is_some_and(Option::is_none)
            });
            findings.sources.insert(layer, blobs);
        }
    }

    fn strays(&self) -> Result<Vec<PathBuf>> {
        let mut out = Vec::new();
        for found in self.store.content.dir().read_dir(".").step("list content")? {
            let name = found.name.to_str().unwrap_or_default();
            if !CONTENT.contains(&name) && !name.starts_with(".tmp-") {
                out.push(Path::new("content").join(&found.name));
            }
        }
        let blobs = self.store.content.blobs().strays()?;
        out.extend(blobs.into_iter().map(|path| Path::new("content").join(path)));
        for found in self.store.layers.dir().read_dir(".").step("list layers")? {
            let name = found.name.to_str().unwrap_or_default();
            let ours = LAYERS.contains(&name)
                || name.starts_with("tmp-")
                || name.starts_with("damaged-")
                || (name.len() == 64 && found.name.as_bytes().iter().all(u8::is_ascii_hexdigit));
            if !ours {
                out.push(Path::new("layers").join(&found.name));
            }
        }
        Ok(out)
    }

    /// Layers that were set aside: those that no container may have mounted are strays, unless
    /// the layer is missing and may be made of what is left of it.
    fn find_aside(&self, findings: &mut Findings) -> Result<()> {
        for (name, layer) in self.store.layers.aside()? {
            let used = self.containers.values().any(|layers| layers.contains(&layer));
            if matches!(findings.layers.get(&layer), Some(LayerState::Missing)) {
                findings.aside.push((name, layer));
            } else if !used {
                findings.strays.push(Path::new("layers").join(name));
            }
        }
        Ok(())
    }
}

impl Item {
    fn bytes(&self) -> u64 {
        match self {
            Self::Blob(_, size) => *size,
            Self::Layer(meta) => meta.tar_size,
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Blob(digest, _) => Subject::Blob(digest.clone()),
            Self::Layer(meta) => Subject::Layer(meta.diff_id.clone()),
        }
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.store.release(&self.held);
        // What was removed meanwhile and stayed because it was held. What cannot go now goes at
        // the next start.
        let held: BTreeSet<Digest> = std::mem::take(&mut self.held).into_iter().collect();
        let _ = self.store.collect(&held);
    }
}
