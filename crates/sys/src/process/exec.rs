//! Becoming another program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// `execve(2)`; returns only on failure.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> io::Error {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end with a null pointer and point to NUL-terminated strings that are
    // borrowed for the length of the call; on success nothing of this process is left.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Marks every fd from `first` on close-on-exec (`close_range(2)`, flag since 5.11).
///
/// # Errors
/// `EINVAL`/`ENOSYS` on older kernels.
pub fn close_range_cloexec(first: u32) -> io::Result<()> {
    // SAFETY: integers; no fd is closed now, so none that is owned somewhere becomes invalid.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every fd from `first` on, whoever owns it: for a forked process that goes on without
/// anything it had.
pub fn close_from(first: u32) {
    // SAFETY: integers; the caller gives up whatever owned these descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, 0) };
}

/// Closes every fd from `first` on but those to keep, whoever owns them: as [`close_from`].
pub fn close_all_but(first: RawFd, keep: &[BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    let mut from = first as libc::c_uint;
    for number in numbers {
        if number > from {
            // SAFETY: integers; the caller gives up whatever owned these descriptors.
            unsafe { libc::syscall(libc::SYS_close_range, from, number - 1, 0) };
        }
        from = from.max(number + 1);
    }
    close_from(from);
}

/// Sets the umask and returns the old one.
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask)).as_raw_mode()
}

/// A copy of a descriptor, close-on-exec, numbered `min` or higher.
///
/// # Errors
/// `EMFILE`, `EINVAL` when `min` is beyond the limit.
pub fn duplicate_above(fd: impl AsFd, min: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, min)?)
}

/// A copy of a descriptor that was inherited by number, close-on-exec, numbered `min` or higher.
///
/// # Errors
/// `EBADF` when there is none of that number.
pub fn inherited(number: RawFd, min: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only copied; the new descriptor is owned by nobody else.
    unsafe {
        let fd = check(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, min).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Makes copies of `fds` the descriptors `first`, `first + 1`, … of the process, kept over
/// `execve`. Whatever had those numbers is closed: for the last moments before an `execve`, by a
/// caller who keeps no owner of such a number.
///
/// # Errors
/// `EMFILE`.
pub fn place_fds(fds: &[BorrowedFd<'_>], first: RawFd) -> io::Result<()> {
    // Out of the way first: a source may have a number that is another's target.
    let above = first + fds.len() as RawFd;
    let mut high = Vec::with_capacity(fds.len());
    for fd in fds {
        high.push(duplicate_above(fd, above)?);
    }
    for (target, fd) in (first..).zip(&high) {
        // SAFETY: two integers; the caller vouches that nothing owns the target number, or that it
        // will not be used or dropped after this.
        check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into())?;
    }
    Ok(())
}

/// Makes sure that `/proc/self/exe` cannot be opened for writing through this process, not even by
/// root in a container that it has entered (CVE-2019-5736): if the program's file lies on a
/// writable mount, executes it again from a detached, read-only view of that mount. Call it first
/// thing in `main`; returns when there is nothing (more) to do.
///
/// # Errors
/// Those of `open_tree`, `mount_setattr` and `execveat`; without root `EPERM`.
pub fn reexec_read_only() -> io::Result<()> {
    const STATVFS_RDONLY: u64 = 1;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let exe = rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())?;
    if rustix::fs::fstatvfs(&exe)?.f_flag.bits() & STATVFS_RDONLY != 0 {
        return Ok(());
    }
    let view = crate::mount::clone_tree(&exe, false)?;
    let read_only = crate::mount::SetAttr { set: crate::mount::RDONLY, ..Default::default() };
    crate::mount::set_attr(&view, false, read_only)?;
    let to_c =
        |s: std::ffi::OsString| CString::new(s.into_encoded_bytes()).map_err(io::Error::from);
    let argv: Vec<CString> = std::env::args_os().map(to_c).collect::<io::Result<_>>()?;
    let envp: Vec<CString> = std::env::vars_os()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            to_c(key)
        })
        .collect::<io::Result<_>>()?;
    let (argv, envp) = (pointers(&argv), pointers(&envp));
    // SAFETY: as for `execve` above; the path is an empty literal, which with AT_EMPTY_PATH means
    // the fd itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            view.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(io::Error::last_os_error())
}

fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
    list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}
