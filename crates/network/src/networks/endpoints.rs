//! A container's place on a network: plugged, published, released.

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use sys::netlink::{
    Address, Change, Request, Socket, Target, add_address, default_over, isolate_port, known_at,
    link_named, remove_link, replace_default_route,
};

use super::{Networks, Sandbox, lock};
use crate::bridge::{ENODEV, at};
use crate::cidr::Cidr;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::model::{Endpoint, Mac, Network};
use crate::warm::{self, Wire};
use crate::{options, stacked, sysctl};

/// The first of `eth0`, `eth1`, … that is not among the names.
pub fn next_interface<'a>(taken: impl IntoIterator<Item = &'a str>) -> String {
    let taken: HashSet<&str> = taken.into_iter().collect();
    let mut n = 0usize;
    loop {
        let name = format!("eth{n}");
        if !taken.contains(name.as_str()) {
            return name;
        }
        n += 1;
    }
}

impl Networks {
    /// Connects a namespace: the link on the bridge, address, route. Fills in
    /// [`Endpoint::host_link`]. About 0.5 ms into a sandbox of the pool, 3 ms into another.
    ///
    /// # Errors
    /// What the kernel says; then no link is left. The endpoint is still to be released.
    pub fn plug(&self, endpoint: &mut Endpoint, sandbox: &mut Sandbox) -> Result<()> {
        let (network, index) = {
            let mut state = self.state();
            let entry = state.entry(&endpoint.network)?;
            (entry.network.clone(), entry.index)
        };
        if network.driver.is_stacked() {
            return self.plug_on_parent(endpoint, &network, sandbox);
        }
        // 1. A link: the ready one or a new one.
        let mut wire = self.wire_for(endpoint, &network, sandbox)?;
        let link = wire.host_link.clone();
        // 2. The bridge, 3. the inside.
        let plugged = self
            .guard(&network, &link, endpoint)
            .and_then(|()| self.to_bridge(&network, index, &wire, endpoint.mac))
            .and_then(|()| configure(endpoint, &network, sandbox.fd(), &mut wire));
        if let Err(e) = plugged {
            let mut errors = vec![e];
            errors.extend(Self::remove_host_link(&link).err());
            errors.extend(self.firewall.as_ref().and_then(|f| f.guards().forget(&link).err()));
            return Error::all(errors);
        }
        // 4. The short way to its neighbours.
        if let Some(direct) = &self.direct
            && options::direct(&network.options, &self.config)
        {
            direct.add(wire.host_index, endpoint);
        }
        // 5. What is to be remembered of it.
        endpoint.host_link.clone_from(&link);
        let mut state = self.state();
        if let Ok(entry) = state.entry(&endpoint.network)
            && let Some(known) = entry.endpoints.get_mut(&endpoint.id)
        {
            known.host_link.clone_from(&link);
            state.links.insert(link, network.id);
        }
        Ok(())
    }

    /// Plugs an endpoint in again whose link to a bridge somebody removed. `false`: it has one.
    ///
    /// # Errors
    /// As [`Networks::plug`].
    pub fn plug_anew(&self, endpoint: &mut Endpoint, sandbox: &mut Sandbox) -> Result<bool> {
        let link = self.host_link(endpoint);
        let there = link_named(&mut lock(&self.kernel), &link).map_err(at("looking for", &link))?;
        if link.is_empty() || there.is_some() {
            return Ok(false);
        }
        self.state().links.remove(&link);
        if let Some(firewall) = &self.firewall {
            firewall.guards().forget(&link)?;
        }
        self.plug(endpoint, sandbox)?;
        if !endpoint.ports.is_empty() {
            self.let_turn_back(endpoint)?;
        }
        Ok(true)
    }

    fn plug_on_parent(
        &self,
        endpoint: &mut Endpoint,
        network: &Network,
        sandbox: &Sandbox,
    ) -> Result<()> {
        let netns = sandbox.fd();
        let plugged = stacked::wire(endpoint, network, netns)
            .and_then(|mut wire| configure(endpoint, network, netns, &mut wire));
        if let Err(e) = plugged {
            let mut errors = vec![e];
            errors.extend(stacked::remove(netns, &endpoint.interface).err());
            return Error::all(errors);
        }
        if let Ok(entry) = self.state().entry(&endpoint.network)
            && let Some(known) = entry.endpoints.get_mut(&endpoint.id)
        {
            known.mac = endpoint.mac;
        }
        self.keep_inside(endpoint, netns)
    }

