//! The layers of machines' disks, and snapshots of them.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::Timestamp;

use crate::durable;
use crate::error::{At, Error};
use crate::qcow2::{self, Format};

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

impl Stamp {
    fn of(file: &File, path: &Path) -> Result<Self, Error> {
        let found = file.metadata().at("look at", path)?;
        let (seconds, nanoseconds) = (found.mtime(), found.mtime_nsec());
        Ok(Self { length: found.len(), seconds, nanoseconds })
    }
}

fn open_image(path: &Path) -> Result<File, Error> {
    // Looked at first: opening a pipe would wait for its writer.
    let found = std::fs::metadata(path).at("open", path)?;
    if !found.is_file() {
        return Err(Error::NoFile(path.to_owned()));
    }
    File::open(path).at("open", path)
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
        let stamp = Stamp::of(&file, &path)?;
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
        let from = snapshots.find(source)?;
        let manifest = Manifest::read(&from)?;
        manifest.link(&from, directory)?;
        manifest
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
/// been looked at and leads nowhere else.
///
/// # Errors
/// [`Error::Changed`] when the base is not what it was; what is wrong with a layer.
pub fn layers(directory: &Path) -> Result<Vec<Layer>, Error> {
    let manifest = Manifest::read(directory)?;
    let mut layers = Vec::new();
    for name in &manifest.layers {
        let path = directory.join(name);
        let found = qcow2::recognise(&open_image(&path)?, &path)?;
        if found.format != Format::Qcow2 {
            return Err(Error::Unusable { path, why: "its qcow2 header is damaged" });
        }
        layers.push(Layer { path, format: Format::Qcow2 });
    }
    let Base { path, format, stamp } = manifest.base;
    let file = open_image(&path)?;
    if Stamp::of(&file, &path)? != stamp {
        return Err(Error::Changed(path));
    }
    if format == Format::Qcow2 {
        qcow2::recognise(&file, &path)?;
    }
    layers.push(Layer { path, format });
    Ok(layers)
}

/// Bytes that the own layers of a machine take on the host's disk; those that it shares with
/// snapshots and clones count as well.
///
/// # Errors
/// Those of the files.
pub fn taken(directory: &Path) -> Result<u64, Error> {
    let manifest = Manifest::read(directory)?;
    let blocks = |name: &String| std::fs::metadata(directory.join(name)).map_or(0, |f| f.blocks());
    Ok(manifest.layers.iter().map(blocks).sum::<u64>() * 512)
}

/// A disk as it was at a moment, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that its layers take on the host's disk, which machines may share.
    pub taken: u64,
    /// The image that is below them all.
    pub base: PathBuf,
}

/// Where snapshots are kept.
#[derive(Clone, Debug)]
pub struct Snapshots {
    directory: PathBuf,
}

impl Snapshots {
    /// Those of a data root.
    pub fn new(data_root: &Path) -> Self {
        Self { directory: data_root.join("machines/snapshots") }
    }

    /// Makes a snapshot of the disk in a directory, which nothing writes to meanwhile. What is
    /// written there afterwards goes into a new layer, which is made first: whenever a crash comes,
    /// no layer that a snapshot has is written to.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::BadName`], [`Error::Deep`]; those of the files.
    pub fn make(&self, directory: &Path, name: &str) -> Result<(), Error> {
        let place = self.place(name)?;
        if place.exists() {
            return Err(Error::Taken(name.to_owned()));
        }
        let mut before = Manifest::read(directory)?;
        let mut after = before.clone();
        before.created = Timestamp::now();
        after.grow(directory, before.size)?;
        after.write(directory)?;
        std::fs::create_dir_all(&self.directory).at("make", &self.directory)?;
        let temporary = self.directory.join(format!(".{name}"));
        // Left by an attempt that a crash ended.
        let _ = std::fs::remove_dir_all(&temporary);
        std::fs::create_dir(&temporary).at("make", &temporary)?;
        let made = before
            .link(directory, &temporary)
            .and_then(|()| before.write(&temporary))
            .and_then(|()| std::fs::rename(&temporary, &place).at("make", &place))
            .and_then(|()| durable::flush(&self.directory).at("flush", &self.directory));
        if made.is_err() {
            let _ = std::fs::remove_dir_all(&temporary);
        }
        made
    }

    /// Removes a snapshot. Machines that began as its clones keep what they need of it.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; those of the files.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let place = self.place(name)?;
        let gone = self.directory.join(format!(".{name}"));
        let _ = std::fs::remove_dir_all(&gone);
        match std::fs::rename(&place, &gone) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSnapshot(name.to_owned()));
            }
            other => other.at("remove", &place)?,
        }
        std::fs::remove_dir_all(&gone).at("remove", &gone)
    }

    /// Removes what attempts that a crash ended have left.
    ///
    /// # Errors
    /// Those of the files.
    pub fn sweep(&self) -> Result<(), Error> {
        for (name, path) in self.entries()? {
            if name.starts_with('.') {
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    /// What is in the directory, by name.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("list", &self.directory)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &self.directory)?;
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        found.sort();
        Ok(found)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// Those of the files.
    pub fn list(&self) -> Result<Vec<Snapshot>, Error> {
        let mut found = Vec::new();
        for (name, path) in self.entries()? {
            if name.starts_with('.') {
                continue;
            }
            let manifest = Manifest::read(&path)?;
            found.push(Snapshot {
                name,
                created: manifest.created,
                size: manifest.size,
                taken: taken(&path)?,
                base: manifest.base.path,
            });
        }
        Ok(found)
    }

    /// The directory of a snapshot that a disk is to begin as.
    fn find(&self, name: &str) -> Result<PathBuf, Error> {
        let missing = || Error::NoSuchDisk(name.to_owned());
        let place = self.place(name).map_err(|_| missing())?;
        if place.is_dir() { Ok(place) } else { Err(missing()) }
    }

    fn place(&self, name: &str) -> Result<PathBuf, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let good = (2..=128).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain);
        if good { Ok(self.directory.join(name)) } else { Err(Error::BadName(name.to_owned())) }
    }
}

#[cfg(test)]
mod tests;
