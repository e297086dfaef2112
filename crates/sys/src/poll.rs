//! Waiting for several descriptors at once.
//!
//! `poll(2)`, not `epoll(7)`: with a dozen descriptors whose interest changes at every turn, a
//! list that is written anew from the state of things cannot be out of step with it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Something to read, or the end.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Only that the other side goes away altogether, which is always told.
    pub const GONE: Self = Self { read: false, write: false };
    /// Something to read.
    pub const READ: Self = Self { read: true, write: false };
    /// Room to write.
    pub const WRITE: Self = Self { read: false, write: true };
}

/// What has happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// There is something to read, or the end (`POLLIN`, `POLLPRI`).
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other side has gone, or the descriptor is broken (`POLLHUP`, `POLLERR`, `POLLNVAL`).
    /// What it wrote before can still be read.
    pub gone: bool,
}

/// The descriptors of one turn, each with a token by which its owner knows it.
#[derive(Debug)]
pub struct Poll<T> {
    fds: Vec<libc::pollfd>,
    tokens: Vec<T>,
}

impl<T> Default for Poll<T> {
    fn default() -> Self {
        Self { fds: Vec::new(), tokens: Vec::new() }
    }
}

impl<T: Copy> Poll<T> {
    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.fds.clear();
        self.tokens.clear();
    }

    /// Waits for this one too.
    pub fn add(&mut self, token: T, fd: impl AsFd, interest: Interest) {
        let mut events = 0;
        if interest.read {
            events |= libc::POLLIN | libc::POLLPRI;
        }
        if interest.write {
            events |= libc::POLLOUT;
        }
        self.fds.push(libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 });
        self.tokens.push(token);
    }

    /// Waits until something happens or the time is over (`None`: for ever), and appends what
    /// has happened to `ready`.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` beyond `RLIMIT_NOFILE`. A signal counts as nothing having happened.
    pub fn wait(&mut self, limit: Option<Duration>, ready: &mut Vec<(T, Ready)>) -> io::Result<()> {
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.fds.len() as libc::nfds_t;
        // SAFETY: `fds` is `count` valid pollfd records which outlive the call, `limit` is null or
        // points to a timespec that does. A descriptor that was closed meanwhile gives POLLNVAL.
        let found = unsafe { libc::ppoll(self.fds.as_mut_ptr(), count, limit, std::ptr::null()) };
        if found == -1 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        for (fd, token) in self.fds.iter().zip(&self.tokens) {
            if fd.revents != 0 {
                let has = |events| fd.revents & events != 0;
                ready.push((
                    *token,
                    Ready {
                        readable: has(libc::POLLIN | libc::POLLPRI),
                        writable: has(libc::POLLOUT),
                        gone: has(libc::POLLHUP | libc::POLLERR | libc::POLLNVAL),
                    },
                ));
            }
        }
        Ok(())
    }
}

/// Waits until there is something to read, or nothing ever more; false when the time is over first.
///
/// Of a pidfd: until the process has ended.
///
/// # Errors
/// As [`Poll::wait`].
pub fn readable_within(fd: impl AsFd, limit: Duration) -> io::Result<bool> {
    let end = Instant::now() + limit;
    let mut ready = Vec::new();
    loop {
        let mut poll = Poll::default();
        poll.add((), &fd, Interest::READ);
        poll.wait(Some(end.saturating_duration_since(Instant::now())), &mut ready)?;
        if !ready.is_empty() || Instant::now() >= end {
            return Ok(!ready.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_is_told_by_its_token() {
        let (reader, writer) = crate::stream::pipe().expect("pipe");
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        poll.add('r', &reader, Interest::READ);
        poll.wait(Some(Duration::from_millis(1)), &mut ready).expect("waits");
        assert!(ready.is_empty());
        poll.clear();
        poll.add('r', &reader, Interest::GONE);
        poll.add('w', &writer, Interest::WRITE);
        poll.wait(None, &mut ready).expect("waits");
        assert_eq!(ready, [('w', Ready { readable: false, writable: true, gone: false })]);
        drop(writer);
        ready.clear();
        poll.clear();
        poll.add('r', &reader, Interest::READ);
        poll.wait(None, &mut ready).expect("waits");
        assert!(ready[0].1.gone, "a closed pipe is told");
    }
}
