//! The daemon's start: from what was saved and what the host has to networks that work.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, mpsc};

use sys::netlink::{Change, Socket, Target, known_at};

use super::{Entry, Networks, State, now, repair};
use crate::bridge::Host;
use crate::config::Config;
use crate::departed::Departed;
use crate::direct::{Direct, Gateway};
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::firewall::Firewall;
use crate::model::{DEFAULT_NETWORK, Endpoint, Network};
use crate::plan::{self, Given};
use crate::ports::{EPHEMERAL, Ports};
use crate::reach::{self, Reach};
use crate::warm::Warm;
use crate::{bridge, options, parent, random, sysctl};

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
        let host = Host::survey(&mut kernel)?;
        let networks = predefined(&config, &saved, &mut kernel, &host)?;
        let occupied: HashSet<&str> = saved.endpoints.iter().map(|e| e.network.as_str()).collect();
        let mut state = State { ports: Ports::default(), ..State::default() };
        let (mut made, mut missing) = (0, Vec::new());
        for network in networks {
            let absent = network.driver == Driver::Bridge && host.link(&network.bridge).is_none();
            made += usize::from(absent);
            let now = network.is_default_bridge() || occupied.contains(network.id.as_str());
            if absent && made > MADE_AT_ONCE && !now {
                missing.push(network.id.clone());
                state.insert(Entry::new(network, None));
                continue;
            }
            restore_network(&mut state, (&mut kernel, &host), network, &mut warnings)?;
        }
        drop(guard);
        // 2. Who lives.
        for endpoint in saved.endpoints {
            plug_again(&state, (&mut kernel, &host), &endpoint, &config, &mut warnings);
            restore_endpoint(&mut state, endpoint, &mut warnings);
        }
        // 3. The way in and out.
        if config.ip_forward && config.bridge.is_some() {
            sysctl::set("net/ipv4/ip_forward", "1")?;
        }
        let firewall = config.firewall.then(|| firewall(&config, &state, &mut warnings));
        // 4. The short way, and namespaces for those to come.
        let direct = direct(&config, &state, &host);
        let thread = |source| Error::Namespace { step: "starting a thread", source };
        let warm = Warm::start((config.warm, config.warm_max), config.mtu, direct.clone())
            .map_err(thread)?;
        let departed = Departed::start(firewall.as_ref().map(Firewall::guards)).map_err(thread)?;
        let (sender, receiver) = mpsc::channel();
        let mut reach = Reach::open().map_err(socket)?;
        Networks::bridges(&state).filter_map(|e| e.index).for_each(|index| reach.note(index));
        let networks = Arc::new(Networks {
            ephemeral: sysctl::ephemeral_ports().unwrap_or(EPHEMERAL),
            config,
            topology: Mutex::new(()),
            state: Mutex::new(state),
            kernel: Mutex::new(kernel),
            reach: Mutex::new(reach),
            firewall,
            warm,
            direct,
            departed,
            lost: (sender, Mutex::new(Some(receiver))),
            warnings,
        });
        // 5. What others do to them, and the bridges that nobody waits for.
        repair::start(Arc::downgrade(&networks), missing).map_err(thread)?;
        Ok(networks)
    }
}

/// So many bridges are made before the daemon answers. After a restart of the machine there may be
/// thousands to be made, each some milliseconds, and those without containers are not needed yet.
const MADE_AT_ONCE: usize = 64;

/// The host's lock on the choice of subnets.
pub(super) fn lock_host() -> Result<std::os::fd::OwnedFd> {
    sys::netns::lock()
        .map_err(|source| Error::Namespace { step: "locking the host's network", source })
}

/// The saved networks with the three that always exist, the default bridge first.
fn predefined(
    config: &Config,
    saved: &Saved,
    kernel: &mut Socket,
    host: &Host,
) -> Result<Vec<Network>> {
    let find = |name: &str| saved.networks.iter().find(|n| n.name == name);
    let others: Vec<&Network> =
        saved.networks.iter().filter(|n| n.name != DEFAULT_NETWORK).collect();
    let before = find(DEFAULT_NETWORK);
    let own: HashSet<u32> = config
        .bridge
        .iter()
        .chain(others.iter().map(|n| &n.bridge))
        .filter_map(|name| Some(host.link(name)?.index))
        .collect();
    let mut routed = bridge::routed(kernel, &own)?;
    routed.extend(reach::name_servers());
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
            all.push(plan::blank(name, driver, random::hex(32)?, now()));
        }
    }
    all.extend(others.into_iter().cloned());
    Ok(all)
}

