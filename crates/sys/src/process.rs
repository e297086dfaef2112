//! Making processes and shaping the calling one: `clone3`, `execve`, pidfds, credentials,
//! capabilities, limits, signals, scheduling.
//!
//! Calls that glibc applies to all threads of a process (`setuid`, …) are made as plain syscalls
//! and touch the calling thread only: they are meant for a freshly forked, single-threaded child.

mod caps;
mod exec;
mod fork;
mod maps;
mod sched;
mod signal;
mod stat;
#[cfg(test)]
mod tests;

pub use caps::{
    Caps, ambient_clear, ambient_raise, bounding_drop, bounding_has, get_caps, last_cap, set_caps,
};
pub use exec::{
    close_all_but, close_from, close_range_cloexec, duplicate_above, execve, inherited, place_fds,
    reexec_read_only, set_umask,
};
pub use fork::{
    CloneOptions, Exit, Forked, children, clone3, exit_now, getpid, getppid, kill, pidfd_open,
    pidfd_signal, reap_any, setsid, wait_pid, wait_pidfd, wait_pidfd_nohang,
};
pub use maps::{IdMap, user_namespace, write_maps};
pub use sched::{
    IoPriority, Sched, get_rlimit, set_affinity, set_ioprio, set_personality, set_rlimit, set_sched,
};
pub use signal::{block_all, reset_signals, signal_wait, signal_wait_timeout, unblock_all};
pub use stat::Stat;

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::Signal;

/// Turns a syscall's `-1` into the errno.
fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Sets real, effective and saved user id of the calling thread.
///
/// # Errors
/// `EPERM`; `EINVAL` when the id has no mapping in the user namespace; `EAGAIN` (RLIMIT_NPROC).
pub fn set_uid(uid: u32) -> io::Result<()> {
    let uid = Uid::from_raw(uid);
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Sets real, effective and saved group id of the calling thread.
///
/// # Errors
/// As [`set_uid`].
pub fn set_gid(gid: u32) -> io::Result<()> {
    let gid = Gid::from_raw(gid);
    Ok(rustix::thread::set_thread_res_gid(gid, gid, gid)?)
}

/// Sets the supplementary groups of the calling thread.
///
/// # Errors
/// `EPERM` (also when a user namespace has `setgroups` denied), `EINVAL` when unmapped.
pub fn set_groups(gids: &[u32]) -> io::Result<()> {
    // Nearly always empty or short: no heap for that.
    let gids: Vec<Gid> = gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    Ok(rustix::thread::set_thread_groups(&gids)?)
}

/// Whether capabilities survive a change of uid away from 0 (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// `EPERM` when the secure bits forbid it.
pub fn keep_caps(keep: bool) -> io::Result<()> {
    Ok(rustix::thread::set_keep_capabilities(keep)?)
}

/// `PR_SET_NO_NEW_PRIVS`; cannot be undone.
///
/// # Errors
/// None on any kernel since 3.5.
pub fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Asks for SIGKILL when the thread that created this process ends (`PR_SET_PDEATHSIG`). Cleared
/// by `fork`, by `execve` of a set-id or capable file and by a change of credentials: set it after
/// those, and then check that the parent is still there.
///
/// # Errors
/// None in practice.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Has the kernel back this process, and what it executes, with small pages only, even where a program
/// asks for huge ones (`PR_SET_THP_DISABLE`, Linux 3.15).
///
/// # Errors
/// None in practice.
pub fn refuse_huge_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Has the process of a command end with the thread that starts it, which is best the one that waits
/// for it: what it does shall not come after the end of whoever wanted it.
pub fn bind(command: &mut std::process::Command) -> &mut std::process::Command {
    let parent = rustix::process::getpid();
    let bound = move || {
        die_with_parent()?;
        // It may have ended before.
        let there = rustix::process::getppid() == Some(parent);
        if there { Ok(()) } else { Err(io::Error::from_raw_os_error(crate::errno::ESRCH)) }
    };
    // SAFETY: between fork and execve it makes three system calls and allocates nothing.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, bound) }
}

/// Takes [`die_with_parent`] back.
///
/// # Errors
/// None in practice.
pub fn outlive_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(None)?)
}

/// Makes this process take in orphaned descendants.
///
/// # Errors
/// None in practice.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Whether others of the same uid may ptrace the caller and read its `/proc` files. A change of
/// credentials clears it, and then `/proc/self` belongs to root.
///
/// # Errors
/// None in practice.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    use rustix::process::DumpableBehavior::{Dumpable, NotDumpable};
    let behavior = if dumpable { Dumpable } else { NotDumpable };
    Ok(rustix::process::set_dumpable_behavior(behavior)?)
}

/// Whether [`set_dumpable`] is on; children inherit it.
///
/// # Errors
/// None in practice.
pub fn is_dumpable() -> io::Result<bool> {
    Ok(rustix::process::dumpable_behavior()? == rustix::process::DumpableBehavior::Dumpable)
}

/// The name of the thread as `ps` shows it (`comm`; cut at 15 bytes).
///
/// # Errors
/// None in practice.
pub fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// Gives the caller a session keyring of its own, with the given description.
///
/// # Errors
/// `ENOSYS` on a kernel without keyrings, `EPERM`, `EDQUOT`.
pub fn new_session_keyring(name: &std::ffi::CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    Ok(())
}
