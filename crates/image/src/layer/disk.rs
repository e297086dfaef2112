//! Layers as disks: `layers/<diff-id hex>/erofs.img`, a read-only EROFS image of the layer's
//! files, for virtual machines. Whiteouts and opaque directories are in it as they are in `diff/`,
//! so that the guest's overlayfs understands them.
//!
//! It is made when the first machine needs it, and goes with its layer. It lies beside the layer's
//! files, so all machines of all images that have the layer share one copy, on disk and in the
//! page cache.
//!
//! A machine has few places for disks. Of an image with more layers the lowest are one disk: what
//! an overlay of them shows, in `erofs-<chain id hex>.img` beside the highest of them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sys::fs::Root;
use sys::mount::MountPropagationFlags as Propagation;
use types::digest::Digest;

use super::Layers;
use crate::durable;
use crate::error::{Error, Result, Step};
use crate::remove::chain_ids;
use crate::snapshot::MountOptions;
use crate::store::Store;

const IMAGE: &str = "erofs.img";
const MERGED: &str = "erofs-";
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
        let files = self.layers.diff_path(layer);
        self.layers.disk(layer, IMAGE, &|image| make(&files, image, &uuid(layer.hex())))
    }

    /// Layers as one disk image that shows them as an overlay does, lowest first; no layer twice.
    /// Otherwise as [`Store::erofs`].
    ///
    /// # Errors
    /// As those of [`Store::erofs`].
    pub fn merged_erofs(&self, layers: &[Digest]) -> Result<PathBuf> {
        let (top, chain) = match (layers, chain_ids(layers).pop()) {
            ([layer], _) => return self.erofs(layer),
            ([.., top], Some(chain)) => (top, chain),
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)).step("merge no layers"),
        };
        let _held = self.hold(layers.iter().cloned());
        if let Some(missing) = layers.iter().find(|layer| self.layer(layer).is_none()) {
            return Err(Error::MissingLayer(missing.clone()));
        }
        let name = format!("{MERGED}{}.img", chain.hex());
        self.layers.disk(top, &name, &|image| {
            let place = self.layers.path().join(Layers::empty_name());
            // Before: an overlay is made of what is in its maker's mount namespace (EINVAL).
            let merged = self.mount_layers(layers, MountOptions::default())?;
            in_own_mounts(|| {
                Root::open_host(&place)
                    .and_then(|place| sys::mount::attach(&merged, &place))
                    .step("show layers to mkfs.erofs")?;
                make(&place, image, &uuid(chain.hex()))
            })
        })
    }
}

/// Works where what is mounted is seen by nobody but this thread and its children, and gone
/// afterwards: a program wants a path.
fn in_own_mounts<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            sys::namespace::unshare(sys::namespace::MOUNT)
                .and_then(|()| {
                    sys::mount::propagation("/", Propagation::PRIVATE | Propagation::REC)
                })
                .step("enter a mount namespace")?;
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Layers {
    /// The image of this name beside a layer, made by `make` if it is not there.
    fn disk(
        &self,
        layer: &Digest,
        name: &str,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let directory = Path::new(layer.hex());
        let image = directory.join(name);
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
        let made = make(&self.path().join(&unfinished));
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
        layers.map(|layer| self.disks_beside(Path::new(layer.hex()))).sum()
    }

    fn disks_beside(&self, layer: &Path) -> u64 {
        // What is being removed has no disks.
        let found = self.dir().read_dir(layer).unwrap_or_default();
        let names = found.into_iter().map(|entry| entry.name);
        let disks = names
            .filter(|name| name == IMAGE || name.as_encoded_bytes().starts_with(MERGED.as_bytes()));
        disks.map(|name| size(self.dir(), &layer.join(name))).sum()
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
