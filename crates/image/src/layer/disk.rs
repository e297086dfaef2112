//! Layers as disks: `layers/<diff-id hex>/erofs.img`, a read-only EROFS image of the layer's
//! files, for virtual machines. Whiteouts and opaque directories are in it as they are in `diff/`,
//! so that the guest's overlayfs understands them.
//!
//! It is made when the first machine needs it, and goes with its layer. It lies beside the layer's
//! files, so all machines of all images that have the layer share one copy, on disk and in the
//! page cache.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sys::fs::Root;
use types::digest::Digest;

use super::Layers;
use crate::durable;
use crate::error::{Error, Result, Step};
use crate::store::Store;

const IMAGE: &str = "erofs.img";
const UNFINISHED: &str = ".tmp-erofs";
const PROGRAM: &str = "mkfs.erofs";

impl Store {
    /// A layer as a disk image, which is made if there is none. The caller keeps the layer from
    /// being removed.
    ///
    /// # Errors
    /// [`Error::MissingLayer`]; [`Error::Unsupported`] without `mkfs.erofs`, which says what to
    /// install; [`Error::Io`].
    pub fn erofs(&self, layer: &Digest) -> Result<PathBuf> {
        let _held = self.hold([layer.clone()]);
        if self.layer(layer).is_none() {
            return Err(Error::MissingLayer(layer.clone()));
        }
        self.layers.disk(layer)
    }
}

impl Layers {
    fn disk(&self, layer: &Digest) -> Result<PathBuf> {
        let directory = Path::new(layer.hex());
        let image = directory.join(IMAGE);
        let path = self.path().join(&image);
        if self.dir().exists(&image) {
            return Ok(path);
        }
        // One after the other: each uses a whole processor, and two may want the same.
        let _making = self.making_disks();
        if self.dir().exists(&image) {
            return Ok(path);
        }
        let unfinished = directory.join(UNFINISHED);
        let made = make(&self.diff_path(layer), &self.path().join(&unfinished), &uuid(layer.hex()));
        let made = made.and_then(|()| self.keep(&unfinished, &image));
        if made.is_err() {
            // What failed is the one to tell.
            let _ = self.dir().remove_all(&unfinished);
        }
        made.map(|()| path)
    }

    fn keep(&self, unfinished: &Path, image: &Path) -> Result<()> {
        let flushed = self.dir().open_file(unfinished).and_then(|file| durable::sync(&file));
        flushed.step("flush a layer's disk image")?;
        durable::rename(self.dir(), unfinished, image)
            .and_then(|()| durable::sync_dir_of(self.dir(), image))
            .step("keep a layer's disk image")
    }

    /// Bytes on disk of the disk images of layers.
    pub(crate) fn disks_size<'a>(&self, layers: impl Iterator<Item = &'a Digest>) -> u64 {
        let names = layers.map(|layer| Path::new(layer.hex()).join(IMAGE));
        names.map(|name| size(self.dir(), &name)).sum()
    }
}

fn size(layers: &Root, name: &Path) -> u64 {
    let found = layers.open_file(name).and_then(|file| file.metadata());
    found.map_or(0, |found| found.blocks() * 512)
}

fn make(files: &Path, image: &Path, uuid: &str) -> Result<()> {
    // What a crash left; mkfs would keep what is behind its own end.
    match std::fs::remove_file(image) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).step("remove an unfinished disk image");
        }
        _ => {}
    }
    let output = Command::new(PROGRAM)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["--quiet", "-U", uuid])
        .arg(image)
        .arg(files)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Unsupported(
                "containers in virtual machines need mkfs.erofs, which is not installed (Debian, \
                 Ubuntu: apt-get install erofs-utils)"
                    .to_owned(),
            ));
        }
        other => other.step("start mkfs.erofs")?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(io::Error::other(format!("mkfs.erofs: {said}"))).step("make a layer's disk image")
}

/// An id that the same layer has everywhere, as the standard has those that are made up (version 8).
fn uuid(hex: &str) -> String {
    let digits = |from: usize, to: usize| hex.get(from..to).unwrap_or("0");
    format!(
        "{}-{}-8{}-8{}-{}",
        digits(0, 8),
        digits(8, 12),
        digits(12, 15),
        digits(15, 18),
        digits(18, 30)
    )
}

#[cfg(test)]
mod tests;
