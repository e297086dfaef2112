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
            let all = self.taken.keys().filter(|(p, other)| {
                *p == ports.protocol && other.is_ipv4() == ip.is_ipv4()
            });
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
            count: 1,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
        }
    }

    /// A host where others have these ports.
    struct With(Vec<SocketAddr>);

    impl Host for With {
        fn bind(&mut self, _: Protocol, a: SocketAddr) -> io::Result<Option<OwnedFd>> {
            match self.0.iter().any(|other| other.port() == a.port()) {
                true => Err(io::Error::from_raw_os_error(EADDRINUSE)),
                false => Ok(None),
            }
        }

        fn open_ports(&mut self, protocol: Protocol) -> Option<Vec<SocketAddr>> {
            (protocol != Protocol::Sctp).then(|| self.0.clone())
        }
    }

    fn free() -> With {
        With(Vec::new())
    }

    fn one(ports: &mut Ports, r: PortRequest) -> Result<Vec<u16>> {
        let (bound, _) = ports.reserve(&[r], &V4, &mut free())?;
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
            host_ip: V4.default_ip,
            host_port: first[0],
            container_port: 80,
            count: 1,
        }]);
        let all: HashSet<u16> = (0..10).map(|_| one(&mut ports, any).unwrap()[0]).collect();
        assert_eq!(all.len(), 10);
        assert!(one(&mut ports, any).is_err());
    }

    #[test]
    fn what_others_on_the_host_have_is_skipped_or_reported() {
        let mut busy = With(vec!["0.0.0.0:8000".parse().unwrap()]);
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
            ports.reserve(&[a, v6], &V4, &mut free()),
            Err(Error::NoAddressToPublish(_))
        ));
        assert_eq!(one(&mut ports, a).unwrap(), [1000]);
    }

    #[test]
    fn a_container_with_both_families_is_published_on_both_with_one_port() {
        let side = Side { v6: true, ..V4 };
        let any = request(None, HostPort::Any);
        let (bound, _) = Ports::default().reserve(&[any], &side, &mut free()).unwrap();
        let ips: Vec<String> = bound.iter().map(|b| b.host_ip.to_string()).collect();
        assert_eq!(ips, ["0.0.0.0", "::"]);
        assert_eq!(bound[0].host_port, bound[1].host_port);
    }

    #[test]
    fn a_range_is_taken_as_one_and_no_part_of_it_by_another() {
        let mut ports = Ports::default();
        let run = |first: u16, count: u16| PortRequest {
            count,
            container_port: 1000,
            ..request(None, HostPort::Within(first, first))
        };
        let (bound, _) = ports.reserve(&[run(20_000, 10_000)], &V4, &mut free()).unwrap();
        assert_eq!(bound.len(), 1);
        assert_eq!(bound[0].host_ports(), 20_000..=29_999);
        let last = bound[0].each().last().unwrap();
        assert_eq!((last.host_port, last.container_port, last.count), (29_999, 10_999, 1));
        let e = one(&mut ports, request(Some("127.0.0.1"), HostPort::Within(25_000, 25_000)));
        assert_eq!(
            e.unwrap_err().to_string(),
            "Bind for 127.0.0.1:25000 failed: port is already allocated"
        );
        let e = ports.reserve(&[run(29_999, 2)], &V4, &mut free()).unwrap_err();
        assert_eq!(e.to_string(), "Bind for 0.0.0.0:29999 failed: port is already allocated");
        assert_eq!(one(&mut ports, run(30_000, 1)).unwrap(), [30_000]);
        ports.release(&bound);
        assert_eq!(one(&mut ports, run(20_000, 10_000)).unwrap(), [20_000]);
        for bad in [run(65_000, 537), run(1, 0)] {
            assert!(matches!(one(&mut ports, bad), Err(Error::InvalidPort { .. })), "{bad:?}");
        }
    }

    #[test]
    fn what_others_have_in_the_middle_of_a_range_is_found() {
        let mut host = With(vec![
            "127.0.0.1:20500".parse().unwrap(),
            "[::]:20400".parse().unwrap(),
            "0.0.0.0:19999".parse().unwrap(),
        ]);
        for protocol in [Protocol::Tcp, Protocol::Sctp] {
            let mut wanted = request(None, HostPort::Within(20_000, 20_000));
            (wanted.protocol, wanted.count) = (protocol, 1000);
            let e = Ports::default().reserve(&[wanted], &V4, &mut host).unwrap_err();
            assert!(e.to_string().contains("address already in use"), "{e}");
            let at = if protocol == Protocol::Tcp { ":20500/" } else { ":20400/" };
            assert!(e.to_string().contains(at), "{e}");
            wanted.host_ip = Some("127.0.0.2".parse().unwrap());
            let taken = Ports::default().reserve(&[wanted], &V4, &mut host);
            assert_eq!(taken.is_ok(), protocol == Protocol::Tcp);
        }
    }

    #[test]
    fn what_falls_apart_can_be_joined() {
        let run = BoundPort {
            protocol: Protocol::Udp,
            host_ip: V4.default_ip,
            host_port: 100,
            container_port: 200,
            count: 20,
        };
        let mut singles: Vec<BoundPort> = run.each().collect();
        assert_eq!(join(singles.clone()), [run]);
        singles.remove(10);
        let halves = join(singles);
        assert_eq!(halves.iter().map(|h| (h.host_port, h.count)).collect::<Vec<_>>(), [
            (100, 10),
            (111, 9)
        ]);
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
                let Ok((bound, _)) = ports.reserve(&[r], &V4, &mut free()) else { continue };
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