    /// Remembers the namespace of an endpoint whose link has no end on the host, for its removal:
    /// also one that an earlier daemon plugged in. Nothing to do for others.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn keep_inside(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let mut state = self.state();
        let stacked = state.entry(&endpoint.network)?.network.driver.is_stacked();
        if stacked {
            let copy = netns.try_clone_to_owned().map_err(|source| Error::Namespace {
                step: "keeping the network namespace",
                source,
            })?;
            state.inside.insert(endpoint.id.clone(), copy);
        }
        Ok(())
    }

    /// Before it is a port of the bridge, what comes in by it has to be its own.
    fn guard(&self, network: &Network, link: &str, endpoint: &Endpoint) -> Result<()> {
        let guarded = options::guarded(&network.options, self.config.spoofing);
        let Some(firewall) = self.firewall.as_ref().filter(|_| guarded) else { return Ok(()) };
        match firewall.guard(link, endpoint, options::icc(&network.options)) {
            // Which was said when the daemon started.
            Err(Error::NftMissing) => Ok(()),
            other => other,
        }
    }

    fn wire_for(
        &self,
        endpoint: &Endpoint,
        network: &Network,
        sandbox: &mut Sandbox,
    ) -> Result<Wire> {
        if let Some(wire) = sandbox.ready.take() {
            return Ok(wire);
        }
        let socket = |source| Error::Namespace { step: "opening a netlink socket", source };
        let mut host = Socket::open().map_err(socket)?;
        let netns = sandbox.fd();
        let v6 = endpoint.ipv6.is_some();
        sys::netns::within(netns, || {
            let inside = Socket::open().map_err(socket)?;
            warm::wire(&mut host, inside, netns, &endpoint.interface, network.mtu, v6)
        })
        .map_err(|source| Error::Namespace { step: "entering the network namespace", source })?
        .inspect(|wire| {
            if let Some(direct) = &self.direct {
                direct.attach_soon(vec![wire.host_index]);
            }
        })
    }

    fn to_bridge(
        &self,
        network: &Network,
        index: Option<u32>,
        wire: &Wire,
        mac: Mac,
    ) -> Result<()> {
        let requests = |index| {
            let mut change = Change::of(Target::Name(&wire.host_link)).master(index);
            if wire.mtu != network.mtu {
                change = change.mtu(network.mtu);
            }
            let mut requests = vec![change.request()];
            if self.direct.is_some() && options::direct(&network.options, &self.config) {
                requests.push(known_at(wire.host_index, mac.0));
            }
            // Where the firewall sees what crosses a bridge it keeps containers apart. A port that
            // is isolated as well could not even be published to its neighbours.
            if !options::icc(&network.options) && !sysctl::bridges_are_filtered() {
                requests.push(isolate_port(Target::Name(&wire.host_link)));
            }
            requests
        };
        if let Some(index) = index {
            let tried = lock(&self.kernel).run(&requests(index));
            match tried {
                Ok(()) => return Ok(()),
                // The bridge was removed behind our back, EINVAL or ENODEV by kernel version; or
                // something is wrong with the link, and then the second try says so.
                Err(e) if matches!(e.errno(), Some(ENODEV | EINVAL)) => {}
                Err(e) => return Err(refused(network, wire, e)),
            }
        }
        let index = self.rebuild(network)?;
        lock(&self.kernel).run(&requests(index)).map_err(|e| refused(network, wire, e))
    }

    /// Makes the default routes of a container go through an endpoint that says so, after another
    /// one had them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn route_through(&self, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let entered = |source| Error::Namespace { step: "entering the network namespace", source };
        sys::netns::within(netns, || {
            let mut inside = Socket::open().map_err(entered)?;
            let name = endpoint.interface.as_str();
            let link = link_named(&mut inside, name)
                .map_err(at("looking for", name))?
                .ok_or_else(|| Error::EndpointNotFound(endpoint.id.clone()))?;
            inside.run(&routes(endpoint, link.index)).map_err(at("setting the route through", name))
        })
        .map_err(entered)?
    }

    /// The name that plugging in gave to the link, also if the caller's copy is older than that.
    pub(super) fn host_link(&self, endpoint: &Endpoint) -> String {
        let state = self.state();
        let entry = state.networks.get(&endpoint.network);
        let known = entry.and_then(|e| e.endpoints.get(&endpoint.id)).unwrap_or(endpoint);
        known.host_link.clone()
    }

    /// Gives back everything of an endpoint whose container has ended. Its link goes away with
    /// the namespace; where the namespace lives on, it is removed a little later.
    ///
    /// # Errors
    /// What failed, after everything was tried. One that is released already is as good.
    pub fn release(&self, endpoint: &Endpoint) -> Result<()> {
        // 1. Nobody comes in by its ports any more, before they are somebody else's.
        let closed = match &self.firewall {
            Some(firewall) => firewall.unpublish(endpoint),
            None => Ok(()),
        };
        let parted = match &self.direct {
            Some(direct) => direct.remove(endpoint).map_err(Error::Direct),
            None => Ok(()),
        };
        // 2. The link, where it has no other end: the next owner of its address must not find it.
        let inside = self.state().inside.remove(&endpoint.id);
        let removed =
            inside.map_or(Ok(()), |netns| stacked::remove(netns.as_fd(), &endpoint.interface));
        // 3. Ports and addresses.
        let known = self.forget(endpoint);
        // 4. The link, if it does not go by itself.
        if let Some(known) = known.filter(|e| !e.host_link.is_empty()) {
            self.departed.add(known.host_link);
        }
        Error::all([closed, parted, removed].into_iter().filter_map(Result::err).collect())
    }

    /// Takes a running container off a network: removes its link at once (some 30 ms), then
    /// everything else as [`Networks::release`]. An endpoint of which nobody knows how far it was
    /// plugged in is looked for in the container's namespace.
    ///
    /// # Errors
    /// What failed, after everything was tried.
    pub fn unplug(&self, endpoint: &Endpoint, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut errors = Vec::new();
        let link = self.host_link(endpoint);
        if !link.is_empty() {
            errors.extend(Self::remove_host_link(&link).err());
        } else if let Some(netns) = netns {
            errors.extend(stacked::remove(netns, &endpoint.interface).err());
        }
        errors.extend(self.release(endpoint).err());
        Error::all(errors)
    }

    fn remove_host_link(link: &str) -> Result<()> {
        // Waits for RCU: not on the socket that all starts share.
        let socket = |source| Error::Namespace { step: "opening a netlink socket", source };
        let mut kernel = Socket::open().map_err(socket)?;
        match kernel.run(&[remove_link(Target::Name(link))]) {
            Err(e) if e.errno() == Some(ENODEV) => Ok(()),
            other => other.map_err(at("removing", link)),
        }
    }
}

