//! Mounts of other mount namespaces.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use crate::namespace::{self, FS, MOUNT};

/// A detached copy of the mount at `path` as the mount namespace `namespace` has it.
///
/// `open_tree(2)` copies mounts of the caller's namespace only (EINVAL), so a thread goes there.
///
/// # Errors
/// Those of `setns(2)` and `open_tree(2)`; `EAGAIN` when no thread can be made.
pub fn clone_tree(namespace: impl AsFd, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let namespace = namespace.as_fd().try_clone_to_owned()?;
    let path = path.as_ref().to_owned();
    let visitor = thread::Builder::new().name("mounts".to_owned()).spawn(move || {
        namespace::unshare(FS)?;
        namespace::join(&namespace, MOUNT)?;
        crate::mount::clone_tree_at(crate::fs::CWD, &path, false)
    })?;
    visitor.join().map_err(|_| io::Error::other("the thread that copies a mount panicked"))?
}
