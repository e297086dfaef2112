//! What a container takes of a network and of the host, in memory: addresses and ports.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use sys::hold::{Transport, hold_port};

use super::{Entry, Networks, State};
use crate::addresses::mac_of;
use crate::cidr::Cidr;
use crate::config::Config;
use crate::driver::{self, Driver};
use crate::error::{Error, Result};
use crate::model::{
    Attach, BoundPort, DEFAULT_NETWORK, Endpoint, Network, PortRequest, Protocol, Reserved,
};
use crate::ports::{Host, Side};
use crate::warm::INSIDE;
use crate::{options, random};

impl Networks {
    /// Takes addresses and host ports for a container, or nothing at all. In memory, but for the
    /// ports, which are bound: a conflict with anybody on this host is found here.
    ///
    /// # Errors
    /// [`Error::AddressesExhausted`], [`Error::AddressTaken`], [`Error::PortAllocated`],
    /// [`Error::PortBind`] and whatever else is wrong with the wish.
    pub fn reserve(&self, attach: &Attach) -> Result<Reserved> {
        let interface = attach.interface.clone().unwrap_or_else(|| INSIDE.to_owned());
        if !options::is_link_name(&interface) {
            return Err(Error::InvalidInterface(interface));
        }
        let mut guard = self.state();
        let state = &mut *guard;
        let id = state.resolve(&attach.network)?.to_owned();
        let State { networks, ports, .. } = state;
        let entry =
            networks.get_mut(&id).ok_or_else(|| Error::NetworkNotFound(attach.network.clone()))?;
        check_wish(attach, entry, self.firewall.is_some())?;
        let (ipv4, ipv6) = take_addresses(entry, attach)?;
        let network = &entry.network;
        let side = side(network, &self.config, ipv4, ipv6, self.ephemeral);
        let taken = random::hex(32)
            .and_then(|id| Ok((id, ports.reserve(&attach.ports, &side, &mut Here { own: &[] })?)));
        let (id, (bound, sockets)) = match taken {
            Ok(taken) => taken,
            Err(e) => {
                give_back(entry, [ipv4, ipv6]);
                return Err(e);
            }
        };
        let endpoint = describe(attach, network, id, interface, (ipv4, ipv6), bound);
        entry.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        Ok(Reserved { endpoint, sockets })
    }

    /// Frees what is in memory; returns what was known of it, if it was not free already.
    pub(super) fn forget(&self, endpoint: &Endpoint) -> Option<Endpoint> {
        let mut guard = self.state();
        let State { networks, ports, links, .. } = &mut *guard;
        let entry = networks.get_mut(&endpoint.network)?;
        let mut known = entry.endpoints.remove(&endpoint.id)?;
        ports.release(&known.ports);
        give_back(entry, [known.ipv4, known.ipv6]);
        if known.host_link.is_empty() {
            known.host_link.clone_from(&endpoint.host_link);
        }
        links.remove(&known.host_link);
        Some(known)
    }
}

fn check_wish(attach: &Attach, entry: &Entry, firewall: bool) -> Result<()> {
    let network = &entry.network;
    if network.config_only {
        return Err(Error::ConfigJoined(network.name.clone()));
    }
    if !network.has_endpoints() {
        return Err(Error::NotPluggable(network.name.clone()));
    }
    if entry.endpoints.values().any(|e| e.container == attach.container) {
        return Err(Error::EndpointExists {
            container: attach.container.clone(),
            network: network.name.clone(),
        });
    }
    if network.name == DEFAULT_NETWORK && (attach.ipv4.is_some() || attach.ipv6.is_some()) {
        return Err(Error::AddressOnDefaultBridge);
    }
    check_ports(network, &attach.ports, firewall)
}

pub(super) const NO_FIREWALL: &str = "this daemon was started without firewall rules";

/// Whether ports can be published.
pub(super) fn check_ports(network: &Network, wanted: &[PortRequest], firewall: bool) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    if network.driver != Driver::Bridge {
        return Err(Error::CannotPublish("the network has no bridge"));
    }
    if network.internal {
        return Err(Error::CannotPublish("the network is internal"));
    }
    if !firewall {
        return Err(Error::CannotPublish(NO_FIREWALL));
    }
    Ok(())
}

/// What the ports of a container with these addresses are wanted for.
pub(super) fn side(
    network: &Network,
    config: &Config,
    ipv4: Option<Cidr>,
    ipv6: Option<Cidr>,
    ephemeral: (u16, u16),
) -> Side {
    Side {
        default_ip: options::host_ip(&network.options).unwrap_or(config.default_host_ip),
        v4: ipv4.is_some(),
        v6: ipv6.is_some(),
        ephemeral,
    }
}

