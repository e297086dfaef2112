//! Making processes and waiting for them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// How to clone.
#[derive(Debug, Default)]
pub struct CloneOptions<'a> {
    /// `CLONE_NEW*` kinds (see `namespace`) for the child; not `TIME`.
    pub namespaces: u64,
    /// Put the child into this cgroup v2 directory right away (`CLONE_INTO_CGROUP`, 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The new process becomes a sibling of the caller, a child of the caller's parent
    /// (`CLONE_PARENT`).
    pub sibling: bool,
}

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one, with the child's pid (in the caller's pid namespace) and pidfd.
    Parent {
        /// Process id.
        pid: i32,
        /// Refers to the process even after the number is taken by another.
        pidfd: OwnedFd,
    },
}

/// `struct clone_args` up to and with `cgroup` (5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with `clone3(2)`: copies the address space, runs no `atfork` hook.
///
/// The caller must be single-threaded, or the child must not allocate: a lock that another thread
/// held at this moment stays held in the child for ever.
///
/// # Errors
/// `EPERM`, `ENOSPC` (namespace limits), `EAGAIN` (pids limit), `EBUSY`/`EOPNOTSUPP` for the
/// cgroup, `ENOSYS` before 5.3.
pub fn clone3(options: &CloneOptions<'_>) -> io::Result<Forked> {
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_PARENT: u64 = 0x8000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: options.namespaces | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if options.sibling {
        // The exit signal is the caller's own then, and must not be given.
        args.flags |= CLONE_PARENT;
        args.exit_signal = 0;
    }
    if let Some(cgroup) = &options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack given this is fork(2): the child has its own copy
    // of everything, so neither side can invalidate the other's references. `args` and `pidfd`
    // outlive the call.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel has just stored a new fd, owned by nobody else, into `pidfd`.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: pid as i32, pidfd })
}

/// Ends the process at once: no destructors, no exit handlers, no flushing. The way out of a
/// forked child.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer and never returns.
    unsafe { libc::_exit(code) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Code(i32),
    /// This signal ended it.
    Signal {
        /// Signal number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

impl Exit {
    /// The status as a shell or Docker counts it: 128 + n for signal n.
    pub fn status(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal { signal, .. } => 128 + signal,
        }
    }

    fn from_siginfo(info: &libc::siginfo_t) -> Exit {
        // SAFETY: waitid filled the SIGCHLD fields of the siginfo.
        let status = unsafe { info.si_status() };
        match info.si_code {
            libc::CLD_KILLED => Exit::Signal { signal: status, core: false },
            libc::CLD_DUMPED => Exit::Signal { signal: status, core: true },
            _ => Exit::Code(status),
        }
    }
}

/// `waitid(2)`; `None` when WNOHANG found nothing. Returns the pid too.
fn waitid(kind: libc::idtype_t, id: u32, flags: libc::c_int) -> io::Result<Option<(i32, Exit)>> {
    loop {
        // SAFETY: siginfo_t is plain data; all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` outlives the call.
        let ret = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
        if ret == 0 {
            // SAFETY: si_pid is valid after waitid; zero when WNOHANG found nothing.
            let pid = unsafe { info.si_pid() };
            return Ok((pid != 0).then(|| (pid, Exit::from_siginfo(&info))));
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

/// The children that a process of one thread has just now; none of one that has ended.
pub fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits for a child and reaps it.
///
/// # Errors
/// `ECHILD` when it is no child of the caller or was reaped before.
pub fn wait_pidfd(pidfd: impl AsFd) -> io::Result<Exit> {
    match waitid(libc::P_PIDFD, pidfd.as_fd().as_raw_fd() as u32, libc::WEXITED)? {
        Some((_, exit)) => Ok(exit),
        None => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Reaps a child if it has ended.
///
/// # Errors
/// As [`wait_pidfd`].
pub fn wait_pidfd_nohang(pidfd: impl AsFd) -> io::Result<Option<Exit>> {
    let flags = libc::WEXITED | libc::WNOHANG;
    let found = waitid(libc::P_PIDFD, pidfd.as_fd().as_raw_fd() as u32, flags)?;
    Ok(found.map(|(_, exit)| exit))
}

/// Waits for a child by number and reaps it.
///
/// # Errors
/// As [`wait_pidfd`].
pub fn wait_pid(pid: i32) -> io::Result<Exit> {
    match waitid(libc::P_PID, pid as u32, libc::WEXITED)? {
        Some((_, exit)) => Ok(exit),
        None => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Reaps any child that has ended; `None` when all that are left still run.
///
/// # Errors
/// `ECHILD` when there are no children.
pub fn reap_any() -> io::Result<Option<(i32, Exit)>> {
    waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG)
}

/// A pidfd for a process (`O_CLOEXEC` always).
///
/// # Errors
/// `ESRCH` when there is none, `EINVAL` when the number is no process but a thread.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two integers in, a new fd owned by nobody else out.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Sends a signal; 0 only asks whether the process is there.
///
/// # Errors
/// `ESRCH` when it has been reaped, `EPERM`, `EINVAL` for an unknown signal.
pub fn pidfd_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: integers and a null siginfo, which the kernel then fills as kill(2) does.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) })?;
    Ok(())
}

/// `kill(2)`: a negative pid means a process group, -1 everybody in the pid namespace.
///
/// # Errors
/// `ESRCH`, `EPERM`, `EINVAL`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

/// The pid of the caller in its own namespace.
pub fn getpid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The pid of the parent; 0 when it is in an outer pid namespace.
pub fn getppid() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get())
}

/// Begins a session of its own.
///
/// # Errors
/// `EPERM` when the caller leads a process group already.
pub fn setsid() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}
