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
    pub(crate) fn own(&self, uid: u32) {
        for fd in self.stdio.iter().filter(|_| self.terminal) {
            let _ = sys::fs::chown_fd(fd, Some(uid), None);
        }
    }

    /// Puts the streams at 0 to 2 and the others from 3, makes the terminal the controlling one and
    /// closes everything else but the channel and the gate, which get new numbers, whoever owns it:
    /// the caller must drop nothing that it opened before.
    pub(crate) fn place(
        self,
        channel: &Channel,
        gate: Option<OwnedFd>,
    ) -> Result<(Channel, Option<OwnedFd>)> {
        let what = || "cannot put the standard streams in place";
        let first_free = 3 + self.extra.len() as i32;
        // High above, so that the numbers that the streams shall have are not among theirs.
        let high = |fd: BorrowedFd<'_>| {
            sys::process::duplicate_above(fd, first_free).context(Step::Stdio, what)
        };
        let kept_channel = Channel::from(high(channel.as_fd())?);
        let kept_gate = gate.as_ref().map(|gate| high(gate.as_fd())).transpose()?;
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
        // Now, not at `execve`: a created container may wait long for its start, and would hold on
        // to its caller's files and to unattached mounts until then.
        let keep: Vec<BorrowedFd<'_>> =
            [kept_channel.as_fd()].into_iter().chain(kept_gate.as_ref().map(AsFd::as_fd)).collect();
        sys::process::close_all_but(first_free, &keep);
        drop(keep);
        // Their numbers are closed, or other descriptors' by now: nobody may close them again.
        std::mem::forget((self, gate));
        Ok((kept_channel, kept_gate))
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
