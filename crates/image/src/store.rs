//! The store's public face.

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use types::ContainerId;
use types::container::ContainerConfig;
use types::digest::Digest;
use types::reference::Reference;

use crate::error::{Error, Result};
use crate::model::*;

/// Limits on what is taken in, so that a hostile archive cannot fill the disk or the memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that one layer may unpack to.
    pub max_layer_bytes: u64,
    /// Names that one layer may hold.
    pub max_layer_entries: u64,
    /// Layers that one image may have (overlayfs stops at 500).
    pub max_layers: usize,
    /// Bytes of a manifest or configuration document.
    pub max_json_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_layer_bytes: 256 << 30,
            max_layer_entries: 20_000_000,
            max_layers: 490,
            max_json_bytes: 8 << 20,
        }
    }
}

/// How an overlay is mounted.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountOptions<'a> {
    /// Map ids as this user namespace does (`/proc/<pid>/ns/user`), for `userns-remap`.
    pub userns: Option<BorrowedFd<'a>>,
    /// No writing through this mount.
    pub read_only: bool,
    /// Never wait for the disk: right for containers that are removed when they end, whose files
    /// no crash needs to survive. Without it every unmount flushes the host's file system.
    pub volatile: bool,
}

/// What `load` takes from an archive.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `os/arch[/variant]`, to choose from an image index; the host's if `None`.
    pub platform: Option<String>,
}

/// What `import` makes of a tar.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name it gets.
    pub reference: Option<Reference>,
    /// Dockerfile instructions (`--change`).
    pub changes: Vec<String>,
    /// The remark in its history; Docker's default is `Imported from -`.
    pub message: String,
    /// `os[/arch[/variant]]`, the host's if `None`.
    pub platform: Option<String>,
}

/// What `commit` makes of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The name it gets.
    pub reference: Option<Reference>,
    /// The image's `config`: the container's, with what the caller merged into it.
    pub config: ContainerConfig,
    /// The container's configuration, kept as a record; its `Cmd` is the history's `created_by`.
    pub container_config: ContainerConfig,
    /// Dockerfile instructions (`--change`), applied to `config`.
    pub changes: Vec<String>,
    /// Who makes it.
    pub author: String,
    /// A remark.
    pub comment: String,
}

/// How an image is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Also when it has several names or stopped containers use it.
    pub force: bool,
    /// Leave nameless parents.
    pub no_prune: bool,
}

/// Images, layers and snapshots below one data root. Share it in an `Arc`.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

fn unfinished<T>() -> Result<T> {
    Err(Error::Unsupported("not yet".into()))
}

impl Store {
    /// Opens the store below `root`, creating it and removing what a crash left over.
    pub fn open(root: impl AsRef<Path>, _options: Options) -> Result<Store> {
        Ok(Self { root: root.as_ref().to_owned() })
    }
    /// The data root.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Image id of a name, a (short) id or a digest reference.
    pub fn resolve(&self, _name: &str) -> Result<Digest> {
        unfinished()
    }
    /// The configuration document.
    pub fn config(&self, _id: &Digest) -> Result<std::sync::Arc<crate::ImageConfig>> {
        unfinished()
    }
    /// The names of an image.
    pub fn names(&self, _id: &Digest) -> Vec<Reference> {
        Vec::new()
    }
    /// Gives `target` to the image `source`; returns its id.
    pub fn tag(&self, _source: &str, _target: &Reference) -> Result<Digest> {
        unfinished()
    }
    /// All there is to know of an image.
    pub fn inspect(&self, _name: &str) -> Result<Inspect> {
        unfinished()
    }
    /// The images that a filter lets through.
    pub fn list(&self, _filter: &ListFilter) -> Result<Vec<Summary>> {
        unfinished()
    }
    /// How an image was made, newest step first.
    pub fn history(&self, _name: &str) -> Result<Vec<HistoryItem>> {
        unfinished()
    }
    /// Removes a name or an image.
    pub fn remove(
        &self,
        _name: &str,
        _options: RemoveOptions,
        _users: &[ContainerUse],
    ) -> Result<Vec<Removal>> {
        unfinished()
    }
    /// Removes unused images.
    pub fn prune(&self, _filter: &PruneFilter, _users: &[ContainerUse]) -> Result<Pruned> {
        unfinished()
    }
    /// Disk usage.
    pub fn usage(&self, _users: &[ContainerUse]) -> Result<Usage> {
        unfinished()
    }
    /// Takes an archive (Docker or OCI, optionally compressed) in.
    pub fn load(
        &self,
        _input: &mut (dyn Read + Send),
        _options: &LoadOptions,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Loaded>> {
        unfinished()
    }
    /// Writes images (by name or id) as one archive that is a Docker archive and an OCI layout.
    pub fn save(&self, _names: &[String], _output: &mut dyn Write) -> Result<()> {
        unfinished()
    }
    /// Makes a one-layer image of a tar (optionally compressed).
    pub fn import(
        &self,
        _input: &mut (dyn Read + Send),
        _options: &ImportOptions,
    ) -> Result<Digest> {
        unfinished()
    }
    /// Makes a container's writable layer on top of an image.
    pub fn prepare(&self, _container: &ContainerId, _image: &Digest) -> Result<()> {
        unfinished()
    }
    /// Mounts a container's file system, attached nowhere.
    pub fn mount(&self, _container: &ContainerId, _options: MountOptions<'_>) -> Result<OwnedFd> {
        unfinished()
    }
    /// Mounts an image read-only, attached nowhere.
    pub fn mount_image(&self, _image: &Digest, _options: MountOptions<'_>) -> Result<OwnedFd> {
        unfinished()
    }
    /// Where a container's layers are.
    pub fn graph_driver(&self, _container: &ContainerId) -> Result<GraphDriver> {
        unfinished()
    }
    /// How a container's files differ from its image, sorted by path.
    pub fn changes(&self, _container: &ContainerId) -> Result<Vec<Change>> {
        unfinished()
    }
    /// Bytes that a container has written (`SizeRw`).
    pub fn size_rw(&self, _container: &ContainerId) -> Result<u64> {
        unfinished()
    }
    /// Those and the image's (`SizeRootFs`).
    pub fn size_root_fs(&self, _container: &ContainerId) -> Result<u64> {
        unfinished()
    }
    /// Makes an image of a container; the engine pauses it meanwhile if asked.
    pub fn commit(&self, _container: &ContainerId, _options: &CommitOptions) -> Result<Digest> {
        unfinished()
    }
    /// Removes a container's writable layer and lets go of its image. Fine when there is none.
    pub fn remove_snapshot(&self, _container: &ContainerId) -> Result<()> {
        unfinished()
    }
}
