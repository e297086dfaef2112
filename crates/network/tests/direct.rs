//! The direct way between containers: that it is taken, and by nobody who must not.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod lab;

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::frames::{self, Sender};
use lab::*;
use network::{Config, Networks, Saved};

const SOON: Duration = Duration::from_secs(30);

/// How many packets a link of the calling thread's namespace has received, and sent.
fn packets(link: &str) -> (u64, u64) {
    let all = output("cat /proc/net/dev");
    let line = all.lines().find_map(|line| line.trim().strip_prefix(&format!("{link}:")));
    let numbers: Vec<u64> =
        line.unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect();
    (numbers[1], numbers[9])
}

/// Whether an answer comes although the host's end of the server's link sends nothing.
fn is_direct(from: &Container, to: &Container, address: &str) -> bool {
    let sent = || packets(&to.endpoint.host_link).1;
    let before = sent();
    assert!(ask(Some(from.fd()), address).unwrap().starts_with("it "));
    sent() == before
}

/// Whether an answer comes although the bridge sends nothing to the container.
fn is_direct_from_host(network: &network::Network, address: &str) -> bool {
    let sent = || packets(&network.bridge).1;
    let before = sent();
    assert!(ask(None, address).unwrap().starts_with("it "));
    sent() == before
}

/// Whether the host's answer comes although nothing was received by way of the bridge's ports.
fn is_direct_to_host(from: &Container, network: &network::Network, address: &str) -> bool {
    let received = || packets(&network.bridge).0;
    let before = received();
    assert!(ask(Some(from.fd()), address).unwrap().starts_with("host "));
    received() == before
}

/// A frame for one receiver.
fn aimed(mut frame: Vec<u8>, at: &Container) -> Vec<u8> {
    frame[..6].copy_from_slice(&at.endpoint.mac.0);
    frame
}

fn network_of(lab: &Lab, name: &str, number: u8, direct: bool) {
    lab.network(name, |spec| {
        let (v4, v6) = (format!("10.7.{number}.0/24"), format!("fd00:7:{number}::/64"));
        spec.subnets = vec![subnet(&v4), subnet(&v6)];
        spec.options = [("isopod.bridge.direct".to_owned(), direct.to_string())].into();
    });
}

#[test]
fn privileged_network_neighbours_are_reached_directly() {
    on_a_host(|lab| {
        network_of(lab, "direct", 1, true);
        network_of(lab, "bridged", 2, false);
        for (network, wanted) in [("direct", true), ("bridged", false)] {
            let [from, to] = ["a", "b"].map(|name| lab.start(network, name, &[]));
            serve(Some(to.fd()), "[::]:80", "it");
            for address in [format!("{}:80", to.ip()), format!("[{}]:80", to.ip6())] {
                // The program comes to a link a moment after it.
                eventually(network, SOON, || is_direct(&from, &to, &address) == wanted);
                let again = (0..20).filter(|_| is_direct(&from, &to, &address)).count();
                // Neighbours are asked for once in a while, by the bridge.
                assert!(if wanted { again >= 15 } else { again == 0 }, "{address}: {again}");
            }
        }
    });
}

#[test]
fn privileged_network_the_host_reaches_containers_directly() {
    on_a_host(|lab| {
        network_of(lab, "direct", 1, true);
        network_of(lab, "bridged", 2, false);
        for (name, wanted, port) in [("direct", true, 8000), ("bridged", false, 8001)] {
            let network = lab.networks.find(name).unwrap();
            let container = lab.start(name, "a", &[tcp(port, 80)]);
            serve(Some(container.fd()), "[::]:80", "it");
            let at =
                |address: &str| format!("{address}:{}", if address == HOST { port } else { 80 });
            let ipv6 = format!("[{}]", container.ip6());
            for address in [&container.ip().to_string(), &ipv6, HOST].map(at) {
                eventually(&address, SOON, || is_direct_from_host(&network, &address) == wanted);
                let again = (0..20).filter(|_| is_direct_from_host(&network, &address)).count();
                // Neighbours are asked for once in a while, of everybody.
                assert!(if wanted { again >= 15 } else { again == 0 }, "{address}: {again}");
            }
        }
        // Another daemon, which wants the bridge.
        let network = lab.networks.find("direct").unwrap();
        let container = lab.start("direct", "b", &[]);
        serve(Some(container.fd()), "[::]:80", "it");
        let address = format!("{}:80", container.ip());
        let saved =
            || Saved { networks: lab.networks.list(), endpoints: vec![container.endpoint.clone()] };
        let (first, second) = (saved(), saved());
        lab.networks = Networks::open(Config { direct: false, ..config() }, first).unwrap();
        assert!(ask(None, &address).unwrap().starts_with("it "));
        lab.networks = Networks::open(config(), second).unwrap();
        eventually("with a third one", SOON, || is_direct_from_host(&network, &address));
        // A bridge that was made anew, and a container that has gone.
        run(&format!("ip link delete {}", network.bridge));
        lab.networks.repair().unwrap();
        eventually("anew", SOON, || is_direct_from_host(&network, &address));
        lab.networks.release(&container.endpoint).unwrap();
        eventually("its link goes", SOON, || silent(None, &address));
    });
}

