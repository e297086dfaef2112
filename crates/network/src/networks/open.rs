//! The daemon's start: from what was saved and what the host has to networks that work.

use std::fs;
use std::sync::{Arc, Mutex};

use sys::netlink::Socket;

use super::{Entry, Networks, State, now};
use crate::cidr::Cidr;
use crate::config::Config;
use crate::departed::Departed;
use crate::error::{Error, Result};
use crate::firewall::Firewall;
use crate::model::{DEFAULT_NETWORK, Driver, Endpoint, Network};
use crate::plan::{self, Given};
use crate::ports::{EPHEMERAL, Ports};
use crate::warm::Warm;
use crate::{bridge, options, random, resolv, sysctl};

/// What the engine kept of an earlier run.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// All networks, predefined ones included.
    pub networks: Vec<Network>,
    /// Endpoints of containers that are alive.
    pub endpoints: Vec<Endpoint>,
}

impl Networks {
    /// Makes the default bridge and every saved network, writes the firewall, takes the addresses
    /// and ports of the saved endpoints again and starts the warm pool.
    ///
    /// The predefined networks that come out of it ([`Networks::list`]) are to be saved too, so
    /// that they keep their ids.
    ///
    /// # Errors
    /// What stands in the way of the default bridge. What stands in the way of others, or of
    /// `nft`, becomes a warning.
    pub fn open(config: Config, saved: Saved) -> Result<Arc<Networks>> {
        let socket = |source| Error::Namespace { step: "opening a netlink socket", source };
        let mut kernel = Socket::open().map_err(socket)?;
        let mut warnings = Vec::new();
        // 1. Two daemons that start at the same time must not choose the same subnet.
        let guard = lock_host()?;
        let networks = predefined(&config, &saved, &mut kernel)?;
        let mut state = State { ports: Ports::default(), ..State::default() };
        for network in networks {
            restore_network(&mut state, &mut kernel, network, &mut warnings)?;
        }
        drop(guard);
        // 2. Who lives.
        for endpoint in saved.endpoints {
            restore_endpoint(&mut state, endpoint, &mut warnings);
        }
        // 3. The way in and out.
        if config.ip_forward && config.bridge.is_some() {
            sysctl::set("net/ipv4/ip_forward", "1")?;
        }
        let firewall = config.firewall.then(|| firewall(&config, &state, &mut warnings));
        // 4. Namespaces for those to come.
        let thread = |source| Error::Namespace { step: "starting a thread", source };
        let warm = Warm::start(config.warm, config.warm_max, config.mtu).map_err(thread)?;
        let departed = Departed::start(firewall.as_ref().map(Firewall::guards)).map_err(thread)?;
        Ok(Arc::new(Networks {
            ephemeral: sysctl::ephemeral_ports().unwrap_or(EPHEMERAL),
            config,
            topology: Mutex::new(()),
            state: Mutex::new(state),
            kernel: Mutex::new(kernel),
            firewall,
            warm,
            departed,
            warnings,
        }))
    }
}

/// The host's lock on the choice of subnets.
pub(super) fn lock_host() -> Result<std::os::fd::OwnedFd> {
    sys::netns::lock()
        .map_err(|source| Error::Namespace { step: "locking the host's network", source })
}

/// The saved networks with the three that always exist, the default bridge first.
fn predefined(config: &Config, saved: &Saved, kernel: &mut Socket) -> Result<Vec<Network>> {
    let find = |name: &str| saved.networks.iter().find(|n| n.name == name);
    let others: Vec<&Network> =
        saved.networks.iter().filter(|n| n.name != DEFAULT_NETWORK).collect();
    let before = find(DEFAULT_NETWORK);
    let own: Vec<&str> =
        config.bridge.iter().chain(others.iter().map(|n| &n.bridge)).map(String::as_str).collect();
    let routed = obstacles(kernel, &own)?;
    let given = Given { config, networks: &others, routed: &routed };
    let on_link = match &config.bridge {
        Some(name) => bridge::existing_address(kernel, name)?,
        None => None,
    };
    let keep = before.is_some_and(|n| saved.endpoints.iter().any(|e| e.network == n.id));
    let id = random::hex(32)?;
    let mut all: Vec<Network> =
        plan::default_bridge(&given, before, on_link, keep, id, now())?.into_iter().collect();
    for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
        if find(name).is_none() {
            all.push(plan::without_bridge(name, driver, random::hex(32)?, now()));
        }
    }
    all.extend(others.into_iter().cloned());
    Ok(all)
}

/// Addresses that no new subnet may cover: those behind the host's routes and its name servers.
pub(super) fn obstacles(kernel: &mut Socket, own: &[&str]) -> Result<Vec<Cidr>> {
    let mut all = bridge::routed(kernel, own)?;
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    all.extend(
        resolv::name_servers(&text)
            .into_iter()
            .filter_map(|a| Cidr::new(a, if a.is_ipv4() { 32 } else { 128 })),
    );
    Ok(all)
}

fn restore_network(
    state: &mut State,
    kernel: &mut Socket,
    network: Network,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut index = None;
    if network.driver == Driver::Bridge {
        match bridge::ensure(kernel, &network) {
            Ok(i) => index = Some(i),
            Err(e) if network.is_default_bridge() => return Err(e),
            Err(e) => warnings.push(format!("network {}: {e}", network.name)),
        }
    }
    state.networks.insert(network.id.clone(), Entry::new(network, index));
    Ok(())
}

fn restore_endpoint(state: &mut State, endpoint: Endpoint, warnings: &mut Vec<String>) {
    let State { networks, ports } = state;
    let Some(entry) = networks.get_mut(&endpoint.network) else {
        warnings.push(format!(
            "container {} has an endpoint on network {}, which does not exist",
            endpoint.container, endpoint.network
        ));
        return;
    };
    for cidr in [endpoint.ipv4, endpoint.ipv6].into_iter().flatten() {
        let taken = match entry.space_of(cidr.addr()) {
            Some(space) => space.take(cidr.addr()),
            None => Err(Error::AddressOutside(cidr.addr())),
        };
        if let Err(e) = taken {
            warnings.push(format!("container {}: {e}", endpoint.container));
        }
    }
    endpoint.ports.iter().for_each(|p| ports.mark(p));
    entry.endpoints.insert(endpoint.id.clone(), endpoint);
}

/// The table as it should be, also if nothing changed: a crash may have left it half-way.
fn firewall(config: &Config, state: &State, warnings: &mut Vec<String>) -> Firewall {
    let mut firewall = Firewall::new(&config.table);
    for entry in Networks::bridges(state) {
        let rules = bridge::rules(&entry.network, config);
        firewall.note_bridge(&entry.network.bridge, rules);
        let guarded = options::guarded(&entry.network.options, config.spoofing);
        entry.endpoints.values().for_each(|e| firewall.note_endpoint(e, guarded));
    }
    if let Err(e) = firewall.watch() {
        warnings.push(format!("changes of nftables by others will not be noticed: {e}"));
    }
    if let Err(e) = firewall.write() {
        warnings.push(format!("containers cannot reach out and no port can be published: {e}"));
    }
    firewall
}
