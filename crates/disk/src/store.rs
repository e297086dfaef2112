//! The layers of machines' disks.

mod snapshots;

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::durable;
use sys::fs::OFlags;
use types::Timestamp;

use crate::error::{At, Error};
use crate::qcow2::{self, Format};

pub use snapshots::{Snapshot, Snapshots};

/// The file that says which layers there are.
const MANIFEST: &str = "disk.json";
/// A machine has no more layers than this, its base included: each is a descriptor of its process.
const DEEPEST: usize = 24;

/// One image of those that make up a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it is.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The file that was looked at.
    pub seen: Seen,
}

/// By which whoever opens a path again tells whether it still leads to the file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its bytes.
    pub length: u64,
    /// When it was changed last: seconds,
    pub seconds: i64,
    /// and nanoseconds.
    pub nanoseconds: i64,
}

impl Seen {
    fn of(file: &File, path: &Path) -> Result<Self, Error> {
        let found = file.metadata().at("look at", path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
        })
    }

    fn stamp(self) -> Stamp {
        Stamp { length: self.length, seconds: self.seconds, nanoseconds: self.nanoseconds }
    }
}

/// What a disk is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// When the disk, or the snapshot, was made.
    created: Timestamp,
    /// Bytes of the disk.
    size: u64,
    /// The number of the layer that was made last.
    last: u32,
    /// Own layers, the one that is written to first.
    layers: Vec<String>,
    /// The image below them.
    base: Base,
}

/// An image of the host, which is only read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    path: PathBuf,
    format: Format,
    stamp: Stamp,
}

/// By which a file that was changed is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// Opens what may be a disk, and looks at what has been opened: what a path leads to may change.
fn open_image(path: &Path) -> Result<File, Error> {
    // O_NONBLOCK: opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(sys::fs::open_host(path, flags).at("open", path)?);
    if !file.metadata().at("look at", path)?.is_file() {
        return Err(Error::NoFile(path.to_owned()));
    }
    Ok(file)
}

impl Manifest {
    fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(MANIFEST);
        let text = std::fs::read(&path).at("read", &path)?;
        serde_json::from_slice(&text).map_err(std::io::Error::from).at("read", &path)
    }

    fn write(&self, directory: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::from);
        text.and_then(|text| durable::write(directory, MANIFEST, &text))
            .at("write", &directory.join(MANIFEST))
    }

    /// That of a disk that begins as an image of the host.
    fn of_image(path: &Path) -> Result<Self, Error> {
        let path = path.canonicalize().at("open", path)?;
        let file = open_image(&path)?;
        let found = qcow2::recognise(&file, &path)?;
        let stamp = Seen::of(&file, &path)?.stamp();
        let base = Base { path, format: found.format, stamp };
        Ok(Self { created: Timestamp::now(), size: found.size, last: 0, layers: Vec::new(), base })
    }

    /// Puts a new layer on top, of a size in bytes, in a machine's directory.
    fn grow(&mut self, directory: &Path, size: u64) -> Result<(), Error> {
        if self.layers.len() + 2 > DEEPEST {
            return Err(Error::Deep(self.layers.len() + 1));
        }
        self.last += 1;
        let name = format!("disk.{}.qcow2", self.last);
        let path = directory.join(&name);
        // Left by an attempt that a crash ended.
        let _ = std::fs::remove_file(&path);
        qcow2::make_empty(&path, size)?;
        self.size = size;
        self.layers.insert(0, name);
        Ok(())
    }

    /// Takes back what [`Manifest::grow`] has made, after `before` was kept.
    fn take_back(&self, directory: &Path) {
        if let Some(top) = self.layers.first() {
            let _ = std::fs::remove_file(directory.join(top));
        }
    }

    /// Has what is written in the layers on the host's disk: whoever wrote it may have been killed
    /// before it had that done.
    fn flush(&self, directory: &Path) -> Result<(), Error> {
        for name in &self.layers {
            let path = directory.join(name);
            open_image(&path)?.sync_all().at("flush", &path)?;
        }
        Ok(())
    }

    /// Gives another directory the layers as well.
    fn link(&self, from: &Path, to: &Path) -> Result<(), Error> {
        for name in &self.layers {
            std::fs::hard_link(from.join(name), to.join(name)).at("link", &from.join(name))?;
        }
        Ok(())
    }
}

/// Makes a machine's disk in its directory: it begins as the image or the snapshot that `source`
/// names, which is never written to, and has `size` bytes, or as many as that if it is 0. Returns how
/// many those are.
///
/// # Errors
/// [`Error::NoSuchDisk`], [`Error::Smaller`]; what is wrong with the image.
pub fn create(
    snapshots: &Snapshots,
    directory: &Path,
    source: &str,
    size: u64,
) -> Result<u64, Error> {
    let mut manifest = if source.starts_with('/') {
        Manifest::of_image(Path::new(source))?
    } else {
        snapshots.lend(source, directory)?
    };
    let size = if size == 0 { manifest.size } else { size };
    if size < manifest.size {
        return Err(Error::Smaller { image: manifest.size, asked: size });
    }
    manifest.grow(directory, size)?;
    manifest.write(directory)?;
    Ok(size)
}

/// The layers of the disk in a directory, the one that is written to first, the base last: each has
/// been looked at and leads nowhere else. Whoever opens one compares it with what was [`Seen`].
///
/// # Errors
/// [`Error::Changed`] when the base is not what it was; what is wrong with a layer.
pub fn layers(directory: &Path) -> Result<Vec<Layer>, Error> {
    let manifest = Manifest::read(directory)?;
    let mut layers = Vec::new();
    for name in &manifest.layers {
        let path = directory.join(name);
        let file = open_image(&path)?;
        let found = qcow2::recognise(&file, &path)?;
        if found.format != Format::Qcow2 {
            return Err(Error::Unusable { path, why: "its qcow2 header is damaged" });
        }
        let seen = Seen::of(&file, &path)?;
        layers.push(Layer { path, format: Format::Qcow2, seen });
    }
    let Base { path, format, stamp } = manifest.base;
    let file = open_image(&path)?;
    let seen = Seen::of(&file, &path)?;
    if seen.stamp() != stamp {
        return Err(Error::Changed(path));
    }
    if format == Format::Qcow2 {
        qcow2::recognise(&file, &path)?;
    }
    layers.push(Layer { path, format, seen });
    Ok(layers)
}

/// Bytes that the own layers of a machine take on the host's disk; those that it shares with
/// snapshots and clones count as well.
///
/// # Errors
/// Those of the files.
pub fn taken(directory: &Path) -> Result<u64, Error> {
    sum(directory, |_| true)
}

/// Bytes of the host's disk that become free with a machine: those of layers that nobody else has.
///
/// # Errors
/// Those of the files.
pub fn freed(directory: &Path) -> Result<u64, Error> {
    sum(directory, |file| file.nlink() == 1)
}

fn sum(directory: &Path, counts: impl Fn(&Metadata) -> bool) -> Result<u64, Error> {
    let manifest = Manifest::read(directory)?;
    let files = manifest.layers.iter().filter_map(|name| directory.join(name).metadata().ok());
    Ok(files.filter(|file| counts(file)).map(|file| file.blocks()).sum::<u64>() * 512)
}

#[cfg(test)]
mod tests;
