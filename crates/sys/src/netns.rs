//! Network namespaces without a name: each lives as long as somebody is in it or has it open.
//!
//! Making one or acting in one happens in a thread of its own, so that no thread of a pool is
//! ever left in the wrong namespace, whatever goes wrong in between.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{Mode, OFlags};

use crate::namespace;

/// Makes a namespace, runs `inside` in it and returns both. Its loopback link is down.
///
/// # Errors
/// `EPERM`; `ENOSPC` at the limit in `/proc/sys/user/max_net_namespaces`; what starting a thread
/// says.
pub fn create<T: Send>(
    inside: impl FnOnce(BorrowedFd<'_>) -> T + Send,
) -> io::Result<(OwnedFd, T)> {
    in_own_thread(|| {
        namespace::unshare(namespace::NET)?;
        let netns = current()?;
        let result = inside(netns.as_fd());
        Ok((netns, result))
    })
}

/// Runs `inside` in a namespace.
///
/// # Errors
/// `EPERM`, `EINVAL` when `netns` is no network namespace; what starting a thread says.
pub fn within<T: Send>(netns: BorrowedFd<'_>, inside: impl FnOnce() -> T + Send) -> io::Result<T> {
    in_own_thread(|| {
        namespace::join(netns, namespace::NET)?;
        Ok(inside())
    })
}

/// The namespace of the calling thread.
///
/// # Errors
/// `EMFILE`, or that `/proc` is not mounted.
pub fn current() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?)
}

/// Keeps out every other process that asks for the lock of the same namespace, until the result
/// is dropped. It is a lock on the namespace's own inode, so it needs no file and cannot be left
/// behind.
///
/// # Errors
/// As [`current`]; `ENOLCK`.
pub fn lock() -> io::Result<OwnedFd> {
    let netns = current()?;
    rustix::fs::flock(&netns, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(netns)
}

fn in_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
