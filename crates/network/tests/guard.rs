//! Who a container can be for others, and what it cannot reach, with frames that its own root could
//! send.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod lab;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use lab::frames::{self, ALL_NODES, Sender};
use lab::*;
use network::{Config, Networks, Protocol, Saved};

const SIX: &str = "fd00:6::/64";
const SOON: Duration = Duration::from_secs(30);

fn option(name: &str) -> std::collections::BTreeMap<String, String> {
    [(format!("isopod.bridge.{name}"), "true".to_owned())].into()
}

/// Frames that claim something that is not the sender's, by what they claim.
fn lies(me: Sender, other: Sender, gateway: Ipv4Addr) -> Vec<(&'static str, Vec<u8>)> {
    const ADVERTISEMENT: u8 = 136;
    let somebody = Ipv4Addr::new(8, 8, 8, 8);
    let all = Ipv4Addr::BROADCAST;
    let arp = frames::arp(me.mac, me.mac, other.v4, true);
    vec![
        ("another's address, by ARP", arp.clone()),
        ("the gateway's address, by ARP", frames::arp(me.mac, me.mac, gateway, true)),
        ("another's address, asking by ARP", frames::arp(me.mac, me.mac, other.v4, false)),
        ("another's MAC, by ARP", frames::arp(other.mac, other.mac, me.v4, true)),
        ("another's MAC, inside of ARP", frames::arp(me.mac, other.mac, me.v4, true)),
        ("another's address, by ARP of VLAN 0", frames::tagged(&arp, 0x8100, 0)),
        ("another's address, by ARP of VLAN 7", frames::tagged(&arp, 0x8100, 7)),
        ("another's address, by ARP in a service tag", frames::tagged(&arp, 0x88a8, 0)),
        ("another's IPv4", frames::udp4(me.mac, other.v4, all, "lie")),
        ("an IPv4 address of the world", frames::udp4(me.mac, somebody, all, "lie")),
        ("another's MAC", frames::udp4(other.mac, me.v4, all, "lie")),
        ("another's IPv6", frames::udp6(me.mac, other.v6, ALL_NODES, "lie")),
        ("another's MAC, over IPv6", frames::udp6(other.mac, me.v6, ALL_NODES, "lie")),
        ("another's neighbour", frames::neighbour(me.mac, me.v6, ADVERTISEMENT, other.v6)),
        ("another's neighbour, wrapped", frames::wrapped(me.mac, me.v6, ADVERTISEMENT, other.v6)),
        ("that another's is taken", frames::neighbour(me.mac, [0; 16].into(), 135, other.v6)),
        ("a router", frames::neighbour(me.mac, me.v6, 134, me.v6)),
        ("a router, wrapped", frames::wrapped(me.mac, me.v6, 134, me.v6)),
        ("a better way", frames::neighbour(me.mac, me.v6, 137, other.v6)),
        ("nothing that is known", frames::frame(me.mac, 0x88b5, b"lie")),
    ]
}

fn truths(me: Sender) -> Vec<(&'static str, Vec<u8>)> {
    let all = Ipv4Addr::BROADCAST;
    vec![
        ("ARP", frames::arp(me.mac, me.mac, me.v4, true)),
        ("a probe by ARP", frames::arp(me.mac, me.mac, Ipv4Addr::UNSPECIFIED, false)),
        ("IPv4", frames::udp4(me.mac, me.v4, all, "truth")),
        ("IPv6", frames::udp6(me.mac, me.v6, ALL_NODES, "truth")),
        ("a neighbour", frames::neighbour(me.mac, me.v6, 136, me.v6)),
        ("a question", frames::neighbour(me.mac, me.v6, 135, "fd00:6::99".parse().unwrap())),
        ("looking for a duplicate", frames::neighbour(me.mac, [0; 16].into(), 135, me.v6)),
    ]
}

