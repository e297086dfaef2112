//! Paths that the container must not see or not write.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sys::fs::{FileType, Root};
use sys::mount::{FsContext, SetAttr};

use crate::error::{Context, Result, Step};

/// Opens the path if it is there; what the kernel does not have needs no mask.
fn open(root: &Root, path: &Path) -> io::Result<Option<OwnedFd>> {
    match root.open_path(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Covers a path with a read-only view of itself.
pub(super) fn read_only(root: &Root, path: &Path) -> Result<()> {
    let cover = || {
        let Some(target) = open(root, path)? else { return Ok(()) };
        let tree = sys::mount::clone_tree(&target, true)?;
        let change = SetAttr { set: sys::mount::RDONLY, ..SetAttr::default() };
        sys::mount::set_attr(&tree, false, change)?;
        sys::mount::attach(tree, target)
    };
    cover().context(Step::Mask, || format!("cannot make {} read-only", path.display()))
}

/// Covers directories with one empty read-only tmpfs and files with `/dev/null`.
pub(super) fn mask_all(root: &Root, paths: &[PathBuf]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    let mut null: Option<OwnedFd> = None;
    for path in paths {
        mask(root, path, &mut empty, &mut null)
            .context(Step::Mask, || format!("cannot mask {}", path.display()))?;
    }
    Ok(())
}

fn mask(
    root: &Root,
    path: &Path,
    empty: &mut Option<OwnedFd>,
    null: &mut Option<OwnedFd>,
) -> io::Result<()> {
    let Some(target) = open(root, path)? else { return Ok(()) };
    let stat = sys::fs::stat_fd(&target)?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let slot = if directory { empty } else { null };
    // A copy of the first costs less than another superblock.
    let cover = match slot {
        Some(first) => sys::mount::clone_tree(first, false)?,
        None if directory => empty_dir()?,
        None => sys::mount::clone_tree(null_device(root)?, false)?,
    };
    sys::mount::attach(&cover, &target)?;
    slot.get_or_insert(cover);
    Ok(())
}

/// The container's `/dev/null`, if it really is that: else a path could be "masked" with something
/// of the image's choice (CVE-2025-31133).
fn null_device(root: &Root) -> io::Result<OwnedFd> {
    let fd = root.open_path("/dev/null")?;
    let stat = sys::fs::stat_fd(&fd)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == sys::fs::makedev(1, 3);
    if is_null { Ok(fd) } else { Err(io::Error::other("/dev/null is not the null device")) }
}

fn empty_dir() -> io::Result<OwnedFd> {
    let fs = FsContext::open("tmpfs")?;
    fs.string("source", "tmpfs")?;
    fs.string("size", "0k").or_else(|_| fs.string("size", "4k"))?;
    fs.mount(sys::mount::RDONLY)
}
