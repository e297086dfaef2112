//! Damaged layers that a container may still use: `layers/damaged-<hex>-<unique>`.
//!
//! An overlay that is mounted goes on with the directory it was mounted with, whatever that is
//! called. So a damaged layer is renamed and its files stay until no container has the layer.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sys::fs::Root;
use types::digest::Digest;

use super::Layers;
use crate::durable;
use crate::error::{Result, Step};

const DAMAGED: &str = "damaged-";

/// Takes a damaged layer's name away, and leaves its files.
pub(super) fn set_aside(layers: &Root, diff_id: &Digest) -> Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let to = PathBuf::from(format!("{DAMAGED}{}-{}", diff_id.hex(), now.as_nanos()));
    durable::rename_noreplace(layers, Path::new(diff_id.hex()), &to)
        .and_then(|()| durable::sync_dir(layers, Path::new(".")))
        .step("set a damaged layer aside")
}

impl Layers {
    /// Takes a damaged layer's name away, and leaves its files.
    pub(crate) fn set_aside(&self, diff_id: &Digest) -> Result<()> {
        set_aside(self.dir(), diff_id)
    }

    /// Whether there is anything of a layer's name.
    pub(crate) fn is_there(&self, diff_id: &Digest) -> bool {
        self.dir().exists(diff_id.hex())
    }

    /// Layers that were set aside: their names here, and their digests.
    pub(crate) fn aside(&self) -> Result<Vec<(String, Digest)>> {
        let mut out = Vec::new();
        for found in self.dir().read_dir(".").step("list layers")? {
            let Some(name) = found.name.to_str() else { continue };
            let digest = name
                .strip_prefix(DAMAGED)
                .and_then(|rest| rest.get(..64))
                .and_then(|hex| Digest::from_sha256_hex(hex).ok());
            out.extend(digest.map(|digest| (name.to_owned(), digest)));
        }
        Ok(out)
    }
}
