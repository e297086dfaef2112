//! Bridges in the kernel.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use sys::netlink::{
    self, Address, Change, Link, Request, Route, Socket, Target, add_address, add_bridge,
    add_local_route, link_named, remove_address, remove_link,
};

use crate::addresses::mac_of;
use crate::cidr::Cidr;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::firewall::BridgeRules;
use crate::model::Network;
use crate::{options, random, sysctl};

/// Puts an error in its place.
pub(crate) fn at<'a>(
    step: &'static str,
    link: &'a str,
) -> impl FnOnce(netlink::Error) -> Error + 'a {
    move |source| Error::Link { step, link: link.to_owned(), source }
}

/// What links and addresses a host has, asked once for thousands of bridges.
#[derive(Debug, Default)]
pub(crate) struct Host {
    links: HashMap<String, Link>,
    addresses: HashMap<u32, Vec<Cidr>>,
}

impl Host {
    /// All of them.
    pub(crate) fn survey(kernel: &mut Socket) -> Result<Host> {
        let mut host = Host::default();
        for link in netlink::links(kernel).map_err(at("listing", "links"))? {
            host.links.insert(link.name.clone(), link);
        }
        for address in Address::all(kernel).map_err(at("listing", "addresses"))? {
            let all = host.addresses.entry(address.link).or_default();
            all.extend(Cidr::new(address.addr, address.prefix));
        }
        Ok(host)
    }

    /// The link of a name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.get(name)
    }

    /// Whether a network's bridge is there, up and with its addresses.
    pub(crate) fn has(&self, network: &Network) -> bool {
        let Some(link) = self.links.get(&network.bridge) else { return false };
        let addresses = self.addresses.get(&link.index).map_or(&[][..], Vec::as_slice);
        link.up && network.subnets.iter().all(|s| addresses.iter().any(|a| a.addr() == s.gateway))
    }

    /// The bridge of a name, with its addresses; a link of another kind is an error.
    fn bridge(&self, name: &str) -> Result<Option<(Link, Vec<Cidr>)>> {
        match self.links.get(name) {
            Some(link) if link.kind != "bridge" => Err(Error::NotABridge(name.to_owned())),
            None => Ok(None),
            Some(link) => {
                let addresses = self.addresses.get(&link.index).cloned().unwrap_or_default();
                Ok(Some((link.clone(), addresses)))
            }
        }
    }
}

/// Makes a network's bridge as it should be, from nothing or from whatever is there.
pub(crate) fn ensure(kernel: &mut Socket, network: &Network) -> Result<Link> {
    let there = match find(kernel, &network.bridge)? {
        Some(link) => {
            let addresses = addresses_of(kernel, &link)?;
            Some((link, addresses))
        }
        None => None,
    };
    complete(kernel, network, there)
}

/// The same with what is known of the host.
pub(crate) fn ensure_on(kernel: &mut Socket, network: &Network, host: &Host) -> Result<Link> {
    let there = host.bridge(&network.bridge)?;
    complete(kernel, network, there)
}

