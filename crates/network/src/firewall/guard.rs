//! What keeps a container from being somebody else on its bridge.
//!
//! A second table, of the bridge family, sees what comes in by the bridges' ports before the
//! bridge learns from it. By the ports of containers only their own link-layer and network
//! addresses come in, as senders of packets and in what they tell of themselves (ARP, neighbour
//! advertisements). It is outside the container, whose own root can change any address inside.
//!
//! - What is neither IPv4, IPv6 nor ARP is dropped: the kernel takes the tag of VLAN 0 off and
//!   believes what is within. `ether type` sees the tag where `meta protocol` does not.
//! - Nobody who advertises a router or redirects is let in; our own bridges ask for no routers, but
//!   containers do.
//! - An address of zeros claims nothing; it is what duplicates are looked for with, and multicast
//!   groups joined. A neighbour solicitation of that kind claims its target all the same.
//! - A neighbour advertisement that came in fragments is not looked into here: it is dropped by
//!   whoever gets it (RFC 6980, Linux 3.12).
//! - Ports that are not ours are let through.
//! - What goes from one container to another of a network whose containers may talk is not tracked.
//!   Where br_netfilter is on, it would be, only to be let through. A hairpin is still: it goes to
//!   the bridge's own link-layer address, and its answer as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sys::netlink::Family;

use super::element::{Element, Part};
use crate::model::Endpoint;

/// Sets and chains. Other bridges' packets cost two look-ups.
pub(super) const CHAINS: &str = "\
	set ports { type ifname; }
	set own4 { type ifname . ether_addr . ipv4_addr; }
	set own6 { type ifname . ether_addr . ipv6_addr; }
	set peers { type ether_addr; }
	set told6 { typeof iifname . ether saddr . @th,64,128; }
	chain guard {
		type filter hook prerouting priority -300; policy accept;
		ether type vmap { ip : goto four, ip6 : goto six, arp : goto claims }
		iifname @ports drop
	}
	chain honest {
		ether daddr @peers notrack
	}
	chain four {
		iifname . ether saddr . ip saddr @own4 goto honest
		iifname @ports drop
	}
	chain claims {
		arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . ether saddr . arp saddr ip @own4 iifname . arp saddr ether . arp saddr ip @own4 accept
		iifname @ports drop
	}
	chain six {
		meta l4proto ipv6-icmp jump neighbours
		iifname . ether saddr . ip6 saddr @own6 goto honest
		iifname @ports drop
	}
	chain neighbours {
		icmpv6 type { nd-router-advert, nd-redirect } iifname @ports drop
		icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @told6 iifname @ports drop
		icmpv6 type nd-neighbor-solicit ip6 saddr :: iifname . ether saddr . @th,64,128 != @told6 iifname @ports drop
	}
";

/// Who an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    mac: [u8; 6],
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    /// Whether the containers of its network may talk to each other.
    talks: bool,
}

impl Guard {
    pub(super) fn of(endpoint: &Endpoint, talks: bool) -> Guard {
        let mut guard = Guard {
            mac: endpoint.mac.0,
            v4: Vec::new(),
            v6: vec![link_local(endpoint.mac.0)],
            talks,
        };
        let given = [endpoint.ipv4, endpoint.ipv6].into_iter().flatten().map(|c| c.addr());
        for ip in given.chain(endpoint.link_local.iter().copied()) {
            match ip {
                IpAddr::V4(ip) => guard.v4.push(ip),
                IpAddr::V6(ip) => guard.v6.push(ip),
            }
        }
        guard
    }

    /// The elements for the port of that name.
    pub(super) fn elements(&self, link: &str) -> Vec<Element> {
        let element = |set, parts: Vec<Part>| Element {
            family: Family::Bridge,
            set,
            key: [Part::Link(link.to_owned())].into_iter().chain(parts).collect(),
            until: None,
            value: Vec::new(),
        };
        let mac = || Part::Mac(self.mac);
        let mut all = vec![element("ports", vec![])];
        for ip in self.v4.iter().chain([&Ipv4Addr::UNSPECIFIED]) {
            all.push(element("own4", vec![mac(), Part::Ip(IpAddr::V4(*ip))]));
        }
        for ip in self.v6.iter().chain([&Ipv6Addr::UNSPECIFIED]) {
            all.push(element("own6", vec![mac(), Part::Ip(IpAddr::V6(*ip))]));
        }
        for ip in &self.v6 {
            all.push(element("told6", vec![mac(), Part::Raw(*ip)]));
        }
        if self.talks {
            all.push(Element { key: vec![mac()], ..element("peers", vec![]) });
        }
        all
    }
}

/// The link-local address that the kernel makes of a link-layer address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_what_it_was_given() {
        let mac = [0x02, 0x42, 0xac, 0x11, 0, 2];
        let guard = Guard {
            mac,
            v4: vec![[172, 17, 0, 2].into()],
            v6: vec![link_local(mac), "fd00::2".parse().unwrap()],
            talks: true,
        };
        let steps =
            super::super::element::Step::all(super::super::ruleset::Verb::Add, guard.elements("v"));
        assert_eq!(
            super::super::element::text("t", &steps),
            "add element bridge t ports { \"v\" }\n\
             add element bridge t own4 { \"v\" . 02:42:ac:11:00:02 . 172.17.0.2, \
             \"v\" . 02:42:ac:11:00:02 . 0.0.0.0 }\n\
             add element bridge t own6 { \"v\" . 02:42:ac:11:00:02 . fe80::42:acff:fe11:2, \
             \"v\" . 02:42:ac:11:00:02 . fd00::2, \"v\" . 02:42:ac:11:00:02 . :: }\n\
             add element bridge t told6 { \"v\" . 02:42:ac:11:00:02 . \
             0xfe800000000000000042acfffe110002, \"v\" . 02:42:ac:11:00:02 . \
             0xfd000000000000000000000000000002 }\n\
             add element bridge t peers { 02:42:ac:11:00:02 }\n"
        );
    }
}
