//! Users and groups by name, looked up in the container's own files.

use std::os::fd::AsFd;

use sys::fs::Root;
use types::Error;
pub(crate) use types::account::{User, find};

/// /etc/passwd and /etc/group may be this long at most: they are the image's.
const LIMIT: u64 = 4 << 20;

/// Looks `user[:group]` up in the files of a root file system.
pub(crate) fn resolve(root: impl AsFd, user: &str, extra: &[String]) -> Result<User, Error> {
    let failed = |error| Error::system(format!("cannot read the container's users: {error}"));
    let root = Root::from(root.as_fd().try_clone_to_owned().map_err(failed)?);
    // A missing or unreadable file is an empty one: numbers still work.
    let read = |path: &str| {
        let bytes = root.read(path, LIMIT).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    find(&read("/etc/passwd"), &read("/etc/group"), user, extra)
}
