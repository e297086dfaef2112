//! The descriptors of the process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fs::FileType;

use super::Given;
use crate::channel::Channel;
use crate::error::{Context, Result, Step};

/// Standard streams and further descriptors, ready to be put in place.
#[derive(Debug)]
pub(crate) struct Streams {
    /// One for all three, or three.
    stdio: Vec<OwnedFd>,
    extra: Vec<OwnedFd>,
    terminal: bool,
}

impl Streams {
    /// A terminal's slave for all three.
    pub(crate) fn terminal(slave: OwnedFd, given: Given) -> Streams {
        Streams { stdio: vec![slave], extra: given.extra, terminal: true }
    }

    /// The three that were given.
    pub(crate) fn plain(given: Given) -> Streams {
        let stdio = given.stdio.map(Vec::from).unwrap_or_default();
        Streams { stdio, extra: given.extra, terminal: false }
    }

    /// The terminal is the user's own.
    pub(super) fn own(&self, uid: u32) {
        for fd in self.stdio.iter().filter(|_| self.terminal) {
            let _ = sys::fs::chown_fd(fd, Some(uid), None);
        }
    }

    /// Puts the streams at 0 to 2 and the others from 3, makes the terminal the controlling one and
    /// marks all else close-on-exec. Returns the channel under a number out of the way.
    pub(super) fn place(self, channel: &Channel) -> Result<Channel> {
        let what = || "cannot put the standard streams in place";
        let first_free = 3 + self.extra.len() as i32;
        let channel = channel.duplicate_from(first_free).context(Step::Stdio, what)?;
        let mut list: Vec<BorrowedFd<'_>> = Vec::with_capacity(3 + self.extra.len());
        match &self.stdio[..] {
            [one] => list.extend([one.as_fd(); 3]),
            many => list.extend(many.iter().map(|fd| fd.as_fd())),
        }
        list.extend(self.extra.iter().map(|fd| fd.as_fd()));
        sys::process::place_fds(&list, 0).context(Step::Stdio, what)?;
        if self.terminal {
            sys::pty::make_controlling(std::io::stdin())
                .context(Step::Console, || "cannot make the terminal the controlling one")?;
        }
        sys::process::close_range_cloexec(first_free as u32)
            .context(Step::Stdio, || "cannot mark the other descriptors close-on-exec")?;
        // The old numbers may be other descriptors by now: nobody may close them.
        std::mem::forget(self);
        Ok(channel)
    }
}

/// Gives pipes and sockets to a user. What cannot be given is left: it may be somebody else's.
pub(super) fn own(fds: &[OwnedFd], uid: u32) {
    for fd in fds {
        let Ok(stat) = sys::fs::stat_fd(fd) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if matches!(kind, FileType::Fifo | FileType::Socket) && stat.st_uid != uid {
            let _ = sys::fs::chown_fd(fd, Some(uid), None);
        }
    }
}
