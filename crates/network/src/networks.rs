//! placeholder of the API
#![allow(missing_docs, clippy::unimplemented)]
use crate::*;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What the engine kept of the networks.
#[derive(Debug, Default)]
pub struct Saved {
    /// All networks, predefined ones included.
    pub networks: Vec<Network>,
    /// Endpoints of containers that are alive.
    pub endpoints: Vec<Endpoint>,
}

/// A network namespace.
#[derive(Debug)]
pub struct Sandbox {
    netns: OwnedFd,
}
impl Sandbox {
    /// Someone else's namespace: `/proc/PID/ns/net` opened.
    pub fn adopt(netns: OwnedFd) -> Sandbox {
        Sandbox { netns }
    }
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
    pub fn into_fd(self) -> OwnedFd {
        self.netns
    }
}

#[derive(Debug)]
pub struct Networks {}

impl Networks {
    /// Sets up the default bridge and the firewall, restores what was saved and starts the warm pool.
    pub fn open(_config: Config, _saved: Saved) -> Result<Arc<Networks>> {
        unimplemented!()
    }
    /// What is not as it should be but did not stop `open`: e.g. no nft.
    pub fn warnings(&self) -> Vec<String> {
        unimplemented!()
    }
    pub fn list(&self) -> Vec<Network> {
        unimplemented!()
    }
    /// By id, name or unique beginning of an id.
    pub fn find(&self, _id_or_name: &str) -> Result<Network> {
        unimplemented!()
    }
    pub fn default_bridge(&self) -> Result<Network> {
        unimplemented!()
    }
    pub fn create_network(&self, _spec: NetworkSpec) -> Result<Network> {
        unimplemented!()
    }
    pub fn remove_network(&self, _id_or_name: &str) -> Result<()> {
        unimplemented!()
    }
    /// Endpoints of a network.
    pub fn endpoints(&self, _network: &str) -> Vec<Endpoint> {
        unimplemented!()
    }
    /// What `host-gateway` in --add-host stands for.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        unimplemented!()
    }
    pub fn reserve(&self, _attach: &Attach) -> Result<Reserved> {
        unimplemented!()
    }
    /// A warm namespace (link inside, lo up).
    pub fn sandbox(&self) -> Result<Sandbox> {
        unimplemented!()
    }
    /// A namespace with nothing but lo up (network `none`).
    pub fn bare_sandbox(&self) -> Result<Sandbox> {
        unimplemented!()
    }
    /// Fills in `endpoint.host_link`.
    pub fn plug(&self, _endpoint: &mut Endpoint, _sandbox: &mut Sandbox) -> Result<()> {
        unimplemented!()
    }
    /// Removes the link at once (disconnect of a running container), then releases.
    pub fn unplug(&self, _endpoint: &Endpoint) -> Result<()> {
        unimplemented!()
    }
    pub fn publish(&self, _endpoint: &Endpoint) -> Result<()> {
        unimplemented!()
    }
    pub fn release(&self, _endpoint: &Endpoint) -> Result<()> {
        unimplemented!()
    }
    /// Puts back bridges and rules that somebody removed.
    pub fn repair(&self) -> Result<()> {
        unimplemented!()
    }
    /// Removes bridges and the table (tests, uninstallation).
    pub fn dismantle(&self) -> Result<()> {
        unimplemented!()
    }
}
