//! Which ports of the host are taken, and by which address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::model::{BoundPort, HostPort, PortRequest, Protocol};

/// So many sockets of one endpoint are kept; ports beyond are only checked once.
///
/// They travel to the monitor in one message, which carries at most 253 descriptors
/// (`SCM_MAX_FD`), and a range of ten thousand ports shall not cost ten thousand sockets.
pub const HELD_PORTS: usize = 64;

/// Ports for `HostPort::Any` when the kernel does not say: its own default.
pub(crate) const EPHEMERAL: (u16, u16) = (32768, 60999);

/// The ports that containers have.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    taken: BTreeMap<(Protocol, IpAddr), BTreeSet<u16>>,
    /// Where the search for an ephemeral port goes on.
    cursor: u16,
}

/// What a port is wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    /// Host address of requests that name none.
    pub(crate) default_ip: IpAddr,
    /// Whether the container has IPv4.
    pub(crate) v4: bool,
    /// Whether the container has IPv6.
    pub(crate) v6: bool,
    /// The kernel's ephemeral ports.
    pub(crate) ephemeral: (u16, u16),
}

/// What other programs on the host have.
pub(crate) trait Host {
    /// Takes a port; `None` where the kernel lacks the protocol.
    fn bind(&mut self, protocol: Protocol, address: SocketAddr) -> io::Result<Option<OwnedFd>>;

    /// The ports that somebody has open; `None` where the kernel does not tell.
    fn open_ports(&mut self, protocol: Protocol) -> Option<Vec<SocketAddr>>;
}

/// What was taken, and what keeps it so.
pub(crate) type Taken = (Vec<BoundPort>, Vec<OwnedFd>);

impl Ports {
    /// Takes a port for every request, all or none.
    pub(crate) fn reserve(
        &mut self,
        requests: &[PortRequest],
        side: &Side,
        host: &mut dyn Host,
    ) -> Result<Taken> {
        let mut bound = Vec::with_capacity(requests.len());
        let mut sockets = Vec::new();
        for request in requests {
            match self.reserve_one(request, side, host) {
                Ok((mut ports, held)) => {
                    bound.append(&mut ports);
                    sockets.extend(held);
                    sockets.truncate(HELD_PORTS);
                }
                Err(e) => {
                    self.release(&bound);
                    return Err(e);
                }
            }
        }
        Ok((bound, sockets))
    }

    fn reserve_one(
        &mut self,
        request: &PortRequest,
        side: &Side,
        host: &mut dyn Host,
    ) -> Result<Taken> {
        let ips = host_addresses(request.host_ip, side)?;
        let (first, last) = match request.host_port {
            HostPort::Any => side.ephemeral,
            HostPort::Within(first, last) => (first, last),
        };
        let more = request.count.saturating_sub(1);
        let fits = |port: u16| port > 0 && port.checked_add(more).is_some();
        // Several are wanted only where they are certain ones.
        if !fits(request.container_port)
            || !fits(first)
            || last < first
            || request.count == 0
            || (more > 0 && first != last)
        {
            return Err(Error::InvalidPort { container: request.container_port, first, last });
        }
        let any = request.host_port == HostPort::Any;
        let start = if any && (first..=last).contains(&self.cursor) { self.cursor } else { first };
        for port in (start..=last).chain(first..start) {
            match self.try_port(request, &ips, port, host) {
                Ok(taken) => {
                    if any {
                        self.cursor = port.checked_add(1).unwrap_or(first);
                    }
                    return Ok(taken);
                }
                Err(e) if first == last || !is_busy(&e) => return Err(e),
                Err(_) => {}
            }
        }
        Err(Error::PortsExhausted { ip: ips[0], protocol: request.protocol, first, last })
    }

    /// The ports from one on, on every one of the addresses.
    fn try_port(
        &mut self,
        request: &PortRequest,
        ips: &[IpAddr],
        port: u16,
        host: &mut dyn Host,
    ) -> Result<Taken> {
        let bound: Vec<BoundPort> = ips
            .iter()
            .map(|ip| BoundPort {
                protocol: request.protocol,
                host_ip: *ip,
                host_port: port,
                container_port: request.container_port,
                count: request.count,
            })
            .collect();
        if let Some(address) = bound.iter().find_map(|b| self.clash(b)) {
            return Err(Error::PortAllocated(address));
        }
        let mut sockets = Vec::new();
        for ports in &bound {
            sockets.append(&mut hold(ports, host)?);
        }
        bound.iter().for_each(|b| self.mark(b));
        Ok((bound, sockets))
    }

