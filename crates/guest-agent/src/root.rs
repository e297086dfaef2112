//! The container's root file system: read-only layers, and a writable one over them.
//!
//! ```text
//!  /run/isopod/l/0 …   the layers' disks, the lowest first
//!  /run/isopod/init    mount points that every container gets, over them
//!  /run/isopod/disk    the writable disk: upper/, work/
//!  /run/isopod/root    all of it as one
//! ```

use std::io;
use std::path::{Path, PathBuf};

use sys::mount::{UnmountFlags, mount_legacy, unmount};

use crate::devices::{self, Kind};

const LAYERS: &str = "/run/isopod/l";
const DISK: &str = "/run/isopod/disk";
const ROOT: &str = "/run/isopod/root";
const BELOW: &str = "/run/isopod/below";

const RDONLY: u32 = 1;
const NODEV: u32 = 4;

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error("the machine has {found} disks, where {wanted} were announced")]
    Disks { found: usize, wanted: usize },
    #[error("disk {0} cannot be used: {1}")]
    Disk(usize, io::Error),
    #[error("layer {0} cannot be mounted: {1}")]
    Layer(usize, io::Error),
    #[error("the writable disk cannot be mounted: {0}")]
    Writable(io::Error),
    #[error("the layers cannot be put together: {0}")]
    Overlay(io::Error),
    #[error("a disk cannot be let go of: {0}")]
    Close(io::Error),
}

/// A root file system that stands.
#[derive(Debug)]
pub(crate) struct RootFs {
    path: PathBuf,
    /// How many layers there are, and whether there is a writable disk; `None`: it is a directory
    /// of somebody else's.
    layers: Option<(usize, bool)>,
}

impl RootFs {
    /// A directory that is there.
    pub(crate) fn borrowed(path: PathBuf) -> Self {
        Self { path, layers: None }
    }

    /// Mounts the disks and puts them together.
    pub(crate) fn open(layers: usize, writable: bool) -> Result<Self, RootError> {
        let disks = devices::all(Kind::Disk).map_err(|error| RootError::Disk(0, error))?;
        let wanted = layers + usize::from(writable);
        let disks = disks.get(..wanted).ok_or(RootError::Disks { found: disks.len(), wanted })?;
        let mut nodes = Vec::new();
        for (number, disk) in disks.iter().enumerate() {
            let name = devices::bind(disk, Kind::Disk).map_err(|e| RootError::Disk(number, e))?;
            nodes.push(devices::node(&name));
        }
        let (first, rest) = nodes.split_at(usize::from(writable));
        for node in first {
            mount_writable(node).map_err(RootError::Writable)?;
        }
        for (number, node) in rest.iter().enumerate() {
            let place = layer(number);
            place_for(&place)
                .and_then(|()| mount(node, &place, "erofs", RDONLY | NODEV, ""))
                .map_err(|error| RootError::Layer(number, error))?;
        }
        let options = options(layers, writable).map_err(RootError::Overlay)?;
        place_for(Path::new(ROOT))
            .and_then(|()| mount_legacy("overlay", ROOT, "overlay", 0, &options))
            .map_err(RootError::Overlay)?;
        Ok(Self { path: ROOT.into(), layers: Some((layers, writable)) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of what the container has written, and one that shows the layers alone.
    pub(crate) fn upper_and_below(&self) -> io::Result<(PathBuf, PathBuf)> {
        let Some((layers, true)) = self.layers else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let below = PathBuf::from(BELOW);
        if !below.exists() {
            place_for(&below)?;
            let options = format!("lowerdir={}", lower(layers)?);
            let mounted = mount_legacy("overlay", &below, "overlay", RDONLY, &options);
            mounted.inspect_err(|_| drop(std::fs::remove_dir(&below)))?;
        }
        Ok((Path::new(DISK).join("upper"), below))
    }

    /// Writes everything down and lets go of the disks.
    pub(crate) fn close(self) -> Result<(), RootError> {
        let Some((_, writable)) = self.layers else { return Ok(()) };
        sys::machine::sync();
        for place in [BELOW, ROOT] {
            // What is not mounted need not go; what is in use does not keep the disk from being
            // written, which has just happened.
            let _ = unmount(place, UnmountFlags::DETACH);
        }
        if !writable {
            return Ok(());
        }
        match unmount(DISK, UnmountFlags::empty()) {
            // Something that ends just now has a file open: what there is, is on the disk, and the
            // journal tells the next mount the rest.
            Err(error) if error.raw_os_error() == Some(sys::errno::EBUSY) => {
                sys::machine::sync();
                Ok(())
            }
            other => other.map_err(RootError::Close),
        }
    }

    /// Closes it and lets go of the layers, too, so that other disks can take their places.
    pub(crate) fn leave(self) -> Result<(), RootError> {
        let Some((layers, writable)) = self.layers else { return Ok(()) };
        self.close()?;
        if writable {
            // Closing it forgives a disk that is still in use.
            match unmount(DISK, UnmountFlags::empty()) {
                Err(error) if error.raw_os_error() == Some(sys::errno::EINVAL) => {}
                other => other.map_err(RootError::Close)?,
            }
        }
        for number in 0..layers {
            unmount(layer(number), UnmountFlags::empty()).map_err(RootError::Close)?;
        }
        Ok(())
    }
}

fn layer(number: usize) -> PathBuf {
    Path::new(LAYERS).join(number.to_string())
}

fn place_for(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

fn mount(node: &Path, place: &Path, kind: &str, flags: u32, options: &str) -> io::Result<()> {
    let node = node.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    mount_legacy(node, place, kind, flags, options)
}

/// The disk has a file system already; the overlay's two directories are made the first time.
fn mount_writable(node: &Path) -> io::Result<()> {
    place_for(Path::new(DISK))?;
    mount(node, Path::new(DISK), "ext4", NODEV, "noinit_itable,discard")?;
    for name in ["upper", "work"] {
        place_for(&Path::new(DISK).join(name))?;
    }
    Ok(())
}

/// Layers as the overlay wants them, the highest first; at least two, as it wants if nothing can be
/// written.
fn lower(layers: usize) -> io::Result<String> {
    image::make_mount_points(&sys::fs::Root::open_host("/run/isopod")?)?;
    let mut paths = vec!["/run/isopod/init".to_owned()];
    paths.extend((0..layers).rev().map(|number| layer(number).display().to_string()));
    if layers == 0 {
        let empty = PathBuf::from("/run/isopod/empty");
        place_for(&empty)?;
        paths.push(empty.display().to_string());
    }
    Ok(paths.join(":"))
}

fn options(layers: usize, writable: bool) -> io::Result<String> {
    let lower = lower(layers)?;
    // As on the host: what is written must be complete in itself, so that layers can be made of it.
    Ok(if writable {
        format!(
            "lowerdir={lower},upperdir={DISK}/upper,workdir={DISK}/work,\
             redirect_dir=off,index=off,metacopy=off"
        )
    } else {
        format!("lowerdir={lower}")
    })
}