/// One address of each family that the network has.
fn take_addresses(entry: &mut Entry, attach: &Attach) -> Result<(Option<Cidr>, Option<Cidr>)> {
    let mut taken = [None, None];
    for (v4, wish) in [(true, attach.ipv4), (false, attach.ipv6)] {
        let preferred: Vec<IpAddr> =
            attach.preferred.iter().copied().filter(|a| a.is_ipv4() == v4).collect();
        match take_address(entry, v4, wish, &preferred) {
            Ok(cidr) => taken[usize::from(!v4)] = cidr,
            Err(e) => {
                give_back(entry, taken);
                return Err(e);
            }
        }
    }
    Ok((taken[0], taken[1]))
}

/// The address that is wished for; else the one that is preferred, if it is free; else the next of
/// the first subnet that has one.
fn take_address(
    entry: &mut Entry,
    v4: bool,
    wish: Option<IpAddr>,
    preferred: &[IpAddr],
) -> Result<Option<Cidr>> {
    let subnets = entry.network.subnets.iter().zip(&mut entry.addresses);
    let mut spaces: Vec<_> = subnets.filter(|(s, _)| s.subnet.is_v4() == v4).collect();
    if let Some(addr) = wish {
        let home = spaces.iter_mut().find(|(s, _)| s.subnet.contains(addr));
        let (subnet, space) = home.ok_or(Error::AddressOutside(addr))?;
        space.take(addr)?;
        return Ok(Cidr::new(addr, subnet.subnet.prefix()));
    }
    if spaces.is_empty() {
        return Ok(None);
    }
    for addr in preferred {
        let home = spaces.iter_mut().find(|(s, _)| s.subnet.contains(*addr));
        if let Some((subnet, space)) = home
            && space.take(*addr).is_ok()
        {
            return Ok(Cidr::new(*addr, subnet.subnet.prefix()));
        }
    }
    for (subnet, space) in spaces {
        if let Some(addr) = space.allocate() {
            return Ok(Cidr::new(addr, subnet.subnet.prefix()));
        }
    }
    Err(Error::AddressesExhausted {
        family: if v4 { "IPv4" } else { "IPv6" },
        name: entry.network.name.clone(),
    })
}

fn give_back(entry: &mut Entry, addresses: [Option<Cidr>; 2]) {
    for cidr in addresses.into_iter().flatten() {
        if let Some(space) = entry.space_of(cidr.addr()) {
            space.release(cidr.addr());
        }
    }
}

fn describe(
    attach: &Attach,
    network: &Network,
    id: String,
    interface: String,
    (ipv4, ipv6): (Option<Cidr>, Option<Cidr>),
    ports: Vec<BoundPort>,
) -> Endpoint {
    let on_link = driver::is_on_link(network.driver, &network.options);
    let gateway = |address: Option<Cidr>| {
        let addr = address.filter(|_| !network.is_closed() && !on_link)?.addr();
        network.subnets.iter().find(|s| s.subnet.contains(addr)).map(|s| s.gateway)
    };
    let any = ipv4.or(ipv6).map_or(IpAddr::from([0, 0, 0, 0]), |c| c.addr());
    Endpoint {
        id,
        network: network.id.clone(),
        container: attach.container.clone(),
        gateway4: gateway(ipv4),
        gateway6: gateway(ipv6),
        ipv4,
        ipv6,
        mac: attach.mac.unwrap_or_else(|| mac_of(any)),
        interface,
        host_link: String::new(),
        on_link: on_link && !network.is_closed(),
        default_route: attach.default_route,
        default_route6: attach.default_route6,
        link_local: attach.link_local.clone(),
        sysctls: attach.sysctls.clone(),
        ports,
    }
}

/// The host that this process runs on.
pub(super) struct Here<'a> {
    /// Ports that are held already for whom they are wanted for, each for itself.
    pub(super) own: &'a [BoundPort],
}

impl Here<'_> {
    fn has(&self, protocol: Protocol, address: &SocketAddr) -> bool {
        let key = (protocol, address.ip(), address.port());
        self.own.iter().any(|own| (own.protocol, own.host_ip, own.host_port) == key)
    }
}

impl Host for Here<'_> {
    /// Protocols that the kernel lacks have no users either.
    fn bind(&mut self, protocol: Protocol, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
        const EPROTONOSUPPORT: i32 = 93;
        const ESOCKTNOSUPPORT: i32 = 94;
        if self.has(protocol, &address) {
            return Ok(None);
        }
        match hold_port(transport(protocol), address) {
            Err(e) if matches!(e.raw_os_error(), Some(EPROTONOSUPPORT | ESOCKTNOSUPPORT)) => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    fn open_ports(&mut self, protocol: Protocol) -> Option<Vec<SocketAddr>> {
        let mut open = sys::netlink::open_ports(transport(protocol)).ok()?;
        open.retain(|address| !self.has(protocol, address));
        Some(open)
    }
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    }
}