fn restore_network(
    state: &mut State,
    (kernel, host): (&mut Socket, &Host),
    network: Network,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut bridge = None;
    let made = match network.driver {
        Driver::Bridge => bridge::ensure_on(kernel, &network, host).map(|link| bridge = Some(link)),
        Driver::Macvlan | Driver::Ipvlan => parent::ensure(kernel, &network).map(drop),
        Driver::Host | Driver::Null => Ok(()),
    };
    match made {
        Ok(()) => {}
        Err(e) if network.is_default_bridge() => return Err(e),
        Err(e) => warnings.push(format!("network {}: {e}", network.name)),
    }
    state.insert(Entry::new(network, bridge.as_ref()));
    Ok(())
}

/// Puts the link of a container that lives back on its bridge, if it is on none or another: the
/// bridge may have been removed while there was no daemon. A bridge that packets
/// pass by is told who is there.
fn plug_again(
    state: &State,
    (kernel, host): (&mut Socket, &Host),
    endpoint: &Endpoint,
    config: &Config,
    warnings: &mut Vec<String>,
) {
    let Some(entry) = state.networks.get(&endpoint.network) else { return };
    let (Some(index), Some(link)) = (entry.index, host.link(&endpoint.host_link)) else { return };
    let mut requests = Vec::new();
    if link.master != Some(index) || !link.up {
        requests.push(Change::of(Target::Index(link.index)).master(index).up(true).request());
    }
    if options::direct(&entry.network.options, config) {
        requests.push(known_at(link.index, endpoint.mac.0));
    }
    if let Err(e) = kernel.run(&requests) {
        warnings.push(format!("putting {} back on its bridge: {e}", link.name));
    }
}

fn restore_endpoint(state: &mut State, endpoint: Endpoint, warnings: &mut Vec<String>) {
    let State { networks, ports, links, .. } = state;
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
    if !endpoint.host_link.is_empty() {
        links.insert(endpoint.host_link.clone(), endpoint.network.clone());
    }
    entry.endpoints.insert(endpoint.id.clone(), endpoint);
}

/// What leads past bridges; `None` where the kernel has no such thing.
fn direct(config: &Config, state: &State, host: &Host) -> Option<Arc<Direct>> {
    let (mut endpoints, mut gateways) = (BTreeMap::new(), Vec::new());
    // Where an earlier daemon may have left them, also on networks that want them no more.
    let (mut links, mut bridges) = (Vec::new(), Vec::new());
    for entry in Networks::bridges(state) {
        let network = entry.network.id.as_str();
        let wanted = options::direct(&entry.network.options, config);
        bridges.extend(entry.index);
        if let Some((bridge, mac)) = entry.index.zip(entry.mac).filter(|_| wanted) {
            gateways.push(Gateway { network, bridge, mac });
        }
        for endpoint in entry.endpoints.values() {
            let Some(link) = host.link(&endpoint.host_link) else { continue };
            links.push(link.index);
            if wanted {
                endpoints.insert(link.index, endpoint);
            }
        }
    }
    let made = Direct::open(&links, &bridges).and_then(|direct| {
        let direct = Arc::new(direct);
        direct.settle(&endpoints, &gateways).map(|()| direct)
    });
    made.inspect_err(|e| tracing::info!("all packets between containers go by bridges: {e}")).ok()
}

/// The table as it should be, also if nothing changed: a crash may have left it half-way.
fn firewall(config: &Config, state: &State, warnings: &mut Vec<String>) -> Firewall {
    let mut firewall = Firewall::new(&config.table);
    for entry in Networks::bridges(state) {
        let rules = bridge::rules(&entry.network, config);
        firewall.note_bridge(&entry.network.bridge, rules);
        let guarded = options::guarded(&entry.network.options, config.spoofing);
        let talks = options::icc(&entry.network.options);
        entry.endpoints.values().for_each(|e| firewall.note_endpoint(e, guarded, talks));
    }
    if let Err(e) = firewall.watch() {
        warnings.push(format!("changes of nftables by others will not be noticed: {e}"));
    }
    if let Err(e) = firewall.write() {
        warnings.push(format!("containers cannot reach out and no port can be published: {e}"));
    }
    firewall
}
