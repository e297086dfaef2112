//! Published ports as elements.
//!
//! Ports that follow one another and keep their numbers are one element, of a map of ranges: ten
//! thousand of them cost as much as one. Where the numbers differ each port is an element, because
//! a map of ranges leads all of a range to the same place.

use std::net::{IpAddr, SocketAddr};

use sys::netlink::Family;

use super::element::{Element, Part};
use crate::model::{BoundPort, Endpoint, Protocol};

/// From so many ports on they become one element. Maps of ranges are slower to look into.
const RUN: u16 = 16;

/// Ports that lead into a container, one or several that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Published {
    pub(super) protocol: Protocol,
    /// The first.
    pub(super) host: SocketAddr,
    /// The first.
    pub(super) inside: SocketAddr,
    pub(super) count: u16,
}

impl Published {
    /// Where an endpoint's ports lead.
    pub(crate) fn of(endpoint: &Endpoint) -> Vec<Published> {
        let to = |p: &BoundPort| {
            let inside = if p.host_ip.is_ipv4() { endpoint.ipv4 } else { endpoint.ipv6 }?;
            Some(Published {
                protocol: p.protocol,
                host: SocketAddr::new(p.host_ip, p.host_port),
                inside: SocketAddr::new(inside.addr(), p.container_port),
                count: p.count,
            })
        };
        endpoint.ports.iter().filter_map(to).collect()
    }

    fn elements(self) -> impl Iterator<Item = Element> {
        let whole = self.count >= RUN && self.host.port() == self.inside.port();
        let parts = if whole { 1 } else { self.count };
        (0..parts).map(move |n| if whole { self.range() } else { self.single(n) })
    }

    fn single(self, n: u16) -> Element {
        let port = |first: SocketAddr| Part::Port(first.port().saturating_add(n));
        Element {
            family: Family::Inet,
            set: self.map(["any4", "one4", "any6", "one6"]),
            key: self.key(port(self.host)),
            until: None,
            value: vec![Part::Ip(self.inside.ip()), port(self.inside)],
        }
    }

    fn range(self) -> Element {
        let last = self.host.port().saturating_add(self.count.saturating_sub(1));
        Element {
            family: Family::Inet,
            set: self.map(["run4", "runat4", "run6", "runat6"]),
            key: self.key(Part::Port(self.host.port())),
            until: Some(Part::Port(last)),
            value: vec![Part::Ip(self.inside.ip())],
        }
    }

    fn key(self, port: Part) -> Vec<Part> {
        let protocol = Part::Protocol(self.protocol);
        match self.host.ip() {
            any if any.is_unspecified() => vec![protocol, port],
            ip => vec![protocol, Part::Ip(ip), port],
        }
    }

    /// One of the maps for: every IPv4 address, one of them, every IPv6 address, one of them.
    fn map(self, [any4, one4, any6, one6]: [&'static str; 4]) -> &'static str {
        match (self.host.ip(), self.host.ip().is_unspecified()) {
            (IpAddr::V4(_), true) => any4,
            (IpAddr::V4(_), false) => one4,
            (IpAddr::V6(_), true) => any6,
            (IpAddr::V6(_), false) => one6,
        }
    }
}

/// The elements of all of them, those of a map together.
pub(super) fn elements(ports: &[Published]) -> Vec<Element> {
    let mut all: Vec<Element> = ports.iter().flat_map(|ports| ports.elements()).collect();
    all.sort_by_key(|element| element.set);
    all
}

#[cfg(test)]
mod tests {
    use super::super::element::{Step, text};
    use super::super::ruleset::Verb;
    use super::*;

    fn ports(protocol: Protocol, host: &str, inside: &str, count: u16) -> Published {
        Published { protocol, host: host.parse().unwrap(), inside: inside.parse().unwrap(), count }
    }

    fn written(verb: Verb, ports: &[Published]) -> String {
        text("t", &Step::all(verb, elements(ports)))
    }

    #[test]
    fn ports_become_one_line_a_map() {
        let all = [
            ports(Protocol::Tcp, "0.0.0.0:8080", "172.17.0.2:80", 1),
            ports(Protocol::Udp, "0.0.0.0:53", "172.17.0.2:5353", 1),
            ports(Protocol::Tcp, "127.0.0.1:81", "172.17.0.2:81", 1),
            ports(Protocol::Sctp, "[::]:9", "[fd00::2]:9", 1),
            ports(Protocol::Tcp, "[fd00::9]:9", "[fd00::2]:9", 1),
        ];
        assert_eq!(
            written(Verb::Add, &all),
            "add element inet t any4 { tcp . 8080 : 172.17.0.2 . 80, udp . 53 : 172.17.0.2 . 5353 }\n\
             add element inet t any6 { sctp . 9 : fd00::2 . 9 }\n\
             add element inet t one4 { tcp . 127.0.0.1 . 81 : 172.17.0.2 . 81 }\n\
             add element inet t one6 { tcp . fd00::9 . 9 : fd00::2 . 9 }\n"
        );
        assert_eq!(
            written(Verb::Delete, &all[..2]),
            "delete element inet t any4 { tcp . 8080, udp . 53 }\n"
        );
    }

    #[test]
    fn a_long_range_is_one_element() {
        let range = ports(Protocol::Tcp, "0.0.0.0:20000", "172.17.0.2:20000", 10_000);
        assert_eq!(
            written(Verb::Add, &[range]),
            "add element inet t run4 { tcp . 20000-29999 : 172.17.0.2 }\n"
        );
        assert_eq!(
            written(Verb::Delete, &[range]),
            "delete element inet t run4 { tcp . 20000-29999 }\n"
        );
        let at = ports(Protocol::Udp, "127.0.0.1:100", "172.17.0.2:100", 16);
        assert_eq!(
            written(Verb::Add, &[at]),
            "add element inet t runat4 { udp . 127.0.0.1 . 100-115 : 172.17.0.2 }\n"
        );
    }

    #[test]
    fn a_range_that_changes_its_numbers_is_an_element_each() {
        let shifted = ports(Protocol::Tcp, "0.0.0.0:8000", "172.17.0.2:9000", 20);
        let text = written(Verb::Add, &[shifted]);
        assert!(text.starts_with("add element inet t any4 { tcp . 8000 : 172.17.0.2 . 9000, "));
        assert!(text.contains("tcp . 8019 : 172.17.0.2 . 9019 }"), "{text}");
        let short = ports(Protocol::Tcp, "0.0.0.0:8000", "172.17.0.2:8000", 15);
        assert_eq!(written(Verb::Add, &[short]).matches(" : ").count(), 15);
    }
}
