//! The store itself: what is shared by all that is done with images.

mod hold;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use types::digest::Digest;
use types::reference::Reference;

use crate::catalog::{Catalog, Source};
use crate::config::ImageConfig;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::gc::Sweeps;
use crate::ingest::Claims;
use crate::layer::{Form, LayerMeta, Layers, Staged};
use crate::snapshot::Snapshots;
pub(crate) use hold::Hold;

/// Limits on what is taken in, so that a hostile archive cannot fill the disk or the memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that one layer may decompress to.
    pub max_layer_bytes: u64,
    /// Names that one layer may hold.
    pub max_layer_entries: u64,
    /// Layers that one image may have (overlayfs stops at 500).
    pub max_layers: usize,
    /// Bytes of a manifest or configuration document.
    pub max_json_bytes: u64,
    /// Keep the compressed blobs of pulled layers, so that the image can be pushed and saved with
    /// every digest unchanged and without compressing again, and damaged layers can be repaired.
    pub keep_blobs: bool,
    /// Gzip's level, 1 to 9, for layers that are not there in compressed form. The lowest takes a
    /// third of the time of gzip's usual 6 and gives a quarter more bytes.
    pub gzip_level: u32,
    /// How long what an interrupted pull has brought stays for the next try.
    pub keep_interrupted: Duration,
    /// Layers that are kept although no image has them, until [`Store::unpin`]: those that a
    /// build cache will ask for.
    pub pinned: Vec<Digest>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_layer_bytes: 256 << 30,
            max_layer_entries: 20_000_000,
            max_layers: 490,
            max_json_bytes: 8 << 20,
            keep_blobs: true,
            gzip_level: 1,
            keep_interrupted: Duration::from_secs(24 * 60 * 60),
            pinned: Vec::new(),
        }
    }
}

/// Images, layers and snapshots below one data root. Share it in an `Arc`.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    pub(crate) options: Options,
    pub(crate) content: Content,
    pub(crate) layers: Layers,
    pub(crate) snapshots: Snapshots,
    pub(crate) claims: Claims,
    pub(crate) sweeps: Sweeps,
    state: Mutex<State>,
}

/// What is in memory. The catalog is what is on disk; changes go there first.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) catalog: Catalog,
    /// Every layer that is there.
    pub(crate) layers: HashMap<Digest, Arc<LayerMeta>>,
    /// Layers that an operation under way relies on, and how many do.
    holds: BTreeMap<Digest, usize>,
    /// The layers below each container.
    pub(crate) snapshot_layers: HashMap<String, Vec<Digest>>,
    pub(crate) configs: HashMap<Digest, Arc<ImageConfig>>,
    /// Some layers were set aside, because a container may have them mounted.
    pub(crate) aside: bool,
}

impl State {
    /// Is a layer or a blob wanted by an image, a container or an operation?
    pub(crate) fn is_wanted(&self, digest: &Digest) -> bool {
        self.holds.contains_key(digest) || self.catalog.refers_to(digest) || self.is_below(digest)
    }

    /// Is a layer below a container?
    pub(crate) fn is_below(&self, digest: &Digest) -> bool {
        self.snapshot_layers.values().any(|layers| layers.contains(digest))
    }

    /// Those of the given layers and blobs that nobody wants.
    pub(crate) fn unwanted<'a>(&self, of: impl Iterator<Item = &'a Digest>) -> Vec<Digest> {
        /// For more than these, all that is wanted is gathered once.
        const FEW: usize = 16;
        let of: Vec<&Digest> = of.collect();
        let all: Option<HashSet<&Digest>> = (of.len() > FEW).then(|| {
            let below = self.snapshot_layers.values().flatten();
            self.catalog.references().chain(self.holds.keys()).chain(below).collect()
        });
        let wanted = |digest: &Digest| match &all {
            Some(all) => all.contains(digest),
            None => self.is_wanted(digest),
        };
        of.into_iter().filter(|digest| !wanted(digest)).cloned().collect()
    }

    /// An operation relies on it from now on; see [`Store::release`].
    pub(crate) fn hold(&mut self, digest: &Digest) {
        *self.holds.entry(digest.clone()).or_default() += 1;
    }

    /// Does an operation under way rely on it?
    pub(crate) fn is_held(&self, digest: &Digest) -> bool {
        self.holds.contains_key(digest)
    }

    /// Bytes of a list of layers.
    pub(crate) fn size_of(&self, layers: &[Digest]) -> u64 {
        layers.iter().filter_map(|layer| self.layers.get(layer)).map(|layer| layer.size).sum()
    }
}

