//! The table as text for `nft -f`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use sys::netlink::Family;

use super::element::{self, Element, Part, Step};
use super::guard::{self, Guard};
use super::published::{self, Published};

/// What the firewall knows of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    /// No way out, no way in.
    pub(crate) internal: bool,
    /// Containers may talk to each other.
    pub(crate) icc: bool,
    /// Addresses are hidden behind the host's.
    pub(crate) masquerade: bool,
    /// Containers may ask for the metadata of the machine.
    pub(crate) metadata: bool,
    /// The address that stands for the host's 127.0.0.1.
    pub(crate) loopback: Option<IpAddr>,
}

/// Everything that should be in the table.
#[derive(Debug)]
pub(crate) struct Ruleset {
    pub(crate) table: String,
    pub(crate) bridges: BTreeMap<String, BridgeRules>,
    pub(crate) ports: BTreeSet<Published>,
    /// By the name of the bridge's port.
    pub(crate) guards: BTreeMap<String, Guard>,
    /// Whether ports are reached by the host's [::1], too.
    pub(crate) loopback6: bool,
}

/// What to do with elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Delete,
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Delete => "delete",
        }
    }
}

/// Sets, chains and rules, which are always the same.
///
/// - The output chain's priority is a number: nft 1.0.6 knows `dstnat` in prerouting only.
/// - Prerouting leaves 127.0.0.0/8 alone: only packets from the wire come by here, and one that
///   claims such a destination must not reach a port that is published on 127.0.0.1.
/// - Where br_netfilter is on, answers to a connection from [::1] get that address while they are
///   still on the bridge, and then are refused: no link but the loopback may bring such (RFC 4291,
///   2.5.3, `ipv6_rcv`). Then [::1] is left alone, and clients go on to 127.0.0.1 at once.
/// - Metadata services hand out the machine's credentials to whoever asks: those of AWS, Google,
///   Azure, Oracle and others, Azure's wire server and Alibaba's. Two of them are name servers too.
/// - Answers to connections from the host's loopback, and from a container to its own network by
///   way of the host, would go astray without a source address of the bridge. Where br_netfilter is
///   on, the latter never leave the bridge: postrouting then has no `iif`, as it has none for what
///   the host itself sends. (It has one for what is routed since Linux 5.7.)
/// - What belongs to a connection is not looked into any further: its beginning was.
/// - No set has ranges of addresses: what looks into such a set, or changes it, takes the longer
///   the more networks there are.
const CHAINS: &str = "\
	set bridges { type ifname; }
	set internal { type ifname; }
	set talking { type ifname . ifname; }
	set same { type ifname . ifname; }
	set hidden { type ifname; }
	map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
	map one4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
	map any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
	map one6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }
	set loopback6 { type ipv6_addr; }
	set trusted { type ifname; }
	set loopback { type ifname . ipv4_addr; }
	map runat4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr; flags interval; }
	map runat6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr; flags interval; }
	map run4 { type inet_proto . inet_service : ipv4_addr; flags interval; }
	map run6 { type inet_proto . inet_service : ipv6_addr; flags interval; }
	chain strange {
		type filter hook prerouting priority mangle; policy accept;
		ct state established,related return
		iifname != @bridges return
		ip daddr 127.0.0.0/8 drop
		ip saddr 127.0.0.0/8 drop
		ip daddr { 169.254.169.254, 168.63.129.16, 100.100.100.200 } jump metadata
		ip6 daddr { fd00:ec2::254, fd20:ce::254 } jump metadata
		ct state new fib saddr . iif oif missing drop
	}
	chain metadata {
		iifname @trusted return
		meta l4proto { tcp, udp } th dport 53 return
		drop
	}
	chain published {
		dnat ip to meta l4proto . ip daddr . th dport map @one4
		dnat ip to meta l4proto . th dport map @any4
		dnat ip to meta l4proto . ip daddr . th dport map @runat4
		dnat ip to meta l4proto . th dport map @run4
		dnat ip6 to meta l4proto . ip6 daddr . th dport map @one6
		dnat ip6 to meta l4proto . th dport map @any6
		dnat ip6 to meta l4proto . ip6 daddr . th dport map @runat6
		dnat ip6 to meta l4proto . th dport map @run6
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		fib daddr type local jump published
		iifname . ip daddr @loopback dnat ip to 127.0.0.1
	}
	chain output {
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 ip6 daddr != @loopback6 return
		fib daddr type local jump published
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 127.0.0.0/8 oifname @bridges masquerade
		ip6 saddr ::1 oifname @bridges masquerade
		iifname . oifname @same ct status dnat masquerade
		iif 0 oifname @bridges ct status dnat fib saddr type != local masquerade
		iifname @hidden oifname != @bridges masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		iifname . oifname @talking accept
		iifname @internal drop
		oifname @internal drop
		oifname @bridges ct status dnat accept
		oifname @bridges drop
	}
