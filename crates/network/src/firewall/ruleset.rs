//! The table as text for `nft -f`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::cidr::Cidr;
use crate::model::Protocol;

/// What the firewall knows of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    /// No way out, no way in.
    pub(crate) internal: bool,
    /// Containers may talk to each other.
    pub(crate) icc: bool,
    /// Its subnets.
    pub(crate) subnets: Vec<Cidr>,
    /// Addresses are hidden behind the host's.
    pub(crate) masquerade: bool,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Published {
    pub(crate) protocol: Protocol,
    pub(crate) host: SocketAddr,
    pub(crate) inside: SocketAddr,
}

/// Everything that should be in the table.
#[derive(Debug)]
pub(crate) struct Ruleset {
    pub(crate) table: String,
    pub(crate) bridges: BTreeMap<String, BridgeRules>,
    pub(crate) ports: BTreeSet<Published>,
}

/// What to do with elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Delete,
}

impl Verb {
    fn as_str(self) -> &'static str {
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
/// - Answers to connections from the host's loopback, and from a container to its own network by
///   way of the host, would go astray without a source address of the bridge. The latter are known
///   by their address: where br_netfilter is on, they never leave the bridge and postrouting has no
///   `iifname`. Sets of address ranges with a name need Linux 5.6.
const CHAINS: &str = "\
	set bridges { type ifname; }
	set internal { type ifname; }
	set talking { type ifname . ifname; }
	set near4 { type ipv4_addr . ifname; flags interval; }
	set near6 { type ipv6_addr . ifname; flags interval; }
	set inside4 { type ipv4_addr; flags interval; }
	set inside6 { type ipv6_addr; flags interval; }
	map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
	map one4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
	map any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
	map one6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }
	map run4 { type inet_proto . inet_service : ipv4_addr; flags interval; }
	map run6 { type inet_proto . inet_service : ipv6_addr; flags interval; }
	chain raw {
		type filter hook prerouting priority raw; policy accept;
		iifname @bridges ip daddr 127.0.0.0/8 drop
		iifname @bridges ip saddr 127.0.0.0/8 drop
	}
	chain spoof {
		type filter hook prerouting priority mangle; policy accept;
		iifname @bridges ct state new fib saddr . iif oif missing drop
	}
	chain published {
		dnat ip to meta l4proto . ip daddr . th dport map @one4
		dnat ip to meta l4proto . th dport map @any4
		dnat ip to meta l4proto . th dport map @run4
		dnat ip6 to meta l4proto . ip6 daddr . th dport map @one6
		dnat ip6 to meta l4proto . th dport map @any6
		dnat ip6 to meta l4proto . th dport map @run6
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		fib daddr type local jump published
	}
	chain output {
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 return
		fib daddr type local jump published
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 127.0.0.0/8 oifname @bridges masquerade
		ip saddr . oifname @near4 ct status dnat masquerade
		ip6 saddr . oifname @near6 ct status dnat masquerade
		ip saddr @inside4 oifname != @bridges masquerade
		ip6 saddr @inside6 oifname != @bridges masquerade
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
        for (link, rules) in &self.bridges {
            text += &self.bridge(Verb::Add, link, rules);
        }
        let ports: Vec<Published> = self.ports.iter().copied().collect();
        text += &self.ports(Verb::Add, &ports);
        text
    }

    /// The table's removal; `add` makes sure that there is one to be deleted.
    pub(crate) fn removal(&self) -> String {
        format!("add table inet {0}\ndelete table inet {0}\n", self.table)
    }

    /// A bridge's elements.
    pub(crate) fn bridge(&self, verb: Verb, link: &str, rules: &BridgeRules) -> String {
        let mut lines = vec![self.elements(verb, "bridges", &format!("\"{link}\""))];
        if rules.internal {
            lines.push(self.elements(verb, "internal", &format!("\"{link}\"")));
        }
        if rules.icc {
            lines.push(self.elements(verb, "talking", &format!("\"{link}\" . \"{link}\"")));
        }
        for subnet in rules.subnets.iter().map(Cidr::network) {
            let (near, inside) =
                if subnet.is_v4() { ("near4", "inside4") } else { ("near6", "inside6") };
            lines.push(self.elements(verb, near, &format!("{subnet} . \"{link}\"")));
            if rules.masquerade {
                lines.push(self.elements(verb, inside, &subnet.to_string()));
            }
        }
        lines.concat()
    }

    /// The elements of ports, a line for each map. Long runs of ports that keep their numbers are
    /// one element each.
    pub(crate) fn ports(&self, verb: Verb, ports: &[Published]) -> String {
        let mut maps: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut sorted = ports.to_vec();
        sorted.sort_unstable();
        for run in sorted.chunk_by(|a, b| a.is_followed_by(b)) {
            if let Some((map, element)) = run_element(verb, run) {
                maps.entry(map).or_default().push(element);
                continue;
            }
            for p in run {
                let (map, element) = p.element(verb);
                maps.entry(map).or_default().push(element);
            }
        }
        maps.iter().map(|(map, all)| self.elements(verb, map, &all.join(", "))).collect()
    }

    fn elements(&self, verb: Verb, set: &str, elements: &str) -> String {
        format!("{} element inet {} {set} {{ {elements} }}\n", verb.as_str(), self.table)
    }
}

/// From so many consecutive ports on they become one element.
const RUN: usize = 16;

/// One element for all of a run, if it is long enough and on every address.
fn run_element(verb: Verb, run: &[Published]) -> Option<(&'static str, String)> {
    let (first, last) = (run.first()?, run.last()?);
    if run.len() < RUN || !first.host.ip().is_unspecified() {
        return None;
    }
    let map = if first.host.is_ipv4() { "run4" } else { "run6" };
    let mut element = format!("{} . {}-{}", first.protocol, first.host.port(), last.host.port());
    if verb == Verb::Add {
        let _ = write!(element, " : {}", first.inside.ip());
    }
    Some((map, element))
}