#[test]
fn privileged_network_containers_reach_the_host_directly() {
    on_a_host(|lab| {
        network_of(lab, "direct", 1, true);
        network_of(lab, "bridged", 2, false);
        serve(None, "[::]:99", "host");
        for (name, number, wanted) in [("direct", 1, true), ("bridged", 2, false)] {
            let network = lab.networks.find(name).unwrap();
            let container = lab.start(name, "a", &[]);
            let v6 = format!("[fd00:7:{number}::1]");
            for address in [&format!("10.7.{number}.1"), &v6, HOST].map(|at| format!("{at}:99")) {
                let direct = || is_direct_to_host(&container, &network, &address);
                eventually(&address, SOON, || direct() == wanted);
                let again = (0..20).filter(|_| direct()).count();
                // It is asked for its address once in a while, by the bridge.
                assert!(if wanted { again >= 15 } else { again == 0 }, "{address}: {again}");
            }
        }
        let network = lab.networks.find("direct").unwrap();
        let container = lab.start("direct", "b", &[]);
        let direct = || is_direct_to_host(&container, &network, "10.7.1.1:99");
        eventually("the other container", SOON, direct);
        run(&format!("ip link delete {}", network.bridge));
        lab.networks.repair().unwrap();
        eventually("by a bridge that was made anew", SOON, direct);
        // Another daemon.
        let saved =
            Saved { networks: lab.networks.list(), endpoints: vec![container.endpoint.clone()] };
        lab.networks = Networks::open(config(), saved).unwrap();
        eventually("with another one", SOON, direct);
    });
}

/// The bridge keeps its program when the last container ends while there is no daemon.
#[test]
fn privileged_network_the_next_daemon_forgets_whom_a_bridge_still_leads_to() {
    on_a_host(|lab| {
        network_of(lab, "direct", 1, true);
        let network = lab.networks.find("direct").unwrap();
        let reached = |container: &Container| {
            serve(Some(container.fd()), "[::]:80", "it");
            let address = format!("{}:80", container.ip());
            eventually("directly", SOON, || is_direct_from_host(&network, &address));
        };
        let gone = lab.start("direct", "gone", &[]);
        reached(&gone);
        let saved = Saved { networks: lab.networks.list(), endpoints: Vec::new() };
        lab.networks = Networks::open(Config { warm: 0, ..config() }, Saved::default()).unwrap();
        run(&format!("ip link delete {}", gone.endpoint.host_link));
        lab.networks = Networks::open(config(), saved).unwrap();
        let next = lab.start("direct", "next", &[]);
        assert_eq!((next.ip(), next.endpoint.mac), (gone.ip(), gone.endpoint.mac));
        reached(&next);
    });
}

