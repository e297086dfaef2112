//! Mounts of other mount namespaces, and of none.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use crate::fs::Root;
use crate::mount;
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
        mount::clone_tree_at(crate::fs::CWD, &path, false)
    })?;
    visitor.join().map_err(|_| io::Error::other("the thread that copies a mount panicked"))?
}

/// What a detached mount has at a path, as a detached mount of its own; links are followed inside.
/// The first mount is used up.
///
/// # Errors
/// Those of [`Root::open_path`], `open_tree(2)`, `unshare(2)` and `move_mount(2)`.
pub fn part(whole: OwnedFd, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let whole = Root::from(whole);
    let inside = whole.open_path(path)?;
    match mount::clone_tree(&inside, false) {
        // EINVAL before 6.15: what is attached nowhere cannot be copied.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            attached_part(whole.as_fd(), inside.as_fd())
        }
        other => other,
    }
}

/// Copies a part of a detached mount where it is attached: in a namespace that ends with its thread,
/// so that nothing is left of it in a crash.
fn attached_part(whole: BorrowedFd<'_>, inside: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    thread::scope(|scope| {
        let worker =
            thread::Builder::new().name("mounts".to_owned()).spawn_scoped(scope, || {
                namespace::unshare(MOUNT)?;
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                mount::propagation("/", private)?;
                // Directly over `/`: needs no directory.
                mount::attach_at(whole, crate::fs::CWD, "/")?;
                mount::clone_tree(inside, false)
            })?;
        worker.join().map_err(|_| io::Error::other("the thread that copies a mount panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn tmpfs() -> OwnedFd {
        let context = mount::FsContext::open("tmpfs").expect("tmpfs");
        let whole = context.mount(0).expect("a mount");
        let root = Root::from(whole);
        root.mkdir_all("a/b", crate::fs::Mode::from_raw_mode(0o755)).expect("made");
        let mode = crate::fs::Mode::from_raw_mode(0o600);
        let mut file = root.create_file("a/b/file", mode).expect("made");
        file.write_all(b"here").expect("written");
        rustix::fs::symlinkat("/a/b", &root, "link").expect("linked");
        root.into_fd()
    }

    fn read(tree: OwnedFd) -> String {
        let mut text = String::new();
        let mut file = Root::from(tree).open_file("file").expect("opened");
        file.read_to_string(&mut text).expect("read");
        text
    }

    #[test]
    fn privileged_a_part_of_a_detached_mount_is_a_mount_of_its_own() {
        assert_eq!(read(part(tmpfs(), "link").expect("a part")), "here");
        let error = part(tmpfs(), "nowhere").expect_err("not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn privileged_a_part_is_had_as_well_by_attaching_the_whole() {
        let whole = Root::from(tmpfs());
        let inside = whole.open_path("a/b").expect("opened");
        let before = std::fs::read("/proc/self/mountinfo").expect("mounts");
        let tree = attached_part(whole.as_fd(), inside.as_fd()).expect("a part");
        assert!(std::fs::read("/proc/self/mountinfo").expect("mounts") == before);
        drop((whole, inside));
        // It is detached: it can be put somewhere.
        thread::scope(|scope| {
            scope.spawn(|| {
                namespace::unshare(MOUNT).expect("a namespace");
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                mount::propagation("/", private).expect("private");
                mount::attach_at(&tree, crate::fs::CWD, "/tmp").expect("attached");
            });
        });
        assert_eq!(read(tree), "here");
    }
}
