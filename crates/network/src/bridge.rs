//! Bridges in the kernel.

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
use crate::options;
use crate::sysctl;

/// Puts an error in its place.
pub(crate) fn at<'a>(
    step: &'static str,
    link: &'a str,
) -> impl FnOnce(netlink::Error) -> Error + 'a {
    move |source| Error::Link { step, link: link.to_owned(), source }
}

/// Makes a network's bridge as it should be, from nothing or from whatever is there. Returns its
/// index.
pub(crate) fn ensure(kernel: &mut Socket, network: &Network) -> Result<u32> {
    let name = network.bridge.as_str();
    // 1. The link.
    let link = match find(kernel, name)? {
        Some(link) => link,
        None => {
            let mac = network.subnets.first().map(|s| mac_of(s.gateway).0);
            kernel.run(&[add_bridge(name, mac)]).map_err(at("creating bridge", name))?;
            find(kernel, name)?.ok_or_else(|| Error::NotABridge(name.to_owned()))?
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
    let requests = address_changes(kernel, network, &link)?;
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
    Ok(link.index)
}

fn address_changes(kernel: &mut Socket, network: &Network, link: &Link) -> Result<Vec<Request>> {
    let has: Vec<Cidr> = addresses_of(kernel, link)?;
    let wanted: Vec<Cidr> =
        network.subnets.iter().filter_map(|s| Cidr::new(s.gateway, s.subnet.prefix())).collect();
    let address = |c: &Cidr| Address { link: link.index, addr: c.addr(), prefix: c.prefix() };
    let stale = has.iter().filter(|c| !wanted.contains(c) && !is_link_local(c.addr()));
    let missing = wanted.iter().filter(|c| !has.contains(c));
    Ok(stale
        .map(|c| remove_address(address(c)))
        .chain(missing.map(|c| add_address(address(c))))
        .collect())
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

/// No such link.
pub(crate) const ENODEV: i32 = 19;

/// Where the host's routes lead, default routes and those over `own` bridges left out.
pub(crate) fn routed(kernel: &mut Socket, own: &[&str]) -> Result<Vec<Cidr>> {
    let links = netlink::links(kernel).map_err(at("listing", "links"))?;
    let mine = |index| links.iter().any(|l| l.index == index && own.contains(&l.name.as_str()));
    let routes = Route::all(kernel).map_err(at("listing", "routes"))?;
    Ok(routes
        .iter()
        .filter(|r| r.prefix > 0 && !r.link.is_some_and(mine))
        .filter_map(|r| Cidr::new(r.destination, r.prefix))
        .collect())
}

/// What the firewall has to know of a network.
pub(crate) fn rules(network: &Network, config: &Config) -> BridgeRules {
    let open = !network.internal;
    BridgeRules {
        internal: network.internal,
        icc: options::icc(&network.options),
        subnets: network.subnets.iter().map(|s| s.subnet).collect(),
        masquerade: config.ip_masq && open && options::masquerade(&network.options),
        metadata: options::metadata(&network.options, config.metadata),
        loopback: network
            .subnet(true)
            .filter(|_| options::host_loopback(&network.options, config.host_loopback))
            .map(|s| s.gateway),
    }
}
