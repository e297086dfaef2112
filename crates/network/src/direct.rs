//! The direct way from a container to its neighbours and to its host, past the bridge.
//!
//! ```text
//! container A ──► A's link ──(program: is it from A? whom is it for?)──► into container B
//!                     │                └─ the gateway ─► as if the bridge had received it
//!                     └─ anything else ─► guard ─► bridge ─► B's link ─► container B
//! host ──► bridge ──(program: for whom?)──► B's link ──► container B
//! ```
//!
//! A small program at the host's end of each link (`program`) sees what comes from a container. What
//! is under the container's own addresses, and for a neighbour who may be talked to, it puts at the
//! other end of the neighbour's link at once: no queue, no bridge, no rules. What is for the gateway
//! it gives to the host's stack, with all of the host's rules, but not those about bridges: where
//! br_netfilter is on, that takes longer than all the rest. Another one, at the bridge, does the same
//! with what the host sends to a container, after all of the host's rules. Anything else is left to the
//! bridge, which does the same, later. So nothing depends on it, and where the kernel has no such programs
//! (Linux 6.6, `CONFIG_BPF_SYSCALL`) there are none.
//!
//! The bridge does not learn from what it does not see; it is told where its containers are.
//!
//! Who is who stands in two maps of the kernel. They live as long as a program does, and a program as
//! long as a link: a daemon that starts finds them there.

mod program;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sys::bpf::{self, Map, Traffic};

use crate::model::Endpoint;

/// Name of the program. What it and the maps mean to each other never changes under one name.
const NAME: &str = "isopod_direct1";
/// Name of the one at bridges.
const HOST: &str = "isopod_host1";
/// Containers of a host at most; only those that are there take memory.
const MOST: u32 = 1 << 17;

/// By index of a link: whose it is, see [`Owner`]. Of a bridge: the network, and nothing else.
type Owners = Map<4, 40>;
/// By number of a network and link-layer address: see [`peer`] and [`way`].
type Peers = Map<16, 8>;

/// The programs and maps of a daemon.
#[derive(Debug)]
pub(crate) struct Direct {
    /// At the containers' links.
    program: OwnedFd,
    /// At bridges.
    host: OwnedFd,
    owners: Owners,
    peers: Peers,
    /// By network.
    gateways: Mutex<HashMap<u64, Led>>,
}

/// A gateway that the maps know.
#[derive(Debug, Clone, Copy)]
struct Led {
    /// Among the peers.
    key: [u8; 16],
    bridge: u32,
    /// The bridge has its program. It gets it with the first container: that waits for RCU.
    programmed: bool,
}

/// A bridge and its place in a network.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    /// Id of the network.
    pub(crate) network: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mac: [u8; 6],
}

/// A container's place, as the program knows it.
#[derive(Debug)]
struct Owner<'a> {
    network: u64,
    endpoint: &'a Endpoint,
}

impl Owner<'_> {
    /// Network (8), link-layer address (6), nothing (2), IPv4 (4), nothing (4), IPv6 (16).
    fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.network.to_ne_bytes());
        bytes[8..14].copy_from_slice(&self.endpoint.mac.0);
        let given = [self.endpoint.ipv4, self.endpoint.ipv6];
        for addr in given.into_iter().flatten().map(|cidr| cidr.addr()) {
            match addr {
                IpAddr::V4(addr) => bytes[16..20].copy_from_slice(&addr.octets()),
                IpAddr::V6(addr) => bytes[24..].copy_from_slice(&addr.octets()),
            }
        }
        bytes
    }
}

/// Network (8), link-layer address (6), nothing (2).
fn peer(network: u64, mac: [u8; 6]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&network.to_ne_bytes());
    bytes[8..14].copy_from_slice(&mac);
    bytes
}

/// Index of a link (4); what becomes of the packet (4): it goes to the other end of the link, or is
/// taken for received by the link (`BPF_F_INGRESS`).
fn way(link: u32, received: bool) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&link.to_ne_bytes());
    bytes[4..].copy_from_slice(&u32::from(received).to_ne_bytes());
    bytes
}

fn link_of([a, b, c, d, ..]: [u8; 8]) -> [u8; 4] {
    [a, b, c, d]
}

/// A network's number: the beginning of its id, which is random.
fn number(network: &str) -> Option<u64> {
    u64::from_str_radix(network.get(..16)?, 16).ok()
}

impl Direct {
    /// What an earlier daemon left at one of the containers' links and at one of the bridges, or
    /// something new.
    ///
    /// # Errors
    /// That the kernel has no such thing, or lets us have none.
    pub(crate) fn open(links: &[u32], bridges: &[u32]) -> io::Result<Direct> {
        let at = |links: &[u32], traffic, name| {
            links.iter().find_map(|link| bpf::program_at(*link, traffic, name).ok().flatten())
        };
        let (program, host) =
            (at(links, Traffic::Received, NAME), at(bridges, Traffic::Sent, HOST));
        // Both have the same maps. Where no container is left, those of a bridge are, and whoever
        // they name must be forgotten.
        let left = program.as_ref().or(host.as_ref());
        let (owners, peers) = match left.and_then(|left| bpf::maps_of(left).ok().flatten()) {
            Some(maps) => maps,
            None => (Owners::create("isopod_owners", MOST)?, Peers::create("isopod_peers", MOST)?),
        };
        let maps = (owners.as_fd(), peers.as_fd());
        let program = match program {
            Some(program) => program,
            None => bpf::load_classifier(&program::from_container(maps.0, maps.1), NAME)?,
        };
        let host = match host {
            Some(host) => host,
            None => bpf::load_classifier(&program::from_host(maps.0, maps.1), HOST)?,
        };
        Ok(Direct { program, host, owners, peers, gateways: Mutex::default() })
    }

