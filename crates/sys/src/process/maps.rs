//! User namespaces with given id maps.

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;

use super::fork::{CloneOptions, Forked, clone3, exit_now, wait_pidfd};

/// One line of an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdMap {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// The text that `uid_map` and `gid_map` take.
fn text(maps: &[IdMap]) -> String {
    let mut out = String::new();
    for map in maps {
        let _ = writeln!(out, "{} {} {}", map.inside, map.outside, map.size);
    }
    out
}

/// Writes the maps of a process's new user namespace, uids first. Each can be written once.
///
/// # Errors
/// `EPERM` when written before or not allowed, `EINVAL` for overlapping or too many lines (340).
pub fn write_maps(pid: i32, uids: &[IdMap], gids: &[IdMap]) -> io::Result<()> {
    crate::fs::write_file(format!("/proc/{pid}/uid_map"), text(uids))?;
    crate::fs::write_file(format!("/proc/{pid}/gid_map"), text(gids))
}

/// A user namespace with the given maps and nobody in it, for idmapped mounts. Costs a fork; keep
/// the fd and use it again.
///
/// The caller must be single-threaded (or accept what [`clone3`] says about forks).
///
/// # Errors
/// Those of `clone3`, of writing the maps, and of opening the namespace.
pub fn user_namespace(uids: &[IdMap], gids: &[IdMap]) -> io::Result<OwnedFd> {
    let options = CloneOptions { namespaces: crate::namespace::USER, ..CloneOptions::default() };
    let (theirs, ours) = crate::socket::pair()?;
    match clone3(&options)? {
        Forked::Child => {
            // Only async-signal-safe calls here: the caller may have threads after all.
            drop(ours);
            let mut byte = [0u8; 1];
            let _ = rustix::io::read(&theirs, &mut byte);
            exit_now(0)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let opened = write_maps(pid, uids, gids)
                .and_then(|()| Ok(std::fs::File::open(format!("/proc/{pid}/ns/user"))?.into()));
            drop(ours);
            wait_pidfd(&pidfd)?;
            opened
        }
    }
}
