//! Signals as something to read, and signals that shall not disturb.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The numbers that callers need by name.
pub use libc::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN,
    SIGTTOU, SIGUSR1, SIGUSR2,
};

/// Ignores a signal from now on.
///
/// # Errors
/// `EINVAL` for SIGKILL, SIGSTOP and numbers that are no signals.
pub fn ignore(signal: i32) -> io::Result<()> {
    set(signal, libc::SIG_IGN)
}

/// Gives a signal its default action.
///
/// # Errors
/// As [`ignore`].
pub fn default(signal: i32) -> io::Result<()> {
    set(signal, libc::SIG_DFL)
}

fn set(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: SIG_IGN and SIG_DFL run no code of ours.
    if unsafe { libc::signal(signal, action) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Does something with every signal blocked for the calling thread. A thread that is made by it gets
/// none ever: a signal for the process goes to one that has not blocked it, also where a
/// [`SignalFd`] of another thread waits for it.
pub fn without<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are plain data, made valid before their use, and outlive the calls.
    let before = unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::sigemptyset(&raw mut before);
        // It cannot fail with a valid first argument.
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        before
    };
    let done = work();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    done
}

/// Some signals, blocked, and read from a descriptor instead.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl SignalFd {
    /// Blocks the signals for the calling thread and opens a non-blocking, close-on-exec
    /// descriptor that shows them.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: sigset_t is plain data; sigemptyset makes it a valid set before its use.
        let set = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            set
        };
        // SAFETY: `set` is a valid set and outlives both calls; the old mask is not asked for.
        // The descriptor that signalfd returns is owned by nobody else.
        unsafe {
            let blocked =
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if blocked != 0 {
                return Err(io::Error::from_raw_os_error(blocked));
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// Takes the next signal that came, if there is one. Signals of one kind that come together
    /// count as one.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn take(&self) -> io::Result<Option<i32>> {
        let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut record)) {
            Ok(_) => {
                // ssi_signo is the record's first member.
                let number = record.first_chunk::<4>().copied().unwrap_or_default();
                Ok(Some(i32::from_ne_bytes(number)))
            }
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read() {
        let signals = SignalFd::new(&[SIGUSR1]).expect("signalfd");
        assert_eq!(signals.take().expect("reads"), None);
        // To this thread, which alone has it blocked.
        // SAFETY: two integers.
        unsafe { libc::pthread_kill(libc::pthread_self(), SIGUSR1) };
        assert_eq!(signals.take().expect("reads"), Some(SIGUSR1));
        assert_eq!(signals.take().expect("reads"), None);
    }
}