fn complete(
    kernel: &mut Socket,
    network: &Network,
    there: Option<(Link, Vec<Cidr>)>,
) -> Result<Link> {
    let name = network.bridge.as_str();
    // 1. The link.
    let (link, has) = match there {
        Some(there) => there,
        None => {
            let mac = network.subnets.first().map(|s| mac_of(s.gateway).0);
            match kernel.run(&[add_bridge(name, mac)]) {
                // Whoever repairs it and whoever starts a container may find it gone together.
                Err(e) if e.errno() == Some(EEXIST) => {}
                other => other.map_err(at("creating bridge", name))?,
            }
            let link = find(kernel, name)?.ok_or_else(|| Error::NotABridge(name.to_owned()))?;
            (link, Vec::new())
        }
    };
    // 2. Settings that have to be there before the first packet. 127.0.0.0/8 is routable on the
    //    bridge so that ports published there can be reached from the host; a rule of the
    //    firewall keeps containers from using it.
    sysctl::set(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
    if network.ipv6 {
        // The bridge's link-local address is what it asks for neighbours with. Duplicate detection
        // would keep it back for a second or two after a bridge's first port came up, and all
        // that is to be forwarded with it.
        sysctl::set(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
    }
    let v6_off = if network.ipv6 { "0" } else { "1" };
    sysctl::set_if_there(&format!("net/ipv6/conf/{name}/disable_ipv6"), v6_off)?;
    if network.ipv6 {
        sysctl::set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
        sysctl::set("net/ipv6/conf/all/forwarding", "1")?;
    }
    // 3. Addresses: ours, and none of an earlier configuration.
    let requests = address_changes(network, &link, &has);
    kernel.run(&requests).map_err(at("setting the address of", name))?;
    // 4. Size and up.
    if !link.up || link.mtu != network.mtu {
        let change = Change::of(Target::Index(link.index)).mtu(network.mtu).up(true);
        kernel.run(&[change.request()]).map_err(at("starting", name))?;
    }
    // 5. Answers to the host's [::1] come in here; IPv6 has no route_localnet.
    if network.ipv6 {
        let route = add_local_route(IpAddr::V6(Ipv6Addr::LOCALHOST), link.index);
        kernel.run(&[route]).map_err(at("setting the way back to the loopback of", name))?;
    }
    Ok(link)
}

fn address_changes(network: &Network, link: &Link, has: &[Cidr]) -> Vec<Request> {
    let wanted: Vec<Cidr> =
        network.subnets.iter().filter_map(|s| Cidr::new(s.gateway, s.subnet.prefix())).collect();
    let address = |c: &Cidr| Address { link: link.index, addr: c.addr(), prefix: c.prefix() };
    let stale = has.iter().filter(|c| !wanted.contains(c) && !is_link_local(c.addr()));
    let missing = wanted.iter().filter(|c| !has.contains(c));
    stale
        .map(|c| remove_address(address(c)))
        .chain(missing.map(|c| add_address(address(c))))
        .collect()
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn addresses_of(kernel: &mut Socket, link: &Link) -> Result<Vec<Cidr>> {
    let all = Address::all(kernel).map_err(at("listing addresses of", &link.name))?;
    Ok(all
        .iter()
        .filter(|a| a.link == link.index)
        .filter_map(|a| Cidr::new(a.addr, a.prefix))
        .collect())
}

/// The bridge of a name; a link of another kind is an error.
pub(crate) fn find(kernel: &mut Socket, name: &str) -> Result<Option<Link>> {
    match link_named(kernel, name).map_err(at("looking for", name))? {
        Some(link) if link.kind != "bridge" => Err(Error::NotABridge(name.to_owned())),
        other => Ok(other),
    }
}

/// The first IPv4 address of a bridge that is there already.
pub(crate) fn existing_address(kernel: &mut Socket, name: &str) -> Result<Option<Cidr>> {
    let Some(link) = find(kernel, name)? else { return Ok(None) };
    Ok(addresses_of(kernel, &link)?.into_iter().find(Cidr::is_v4))
}

/// Removes a bridge. An absent one is as good.
pub(crate) fn remove(kernel: &mut Socket, name: &str) -> Result<()> {
    match kernel.run(&[remove_link(Target::Name(name))]) {
        Err(e) if e.errno() == Some(ENODEV) => Ok(()),
        other => other.map_err(at("removing bridge", name)),
    }
}

/// Removes bridges; the kernel waits for all of them together. Returns what became of each.
pub(crate) fn remove_all(kernel: &mut Socket, names: &[&str]) -> Vec<Result<()>> {
    if names.len() > 1
        && let Ok(number) = random::bytes()
    {
        // Nobody else's: of those that people give their links, one in a thousand million.
        let group = u32::from_ne_bytes(number) | 1 << 31;
        for name in names {
            // One that is absent is as good, and for any other the reason is found below.
            let _ = kernel.run(&[Change::of(Target::Name(name)).group(group).request()]);
        }
        let _ = kernel.run(&[netlink::remove_group(group)]);
    }
    names.iter().map(|name| remove(kernel, name)).collect()
}

/// There is one.
const EEXIST: i32 = 17;

/// No such link.
pub(crate) const ENODEV: i32 = 19;

/// What the host reaches and has by itself: where its routes lead, of all tables, default routes
/// left out, and the networks of its addresses. Not over links of `own` indices.
pub(crate) fn routed(kernel: &mut Socket, own: &HashSet<u32>) -> Result<Vec<Cidr>> {
    let routes = Route::all(kernel).map_err(at("listing", "routes"))?;
    let routes = routes
        .iter()
        .filter(|r| r.prefix > 0 && !r.link.is_some_and(|link| own.contains(&link)))
        .filter_map(|r| Cidr::new(r.destination, r.prefix));
    let mut all: Vec<Cidr> = routes.collect();
    // An address need not have a route.
    let addresses = Address::all(kernel).map_err(at("listing", "addresses"))?;
    all.extend(
        addresses
            .iter()
            .filter(|a| !own.contains(&a.link))
            .filter_map(|a| Cidr::new(a.addr, a.prefix)),
    );
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// What the firewall has to know of a network.
pub(crate) fn rules(network: &Network, config: &Config) -> BridgeRules {
    let open = !network.internal;
    BridgeRules {
        internal: network.internal,
        icc: options::icc(&network.options),
        masquerade: config.ip_masq && open && options::masquerade(&network.options),
        metadata: options::metadata(&network.options, config.metadata),
        loopback: network
            .subnet(true)
            .filter(|_| options::host_loopback(&network.options, config.host_loopback))
            .map(|s| s.gateway),
    }
}
