//! All networks of a daemon, and what they hold together: who has which address and port.
//!
//! ```text
//!              create_network                         remove_network
//! (nothing) ───────────────────► network ◄─────────────────────────────► (nothing)
//!                                   │ reserve
//!                                   ▼
//!            release            reserved ──plug──► plugged ──publish──► reachable
//! (nothing) ◄──────────────────────┴──────────────────┴────────────────────┘
//! ```
//!
//! Four locks, always taken in this order and never the other way: `topology` (whole networks
//! come and go one at a time), `state` (in memory, never held while waiting for the kernel or a
//! process, except for binding ports), `reach` (what else the host reaches) and `kernel` (the
//! host's rtnetlink socket).

mod endpoints;
mod lifecycle;
mod open;
mod published;
mod repair;
mod reserve;
mod sandbox;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use sys::netlink::{Link, Socket};

use crate::addresses::Addresses;
use crate::config::Config;
use crate::departed::Departed;
use crate::direct::Direct;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::firewall::Firewall;
use crate::model::{DEFAULT_NETWORK, Endpoint, Network};
use crate::ports::Ports;
use crate::reach::Reach;
use crate::warm::Warm;
pub use endpoints::next_interface;
pub use lifecycle::Removed;
pub use open::Saved;
pub use published::Republished;
pub use sandbox::Sandbox;

/// The networks of a daemon.
#[derive(Debug)]
pub struct Networks {
    config: Config,
    topology: Mutex<()>,
    state: Mutex<State>,
    kernel: Mutex<Socket>,
    reach: Mutex<Reach>,
    /// `None`: the daemon was told to leave the firewall alone.
    firewall: Option<Firewall>,
    warm: Warm,
    /// `None`: the kernel has no such thing.
    direct: Option<Arc<Direct>>,
    departed: Departed,
    lost: Lost,
    ephemeral: (u16, u16),
    warnings: Vec<String>,
}

/// Endpoints whose link somebody else removed, on their way to whoever knows the containers.
type Lost = (mpsc::Sender<Endpoint>, Mutex<Option<mpsc::Receiver<Endpoint>>>);

#[derive(Debug, Default)]
struct State {
    /// By id.
    networks: BTreeMap<String, Entry>,
    /// Ids by name.
    names: HashMap<String, String>,
    /// Ids of networks by the host's link of an endpoint.
    links: HashMap<String, String>,
    /// Namespaces, by endpoint, that have a link without an end on the host: it is removed there.
    inside: HashMap<String, OwnedFd>,
    ports: Ports,
}

#[derive(Debug)]
struct Entry {
    network: Network,
    /// Of each of the network's subnets, in the same order.
    addresses: Vec<Addresses>,
    /// By id.
    endpoints: BTreeMap<String, Endpoint>,
    /// Index of the bridge; it changes if somebody removes the bridge and it is made again.
    index: Option<u32>,
    /// Link-layer address of the bridge.
    mac: Option<[u8; 6]>,
}

impl Entry {
    fn new(network: Network, bridge: Option<&Link>) -> Entry {
        let addresses = network.subnets.iter().map(Addresses::new).collect();
        let (index, mac) = (bridge.map(|link| link.index), bridge.and_then(|link| link.mac));
        Entry { network, addresses, endpoints: BTreeMap::new(), index, mac }
    }

    /// The addresses of the subnet that `addr` is of.
    fn space_of(&mut self, addr: IpAddr) -> Option<&mut Addresses> {
        let at = self.network.subnets.iter().position(|s| s.subnet.contains(addr))?;
        self.addresses.get_mut(at)
    }
}

impl State {
    /// The id for an id, a name or the unique beginning of an id, in this order.
    fn resolve(&self, asked: &str) -> Result<&str> {
        if let Some((id, _)) = self.networks.get_key_value(asked) {
            return Ok(id);
        }
        if let Some(id) = self.names.get(asked) {
            return Ok(id);
        }
        let mut begins = self.networks.keys().filter(|id| id.starts_with(asked));
        match (begins.next(), begins.next()) {
            (Some(id), None) if !asked.is_empty() => Ok(id),
            (Some(_), Some(_)) if !asked.is_empty() => {
                Err(Error::NetworkAmbiguous(asked.to_owned()))
            }
            _ if asked == DEFAULT_NETWORK => Err(Error::NoDefaultBridge),
            _ => Err(Error::NetworkNotFound(asked.to_owned())),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let network = &entry.network;
        self.names.insert(network.name.clone(), network.id.clone());
        self.networks.insert(network.id.clone(), entry);
    }

    fn remove(&mut self, id: &str) {
        if let Some(entry) = self.networks.remove(id) {
            self.names.remove(&entry.network.name);
        }
    }

    fn entry(&mut self, id: &str) -> Result<&mut Entry> {
        self.networks.get_mut(id).ok_or_else(|| Error::NetworkNotFound(id.to_owned()))
    }
}

impl Networks {
    /// What is not as it should be although the daemon can work: there is no `nft`, a saved
    /// network's bridge could not be made.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All networks, `host` and `none` included, by name.
    pub fn list(&self) -> Vec<Network> {
        let state = self.state();
        let mut all: Vec<Network> = state.networks.values().map(|e| e.network.clone()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// A network by id, name or the unique beginning of an id.
    ///
    /// # Errors
    /// [`Error::NetworkNotFound`], [`Error::NetworkAmbiguous`], [`Error::NoDefaultBridge`].
    pub fn find(&self, id_or_name: &str) -> Result<Network> {
        let mut state = self.state();
        let id = state.resolve(id_or_name)?.to_owned();
        Ok(state.entry(&id)?.network.clone())
    }

    /// The network that containers join when they ask for none.
    ///
    /// # Errors
    /// [`Error::NoDefaultBridge`].
    pub fn default_bridge(&self) -> Result<Network> {
        self.find(DEFAULT_NETWORK)
    }

    /// How many containers are on a network, given by id.
    pub fn occupants(&self, network: &str) -> usize {
        self.state().networks.get(network).map_or(0, |e| e.endpoints.len())
    }

    /// The endpoints on a network, given by id.
    pub fn endpoints(&self, network: &str) -> Vec<Endpoint> {
        let state = self.state();
        let entry = state.networks.get(network);
        entry.map(|e| e.endpoints.values().cloned().collect()).unwrap_or_default()
    }

    /// What `host-gateway` in `--add-host` stands for.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        self.config
            .host_gateway
            .or_else(|| self.default_bridge().ok()?.subnet(true).map(|s| s.gateway))
    }

    /// Endpoints whose link somebody removed, although their containers may live: for
    /// [`Networks::plug_anew`]. `None` after the first time.
    pub fn lost(&self) -> Option<mpsc::Receiver<Endpoint>> {
        lock(&self.lost.1).take()
    }

    /// How many namespaces are ready for the next starts.
    pub fn warm(&self) -> usize {
        self.warm.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn bridges(state: &State) -> impl Iterator<Item = &Entry> {
        state.networks.values().filter(|e| e.network.driver == Driver::Bridge)
    }
}

/// The guarded values are valid after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
