//! A stopped container's files as its processes saw them: the root file system with the volumes,
//! the binds and the files in `/etc` in their places.
//!
//! It is put together in a mount namespace that only one thread is in and that ends with it; the
//! copy that comes out is attached nowhere, so no crash leaves it behind.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::entry;
use sys::fs::{FileType, OFlags, Root};
use sys::mount::{self, MountPropagationFlags};
use sys::namespace;
use types::mount::MountKind;

use crate::record::Record;

/// A tree that waits for its place.
struct Part {
    place: PathBuf,
    tree: OwnedFd,
    directory: bool,
}

/// Puts the container's mounts onto `root`. `directory` is the container's own on the host, where
/// its `hosts` and the like are, and only lends its place.
///
/// Mounts whose source is gone are left out. Places that are missing are made, as a start does.
///
/// # Errors
/// Those of the mounts.
pub(super) fn assemble(root: OwnedFd, record: &Record, directory: &Path) -> io::Result<OwnedFd> {
    let parts = parts(record, directory)?;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| -> io::Result<OwnedFd> {
            namespace::unshare(namespace::MOUNT)?;
            mount::propagation("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            let ground = Root::open_host(directory)?;
            mount::attach(&root, ground.as_fd())?;
            let inside = Root::from(root);
            for part in parts {
                let target = match inside.open_path(&part.place) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        make(&inside, &part)?;
                        inside.open_path(&part.place)?
                    }
                    other => other?,
                };
                mount::attach(&part.tree, target)?;
            }
            mount::clone_tree(inside.as_fd(), true)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Copies of all mounts, outer ones first.
fn parts(record: &Record, directory: &Path) -> io::Result<Vec<Part>> {
    let own = ["hosts", "hostname", "resolv.conf"]
        .into_iter()
        .map(|name| (Path::new("/etc").join(name), directory.join(name)));
    let asked = record
        .mounts
        .iter()
        .filter(|point| matches!(point.kind, MountKind::Bind | MountKind::Volume))
        .map(|point| (PathBuf::from(&point.destination), PathBuf::from(&point.source)));
    let mut parts = Vec::new();
    for (place, source) in own.chain(asked) {
        let opened = match sys::fs::open_host(&source, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let directory = entry::kind(&entry::stat_fd(&opened)?) == FileType::Directory;
        parts.push(Part { place, tree: mount::clone_tree(&opened, true)?, directory });
    }
    parts.sort_by_key(|part| part.place.components().count());
    Ok(parts)
}

/// Makes a mount point and what is above it.
fn make(root: &Root, part: &Part) -> io::Result<()> {
    let place = root.resolve(&part.place)?;
    let depth = place.components().count();
    for (at, ancestor) in place.ancestors().collect::<Vec<_>>().into_iter().rev().enumerate() {
        if at == 0 || root.exists(ancestor) {
            continue;
        }
        let (dir, name) = root.parent(ancestor)?;
        if at + 1 < depth || part.directory {
            entry::mkdir(&dir, name, 0o755)?;
        } else {
            drop(entry::create(&dir, name, 0o644)?);
        }
    }
    Ok(())
}
