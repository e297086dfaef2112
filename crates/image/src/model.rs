//! What the store answers, in the shapes and names of Docker's API.

use std::collections::BTreeMap;

use serde::Serialize;
use types::container::ContainerConfig;
use types::digest::Digest;
use types::time::Timestamp;

/// Where a snapshot's or an image's layers are (`GraphDriver`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Always `overlay2`: clients look for the name.
    pub name: String,
    /// `LowerDir`, `UpperDir`, `WorkDir`, `MergedDir`.
    pub data: BTreeMap<String, String>,
}

/// The layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFsSummary {
    /// Always `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Digests of the uncompressed layer tars, bottom first.
    pub layers: Vec<Digest>,
}

/// What only this host knows of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// When a name was last given to it here.
    pub last_tag_time: Timestamp,
}

/// An image in full (`ImageInspect`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    /// Digest of the configuration document.
    pub id: Digest,
    /// Names with a tag, familiar form.
    pub repo_tags: Vec<String>,
    /// Names with a digest, familiar form.
    pub repo_digests: Vec<String>,
    /// Id of the image it was made from, or empty.
    pub parent: String,
    /// A remark.
    pub comment: String,
    /// When it was made; nothing if the document does not say.
    pub created: Option<Timestamp>,
    /// The container it was committed from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// That container's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<ContainerConfig>,
    /// The engine that made it.
    pub docker_version: String,
    /// Who made it.
    pub author: String,
    /// What containers of it start from.
    pub config: Option<ContainerConfig>,
    /// Go's name of the processor architecture.
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The operating system.
    pub os: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    /// The same; clients before API 1.44 read it.
    pub virtual_size: u64,
    /// Where the layers are.
    pub graph_driver: GraphDriver,
    /// Which layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFsSummary,
    /// What only this host knows.
    pub metadata: ImageMetadata,
}

/// An image in a list (`ImageSummary`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Digest of the configuration document.
    pub id: Digest,
    /// Id of the image it was made from, or empty.
    pub parent_id: String,
    /// Names with a tag, familiar form.
    pub repo_tags: Vec<String>,
    /// Names with a digest, familiar form.
    pub repo_digests: Vec<String>,
    /// When it was made, seconds since the epoch.
    pub created: i64,
    /// Bytes of all its layers, unpacked.
    pub size: u64,
    /// Bytes that other images use as well; -1 when not asked for.
    pub shared_size: i64,
    /// The same as `size`; clients before API 1.44 read it.
    pub virtual_size: u64,
    /// Labels of its configuration.
    pub labels: Option<BTreeMap<String, String>>,
    /// Containers of it; -1 when not asked for.
    pub containers: i64,
}

/// One step of an image's making (`HistoryResponseItem`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryItem {
    /// Image id, or `<missing>`.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// Names of that image.
    pub tags: Option<Vec<String>>,
    /// Bytes of the layer.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// What a removal did, in order (`ImageDeleteResponseItem`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A name is gone.
    Untagged {
        /// The name, familiar form.
        reference: String,
        /// The image that had it; the subject of the `untag` event.
        image: Digest,
    },
    /// An image is gone; it makes a `delete` event.
    DeletedImage(Digest),
    /// A layer is gone, named by its chain id.
    DeletedLayer {
        /// Chain id.
        chain: Digest,
        /// Bytes that were freed.
        size: u64,
    },
}

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Every removal, in order.
    pub removed: Vec<Removal>,
    /// Bytes that were freed.
    pub reclaimed: u64,
}

/// A container that uses an image, as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUse {
    /// The container's full id.
    pub container: String,
    /// The image.
    pub image: Digest,
    /// Is it running (or paused)?
    pub running: bool,
}

/// Disk usage by images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Bytes of all layers together.
    pub layers_size: u64,
    /// Bytes that they take on disk: a file that stands in several layers counts once.
    pub disk_size: u64,
    /// Bytes of the content store: documents, and compressed layers that are kept.
    pub content_size: u64,
    /// Every image with `shared_size` and `containers` filled in.
    pub images: Vec<Summary>,
}

/// Which images a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Intermediate images too (`all=1`).
    pub all: bool,
    /// Only images without (`true`) or with a name (`false`).
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must match.
    pub labels: Vec<String>,
    /// Made before this image (name or id).
    pub before: Option<String>,
    /// Made after this image (name or id).
    pub since: Option<String>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
    /// Patterns of names, any may match.
    pub references: Vec<String>,
    /// Fill in `shared_size`.
    pub shared_size: bool,
}

/// Which images a prune removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneFilter {
    /// Only images without a name; otherwise every unused image.
    pub dangling: bool,
    /// Only what was made before this moment.
    pub until: Option<Timestamp>,
    /// `key` or `key=value`; all must match.
    pub labels: Vec<String>,
    /// `key` or `key=value`; none may match.
    pub not_labels: Vec<String>,
}

impl Default for PruneFilter {
    fn default() -> Self {
        Self { dangling: true, until: None, labels: Vec::new(), not_labels: Vec::new() }
    }
}

/// How a file of a container differs from its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Other content or attributes (`C`, 0).
    Modified = 0,
    /// Not in the image (`A`, 1).
    Added = 1,
    /// Only in the image (`D`, 2).
    Deleted = 2,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute path in the container; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// In which way.
    pub kind: ChangeKind,
}

/// What `load` has done with one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// The names it got, familiar form; none means that it is known by id only.
    pub names: Vec<String>,
    /// Those of its names that other images lost, with their ids.
    pub taken: Vec<(String, Digest)>,
}

/// A sign of life of a long operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A layer is being unpacked: bytes of its (compressed) stream so far.
    Layer {
        /// Its digest or, where that is not yet known, its name in the archive.
        name: String,
        /// Bytes read so far.
        done: u64,
        /// Bytes altogether.
        total: u64,
    },
    /// A layer is in the store.
    LayerDone {
        /// Digest of the uncompressed tar.
        diff_id: Digest,
        /// It was there before.
        existed: bool,
    },
}
