//! The published ports of an endpoint: opened, changed while its container runs, closed.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use sys::netlink::{Target, forget_flows, hairpin_port};

use super::reserve::{Here, check_ports, side};
use super::{Networks, State, lock};
use crate::bridge::at;
use crate::error::{Error, Result};
use crate::model::{BoundPort, Endpoint, PortRequest, Protocol};
use crate::ports::join;
use crate::sysctl;

/// What became of a change of ports.
#[derive(Debug)]
pub struct Republished {
    /// The endpoint with the ports that it has now.
    pub endpoint: Endpoint,
    /// Sockets that keep the new ones taken, as in [`crate::Reserved`].
    pub sockets: Vec<OwnedFd>,
    /// Ports that nobody needs to keep any more.
    pub freed: Vec<BoundPort>,
}

impl Networks {
    /// Opens the endpoint's ports. Nothing to do without any.
    ///
    /// # Errors
    /// [`Error::NftMissing`], [`Error::NftRefused`].
    pub fn publish(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(firewall) = self.firewall.as_ref().filter(|_| !endpoint.ports.is_empty()) else {
            return Ok(());
        };
        self.let_turn_back(endpoint)?;
        firewall.publish(endpoint)?;
        forget_datagrams(endpoint)
    }

    /// Closes some of an endpoint's ports and opens others, in one step and without a moment when
    /// those that stay are closed. A port may go and come back leading elsewhere.
    ///
    /// # Errors
    /// As [`Networks::reserve`] and [`Networks::publish`]; then everything is as it was.
    pub fn republish(
        &self,
        endpoint: &Endpoint,
        remove: &[BoundPort],
        add: &[PortRequest],
    ) -> Result<Republished> {
        let firewall =
            self.firewall.as_ref().ok_or(Error::CannotPublish(super::reserve::NO_FIREWALL))?;
        let gone: Vec<BoundPort> = remove.iter().flat_map(|ports| ports.each()).collect();
        let (after, sockets) = self.exchange(endpoint, &gone, add)?;
        let opened = self
            .let_turn_back(&after)
            .and_then(|()| firewall.republish(endpoint, &after))
            .and_then(|()| forget_datagrams(&after))
            .and_then(|()| forget_closed(&gone));
        if let Err(e) = opened {
            self.set_ports(endpoint);
            return Err(e);
        }
        let kept = |port: &BoundPort| {
            after.ports.iter().any(|now| {
                (now.protocol, now.host_ip) == (port.protocol, port.host_ip)
                    && now.host_ports().contains(&port.host_port)
            })
        };
        let freed = gone.into_iter().filter(|port| !kept(port)).collect();
        Ok(Republished { endpoint: after, sockets, freed })
    }

    /// Leads the ports of an endpoint to another one of the same container, in one step; those of
    /// a family that the other lacks lead nowhere meanwhile. Returns both as they are then.
    ///
    /// # Errors
    /// As [`Networks::publish`]; then everything is as it was.
    pub fn move_ports(&self, from: &Endpoint, to: &Endpoint) -> Result<(Endpoint, Endpoint)> {
        let firewall =
            self.firewall.as_ref().ok_or(Error::CannotPublish(super::reserve::NO_FIREWALL))?;
        let left = Endpoint { ports: Vec::new(), ..from.clone() };
        let now = Endpoint { ports: from.ports.clone(), ..to.clone() };
        self.let_turn_back(&now)?;
        firewall.republish(from, &now)?;
        {
            let mut state = self.state();
            for endpoint in [&left, &now] {
                let entry = state.networks.get_mut(&endpoint.network);
                let known = entry.and_then(|entry| entry.endpoints.get_mut(&endpoint.id));
                if let Some(known) = known {
                    known.ports.clone_from(&endpoint.ports);
                }
            }
        }
        forget_datagrams(&now)?;
        Ok((left, now))
    }

    /// In memory, and by binding what comes.
    fn exchange(
        &self,
        endpoint: &Endpoint,
        gone: &[BoundPort],
        add: &[PortRequest],
    ) -> Result<(Endpoint, Vec<OwnedFd>)> {
        let mut guard = self.state();
        let State { networks, ports, .. } = &mut *guard;
        let entry = networks
            .get_mut(&endpoint.network)
            .ok_or_else(|| Error::NetworkNotFound(endpoint.network.clone()))?;
        check_ports(&entry.network, add, true)?;
        let side = side(&entry.network, &self.config, endpoint.ipv4, endpoint.ipv6, self.ephemeral);
        let known = entry
            .endpoints
            .get_mut(&endpoint.id)
            .ok_or_else(|| Error::EndpointNotFound(endpoint.id.clone()))?;
        ports.release(gone);
        // What the container held until now is held on, and nobody else's.
        let taken = ports.reserve(add, &side, &mut Here { own: gone });
        let (mut bound, sockets) =
            taken.inspect_err(|_| gone.iter().for_each(|p| ports.mark(p)))?;
        let stay = known.ports.iter().flat_map(|ports| ports.each());
        bound.extend(stay.filter(|port| !gone.contains(port)));
        known.ports = join(bound);
        let after = Endpoint { ports: known.ports.clone(), ..endpoint.clone() };
        Ok((after, sockets))
    }

    /// Puts an endpoint's ports back as they were.
    fn set_ports(&self, endpoint: &Endpoint) {
        let mut guard = self.state();
        let State { networks, ports, .. } = &mut *guard;
        let entry = networks.get_mut(&endpoint.network);
        if let Some(known) = entry.and_then(|entry| entry.endpoints.get_mut(&endpoint.id)) {
            ports.release(&known.ports);
            known.ports.clone_from(&endpoint.ports);
            known.ports.iter().for_each(|port| ports.mark(port));
        }
    }

    /// Where br_netfilter is on, a packet to a published port of the same network is translated on
    /// the bridge and not routed; a container's own come back by the port that they came from.
    pub(super) fn let_turn_back(&self, endpoint: &Endpoint) -> Result<()> {
        if !sysctl::bridges_are_filtered() {
            return Ok(());
        }
        let link = self.host_link(endpoint);
        if link.is_empty() {
            return Ok(());
        }
        let request = hairpin_port(Target::Name(&link));
        lock(&self.kernel).run(&[request]).map_err(at("connecting", &link))
    }
}

/// Clients that kept sending datagrams to a published port, to its last container or to none, get
/// to this one.
fn forget_datagrams(endpoint: &Endpoint) -> Result<()> {
    for inside in [endpoint.ipv4, endpoint.ipv6].into_iter().flatten() {
        let ports: Vec<u16> = endpoint
            .ports
            .iter()
            .filter(|p| p.protocol == Protocol::Udp && p.host_ip.is_ipv4() == inside.is_v4())
            .flat_map(BoundPort::host_ports)
            .collect();
        forget(&ports, inside.addr())?;
    }
    Ok(())
}

/// And those that went on sending to one that is closed get no further.
fn forget_closed(gone: &[BoundPort]) -> Result<()> {
    for v4 in [true, false] {
        let ports: Vec<u16> = gone
            .iter()
            .filter(|p| p.protocol == Protocol::Udp && p.host_ip.is_ipv4() == v4)
            .map(|p| p.host_port)
            .collect();
        let nobody = if v4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        forget(&ports, nobody)?;
    }
    Ok(())
}

fn forget(ports: &[u16], now: IpAddr) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    forget_flows(Protocol::Udp.number(), ports, now).map(drop).map_err(Error::Conntrack)
}
