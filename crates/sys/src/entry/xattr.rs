//! Extended attributes of names and open files.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::one;
use crate::fs::proc_fd_path;

/// Where the xattr calls find a name: they know no `dirfd` before `setxattrat` of 6.13.
fn path_of(dir: impl AsFd, name: &OsStr) -> io::Result<PathBuf> {
    Ok(proc_fd_path(dir).join(one(name)?))
}

/// Sets an extended attribute of a name.
///
/// # Errors
/// Those of `lsetxattr(2)`: `EOPNOTSUPP`, `EPERM`, `ENOSPC`, `ERANGE`, …
pub fn set_xattr(dir: impl AsFd, name: &OsStr, key: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path_of(dir, name)?, key, value, XattrFlags::empty())?)
}

/// Sets an extended attribute of an open file.
///
/// # Errors
/// As [`set_xattr`].
pub fn set_xattr_fd(fd: impl AsFd, key: &OsStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty())?)
}

/// One extended attribute of a name, or `None` when it has none of this key or the file system
/// knows no such attributes.
///
/// # Errors
/// Those of `lgetxattr(2)`.
pub fn xattr(dir: impl AsFd, name: &OsStr, key: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let path = path_of(dir, name)?;
    let mut value = vec![0u8; 256];
    loop {
        match rustix::fs::lgetxattr(&path, key, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < 1 << 16 => value.resize(1 << 16, 0),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The keys of all extended attributes of a name; none on file systems without them.
///
/// # Errors
/// Those of `llistxattr(2)`.
pub fn xattr_keys(dir: impl AsFd, name: &OsStr) -> io::Result<Vec<OsString>> {
    let path = path_of(dir, name)?;
    let mut keys = [0u8; 1024];
    let mut big;
    let found = match rustix::fs::llistxattr(&path, &mut keys[..]) {
        Ok(len) => &keys[..len],
        Err(Errno::OPNOTSUPP) => &[],
        Err(Errno::RANGE) => {
            // The kernel's own limit, XATTR_LIST_MAX.
            big = vec![0u8; 1 << 16];
            let len = rustix::fs::llistxattr(&path, &mut big[..])?;
            &big[..len]
        }
        Err(e) => return Err(e.into()),
    };
    let keys = found.split(|byte| *byte == 0).filter(|key| !key.is_empty());
    Ok(keys.map(|key| OsStr::from_bytes(key).to_owned()).collect())
}

/// Takes an extended attribute of a name away; fine when it has none of this key.
///
/// # Errors
/// Those of `lremovexattr(2)`.
pub fn remove_xattr(dir: impl AsFd, name: &OsStr, key: &OsStr) -> io::Result<()> {
    match rustix::fs::lremovexattr(path_of(dir, name)?, key) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// Those extended attributes of an open file whose key is wanted, sorted; none on file systems
/// without them.
///
/// # Errors
/// Those of `flistxattr(2)` and `fgetxattr(2)`.
pub fn xattrs_fd(
    fd: impl AsFd,
    wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let fd = fd.as_fd();
    let mut keys = [0u8; 1024];
    let mut big;
    let found = match rustix::fs::flistxattr(fd, &mut keys[..]) {
        Ok(len) => &keys[..len],
        Err(Errno::OPNOTSUPP) => &[],
        Err(Errno::RANGE) => {
            big = vec![0u8; 1 << 16];
            let len = rustix::fs::flistxattr(fd, &mut big[..])?;
            &big[..len]
        }
        Err(e) => return Err(e.into()),
    };
    let mut out = Vec::new();
    for key in found.split(|byte| *byte == 0).filter(|key| !key.is_empty() && wanted(key)) {
        // The kernel's own limit, XATTR_SIZE_MAX.
        let mut value = vec![0u8; 1 << 16];
        let len = rustix::fs::fgetxattr(fd, OsStr::from_bytes(key), &mut value[..])?;
        value.truncate(len);
        out.push((key.to_vec(), value));
    }
    out.sort_unstable();
    Ok(out)
}