#[test]
fn privileged_network_a_container_can_only_be_itself() {
    on_a_host(|lab| {
        lab.network("six", |spec| spec.subnets = vec![subnet(SIX), subnet("10.6.0.0/24")]);
        let [a, b, c] = ["a", "b", "c"].map(|name| lab.start("six", name, &[]));
        serve(Some(c.fd()), "[::]:80", "c");
        let (me, other) = (Sender::of(&a), Sender::of(&c));
        let lies = lies(me, other, [10, 6, 0, 1].into());
        let sent: Vec<Vec<u8>> = lies.iter().map(|(_, frame)| frame.clone()).collect();
        for ((what, _), passed) in lies.iter().zip(frames::pass(&a, &b, &sent)) {
            assert!(!passed, "claims {what}");
        }
        let truths = truths(me);
        let sent: Vec<Vec<u8>> = truths.iter().map(|(_, frame)| frame.clone()).collect();
        for ((what, _), passed) in truths.iter().zip(frames::pass(&a, &b, &sent)) {
            assert!(passed, "says {what}");
        }
        // Nobody believed it, and the bridge did not learn it.
        for to in [format!("{}:80", c.ip()), format!("[{}]:80", c.ip6())] {
            assert!(ask(Some(b.fd()), &to).unwrap().starts_with("c "));
            assert!(ask(None, &to).unwrap().starts_with("c "));
        }
        // One that changes its addresses is heard no more.
        let at_b = format!("{}:80", c.ip());
        within(b.fd(), || run("ip link set eth0 address 02:42:0a:06:00:63"));
        assert!(silent(Some(b.fd()), &at_b));
    });
}

#[test]
fn privileged_network_a_network_can_let_its_containers_be_anybody() {
    on_a_host(|lab| {
        lab.network("free", |spec| {
            spec.subnets = vec![subnet(SIX), subnet("10.6.0.0/24")];
            spec.options = option("spoofing");
        });
        let [a, b, c] = ["a", "b", "c"].map(|name| lab.start("free", name, &[]));
        let lies = lies(Sender::of(&a), Sender::of(&c), [10, 6, 0, 1].into());
        // Where br_netfilter is on, a source address that leads elsewhere is dropped all the same.
        let elsewhere = "an IPv4 address of the world";
        let lies: Vec<_> = lies.into_iter().filter(|(what, _)| *what != elsewhere).collect();
        let sent: Vec<Vec<u8>> = lies.iter().map(|(_, frame)| frame.clone()).collect();
        let passed = frames::pass(&a, &b, &sent);
        let passed: Vec<&str> = lies
            .iter()
            .zip(passed)
            .filter(|(_, passed)| *passed)
            .map(|((what, _), _)| *what)
            .collect();
        for what in
            ["another's address, by ARP", "another's IPv4", "another's neighbour", "a router"]
        {
            assert!(passed.contains(&what), "{what}: {passed:?}");
        }
    });
}

#[test]
fn privileged_network_guards_survive_a_flush_and_a_daemon() {
    on_a_host(|lab| {
        let [a, b, c] = ["a", "b", "c"].map(|name| lab.start("bridge", name, &[]));
        let (me, other) = (Sender::of(&a), Sender::of(&c));
        let lie = [frames::arp(me.mac, me.mac, other.v4, true)];
        let before = table();
        assert!(before.iter().any(|line| line.contains(&a.endpoint.host_link)), "{before:?}");
        for command in [
            "nft flush ruleset",
            "nft delete table bridge isopod",
            "nft flush set bridge isopod own4",
            "nft flush chain bridge isopod guard",
        ] {
            run(command);
            eventually(command, SOON, || table() == before);
            assert_eq!(frames::pass(&a, &b, &lie), [false], "{command}");
        }
        // Flushed while nobody watches.
        let saved = Saved {
            networks: lab.networks.list(),
            endpoints: [&a, &b, &c].map(|c| c.endpoint.clone()).into(),
        };
        lab.networks = Networks::open(Config { warm: 0, ..config() }, Saved::default()).unwrap();
        run("nft flush ruleset");
        lab.networks = Networks::open(config(), saved).unwrap();
        // The one in between may still have put its own back.
        eventually("as before", SOON, || table() == before);
        assert_eq!(frames::pass(&a, &b, &lie), [false]);
        // What has ended leaves nothing.
        for container in [&a, &b, &c] {
            lab.networks.release(&container.endpoint).unwrap();
        }
        let links = [&a, &b, &c].map(|c| c.endpoint.host_link.clone());
        drop((a, b, c));
        eventually("the guards are forgotten", SOON, || {
            let now = table().concat();
            links.iter().all(|link| !now.contains(link))
        });
    });
}