impl Store {
    /// Opens the store below `root`, creating it if need be, and removes what a crash left over.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DamagedRecord`].
    pub fn open(root: impl AsRef<Path>, options: Options) -> Result<Store> {
        let root = root.as_ref().to_owned();
        let content = Content::open(&root.join("content"), options.keep_interrupted)?;
        let (layers, found) = Layers::open(&root.join("layers"))?;
        let (snapshots, snapshot_layers) = Snapshots::open(&root.join("containers"))?;
        let state = State {
            catalog: content.read_catalog()?,
            layers: found.into_iter().map(|m| (m.diff_id.clone(), Arc::new(m))).collect(),
            snapshot_layers,
            ..State::default()
        };
        let (claims, sweeps, state) = (Claims::default(), Sweeps::default(), Mutex::new(state));
        let store = Store { root, options, content, layers, snapshots, claims, sweeps, state };
        store.options.pinned.iter().for_each(|layer| store.keep(layer));
        store.remove_aside()?;
        store.collect_garbage()?;
        Ok(store)
    }

    /// Lets go of the layers that [`Options::pinned`] named; call it once, when those that are
    /// wanted are held in another way.
    pub fn unpin(&self) {
        self.release(&self.options.pinned);
    }

    /// The data root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lock. Never held while a layer is unpacked or removed.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment after its disk write, so a panic elsewhere
        // leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the catalog: on disk first, then in memory; not at all when `change` fails.
    pub(crate) fn change<T>(
        &self,
        state: &mut State,
        change: impl FnOnce(&mut Catalog) -> Result<T>,
    ) -> Result<T> {
        let mut catalog = state.catalog.clone();
        let out = change(&mut catalog)?;
        if catalog != state.catalog {
            self.content.write_catalog(&catalog)?;
            state.catalog = catalog;
        }
        Ok(out)
    }

    /// Image id of a full id, a name (`latest` is added), a digest reference or the beginning of
    /// an id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousId`], [`Error::Reference`].
    pub fn resolve(&self, name: &str) -> Result<Digest> {
        self.state().catalog.resolve(name)
    }

    /// The configuration document of an image.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::BadConfig`] or [`Error::DamagedRecord`] when it is damaged.
    pub fn config(&self, id: &Digest) -> Result<Arc<ImageConfig>> {
        {
            let state = self.state();
            if !state.catalog.images.contains_key(id) {
                return Err(Error::NoSuchImage(id.to_string()));
            }
            if let Some(config) = state.configs.get(id) {
                return Ok(Arc::clone(config));
            }
        }
        let text = self.config_text(id)?;
        let config: ImageConfig =
            serde_json::from_slice(&text).map_err(|error| Error::BadConfig(error.to_string()))?;
        let config = Arc::new(config);
        self.state().configs.insert(id.clone(), Arc::clone(&config));
        Ok(config)
    }

    /// The configuration document as it stands.
    pub(crate) fn config_text(&self, id: &Digest) -> Result<Vec<u8>> {
        self.content.get(id, self.options.max_json_bytes)
    }

    /// The names of an image, sorted.
    pub fn names(&self, id: &Digest) -> Vec<Reference> {
        self.state().catalog.names_of(id)
    }

