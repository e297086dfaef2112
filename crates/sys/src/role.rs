//! What a forked process does to become something of its own: forking the whole program, leaving
//! behind the descriptors that it got, and showing another name in `ps`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::process::Stat;

/// `fork(2)` of the C library, so that its own state (the allocator's locks, the cached thread id)
/// is right in the child. Returns the child's pid to the parent, `None` to the child, which must
/// leave through `process::exit_now` and never return into the parent's frames.
///
/// The caller must be single-threaded, for the reasons that `process::clone3` gives.
///
/// # Errors
/// `EAGAIN` (limits), `ENOMEM`.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the child has its own copy of everything; that no other thread held a lock is the
    // caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Closes every descriptor from 3 on except those given: a forked process's way to let go of what
/// its parent had open.
///
/// Whatever still owns one of the closed ones must never be used or dropped again: it has to live
/// in a frame of the parent that this process never returns to.
///
/// # Errors
/// Those of `close_range(2)` (5.9).
pub fn close_others(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    let mut first: libc::c_uint = 3;
    for fd in keep.into_iter().filter_map(|fd| libc::c_uint::try_from(fd).ok()) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: that nobody uses the closed descriptors is the promise of `close_others`' caller.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Overwrites the command line that `ps` shows (`/proc/PID/cmdline`), as far as there is room for
/// it. `std::env::args` is of no use in this process afterwards.
///
/// The caller must be single-threaded.
///
/// # Errors
/// When `/proc/self/stat` cannot be read or does not say where the arguments are.
pub fn set_title(title: &str) -> io::Result<()> {
    let (start, end) = argument_area(&Stat::own()?).ok_or(io::ErrorKind::InvalidData)?;
    let room = end - start;
    let length = title.len().min(room.saturating_sub(1));
    let area = start as *mut u8;
    // SAFETY: the kernel says that the arguments lie from `start` to `end`, on the stack's first
    // pages, which are writable and stay for the life of the process. Nobody else reads them now
    // (single-threaded), and the rest is filled with NULs, so that each argument still ends in one.
    unsafe {
        std::ptr::write_bytes(area, 0, room);
        std::ptr::copy_nonoverlapping(title.as_ptr(), area, length);
    }
    Ok(())
}

/// Where the arguments lie in memory: `arg_start` and `arg_end` of `proc_pid_stat(5)`.
fn argument_area(stat: &Stat) -> Option<(usize, usize)> {
    let (start, end) = (stat.field(48)?, stat.field(49)?);
    (start != 0 && start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_keeps_only_what_it_is_told() {
        let (keep, _other) = crate::stream::pipe().expect("pipe");
        let pid = match fork().expect("forks") {
            Some(pid) => pid,
            None => {
                let closed = close_others(&[std::os::fd::AsFd::as_fd(&keep)]).is_ok();
                let _ = set_title("another");
                let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
                let title = std::fs::read("/proc/self/cmdline").unwrap_or_default();
                // stdio, the kept one and the listing itself.
                let good = closed && open == 5 && title.starts_with(b"another\0");
                crate::process::exit_now(i32::from(!good));
            }
        };
        assert_eq!(crate::process::wait_pid(pid).expect("waits").status(), 0);
    }
}
