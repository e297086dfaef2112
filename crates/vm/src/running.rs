//! A machine that runs.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::backend::{Control, Vm};
use crate::error::{Error, Step as _};
use crate::machine::{Disk, Share};
use crate::tail::Tail;

/// How a machine came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a clone of a template.
    Template,
    /// It was booted.
    Cold {
        /// Why no template was used although the caller wanted that; worth a warning.
        why: Option<String>,
    },
}

/// A machine whose agent waits for its first order. It is killed when its parent ends.
pub struct Running {
    /// Its process, a child of the caller, to be reaped by the caller.
    pub pid: i32,
    /// The same.
    pub pidfd: Arc<OwnedFd>,
    /// The stream to the agent: a socket, non-blocking.
    pub agent: OwnedFd,
    /// What the agent has said so far: its hello, perhaps more.
    pub greeting: Vec<u8>,
    /// What the guest's kernel prints. To be read whenever there is something: a kernel that
    /// panics waits for each of its characters.
    pub console: Tail,
    /// Further children of the caller that end with the machine and are to be reaped: those that serve
    /// its shares, in order.
    pub helpers: Vec<(i32, OwnedFd)>,
    /// How it came to be.
    pub origin: Origin,
    control: Box<dyn Control>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("pid", &self.pid)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Running {
    pub(crate) fn new(vm: Vm, origin: Origin) -> Self {
        let Vm { pid, pidfd, agent, greeting, console, helpers, control } = vm;
        Self { pid, pidfd, agent, greeting, console, helpers, origin, control }
    }

    /// Stops its processors: nothing in the guest moves until [`Running::resume`].
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Prepare`] when its process does not answer.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.control.pause()
    }

    /// Lets its processors go on.
    ///
    /// # Errors
    /// As [`Running::pause`].
    pub fn resume(&mut self) -> Result<(), Error> {
        self.control.resume()
    }

    /// Puts another file in the place of its n-th disk, which nothing in the guest has mounted. For
    /// clones, whose guests do not know how long a disk is.
    ///
    /// # Errors
    /// As [`Running::pause`]; the machine is of no use any more then.
    pub fn replace_disk(&mut self, n: usize, disk: &Disk) -> Result<(), Error> {
        self.control.replace_disk(n, disk)
    }

    /// Lends it a directory or a file of the host, in the place of its n-th share, which has none.
    ///
    /// # Errors
    /// [`Error::File`]: what the share names cannot be lent.
    pub fn lend(&self, n: usize, share: &Share) -> Result<(), Error> {
        match self.helpers.get(n) {
            Some((server, _)) => crate::share::lend(*server, share),
            None => Err(std::io::Error::from(std::io::ErrorKind::NotFound)).step("find a share"),
        }
    }

    /// Ends it at once, and with it all that runs in it. Waits for nothing.
    ///
    /// # Errors
    /// None in practice: a machine that has ended already is no error.
    pub fn kill(&self) -> std::io::Result<()> {
        self.control.kill()
    }

    /// What the machine's process has complained about so far: for the message of an end that
    /// nobody wanted.
    pub fn complaints(&mut self) -> String {
        self.control.complaints()
    }
}
