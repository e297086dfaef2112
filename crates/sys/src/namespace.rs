//! Namespaces: the kinds, joining and leaving.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::UnshareFlags;

/// A set of namespace kinds, as `CLONE_NEW*` bits.
pub type Kinds = u64;

/// `CLONE_NEWTIME` (5.6); not for `clone3`, where the bit means something else: use [`unshare`].
pub const TIME: Kinds = 0x80;
/// `CLONE_NEWNS`
pub const MOUNT: Kinds = 0x2_0000;
/// `CLONE_NEWCGROUP`
pub const CGROUP: Kinds = 0x200_0000;
/// `CLONE_NEWUTS`
pub const UTS: Kinds = 0x400_0000;
/// `CLONE_NEWIPC`
pub const IPC: Kinds = 0x800_0000;
/// `CLONE_NEWUSER`
pub const USER: Kinds = 0x1000_0000;
/// `CLONE_NEWPID`
pub const PID: Kinds = 0x2000_0000;
/// `CLONE_NEWNET`
pub const NET: Kinds = 0x4000_0000;
/// `CLONE_FS`: root and working directory. No namespace, and for [`unshare`] only: without it a
/// thread of several may not change its mount namespace (`setns(2)`, EINVAL).
pub const FS: Kinds = 0x200;

/// Joins namespaces: `fd` is a namespace file (then `kinds` may be 0 or its own kind) or, since
/// 5.8, a pidfd (then `kinds` says which of that process's namespaces).
///
/// # Errors
/// `EPERM` without the capability in the owning user namespace; `EINVAL` when the kind does not
/// match, when joining the user namespace one is in already, or when threads share state.
pub fn join(fd: impl AsFd, kinds: Kinds) -> io::Result<()> {
    // SAFETY: setns takes two integers; the fd is borrowed for the length of the call.
    let ret = unsafe { libc::setns(fd.as_fd().as_raw_fd(), kinds as libc::c_int) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves namespaces for new ones. A new pid or time namespace takes in the children only.
///
/// # Errors
/// `EPERM`, `ENOSPC` (limit of nested or total namespaces), `EINVAL` when unknown.
pub fn unshare(kinds: Kinds) -> io::Result<()> {
    // SAFETY: only namespace bits are passed on, never CLONE_FILES, so no thread loses its fds.
    let ret = unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::from_bits_retain(
            (kinds & (TIME | MOUNT | CGROUP | UTS | IPC | USER | PID | NET | FS)) as u32,
        ))
    };
    Ok(ret?)
}

/// Sets the host name of the current uts namespace.
///
/// # Errors
/// `EPERM`, `EINVAL` when longer than 64 bytes.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// Sets the NIS domain name of the current uts namespace.
///
/// # Errors
/// As [`set_hostname`].
pub fn set_domainname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`, which outlives the call.
    let ret = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
