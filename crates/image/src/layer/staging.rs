//! Layers that are being made, under temporary names.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use sys::fs::{Mode, Root};

use super::LayerMeta;
use super::sharing::{Key, Sharing, write_list};
use super::store::{Layers, META};
use super::unpack::{Unpacked, unpack_into};
use crate::error::{Result, Step};
use crate::fault;
use crate::store::Options;
use crate::stream::{self, CHUNK, Passed};

/// A layer that is complete under a temporary name; it vanishes unless it is published.
#[derive(Debug)]
pub(crate) struct Staged {
    dir: Root,
    pub(super) name: String,
    /// What is known of it.
    pub(crate) meta: LayerMeta,
    /// The stream it came in.
    pub(crate) passed: Passed,
    /// The next layer of the same operation is to find this one's files.
    _sharing: Arc<Sharing>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After publishing there is nothing of this name. What fails here is swept at the next start.
        let _ = self.dir.remove_all(&self.name);
    }
}

/// A layer that is being made; its directory vanishes unless it gets finished.
pub(super) struct Staging {
    dir: Root,
    name: String,
    /// The layer's directory.
    pub(super) layer: Root,
    pub(super) sharing: Arc<Sharing>,
    finished: bool,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.dir.remove_all(&self.name);
        }
    }
}

impl Staging {
    pub(super) fn begin(layers: &Layers) -> Result<Self> {
        let name = layers.tmp_name();
        let dir = layers.dir().try_clone().step("open the layer directory")?;
        dir.mkdir(&name, Mode::from_raw_mode(0o755)).step("create a layer")?;
        let layer = dir.sub_root(&name).step("open a layer")?;
        fault::wrote_tree(&layer);
        let sharing = layers.sharing().step("open the layer directory")?;
        Ok(Self { dir, name, layer, sharing, finished: false })
    }

    /// The file for the split.
    pub(super) fn split(&self) -> Result<std::fs::File> {
        let split = self.layer.create_file("split", Mode::from_raw_mode(0o600));
        split.step("create the layer's split")
    }

    /// Writes what is known of the layer.
    pub(super) fn finish(mut self, done: Unpacked, passed: Passed) -> Result<Staged> {
        let Unpacked { size, kept, shareable } = done;
        self.write_list(shareable)?;
        let meta = LayerMeta {
            diff_id: passed.diff_id.clone(),
            tar_size: passed.size,
            size,
            kept,
            blobs: passed.blob.iter().filter(|blob| **blob != passed.diff_id).cloned().collect(),
        };
        let text =
            serde_json::to_vec(&meta).map_err(io::Error::from).step("write a layer's record")?;
        self.layer
            .create_file(META, Mode::from_raw_mode(0o600))
            .and_then(|mut file| file.write_all(&text))
            .step("write a layer's record")?;
        let dir = self.dir.try_clone().step("open the layer directory")?;
        self.finished = true;
        let (name, sharing) = (std::mem::take(&mut self.name), Arc::clone(&self.sharing));
        Ok(Staged { dir, name, meta, passed, _sharing: sharing })
    }

    fn write_list(&self, shareable: Vec<(Key, u64)>) -> Result<()> {
        write_list(&self.layer, shareable).step("write the list of a layer's files")
    }
}

impl Layers {
    /// Unpacks a layer (compressed or not) under a temporary name.
    ///
    /// # Errors
    /// Those of the stream, the tar and the disk.
    pub(crate) fn stage(
        &self,
        input: &mut (dyn Read + Send),
        hash_blob: bool,
        limits: &Options,
    ) -> Result<Staged> {
        let mut buffered = io::BufReader::with_capacity(CHUNK, input);
        self.stage_buffered(&mut buffered, hash_blob, limits)
    }

    /// As [`Layers::stage`], for what is in memory by pieces.
    ///
    /// # Errors
    /// As [`Layers::stage`].
    pub(crate) fn stage_buffered(
        &self,
        input: &mut (dyn BufRead + Send),
        hash_blob: bool,
        limits: &Options,
    ) -> Result<Staged> {
        let staging = Staging::begin(self)?;
        let layer = &staging.layer;
        for dir in ["diff", "kept"] {
            layer.mkdir(dir, Mode::from_raw_mode(0o755)).step("create a layer")?;
        }
        let kept = layer.open_dir("kept").step("open a layer")?;
        let split = staging.split()?;
        let diff = layer.sub_root("diff").step("open a layer")?;
        let (unpacked, passed) =
            stream::pass(input, hash_blob, limits.max_layer_bytes, |chunks| {
                let output = io::BufWriter::with_capacity(64 << 10, split);
                let max = limits.max_layer_entries;
                let (unpacked, output) =
                    unpack_into(chunks, diff, &kept, output, max, &staging.sharing)?;
                output.into_inner().map_err(io::Error::from).step("write the layer's split")?;
                Ok(unpacked)
            })?;
        if unpacked.kept == 0 {
            layer.remove_dir("kept").step("tidy a layer")?;
        }
        staging.finish(unpacked, passed)
    }
}