impl Published {
    /// Whether the other is the same to the same container with the next port, and both keep
    /// their number.
    fn is_followed_by(&self, next: &Published) -> bool {
        self.protocol == next.protocol
            && self.host.ip() == next.host.ip()
            && self.inside.ip() == next.inside.ip()
            && self.host.port() == self.inside.port()
            && next.host.port() == next.inside.port()
            && self.host.port().checked_add(1) == Some(next.host.port())
    }

    /// The map and the element; a key alone is enough to delete one.
    fn element(&self, verb: Verb) -> (&'static str, String) {
        let (ip, port) = (self.host.ip(), self.host.port());
        let any = ip.is_unspecified();
        let map = match (ip, any) {
            (IpAddr::V4(_), true) => "any4",
            (IpAddr::V4(_), false) => "one4",
            (IpAddr::V6(_), true) => "any6",
            (IpAddr::V6(_), false) => "one6",
        };
        let mut element = match any {
            true => format!("{} . {port}", self.protocol),
            false => format!("{} . {ip} . {port}", self.protocol),
        };
        if verb == Verb::Add {
            let _ = write!(element, " : {} . {}", self.inside.ip(), self.inside.port());
        }
        (map, element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Ruleset {
        Ruleset { table: "t".to_owned(), bridges: BTreeMap::new(), ports: BTreeSet::new() }
    }

    fn port(protocol: Protocol, host: &str, inside: &str) -> Published {
        Published { protocol, host: host.parse().unwrap(), inside: inside.parse().unwrap() }
    }

    #[test]
    fn ports_become_one_line_a_map() {
        let ports = [
            port(Protocol::Tcp, "0.0.0.0:8080", "172.17.0.2:80"),
            port(Protocol::Udp, "0.0.0.0:53", "172.17.0.2:5353"),
            port(Protocol::Tcp, "127.0.0.1:81", "172.17.0.2:81"),
            port(Protocol::Sctp, "[::]:9", "[fd00::2]:9"),
            port(Protocol::Tcp, "[fd00::9]:9", "[fd00::2]:9"),
        ];
        assert_eq!(
            rules().ports(Verb::Add, &ports),
            "add element inet t any4 { tcp . 8080 : 172.17.0.2 . 80, udp . 53 : 172.17.0.2 . 5353 }\n\
             add element inet t any6 { sctp . 9 : fd00::2 . 9 }\n\
             add element inet t one4 { tcp . 127.0.0.1 . 81 : 172.17.0.2 . 81 }\n\
             add element inet t one6 { tcp . fd00::9 . 9 : fd00::2 . 9 }\n"
        );
        assert_eq!(
            rules().ports(Verb::Delete, &ports[..2]),
            "delete element inet t any4 { tcp . 8080, udp . 53 }\n"
        );
        assert_eq!(rules().ports(Verb::Add, &[]), "");
    }

    #[test]
    fn a_long_run_of_ports_is_one_element() {
        let at = |host: u16, inside: u16| {
            port(Protocol::Tcp, &format!("0.0.0.0:{host}"), &format!("172.17.0.2:{inside}"))
        };
        let mut ports: Vec<Published> = (8000..9000).map(|p| at(p, p)).collect();
        ports.push(at(80, 8080));
        assert_eq!(
            rules().ports(Verb::Add, &ports),
            "add element inet t any4 { tcp . 80 : 172.17.0.2 . 8080 }\n\
             add element inet t run4 { tcp . 8000-8999 : 172.17.0.2 }\n"
        );
        assert_eq!(
            rules().ports(Verb::Delete, &ports[..20]),
            "delete element inet t run4 { tcp . 8000-8019 }\n"
        );
        let shifted: Vec<Published> = (8000..8020).map(|p| at(p, p + 1)).collect();
        assert!(rules().ports(Verb::Add, &shifted).contains("tcp . 8019 : 172.17.0.2 . 8020"));
    }

    #[test]
    fn a_bridge_is_in_the_sets_that_fit_it() {
        let open = BridgeRules {
            internal: false,
            icc: true,
            subnets: vec!["172.17.0.1/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
            masquerade: true,
        };
        assert_eq!(
            rules().bridge(Verb::Add, "b", &open),
            "add element inet t bridges { \"b\" }\n\
             add element inet t talking { \"b\" . \"b\" }\n\
             add element inet t near4 { 172.17.0.0/16 . \"b\" }\n\
             add element inet t inside4 { 172.17.0.0/16 }\n\
             add element inet t near6 { fd00::/64 . \"b\" }\n\
             add element inet t inside6 { fd00::/64 }\n"
        );
        let closed = BridgeRules { internal: true, icc: false, subnets: vec![], masquerade: false };
        assert_eq!(
            rules().bridge(Verb::Delete, "b", &closed),
            "delete element inet t bridges { \"b\" }\n\
             delete element inet t internal { \"b\" }\n"
        );
    }

    #[test]
    fn the_whole_replaces_what_is_there_in_one_transaction() {
        let mut rules = rules();
        rules.ports.insert(port(Protocol::Tcp, "0.0.0.0:8080", "172.17.0.2:80"));
        let text = rules.whole();
        assert!(text.starts_with("add table inet t\ndelete table inet t\ntable inet t {\n"));
        assert!(text.ends_with("}\nadd element inet t any4 { tcp . 8080 : 172.17.0.2 . 80 }\n"));
        assert!(!text.contains("flush"), "nothing but our own table is touched");
    }
}
