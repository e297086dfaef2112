//! Images, their layers, and what containers write on top of them.
//!
//! The crate owns three directories of the data root:
//!
//! ```text
//! content/               an OCI image layout: oci-layout, index.json, and
//!   blobs/sha256/<hex>   configurations, and of pulled images manifests and compressed layers
//!   partial/<digest>     downloads under way, or interrupted ones that can be resumed
//!   images.json          which images there are, what they are called; replaced atomically
//! layers/<diff-id hex>/  one unpacked layer
//!   diff/                its files, with overlayfs' own whiteouts
//!   split                the bytes of its tar that are not file content (zstd)
//!   kept/                file content that a later entry of the same tar replaced (rare)
//!   files                which files other layers may share, by hard links (docs/storage.md)
//!   meta.json            sizes, digests
//!   erofs.img            its files as a disk, once a virtual machine has needed it
//!   erofs-<chain>.img    the same with all layers below it, for images of many layers
//!   forms.json           compressed forms that are known, and which registries have them
//! layers/tmp-*           being unpacked or being removed; swept when the store is opened
//! layers/damaged-*       what `check` has replaced below a container that may have it mounted
//! layers/init/           mount points that every container gets between its image and its own files
//! layers/empty/          an empty directory, for overlays that would have one layer only
//! containers/<id>/       snapshot.json (image and layers), upper/, work/; the engine keeps its
//!                        own files of the container beside them
//! ```
//!
//! **Layers are keyed by their diff id**, not by the chain id of everything below them: what is
//! unpacked depends on the tar alone, so a layer that two images have on different bases is there
//! once, and an archive can be unpacked while it streams, before its manifest has been seen.
//!
//! **Names live in `content/images.json`**, not in the engine's database: an image becomes visible
//! by one rename after its layers are on disk, and no transaction has to span two stores. The
//! file has some hundred bytes an image and changes seldom.
//!
//! **What survives a crash.** Everything an image needs is flushed (`syncfs`) before `images.json`
//! names it. What nobody refers to is removed when the store is opened, but for what a pull that
//! was interrupted has brought, which stays for a day. The tests cut the power before every step
//! that matters (see `power`), and [`Store::check`] finds and repairs what a disk has damaged.
//!
//! **Nothing goes that somebody relies on.** Operations *hold* layers and blobs before they look
//! whether those are there; whoever removes decides and takes the name away under the same lock.
//!
//! The crate never knows what a container does with its files, what a registry is, or whether a
//! container runs: the engine passes that in. It blocks; call it from a thread that may.

pub mod archive;
pub mod blobs;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod instruction;

mod catalog;
mod check;
mod compare;
mod config;
mod content;
mod durable;
mod error;
mod fault;
mod forest;
mod gc;
mod import;
mod ingest;
mod labels;
mod layer;
mod load;
mod materialize;
mod model;
mod origin;
mod overlay;
mod platform;
#[cfg(test)]
mod power;
mod publish;
mod query;
mod remove;
mod save;
mod snapshot;
mod split;
mod squash;
mod store;
mod stream;
mod tarball;
#[cfg(test)]
mod testing;
mod tree;

pub use check::{CheckReport, CheckStep, Outcome, Problem, Subject};
pub use compare::ImageChange;
pub use config::{History, ImageConfig, RootFs, host_architecture};
pub use error::{Error, Result};
pub use forest::LayerNode;
pub use gc::{Collected, Watermarks};
pub use import::ImportOptions;
pub use ingest::{Document, Ingest, LayerStep, PulledImage};
pub use layer::{Form, make_mount_points};
pub use load::LoadOptions;
pub use model::*;
pub use origin::{Origin, OriginManifest};
pub use publish::{Elsewhere, LayerBlob, PushLayer, Pushable};
pub use remove::RemoveOptions;
pub use snapshot::{CommitOptions, HeldLayer, MountOptions, UpperOptions, changes_between};
pub use squash::SquashOptions;
pub use store::{Options, Store};
pub use stream::Compression;
