//! How overlayfs marks what hides the layers below.
//!
//! A *whiteout* is a character device 0/0; an *opaque* directory has `trusted.overlay.opaque=y`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use sys::entry;
use sys::fs::{FileType, Node, Stat};

/// The attribute of an opaque directory.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Hides a name of the layers below.
pub(crate) fn make_whiteout(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    entry::mknod(dir, name, Node::Char(0), 0)
}

/// Whether this is a whiteout.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    entry::kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Hides everything that the layers below have in a directory.
pub(crate) fn set_opaque(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    entry::set_xattr(dir, name, OsStr::new(OPAQUE), b"y")
}

/// Whether a directory hides what the layers below have in it. Some kernels write `x` for
/// "opaque, with xattr whiteouts inside" (6.7); only `y` means opaque.
pub(crate) fn is_opaque(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    Ok(entry::xattr(dir, name, OsStr::new(OPAQUE))?.as_deref() == Some(b"y"))
}
