//! Where a channel's data go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::poll::Interest;

/// A descriptor and what it has not taken yet.
#[derive(Debug)]
pub(crate) struct Sink {
    fd: OwnedFd,
    pending: Vec<u8>,
    written: usize,
    ended: bool,
}

/// What became of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// So many bytes went.
    pub(crate) bytes: usize,
    /// Nobody will ever take the rest.
    pub(crate) refused: bool,
    /// The data have ended, and all of them went.
    pub(crate) done: bool,
}

impl Sink {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, pending: Vec::new(), written: 0, ended: false }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What to wait for: room, if something waits for it, and else that nobody reads any more.
    pub(crate) fn interest(&self) -> Option<Interest> {
        if self.is_clear() { Some(Interest::GONE) } else { Some(Interest::WRITE) }
    }

    /// Whether everything that came has been written.
    pub(crate) fn is_clear(&self) -> bool {
        self.pending.len() == self.written
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Writes as much as goes.
    pub(crate) fn flush(&mut self) -> Written {
        let before = self.written;
        let mut refused = false;
        loop {
            let rest = self.pending.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                let bytes = self.written - before;
                self.pending = Vec::new();
                self.written = 0;
                // Nothing to write: then this was called because the reader may have gone.
                let refused = bytes == 0 && !self.ended && has_gone(&self.fd);
                return Written { bytes, refused, done: self.ended };
            }
            match sys::stream::write(&self.fd, rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    refused = true;
                    break;
                }
            }
        }
        Written { bytes: self.written - before, refused, done: false }
    }
}

/// Whether nobody reads what is written here any more.
fn has_gone(fd: &OwnedFd) -> bool {
    let mut poll = sys::poll::Poll::default();
    let mut ready = Vec::new();
    poll.add((), fd, Interest::GONE);
    let asked = poll.wait(Some(std::time::Duration::ZERO), &mut ready);
    asked.is_ok() && ready.iter().any(|((), what)| what.gone)
}
