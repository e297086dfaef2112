//! Files in and out of a container as tars (`docker cp`, `docker export`).
//!
//! Every function works on a directory fd that is the container's root: the detached overlay of a
//! stopped container, or `/proc/<pid>/root` of a running one.
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use serde::Serialize;
use types::time::Timestamp;

use crate::error::{Error, Result};

/// What the API says of a path, base64 of its JSON in `X-Docker-Container-Path-Stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathStat {
    /// Last component of the path that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode` bits.
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Where a symlink leads, absolute in the container; else empty.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// How an upload is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions {
    /// Refuse to replace a directory by something else and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to this user and group (`copyUIDGID`); otherwise to the tar's.
    pub owner: Option<(u32, u32)>,
}

/// Ids as the caller sees them through the root fd, `first inside, first outside, count`, for
/// containers in a user namespace of their own. Empty: no translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Ranges of user ids.
    pub uids: Vec<(u32, u32, u32)>,
    /// Ranges of group ids.
    pub gids: Vec<(u32, u32, u32)>,
}

/// Looks a path up.
pub fn stat(_root: BorrowedFd<'_>, _path: &str) -> Result<PathStat> {
    Err(Error::Unsupported("not yet".into()))
}
/// Writes the path as a tar, in the way of `docker cp`. Call [`stat`] first for the header.
pub fn get(
    _root: BorrowedFd<'_>,
    _path: &str,
    _ids: &IdMap,
    _output: &mut dyn Write,
) -> Result<()> {
    Err(Error::Unsupported("not yet".into()))
}
/// Unpacks a tar (optionally compressed) into the directory `path`.
pub fn put(
    _root: BorrowedFd<'_>,
    _path: &str,
    _input: &mut (dyn Read + Send),
    _options: &PutOptions,
    _ids: &IdMap,
) -> Result<()> {
    Err(Error::Unsupported("not yet".into()))
}
/// Writes the whole file system as a tar (`docker export`).
pub fn export(_root: BorrowedFd<'_>, _ids: &IdMap, _output: &mut dyn Write) -> Result<()> {
    Err(Error::Unsupported("not yet".into()))
}
