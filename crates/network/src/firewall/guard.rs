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

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sys::netlink::Family;

use super::element::{Element, Part};
use crate::model::Endpoint;

/// Sets and chains. Other bridges' packets cost two look-ups.
pub(super) const CHAINS: &str = "\
	set ports { type ifname; }
	set own4 { type ifname . ether_addr . ipv4_addr; }
	set own6 { type ifname . ether_addr . ipv6_addr; }
	set told6 { typeof iifname . ether saddr . @th,64,128; }
	chain guard {
		type filter hook prerouting priority -300; policy accept;
		ether type vmap { ip : goto four, ip6 : goto six, arp : goto claims }
		iifname @ports drop
	}
	chain four {
		iifname . ether saddr . ip saddr @own4 accept
		iifname @ports drop
	}
	chain claims {
		arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . ether saddr . arp saddr ip @own4 iifname . arp saddr ether . arp saddr ip @own4 accept
		iifname @ports drop
	}
	chain six {
		meta l4proto ipv6-icmp jump neighbours
		iifname . ether saddr . ip6 saddr @own6 accept
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
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Guard {
    pub(super) fn of(endpoint: &Endpoint) -> Guard {
        let mut guard = Guard { mac: endpoint.mac.0, v4: None, v6: None };
        for cidr in [endpoint.ipv4, endpoint.ipv6].into_iter().flatten() {
            match cidr.addr() {
                IpAddr::V4(ip) => guard.v4 = Some(ip),
                IpAddr::V6(ip) => guard.v6 = Some(ip),
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
        for ip in [self.v4, Some(Ipv4Addr::UNSPECIFIED)].into_iter().flatten() {
            all.push(element("own4", vec![mac(), Part::Ip(ip.into())]));
        }
        let local = Some(link_local(self.mac));
        for ip in [self.v6, local, Some(Ipv6Addr::UNSPECIFIED)].into_iter().flatten() {
            all.push(element("own6", vec![mac(), Part::Ip(ip.into())]));
        }
        for ip in [self.v6, local].into_iter().flatten() {
            all.push(element("told6", vec![mac(), Part::Raw(ip)]));
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
        let guard = Guard {
            mac: [0x02, 0x42, 0xac, 0x11, 0, 2],
            v4: Some([172, 17, 0, 2].into()),
            v6: Some("fd00::2".parse().unwrap()),
        };
        let steps =
            super::super::element::Step::all(super::super::ruleset::Verb::Add, guard.elements("v"));
        assert_eq!(
            super::super::element::text("t", &steps),
            "add element bridge t ports { \"v\" }\n\
             add element bridge t own4 { \"v\" . 02:42:ac:11:00:02 . 172.17.0.2, \
             \"v\" . 02:42:ac:11:00:02 . 0.0.0.0 }\n\
             add element bridge t own6 { \"v\" . 02:42:ac:11:00:02 . fd00::2, \
             \"v\" . 02:42:ac:11:00:02 . fe80::42:acff:fe11:2, \"v\" . 02:42:ac:11:00:02 . :: }\n\
             add element bridge t told6 { \"v\" . 02:42:ac:11:00:02 . \
             0xfd000000000000000000000000000002, \"v\" . 02:42:ac:11:00:02 . \
             0xfe800000000000000042acfffe110002 }\n"
        );
    }
}