";

impl Ruleset {
    /// The whole table, in place of the one that is there. As one transaction no packet ever
    /// meets half of it.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.removal();
        // Writing into a String cannot fail.
        let _ = write!(text, "table inet {} {{\n{CHAINS}}}\n", self.table);
        let _ = write!(text, "table bridge {} {{\n{}}}\n", self.table, guard::CHAINS);
        if self.loopback6 {
            let _ = writeln!(text, "add element inet {} loopback6 {{ ::1 }}", self.table);
        }
        let ports: Vec<Published> = self.ports.iter().copied().collect();
        let mut elements = published::elements(&ports);
        elements.extend(self.bridges.iter().flat_map(|(link, rules)| rules.elements(link)));
        elements.extend(self.guards.iter().flat_map(|(link, guard)| guard.elements(link)));
        // Those of a set on one line.
        elements.sort_by_key(|element| element.set);
        text += &element::text(&self.table, &Step::all(Verb::Add, elements));
        text
    }

    /// The table's removal; `add` makes sure that there is one to be deleted.
    pub(crate) fn removal(&self) -> String {
        let one =
            |family| format!("add table {family} {0}\ndelete table {family} {0}\n", self.table);
        ["inet", "bridge"].map(one).concat()
    }
}

impl BridgeRules {
    /// The elements for the bridge of that name.
    pub(super) fn elements(&self, link: &str) -> Vec<Element> {
        let link = || Part::Link(link.to_owned());
        let element =
            |set, key| Element { family: Family::Inet, set, key, until: None, value: Vec::new() };
        let mut all = vec![element("bridges", vec![link()]), element("same", vec![link(), link()])];
        if self.internal {
            all.push(element("internal", vec![link()]));
        }
        if self.icc {
            all.push(element("talking", vec![link(), link()]));
        }
        if self.masquerade {
            all.push(element("hidden", vec![link()]));
        }
        if self.metadata {
            all.push(element("trusted", vec![link()]));
        }
        if let Some(gateway) = self.loopback {
            all.push(element("loopback", vec![link(), Part::Ip(gateway)]));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Ruleset {
        Ruleset {
            table: "t".to_owned(),
            bridges: BTreeMap::new(),
            ports: BTreeSet::new(),
            guards: BTreeMap::new(),
            loopback6: false,
        }
    }

    fn written(rules: &BridgeRules) -> String {
        element::text("t", &Step::all(Verb::Add, rules.elements("b")))
    }

    #[test]
    fn a_bridge_is_in_the_sets_that_fit_it() {
        let open = BridgeRules {
            internal: false,
            icc: true,
            masquerade: true,
            metadata: false,
            loopback: None,
        };
        assert_eq!(
            written(&open),
            "add element inet t bridges { \"b\" }\n\
             add element inet t same { \"b\" . \"b\" }\n\
             add element inet t talking { \"b\" . \"b\" }\n\
             add element inet t hidden { \"b\" }\n"
        );
        let closed = BridgeRules {
            internal: true,
            icc: false,
            masquerade: false,
            metadata: true,
            loopback: Some("10.0.0.1".parse().unwrap()),
        };
        assert_eq!(
            written(&closed),
            "add element inet t bridges { \"b\" }\n\
             add element inet t same { \"b\" . \"b\" }\n\
             add element inet t internal { \"b\" }\n\
             add element inet t trusted { \"b\" }\n\
             add element inet t loopback { \"b\" . 10.0.0.1 }\n"
        );
    }

    #[test]
    fn the_whole_replaces_what_is_there_in_one_transaction() {
        let mut rules = rules();
        rules.ports.extend([Published {
            protocol: crate::model::Protocol::Tcp,
            host: "0.0.0.0:8080".parse().unwrap(),
            inside: "172.17.0.2:80".parse().unwrap(),
            count: 1,
        }]);
        let text = rules.whole();
        assert!(text.starts_with(
            "add table inet t\ndelete table inet t\nadd table bridge t\ndelete table bridge t\n\
             table inet t {\n"
        ));
        assert!(text.ends_with("}\nadd element inet t any4 { tcp . 8080 : 172.17.0.2 . 80 }\n"));
        assert!(!text.contains("flush"), "nothing but our own table is touched");
    }
}
