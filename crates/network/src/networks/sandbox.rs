//! A container's network namespace on its way from the pool to the container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Networks;
use crate::error::Result;
use crate::warm::{self, Wire};

/// A network namespace that endpoints are plugged into.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) netns: OwnedFd,
    /// A link that is there already and waits for its address.
    pub(super) ready: Option<Wire>,
}

impl Sandbox {
    /// The namespace of a process, which was made elsewhere: `/proc/PID/ns/net`, opened.
    pub fn adopt(netns: OwnedFd) -> Sandbox {
        Sandbox { netns, ready: None }
    }

    /// The namespace.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// The namespace, for the container to join.
    pub fn into_fd(self) -> OwnedFd {
        self.netns
    }
}

impl Networks {
    /// A namespace with its loopback link up and a link ready for the first endpoint, from the
    /// pool if it has one: for containers on bridge networks. Dropped, it vanishes.
    ///
    /// # Errors
    /// What the kernel says when one has to be made.
    pub fn sandbox(&self) -> Result<Sandbox> {
        let ready = self.warm.take()?;
        Ok(Sandbox { netns: ready.netns, ready: Some(ready.wire) })
    }

    /// A namespace with nothing but its loopback link, up: for network `none`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bare_sandbox(&self) -> Result<Sandbox> {
        warm::make_bare().map(Sandbox::adopt)
    }
}