    /// Puts the program at a container's link, which waits for RCU.
    pub(crate) fn attach(&self, link: u32) {
        attach(link, Traffic::Received, &self.program);
    }

    /// The same, without waiting.
    pub(crate) fn attach_soon(self: &Arc<Self>, links: Vec<u32>) {
        if !links.is_empty() {
            self.soon(move |direct| links.into_iter().for_each(|link| direct.attach(link)));
        }
    }

    /// Puts the host's program at a bridge, without waiting.
    fn program_soon(self: &Arc<Self>, bridge: u32) {
        self.soon(move |direct| attach(bridge, Traffic::Sent, &direct.host));
    }

    fn soon(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) {
        let direct = Arc::clone(self);
        let thread = thread::Builder::new().name("direct".to_owned()).stack_size(128 << 10);
        // Without it everything goes by the bridge.
        let _ = thread.spawn(move || work(&direct));
    }

    /// From now on this endpoint reaches its neighbours directly, and they reach it.
    pub(crate) fn add(self: &Arc<Self>, link: u32, endpoint: &Endpoint) {
        let Some(network) = number(&endpoint.network) else { return };
        if let Some(led) = self.gateways().get_mut(&network)
            && !std::mem::replace(&mut led.programmed, true)
        {
            self.program_soon(led.bridge);
        }
        let owner = Owner { network, endpoint }.bytes();
        let peer = peer(network, endpoint.mac.0);
        let added = self.owners.set(&link.to_ne_bytes(), &owner);
        if let Err(e) = added.and_then(|()| self.peers.set(&peer, &way(link, false))) {
            tracing::debug!(link, "what it sends goes by the bridge: {e}");
        }
    }

    /// No longer.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn remove(&self, endpoint: &Endpoint) -> io::Result<()> {
        let Some(network) = number(&endpoint.network) else { return Ok(()) };
        let peer = peer(network, endpoint.mac.0);
        let Some(way) = self.peers.get(&peer)? else { return Ok(()) };
        // Nobody sends to it any more; then it sends no more.
        self.peers.remove(&peer)?;
        self.owners.remove(&link_of(way))
    }

    /// From now on the host is reached there.
    pub(crate) fn lead(self: &Arc<Self>, gateway: &Gateway<'_>) {
        let Some(network) = number(gateway.network) else { return };
        let (key, bridge) = (peer(network, gateway.mac), gateway.bridge);
        let there = |led: &Led| (led.key, led.bridge) == (key, bridge);
        let before = self.gateways().get(&network).copied();
        let stale = before.filter(|led| !there(led));
        let mut programmed = match before.filter(there) {
            Some(led) => led.programmed,
            None => matches!(bpf::program_at(bridge, Traffic::Sent, HOST), Ok(Some(_))),
        };
        // A bridge that was made anew for the containers that are there.
        if !programmed && stale.is_some_and(|led| led.programmed) {
            programmed = true;
            self.program_soon(bridge);
        }
        self.gateways().insert(network, Led { key, bridge, programmed });
        let led = stale.map_or(Ok(()), |led| self.unlead(&led)).and_then(|()| {
            let mut owner = [0; 40];
            owner[..8].copy_from_slice(&network.to_ne_bytes());
            self.owners.set(&bridge.to_ne_bytes(), &owner)?;
            self.peers.set(&key, &way(bridge, true))
        });
        if let Err(e) = led {
            tracing::debug!("what is sent to the host goes by the bridge: {e}");
        }
    }

    fn unlead(&self, led: &Led) -> io::Result<()> {
        self.peers.remove(&led.key)?;
        self.owners.remove(&led.bridge.to_ne_bytes())
    }

    /// Forgets a network, by id.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn forget(&self, network: &str) -> io::Result<()> {
        let led = number(network).and_then(|network| self.gateways().remove(&network));
        led.map_or(Ok(()), |led| self.unlead(&led))
    }

    fn gateways(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Led>> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After an earlier daemon: these endpoints, by index of their link, and these gateways, and no
    /// others.
    pub(crate) fn settle(
        self: &Arc<Self>,
        endpoints: &BTreeMap<u32, &Endpoint>,
        gateways: &[Gateway<'_>],
    ) -> io::Result<()> {
        let bridges = gateways.iter().map(|gateway| &gateway.bridge);
        let kept: HashSet<[u8; 4]> =
            endpoints.keys().chain(bridges).map(|link| link.to_ne_bytes()).collect();
        for link in self.owners.keys()?.into_iter().filter(|link| !kept.contains(link)) {
            self.owners.remove(&link)?;
        }
        for key in self.peers.keys()? {
            if self.peers.get(&key)?.is_none_or(|way| !kept.contains(&link_of(way))) {
                self.peers.remove(&key)?;
            }
        }
        gateways.iter().for_each(|gateway| self.lead(gateway));
        endpoints.iter().for_each(|(link, endpoint)| self.add(*link, endpoint));
        let without =
            |link: &&u32| !matches!(bpf::program_at(**link, Traffic::Received, NAME), Ok(Some(_)));
        self.attach_soon(endpoints.keys().filter(without).copied().collect());
        Ok(())
    }
}

fn attach(link: u32, traffic: Traffic, program: &OwnedFd) {
    match bpf::attach_traffic(link, traffic, program.as_fd()) {
        Ok(()) => {}
        // It has gone, or has it already.
        Err(e) if matches!(e.raw_os_error(), Some(ENODEV | EEXIST)) => {}
        Err(e) => tracing::debug!(link, ?traffic, "packets go by the bridge: {e}"),
    }
}

const ENODEV: i32 = 19;
const EEXIST: i32 = 17;
