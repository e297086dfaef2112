//! Which ports of the host are taken, and by which address.

use std::collections::HashMap;
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
    taken: HashMap<(Protocol, u16), Vec<IpAddr>>,
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

/// Binds a port of the host; `None` where the kernel lacks the protocol.
pub(crate) type Bind<'a> = &'a mut dyn FnMut(Protocol, SocketAddr) -> io::Result<Option<OwnedFd>>;

impl Ports {
    /// Takes a port for every request, all or none.
    pub(crate) fn reserve(
        &mut self,
        requests: &[PortRequest],
        side: &Side,
        bind: Bind<'_>,
    ) -> Result<(Vec<BoundPort>, Vec<OwnedFd>)> {
        let mut bound = Vec::with_capacity(requests.len());
        let mut sockets = Vec::new();
        for request in requests {
            match self.reserve_one(request, side, bind) {
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
        bind: Bind<'_>,
    ) -> Result<(Vec<BoundPort>, Vec<OwnedFd>)> {
        let ips = host_addresses(request.host_ip, side)?;
        let (first, last) = match request.host_port {
            HostPort::Any => side.ephemeral,
            HostPort::Within(first, last) => (first, last),
        };
        if request.container_port == 0 || first == 0 || last < first {
            return Err(Error::InvalidPort { container: request.container_port, first, last });
        }
        let any = request.host_port == HostPort::Any;
        let start = if any && (first..=last).contains(&self.cursor) { self.cursor } else { first };
        for port in (start..=last).chain(first..start) {
            match self.try_port(request, &ips, port, bind) {
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

    /// One port on every one of the addresses.
    fn try_port(
        &mut self,
        request: &PortRequest,
        ips: &[IpAddr],
        port: u16,
        bind: Bind<'_>,
    ) -> Result<(Vec<BoundPort>, Vec<OwnedFd>)> {
        let protocol = request.protocol;
        if let Some(ip) = ips.iter().find(|ip| self.clashes(protocol, **ip, port)) {
            return Err(Error::PortAllocated(SocketAddr::new(*ip, port)));
        }
        let mut sockets = Vec::new();
        for ip in ips {
            let address = SocketAddr::new(*ip, port);
            let socket = bind(protocol, address).map_err(|source| Error::PortBind {
                address,
                protocol,
                source,
            })?;
            sockets.extend(socket);
        }
        let bound: Vec<BoundPort> = ips
            .iter()
            .map(|ip| BoundPort {
                protocol,
                container_port: request.container_port,
                host_ip: *ip,
                host_port: port,
            })
            .collect();
        bound.iter().for_each(|b| self.mark(b));
        Ok((bound, sockets))
    }

    /// Notes a port that a living container has.
    pub(crate) fn mark(&mut self, port: &BoundPort) {
        self.taken.entry((port.protocol, port.host_port)).or_default().push(port.host_ip);
    }

    /// Gives ports back.
    pub(crate) fn release(&mut self, ports: &[BoundPort]) {
        for port in ports {
            let key = (port.protocol, port.host_port);
            if let Some(ips) = self.taken.get_mut(&key) {
                if let Some(at) = ips.iter().position(|ip| *ip == port.host_ip) {
                    ips.swap_remove(at);
                }
                if ips.is_empty() {
                    self.taken.remove(&key);
                }
            }
        }
    }

    fn clashes(&self, protocol: Protocol, ip: IpAddr, port: u16) -> bool {
        self.taken.get(&(protocol, port)).is_some_and(|ips| {
            ips.iter().any(|other| {
                other.is_ipv4() == ip.is_ipv4()
                    && (*other == ip || other.is_unspecified() || ip.is_unspecified())
            })
        })
    }
}

/// The addresses of the host that a request is about.
fn host_addresses(asked: Option<IpAddr>, side: &Side) -> Result<Vec<IpAddr>> {
    let has = |ip: &IpAddr| if ip.is_ipv4() { side.v4 } else { side.v6 };
    if let Some(ip) = asked {
        return if has(&ip) { Ok(vec![ip]) } else { Err(Error::NoAddressToPublish(ip)) };
    }
    let mut ips = vec![side.default_ip];
    if side.default_ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        ips.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
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
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const V4: Side = Side {
        default_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        v4: true,
        v6: false,
        ephemeral: (40000, 40009),
    };

    fn request(host_ip: Option<&str>, host_port: HostPort) -> PortRequest {
        PortRequest {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
        }
    }

    fn free(_: Protocol, _: SocketAddr) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn one(ports: &mut Ports, r: PortRequest) -> Result<Vec<u16>> {
        let (bound, _) = ports.reserve(&[r], &V4, &mut free)?;
        Ok(bound.iter().map(|b| b.host_port).collect())
    }

    #[test]
    fn a_taken_port_is_refused_in_dockers_words() {
        let mut ports = Ports::default();
        let r = request(None, HostPort::Within(8080, 8080));
        assert_eq!(one(&mut ports, r).unwrap(), [8080]);
        let e = one(&mut ports, r).unwrap_err();
        assert_eq!(e.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        let local = request(Some("127.0.0.1"), HostPort::Within(8080, 8080));
        assert!(one(&mut ports, local).is_err());
        let mut udp = r;
        udp.protocol = Protocol::Udp;
        assert_eq!(one(&mut ports, udp).unwrap(), [8080]);
    }

    #[test]
    fn different_addresses_may_have_the_same_port() {
        let mut ports = Ports::default();
        let a = request(Some("127.0.0.1"), HostPort::Within(80, 80));
        let b = request(Some("127.0.0.2"), HostPort::Within(80, 80));
        assert_eq!(one(&mut ports, a).unwrap(), [80]);
        assert_eq!(one(&mut ports, b).unwrap(), [80]);
    }

    #[test]
    fn ranges_and_ephemeral_ports_go_on_to_the_next() {
        let mut ports = Ports::default();
        let range = request(None, HostPort::Within(8000, 8002));
        for port in 8000..=8002 {
            assert_eq!(one(&mut ports, range).unwrap(), [port]);
        }
        let e = one(&mut ports, range).unwrap_err().to_string();
        assert!(e.starts_with("all ports are allocated"), "{e}");
        let any = request(None, HostPort::Any);
        let first = one(&mut ports, any).unwrap();
        ports.release(&[BoundPort {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: V4.default_ip,
            host_port: first[0],
        }]);
        let all: HashSet<u16> = (0..10).map(|_| one(&mut ports, any).unwrap()[0]).collect();
        assert_eq!(all.len(), 10);
        assert!(one(&mut ports, any).is_err());
    }

    #[test]
    fn what_others_on_the_host_have_is_skipped_or_reported() {
        let mut busy = |_: Protocol, a: SocketAddr| match a.port() {
            8000 => Err(io::Error::from_raw_os_error(98)),
            _ => Ok(None),
        };
        let mut ports = Ports::default();
        let range = request(None, HostPort::Within(8000, 8001));
        let (bound, _) = ports.reserve(&[range], &V4, &mut busy).unwrap();
        assert_eq!(bound[0].host_port, 8001);
        let single = request(None, HostPort::Within(8000, 8000));
        let e = ports.reserve(&[single], &V4, &mut busy).unwrap_err();
        assert_eq!(
            e.to_string(),
            "failed to bind host port 0.0.0.0:8000/tcp: address already in use"
        );
    }

    #[test]
    fn one_failure_gives_all_back() {
        let mut ports = Ports::default();
        let a = request(None, HostPort::Within(1000, 1000));
        let v6 = request(Some("::"), HostPort::Within(1001, 1001));
        assert!(matches!(
            ports.reserve(&[a, v6], &V4, &mut free),
            Err(Error::NoAddressToPublish(_))
        ));
        assert_eq!(one(&mut ports, a).unwrap(), [1000]);
    }

    #[test]
    fn a_container_with_both_families_is_published_on_both_with_one_port() {
        let side = Side { v6: true, ..V4 };
        let any = request(None, HostPort::Any);
        let (bound, _) = Ports::default().reserve(&[any], &side, &mut free).unwrap();
        let ips: Vec<String> = bound.iter().map(|b| b.host_ip.to_string()).collect();
        assert_eq!(ips, ["0.0.0.0", "::"]);
        assert_eq!(bound[0].host_port, bound[1].host_port);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut ports = Ports::default();
        for bad in [HostPort::Within(0, 0), HostPort::Within(9, 8)] {
            assert!(matches!(one(&mut ports, request(None, bad)), Err(Error::InvalidPort { .. })));
        }
    }

    proptest! {
        #[test]
        fn no_two_containers_share_a_port(
            asked in prop::collection::vec((0usize..3, 1u16..6, 0u16..3, any::<bool>()), 1..60)
        ) {
            let ips = [None, Some("127.0.0.1"), Some("127.0.0.2")];
            let mut ports = Ports::default();
            let mut held: Vec<BoundPort> = Vec::new();
            for (ip, first, more, release) in asked {
                if release && let Some(old) = held.pop() {
                    ports.release(&[old]);
                }
                let r = request(ips[ip], HostPort::Within(first, first + more));
                let Ok((bound, _)) = ports.reserve(&[r], &V4, &mut free) else { continue };
                for b in bound {
                    prop_assert!(!held.iter().any(|h| h.host_port == b.host_port
                        && (h.host_ip == b.host_ip
                            || h.host_ip.is_unspecified()
                            || b.host_ip.is_unspecified())));
                    held.push(b);
                }
            }
        }
    }
}
