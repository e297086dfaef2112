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
    assert_eq!(e.to_string(), "failed to bind host port 0.0.0.0:8000/tcp: address already in use");
}

#[test]
fn one_failure_gives_all_back() {
    let mut ports = Ports::default();
    let a = request(None, HostPort::Within(1000, 1000));
    let v6 = request(Some("::"), HostPort::Within(1001, 1001));
    assert!(matches!(ports.reserve(&[a, v6], &V4, &mut free()), Err(Error::NoAddressToPublish(_))));
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
    assert_eq!(
        halves.iter().map(|h| (h.host_port, h.count)).collect::<Vec<_>>(),
        [(100, 10), (111, 9)]
    );
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
