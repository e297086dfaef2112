//! Layers: unpacked tars, keyed by the digest of the tar.

mod adopt;
mod copy;
mod directory;
mod disk;
mod flusher;
mod form;
pub(crate) mod init;
mod merge;
mod quarantine;
mod reproduce;
mod sharing;
mod staging;
mod store;
mod unpack;
mod verify;

pub(crate) use adopt::Adopted;
pub use form::Form;
pub(crate) use form::add as add_form;
pub use init::make_mount_points;
pub(crate) use sharing::same_content;
pub(crate) use staging::Staged;
pub(crate) use store::Layers;
pub(crate) use unpack::{OPAQUE as OPAQUE_NAME, WHITEOUT};
pub(crate) use verify::Verified;

use serde::{Deserialize, Serialize};
use types::digest::Digest;

/// Digest of a tar without entries, two blocks of zeros. Docker leaves such layers out of images.
pub(crate) const EMPTY_TAR: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What is known of a layer (`meta.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerMeta {
    /// Digest of its tar.
    pub(crate) diff_id: Digest,
    /// Bytes of its tar.
    pub(crate) tar_size: u64,
    /// Bytes of its files.
    pub(crate) size: u64,
    /// How many contents are in `kept/`.
    #[serde(default)]
    pub(crate) kept: u64,
    /// Compressed forms of the tar that it came in, so that they are known again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<Digest>,
}

#[cfg(test)]
mod tests;
