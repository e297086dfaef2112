//! A lock between processes: many who add, or one who removes.
//!
//! `flock(2)` lets those who share the lock come one after the other for ever while one who wants
//! it alone waits. So everybody passes a turnstile first, and the one who wants to be alone stays
//! in it while it waits.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Result, Step};

/// How the gate is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// With others who add.
    Shared,
    /// Alone.
    Alone,
}

/// The gate stays passed until this is dropped, or the process ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Guard {
    _lock: File,
}

/// Waits until the gate can be passed. Each call has a file description of its own, so that
/// threads of one process exclude each other too.
pub(super) fn pass(root: &Path, mode: Mode) -> Result<Guard> {
    let turnstile = locked(&root.join("turnstile"), FlockOperation::LockExclusive)?;
    let operation = match mode {
        Mode::Shared => FlockOperation::LockShared,
        Mode::Alone => FlockOperation::LockExclusive,
    };
    let lock = locked(&root.join("lock"), operation)?;
    drop(turnstile);
    Ok(Guard { _lock: lock })
}

fn locked(path: &Path, operation: FlockOperation) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .step("open the lock", path)?;
    loop {
        match flock(&file, operation) {
            Err(Errno::INTR) => {}
            result => {
                result.map_err(Into::into).step("lock", path)?;
                return Ok(file);
            }
        }
    }
}