    /// Gives the name `target` (`latest` is added) to the image `source`; returns its id.
    ///
    /// # Errors
    /// Those of [`Store::resolve`]; [`Error::NotATag`] when the target has a digest.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Digest> {
        if target.digest().is_some() {
            return Err(Error::NotATag("refusing to create a tag with a digest reference".into()));
        }
        let mut state = self.state();
        let id = state.catalog.resolve(source)?;
        self.change(&mut state, |catalog| {
            catalog.give_name(target.clone().or_latest(), &id);
            Ok(())
        })?;
        Ok(id)
    }

    /// Keeps layers from being removed until the guard is dropped, whether they are there or not.
    pub(crate) fn hold(&self, layers: impl IntoIterator<Item = Digest>) -> Hold<'_> {
        let layers: Vec<Digest> = layers.into_iter().collect();
        let mut state = self.state();
        for layer in &layers {
            state.hold(layer);
        }
        Hold::new(self, layers)
    }

    /// Keeps one layer from being removed until it is released.
    pub(crate) fn keep(&self, layer: &Digest) {
        self.state().hold(layer);
    }

    /// Lets go of layers that were kept; each once.
    pub(crate) fn release(&self, layers: &[Digest]) {
        let mut state = self.state();
        for layer in layers {
            if let Some(count) = state.holds.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    state.holds.remove(layer);
                }
            }
        }
    }

    /// What is known of a layer that is there.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<Arc<LayerMeta>> {
        self.state().layers.get(diff_id).cloned()
    }

    /// The diff id of a layer that is there, by its own digest or that of a compressed form.
    pub(crate) fn known_layer(&self, blob: &Digest) -> Option<Digest> {
        let state = self.state();
        let mut layers = state.layers.values();
        let found = layers.find(|layer| layer.diff_id == *blob || layer.blobs.contains(blob));
        found.map(|layer| layer.diff_id.clone())
    }

    /// Publishes staged layers. Hold them first.
    pub(crate) fn publish(&self, staged: Vec<Staged>) -> Result<()> {
        let metas: Vec<LayerMeta> = staged.iter().map(|layer| layer.meta.clone()).collect();
        self.layers.publish(staged)?;
        let mut state = self.state();
        for meta in metas {
            state.layers.entry(meta.diff_id.clone()).or_insert_with(|| Arc::new(meta));
        }
        Ok(())
    }

    /// Publishes a staged layer that need not survive a crash before an image has it: adding the
    /// image flushes it. Hold it first.
    pub(crate) fn publish_unflushed(&self, staged: Staged) -> Result<()> {
        let meta = staged.meta.clone();
        self.layers.publish_unflushed(staged)?;
        self.state().layers.entry(meta.diff_id.clone()).or_insert_with(|| Arc::new(meta));
        Ok(())
    }

    /// Publishes a staged layer together with the form it came in, unflushed. Hold it first.
    pub(crate) fn publish_with_form(&self, staged: Staged, form: Form) -> Result<()> {
        self.layers.write_staged_forms(&staged, &[form])?;
        self.publish_unflushed(staged)
    }

    /// Unpacks a layer again from its blob in the content store.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`]; [`Error::DamagedRecord`] when the blob has another digest; those of
    /// tars and the disk.
    pub(crate) fn stage_kept(&self, blob: &Digest) -> Result<Staged> {
        let blobs = self.content.blobs();
        let mut file = blobs.open_blob(blob)?;
        match self.layers.stage(&mut file, true, &self.options) {
            Ok(staged) if staged.passed.blob.as_ref() == Some(blob) => Ok(staged),
            // Another digest, or one of another algorithm.
            Ok(staged) => blobs.verify(blob).map(|()| staged),
            Err(error) => Err(blobs.verify(blob).err().unwrap_or(error)),
        }
    }

    /// Adds an image whose layers are held and published; returns its id.
    pub(crate) fn add_image(
        &self,
        config_text: &[u8],
        layers: &[Digest],
        parent: Option<Digest>,
        names: &[Reference],
    ) -> Result<Digest> {
        self.add(config_text, layers, parent, None, names)
    }

    /// Adds an image that came by a manifest whose documents are stored and held.
    pub(crate) fn add_pulled(
        &self,
        config_text: &[u8],
        layers: &[Digest],
        source: Source,
        names: &[Reference],
    ) -> Result<Digest> {
        self.add(config_text, layers, None, Some(source), names)
    }

    fn add(
        &self,
        config_text: &[u8],
        layers: &[Digest],
        parent: Option<Digest>,
        source: Option<Source>,
        names: &[Reference],
    ) -> Result<Digest> {
        self.layers.flush()?;
        let mut state = self.state();
        if let Some(missing) = layers.iter().find(|layer| !state.layers.contains_key(layer)) {
            return Err(Error::MissingLayer(missing.clone()));
        }
        let id = self.content.put(config_text)?;
        self.change(&mut state, |catalog| {
            catalog.add(&id, parent, layers);
            if let Some(source) = source {
                catalog.add_source(&id, source);
            }
            for name in names {
                catalog.give_name(name.clone(), &id);
            }
            Ok(())
        })?;
        Ok(id)
    }
}
