//! One daemon for a data root: a locked file, and a file with the process id for people.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why the daemon may not use a data root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another daemon uses it.
    #[error("another daemon (process {pid}) already uses {root}")]
    Taken {
        /// The data root.
        root: PathBuf,
        /// What the lock file says; `?` when it says nothing.
        pid: String,
    },
    /// A file cannot be made.
    #[error("cannot make {path}: {source}")]
    Make {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to use a data root, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the data root for this process. Call it after the launcher has been forked: the lock
/// belongs to the open file, and a child would keep it.
///
/// # Errors
/// When another daemon has it, or the file cannot be made.
pub(crate) fn take(root: &Path) -> Result<Lock, LockError> {
    let path = root.join("daemon.lock");
    let failed = |source| LockError::Make { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // Only for the message.
        drop(file.read_to_string(&mut pid));
        let pid = if pid.trim().is_empty() { "?" } else { pid.trim() };
        return Err(LockError::Taken { root: root.to_owned(), pid: pid.to_owned() });
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Lock { _file: file })
}

/// Writes the process id for people and service managers.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_pid(path: &Path) -> Result<(), LockError> {
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, std::process::id().to_string())
    };
    write().map_err(|source| LockError::Make { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_root_has_one_daemon() {
        let dir = tempfile::tempdir().expect("tempdir");
        let lock = take(dir.path()).expect("free");
        let error = take(dir.path()).expect_err("taken").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        take(dir.path()).expect("free again");
    }
}