#[test]
fn privileged_network_nobody_lies_on_the_direct_way() {
    on_a_host(|lab| {
        network_of(lab, "direct", 1, true);
        network_of(lab, "other", 2, true);
        let [a, b, c] = ["a", "b", "c"].map(|name| lab.start("direct", name, &[]));
        let stranger = lab.start("other", "stranger", &[]);
        serve(Some(b.fd()), "[::]:80", "it");
        eventually("directly", SOON, || is_direct(&a, &b, &format!("{}:80", b.ip())));
        let (me, other, it) = (Sender::of(&a), Sender::of(&c), Sender::of(&b));
        let lie = frames::udp4(me.mac, other.v4, it.v4, "lie");
        let lies = [
            ("another's IPv4", lie.clone()),
            ("another's MAC", frames::udp4(other.mac, me.v4, it.v4, "lie")),
            ("no address", frames::udp4(me.mac, Ipv4Addr::new(10, 7, 1, 99), it.v4, "lie")),
            ("another's IPv6", frames::udp6(me.mac, other.v6, it.v6, "lie")),
            ("another's MAC, over IPv6", frames::udp6(other.mac, me.v6, it.v6, "lie")),
            ("a router", frames::neighbour(me.mac, me.v6, 134, me.v6)),
            ("another's neighbour", frames::neighbour(me.mac, me.v6, 136, other.v6)),
            ("another's neighbour, wrapped", frames::wrapped(me.mac, me.v6, 136, other.v6)),
            ("another's IPv4, tagged", frames::tagged(&lie, 0x8100, 0)),
            ("its own, tagged", {
                frames::tagged(&frames::udp4(me.mac, me.v4, it.v4, "lie"), 0x8100, 7)
            }),
            ("half a header", frames::frame(me.mac, 0x0800, &[0x45, 0, 0, 60])),
        ];
        let sent: Vec<Vec<u8>> = lies.iter().map(|(_, lie)| aimed(lie.clone(), &b)).collect();
        for ((what, _), passed) in lies.iter().zip(frames::pass(&a, &b, &sent)) {
            assert!(!passed, "{what}");
        }
        let truths = [
            frames::udp4(me.mac, me.v4, it.v4, "truth"),
            frames::udp6(me.mac, me.v6, it.v6, "truth"),
        ];
        let sent: Vec<Vec<u8>> = truths.iter().map(|one| aimed(one.clone(), &b)).collect();
        assert_eq!(frames::pass(&a, &b, &sent), [true, true]);
        // Nobody is reached on another network, nor what is sent to oneself.
        let received = |container: &Container| within(container.fd(), || packets("eth0").0);
        let strange = Sender::of(&stranger);
        let astray = aimed(frames::udp4(me.mac, me.v4, strange.v4, "lie"), &stranger);
        let back = aimed(frames::udp4(me.mac, me.v4, me.v4, "lie"), &a);
        // Whoever got it would get one more each time; others send something now and then, too.
        for (to, frame) in [(&stranger, astray), (&a, back)] {
            eventually("nothing comes", SOON, || {
                let before = received(to);
                frames::send(a.fd(), std::slice::from_ref(&frame));
                assert_eq!(frames::pass(&a, &b, &[]), [false; 0]);
                received(to) == before
            });
        }
    });
}

#[test]
fn privileged_network_the_direct_way_survives_a_daemon_and_ends_with_its_container() {
    on_a_host(|lab| {
        network_of(lab, "direct", 1, true);
        let [a, b, c] = ["a", "b", "c"].map(|name| lab.start("direct", name, &[]));
        let [at_b, at_c] = [&b, &c].map(|container| format!("{}:80", container.ip()));
        for container in [&b, &c] {
            serve(Some(container.fd()), "[::]:80", "it");
        }
        eventually("directly", SOON, || is_direct(&a, &b, &at_b) && is_direct(&a, &c, &at_c));
        // Another daemon, to which c is no longer known.
        let saved = Saved {
            networks: lab.networks.list(),
            endpoints: [&a, &b].map(|container| container.endpoint.clone()).into(),
        };
        lab.networks = Networks::open(Config { warm: 0, ..config() }, Saved::default()).unwrap();
        eventually("without a daemon", SOON, || is_direct(&a, &b, &at_b));
        lab.networks = Networks::open(config(), saved).unwrap();
        eventually("with another one", SOON, || is_direct(&a, &b, &at_b));
        assert!(!is_direct(&a, &c, &at_c));
        // A new one finds its way to those that were there.
        let d = lab.start("direct", "d", &[]);
        eventually("the new one", SOON, || is_direct(&d, &b, &at_b));
        lab.networks.release(&b.endpoint).unwrap();
        eventually("its link goes", SOON, || silent(Some(d.fd()), &at_b));
    });
}
