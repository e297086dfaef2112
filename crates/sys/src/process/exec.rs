//! Becoming another program.

use std::ffi::{CStr, CString};
use std::io;

use super::check;

/// `execve(2)`; returns only on failure.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
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

/// Sets the umask and returns the old one.
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask)).as_raw_mode()
}
