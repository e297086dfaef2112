//! The directory of layers.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sys::fs::{Mode, Root};
use types::digest::Digest;

use super::quarantine::set_aside;
use super::sharing::{Sharing, shared_bytes};
use super::staging::Staged;
use super::{LayerMeta, reproduce};
use crate::durable;
use crate::error::{Error, Result, Step};
use crate::stream::HashingWriter;

pub(super) const META: &str = "meta.json";
const EMPTY: &str = "empty";
const TMP: &str = "tmp-";

/// `layers/` of the data root. It knows how layers are laid out, not which are wanted.
#[derive(Debug)]
pub(crate) struct Layers {
    path: PathBuf,
    dir: Root,
    next: AtomicU64,
    sharing: Mutex<Weak<Sharing>>,
    /// How many times layers got their names without a flush, and how many of those a flush has
    /// followed.
    named: AtomicU64,
    flushed: Mutex<u64>,
    making_disks: Mutex<()>,
}

impl Layers {
    /// Opens the directory and removes what a crash left under temporary names. Returns the layers
    /// that are there.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<LayerMeta>)> {
        std::fs::create_dir_all(path.join(EMPTY)).step("create the layer directory")?;
        let dir = Root::open_host(path).step("open the layer directory")?;
        dir.chmod(".", Mode::from_raw_mode(0o710)).step("protect the layer directory")?;
        // It only makes unpacking faster.
        let _ = sys::placement::spread_subdirectories(path);
        super::init::make_mount_points(&dir).step("make the layer of mount points")?;
        let mut found = Vec::new();
        for name in dir.read_dir(".").step("list layers")? {
            let Some(name) = name.name.to_str() else { continue };
            if name.starts_with(TMP) {
                dir.remove_all(name).step("remove a layer's remains")?;
            } else if let Ok(diff_id) = Digest::from_sha256_hex(name) {
                match read_meta(&dir, &diff_id) {
                    Ok(Some(meta)) => found.push(meta),
                    // Renamed into place but never flushed: nobody wants it.
                    Ok(None) => dir.remove_all(name).step("remove a damaged layer")?,
                    // The disk's fault. A container may run on it: `check` knows what to do.
                    Err(Error::DamagedRecord { .. }) => set_aside(&dir, &diff_id)?,
                    Err(error) => return Err(error),
                }
            }
        }
        let layers = Self {
            path: path.to_owned(),
            dir,
            next: AtomicU64::new(0),
            sharing: Mutex::default(),
            named: AtomicU64::new(0),
            flushed: Mutex::default(),
            making_disks: Mutex::default(),
        };
        Ok((layers, found))
    }

    pub(super) fn tmp_name(&self) -> String {
        format!("{TMP}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Which files the layers that are being made may share. It is forgotten with the last of them.
    pub(super) fn sharing(&self) -> io::Result<Arc<Sharing>> {
        let mut sharing = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = sharing.upgrade() {
            return Ok(found);
        }
        let new = Arc::new(Sharing::new(self.dir.try_clone()?));
        *sharing = Arc::downgrade(&new);
        Ok(new)
    }

    /// Bytes that the files of layers would take more if none were shared.
    pub(crate) fn shared_bytes<'a>(&self, layers: impl Iterator<Item = &'a Digest>) -> u64 {
        shared_bytes(&self.dir, layers.map(|layer| layer.hex().to_owned()))
    }

    /// Flushes staged layers and gives them their names. One `syncfs` for all of them: an `fsync`
    /// of each of tens of thousands of files costs a journal commit each, the whole file system
    /// little more than what these layers have dirtied.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn publish(&self, staged: Vec<Staged>) -> Result<()> {
        if staged.is_empty() {
            return Ok(());
        }
        durable::sync_all(&self.dir).step("flush the layers")?;
        self.name(staged)?;
        durable::sync_dir(&self.dir, Path::new(".")).step("flush the layer directory")
    }

    /// Gives a staged layer its name before it is flushed: right for one that nothing durable
    /// names before [`Layers::flush`]. After a crash it is found damaged or whole, and removed
    /// because nobody wants it. So the steps of a build and the layers of a pull wait for the disk
    /// once and not each.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn publish_unflushed(&self, staged: Staged) -> Result<()> {
        self.name(vec![staged])?;
        self.named.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Flushes what [`Layers::publish_unflushed`] has named.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn flush(&self) -> Result<()> {
        let named = self.named.load(Ordering::SeqCst);
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else's flush will do if it began after the names were given.
        if *flushed < named {
            durable::sync_all(&self.dir).step("flush the layers")?;
            durable::sync_dir(&self.dir, Path::new(".")).step("flush the layer directory")?;
            *flushed = named;
        }
        Ok(())
    }

    fn name(&self, staged: Vec<Staged>) -> Result<()> {
        for layer in staged {
            let (from, to) = (Path::new(&layer.name), Path::new(layer.meta.diff_id.hex()));
            match durable::rename_noreplace(&self.dir, from, to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.step("publish a layer")?,
            }
        }
        Ok(())
    }

    /// Takes a layer's name away; [`Layers::sweep`] removes its files. Two steps, so that the
    /// first can be done under a lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn unpublish(&self, diff_id: &Digest) -> Result<String> {
        let tmp = self.tmp_name();
        durable::rename_noreplace(&self.dir, Path::new(diff_id.hex()), Path::new(&tmp))
            .step("remove a layer")?;
        Ok(tmp)
    }

    /// Removes the files of an unpublished layer.
    ///
    /// # Errors
    /// [`Error::Io`]; what is left is removed at the next start.
    pub(crate) fn sweep(&self, tmp: &str) -> Result<()> {
        durable::remove_tree(&self.dir, Path::new(tmp)).step("remove a layer's files")
    }

    /// Writes a layer's exact tar.
    ///
    /// # Errors
    /// [`Error::DamagedLayer`] when it has not the right digest, [`Error::MissingLayer`],
    /// [`Error::Output`].
    pub(crate) fn reproduce(&self, meta: &LayerMeta, output: &mut dyn Write) -> Result<()> {
        self.reproduce_as(meta.diff_id.hex(), &meta.diff_id, output)
    }

    /// As [`Layers::reproduce`], for a layer whose directory has another name.
    pub(super) fn reproduce_as(
        &self,
        name: &str,
        diff_id: &Digest,
        output: &mut dyn Write,
    ) -> Result<()> {
        let layer = self.dir.sub_root(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::MissingLayer(diff_id.clone()),
            _ => Error::Io { step: "open a layer", source: error },
        })?;
        let mut output = Guarded { output, failed: false };
        let mut hashing = HashingWriter::new(&mut output);
        let done = reproduce::reproduce(&layer, &mut hashing);
        let found = hashing.finish();
        match done {
            Ok(()) if found == *diff_id => Ok(()),
            Ok(()) => Err(Error::DamagedLayer { expected: diff_id.clone(), found }),
            Err(source) if output.failed => Err(Error::Output(source)),
            Err(source) => Err(Error::Io { step: "read a layer", source }),
        }
    }

    /// Writes the tar of a layer that is not published.
    ///
    /// # Errors
    /// Those of reading the layer and of the output.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn reproduce_staged(
        &self,
        staged: &Staged,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        reproduce::reproduce(&self.dir.sub_root(&staged.name)?, output)
    }

    /// A layer's files on the host.
    pub(crate) fn diff_path(&self, diff_id: &Digest) -> PathBuf {
        self.path.join(diff_id.hex()).join("diff")
    }

    /// Held by whoever makes a layer's disk image.
    pub(super) fn making_disks(&self) -> MutexGuard<'_, ()> {
        self.making_disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of all layers, as a path of the host.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of all layers.
    pub(crate) fn dir(&self) -> &Root {
        &self.dir
    }

    /// Where a layer's files are below [`Layers::dir`].
    pub(crate) fn diff_name(diff_id: &Digest) -> String {
        format!("{}/diff", diff_id.hex())
    }

    /// An empty directory below [`Layers::dir`].
    pub(crate) fn empty_name() -> &'static str {
        EMPTY
    }
}

/// Remembers whether it was the output that failed.
struct Guarded<'a> {
    output: &'a mut dyn Write,
    failed: bool,
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes).inspect_err(|_| self.failed = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush().inspect_err(|_| self.failed = true)
    }
}

fn read_meta(dir: &Root, diff_id: &Digest) -> Result<Option<LayerMeta>> {
    let path = Path::new(OsStr::new(diff_id.hex())).join(META);
    let text = match dir.read(&path, 1 << 20) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).step("read a layer's record"),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::DamagedRecord {
        file: format!("layers/{}", path.display()),
        reason: error.to_string(),
    })
}
