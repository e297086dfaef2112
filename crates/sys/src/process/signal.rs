//! Signal masks and dispositions of a single-threaded process.

use std::io;
use std::time::Duration;

use super::check;

/// Highest signal number on Linux.
const LAST_SIGNAL: i32 = 64;

/// Gives every signal its default action back and unblocks all: what a new program expects.
///
/// # Errors
/// None in practice.
pub fn reset_signals() -> io::Result<()> {
    for signal in 1..=LAST_SIGNAL {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // Through the raw call: glibc refuses its two internal realtime signals.
        // SAFETY: an all-zero kernel sigaction is SIG_DFL with no flags; 8 is the size of the
        // kernel's signal set on every 64-bit Linux.
        unsafe {
            let action = [0u64; 4];
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8usize);
        }
    }
    unblock_all()
}

/// Unblocks all signals.
///
/// # Errors
/// None in practice.
pub fn unblock_all() -> io::Result<()> {
    set_mask(0)
}

/// Blocks all signals (SIGKILL and SIGSTOP cannot be).
///
/// # Errors
/// None in practice.
pub fn block_all() -> io::Result<()> {
    set_mask(u64::MAX)
}

fn set_mask(mask: u64) -> io::Result<()> {
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: `mask` is a kernel signal set of 8 bytes and outlives the call.
    check(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, none, 8usize)
    })?;
    Ok(())
}

/// Takes the next pending signal, waiting for it; all signals must be blocked.
///
/// # Errors
/// `EINTR` when the process was stopped and continued.
pub fn signal_wait() -> io::Result<i32> {
    wait(None)
}

/// As [`signal_wait`], for a limited time; `None` when it ran out.
///
/// # Errors
/// As [`signal_wait`].
pub fn signal_wait_timeout(limit: Duration) -> io::Result<Option<i32>> {
    match wait(Some(limit)) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

fn wait(limit: Option<Duration>) -> io::Result<i32> {
    let all = u64::MAX;
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let none = std::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: `all` is a kernel signal set of 8 bytes; the time limit outlives the call or is null.
    let signal = check(unsafe {
        libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, none, limit, 8usize)
    })?;
    Ok(signal as i32)
}