    /// Notes ports that a living container has.
    pub(crate) fn mark(&mut self, ports: &BoundPort) {
        let key = (ports.protocol, ports.host_ip);
        self.taken.entry(key).or_default().extend(ports.host_ports());
    }

    /// Gives ports back.
    pub(crate) fn release(&mut self, ports: &[BoundPort]) {
        for ports in ports {
            let key = (ports.protocol, ports.host_ip);
            if let Some(taken) = self.taken.get_mut(&key) {
                ports.host_ports().for_each(|port| {
                    taken.remove(&port);
                });
                if taken.is_empty() {
                    self.taken.remove(&key);
                }
            }
        }
    }

    /// The first of some ports that another container has.
    fn clash(&self, ports: &BoundPort) -> Option<SocketAddr> {
        let ip = ports.host_ip;
        let of = |other: &IpAddr| {
            let taken = self.taken.get(&(ports.protocol, *other))?;
            taken.range(ports.host_ports()).next().copied()
        };
        let port = if ip.is_unspecified() {
            let all = self
                .taken
                .keys()
                .filter(|(p, other)| *p == ports.protocol && other.is_ipv4() == ip.is_ipv4());
            all.filter_map(|(_, other)| of(other)).min()
        } else {
            let every = if ip.is_ipv4() { ANY_V4 } else { ANY_V6 };
            of(&ip).into_iter().chain(of(&every)).min()
        };
        port.map(|port| SocketAddr::new(ip, port))
    }
}

const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Takes ports of the host: the first of many by sockets, the rest by asking who has them, because
/// ten thousand sockets take a tenth of a second to open.
fn hold(ports: &BoundPort, host: &mut dyn Host) -> Result<Vec<OwnedFd>> {
    let BoundPort { protocol, host_ip, .. } = *ports;
    let failed = |port, source| Error::PortBind {
        address: SocketAddr::new(host_ip, port),
        protocol,
        source,
    };
    let mut sockets = Vec::new();
    let mut rest = ports.host_ports();
    for port in rest.by_ref().take(HELD_PORTS) {
        let socket = host.bind(protocol, SocketAddr::new(host_ip, port));
        sockets.extend(socket.map_err(|e| failed(port, e))?);
    }
    if rest.is_empty() {
        return Ok(sockets);
    }
    let Some(open) = host.open_ports(protocol) else {
        for port in rest {
            // Checked, and let go.
            let socket = host.bind(protocol, SocketAddr::new(host_ip, port));
            drop(socket.map_err(|e| failed(port, e))?);
        }
        return Ok(sockets);
    };
    let in_the_way = |a: &&SocketAddr| {
        a.is_ipv4() == host_ip.is_ipv4()
            && (a.ip() == host_ip || a.ip().is_unspecified() || host_ip.is_unspecified())
            && rest.contains(&a.port())
    };
    match open.iter().filter(in_the_way).map(SocketAddr::port).min() {
        Some(port) => Err(failed(port, io::Error::from_raw_os_error(EADDRINUSE))),
        None => Ok(sockets),
    }
}

const EADDRINUSE: i32 = 98;

/// Makes one of ports that follow one another on both sides.
pub fn join(mut ports: Vec<BoundPort>) -> Vec<BoundPort> {
    ports.sort_unstable();
    let mut joined: Vec<BoundPort> = Vec::new();
    for port in ports {
        match joined.last_mut() {
            Some(last) if follows(last, &port) => last.count += port.count,
            _ => joined.push(port),
        }
    }
    joined
}

fn follows(last: &BoundPort, next: &BoundPort) -> bool {
    let after = |first: u16| first.checked_add(last.count);
    (last.protocol, last.host_ip) == (next.protocol, next.host_ip)
        && after(last.host_port) == Some(next.host_port)
        && after(last.container_port) == Some(next.container_port)
}

/// The addresses of the host that a request is about.
fn host_addresses(asked: Option<IpAddr>, side: &Side) -> Result<Vec<IpAddr>> {
    let has = |ip: &IpAddr| if ip.is_ipv4() { side.v4 } else { side.v6 };
    if let Some(ip) = asked {
        return if has(&ip) { Ok(vec![ip]) } else { Err(Error::NoAddressToPublish(ip)) };
    }
    let mut ips = vec![side.default_ip];
    if side.default_ip == ANY_V4 {
        ips.push(ANY_V6);
    }
    ips.retain(has);
    if ips.is_empty() { Err(Error::NoAddressToPublish(side.default_ip)) } else { Ok(ips) }
}

/// Whether another port may do.
fn is_busy(e: &Error) -> bool {
    match e {
        Error::PortAllocated(_) => true,
        Error::PortBind { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