/// The guards' table, which may not be there. Elements of a set come in no order.
fn table() -> Vec<String> {
    let output = Command::new("nft").args(["list", "table", "bridge", "isopod"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut parts: Vec<String> =
        text.split([',', '\n', '{', '}']).map(|part| part.trim().to_owned()).collect();
    parts.sort();
    parts
}

#[test]
fn privileged_network_metadata_is_for_who_is_allowed() {
    on_a_host(|lab| {
        lab.network("trusted", |spec| spec.options = option("metadata"));
        within(lab.outside.as_fd(), || run("ip addr add 169.254.169.254/32 dev eth0"));
        run("ip route add 169.254.169.254/32 dev eth0");
        serve(Some(lab.outside.as_fd()), "169.254.169.254:80", "secrets");
        serve_udp(lab.outside.as_fd(), "169.254.169.254:53", "names");
        let (a, b) = (lab.start("bridge", "a", &[]), lab.start("trusted", "b", &[]));
        assert!(ask(None, "169.254.169.254:80").is_ok());
        assert!(silent(Some(a.fd()), "169.254.169.254:80"));
        assert!(ask(Some(b.fd()), "169.254.169.254:80").is_ok());
        // Clouds have their name servers there.
        assert!(ask_udp(Some(a.fd()), "169.254.169.254:53").is_ok());
        // Nor where the host itself has the address.
        run("ip route del 169.254.169.254/32 dev eth0");
        run("ip addr add 169.254.169.254/32 dev lo");
        serve(None, "169.254.169.254:81", "secrets");
        assert!(silent(Some(a.fd()), "169.254.169.254:81"));
        assert!(ask(Some(b.fd()), "169.254.169.254:81").is_ok());
        // The kernel would look for others who have it, later, and until then nobody can listen.
        run("ip addr add fd00:ec2::254/128 dev lo nodad");
        serve(None, "[fd00:ec2::254]:81", "secrets");
        lab.network("six", |spec| spec.subnets = vec![subnet(SIX)]);
        let c = lab.start("six", "c", &[]);
        assert!(silent(Some(c.fd()), "[fd00:ec2::254]:81"));
    });
    on_a_host_with(Config { metadata: true, ..config() }, |lab| {
        run("ip addr add 169.254.169.254/32 dev lo");
        serve(None, "169.254.169.254:81", "secrets");
        let a = lab.start("bridge", "a", &[]);
        assert!(ask(Some(a.fd()), "169.254.169.254:81").is_ok());
    });
}

#[test]
fn privileged_network_the_hosts_loopback_is_for_who_is_allowed() {
    on_a_host(|lab| {
        let network = lab.network("dev", |spec| spec.options = option("host_loopback"));
        serve(None, "127.0.0.1:5432", "database");
        let (a, b) = (lab.start("bridge", "a", &[]), lab.start("dev", "b", &[tcp(8080, 80)]));
        serve(Some(b.fd()), "0.0.0.0:80", "b");
        let refused = ask(Some(a.fd()), "172.17.0.1:5432").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let gateway = network.subnet(true).unwrap().gateway;
        let answer = ask(Some(b.fd()), &format!("{gateway}:5432")).unwrap();
        assert_eq!(answer, format!("database {}", b.ip()));
        // What is published there stays so.
        assert_eq!(ask(Some(b.fd()), &format!("{gateway}:8080")).unwrap(), format!("b {gateway}"));
        assert!(silent(Some(b.fd()), &format!("{HOST}:5432")));
    });
}

#[test]
fn privileged_network_ports_of_ipv6_are_reached_by_its_loopback_where_the_kernel_lets() {
    on_a_host(|lab| {
        let filter = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
        let has_filter = std::fs::write(filter, "0").is_ok();
        for name in ["six", "seven"] {
            let ours = subnet(&SIX.replace('6', if name == "six" { "6" } else { "7" }));
            lab.network(name, |spec| spec.subnets = vec![ours]);
        }
        let udp = port(Protocol::Udp, None, 5300, 53);
        let a = lab.start("six", "a", &[tcp(8080, 80), udp]);
        let b = lab.start("seven", "b", &[tcp(8081, 80)]);
        serve(Some(a.fd()), "[::]:80", "a");
        serve(Some(b.fd()), "[::]:80", "b");
        within(a.fd(), || serve_udp(a.fd(), "[::]:53", "a"));
        assert_eq!(ask(None, "[::1]:8080").unwrap(), "a fd00:6::1");
        assert_eq!(ask(None, "[::1]:8081").unwrap(), "b fd00:7::1");
        assert_eq!(ask_udp(None, "[::1]:5300").unwrap(), "a fd00:6::1");
        // The host's own services are where they were, and containers cannot get there.
        serve(None, "[::1]:99", "host");
        assert_eq!(ask(None, "[::1]:99").unwrap(), "host ::1");
        assert!(silent(Some(a.fd()), "[fd00:6::1]:99"));
        if has_filter {
            std::fs::write(filter, "1").unwrap();
            let c = lab.start("six", "c", &[tcp(8082, 80)]);
            serve(Some(c.fd()), "[::]:80", "c");
            let refused = ask(None, "[::1]:8082").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "at once, not never");
            assert!(ask(None, &format!("[{HOST_V6}]:8082")).is_ok());
        }
    });
}

/// The kernel here may lack SCTP; the firewall does not, so a packet of it is followed.
#[test]
fn privileged_network_sctp_finds_its_way() {
    on_a_host(|lab| {
        let sctp = port(Protocol::Sctp, None, 3868, 3869);
        let a = lab.start("bridge", "a", &[sctp]);
        let host = HOST.parse().unwrap();
        let outside = OUTSIDE.parse().unwrap();
        // INIT: 20 bytes, tag, window, streams, first number.
        let chunk = [1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7];
        let packet = |target: u16| {
            let head =
                [&12345u16.to_be_bytes()[..], &target.to_be_bytes(), &[0; 8], &chunk].concat();
            let sum = crc32c(&head).to_le_bytes();
            [&head[..8], &sum, &head[12..]].concat()
        };
        let arrives = [&3869u16.to_be_bytes()[..], &[0; 4]].concat();
        let source = [&[198, 51, 100, 2, 172, 17, 0, 2, 0x30, 0x39][..], &arrives].concat();
        let mut sent = frames::frame(
            [2, 0, 0, 0, 0, 1],
            0x0800,
            &frames::ipv4(132, outside, host, &packet(3868)),
        );
        sent[..6].copy_from_slice(&mac_of("eth0"));
        frames::until(a.fd(), &source, || frames::send(lab.outside.as_fd(), &[sent]));
    });
}

/// Of a link of the calling thread's namespace: `/sys` is another's.
fn mac_of(name: &str) -> [u8; 6] {
    let mut kernel = sys::netlink::Socket::open().unwrap();
    sys::netlink::link_named(&mut kernel, name).unwrap().and_then(|link| link.mac).unwrap()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, byte)
}