const EINVAL: i32 = 22;

/// What is to be done inside: address, link-layer address, name, route.
fn configure(
    endpoint: &Endpoint,
    network: &Network,
    netns: BorrowedFd<'_>,
    wire: &mut Wire,
) -> Result<()> {
    let index = wire.inside_index;
    if endpoint.ipv6.is_some() && !wire.ipv6 {
        // Off in namespaces of the pool, and it can only be turned on from within.
        let name = wire.name.as_str();
        sys::netns::within(netns, || sysctl::turn_on_ipv6(name)).map_err(|source| {
            Error::Namespace { step: "entering the network namespace", source }
        })??;
    }
    let mut change = Change::of(Target::Index(index));
    // An ipvlan link has its parent's.
    if network.driver != Driver::Ipvlan {
        change = change.mac(endpoint.mac.0);
    }
    if wire.mtu != network.mtu {
        change = change.mtu(network.mtu);
    }
    let mut requests = Vec::new();
    if wire.name != endpoint.interface {
        // Before 6.2 a link has to be down to be renamed, else EBUSY.
        requests.push(Change::of(Target::Index(index)).up(false).request());
        change = change.rename(&endpoint.interface).up(true);
    }
    requests.push(change.request());
    let own = [endpoint.ipv4, endpoint.ipv6].into_iter().flatten();
    let further = endpoint.link_local.iter().filter_map(|a| {
        // What such addresses have: 169.254.0.0/16 and fe80::/64.
        Cidr::new(*a, if a.is_ipv4() { 16 } else { 64 })
    });
    requests.extend(
        own.chain(further)
            .map(|c| add_address(Address { link: index, addr: c.addr(), prefix: c.prefix() })),
    );
    requests.extend(routes(endpoint, index));
    wire.inside.run(&requests).map_err(at("configuring", &endpoint.interface))?;
    if endpoint.sysctls.is_empty() {
        return Ok(());
    }
    sys::netns::within(netns, || set_all(endpoint))
        .map_err(|source| Error::Namespace { step: "entering the network namespace", source })?
}

/// The kernel settings of an endpoint's link.
fn set_all(endpoint: &Endpoint) -> Result<()> {
    endpoint.sysctls.iter().try_for_each(|(path, value)| {
        sysctl::set(&path.replace("IFNAME", &endpoint.interface), value)
    })
}

/// The default routes that an endpoint says that it has.
fn routes(endpoint: &Endpoint, link: u32) -> Vec<Request> {
    let families = [
        (endpoint.default_route, true, endpoint.gateway4),
        (endpoint.default_route6, false, endpoint.gateway6),
    ];
    let through = |(wanted, v4, gateway): (bool, bool, Option<IpAddr>)| match gateway {
        _ if !wanted || !endpoint.leads_out(v4) => None,
        Some(gateway) => Some(replace_default_route(gateway, link)),
        None => Some(default_over(link, v4)),
    };
    families.into_iter().filter_map(through).collect()
}

/// Why a link could not join a bridge.
fn refused(network: &Network, wire: &Wire, source: sys::netlink::Error) -> Error {
    /// `br_add_if`: no port number is left.
    const EXFULL: i32 = 54;
    match source.errno() {
        Some(EXFULL) => Error::BridgeFull { network: network.name.clone() },
        _ => Error::Link { step: "connecting to its bridge", link: wire.host_link.clone(), source },
    }
}
