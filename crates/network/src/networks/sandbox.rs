//! A container's network namespace on its way from the pool to the container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Networks;
use crate::driver::Driver;
use crate::error::Result;
use crate::model::Endpoint;
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

    /// A namespace for endpoints that will be plugged into it in this order.
    ///
    /// # Errors
    /// What the kernel says when one has to be made.
    pub fn sandbox_for(&self, endpoints: &[Endpoint]) -> Result<Sandbox> {
        let bridged = endpoints.first().is_some_and(|endpoint| {
            let state = self.state();
            let entry = state.networks.get(&endpoint.network);
            entry.is_some_and(|e| e.network.driver == Driver::Bridge)
        });
        if bridged { self.sandbox() } else { self.bare_sandbox() }
    }

    /// A namespace with nothing but its loopback link, up: for network `none`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bare_sandbox(&self) -> Result<Sandbox> {
        warm::make_bare().map(Sandbox::adopt)
    }
}
