//! Which proxy, if any, stands between us and a host.
//!
//! The rules are those that Go programs share: the environment's `HTTP_PROXY`, `HTTPS_PROXY` and
//! `NO_PROXY`, in either case, and loopback addresses are never asked for through a proxy.

use std::net::IpAddr;

/// Proxies and the hosts that are reached without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP: a URL, `http://[user:password@]host[:port]`.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// Hosts that need no proxy: names (with all their subdomains), `.suffix`, addresses,
    /// networks such as `10.0.0.0/8`, each with an optional `:port`, and `*` for all.
    pub no_proxy: Vec<String>,
}

impl Proxies {
    /// What the environment says.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same from any source of variables. An upper-case name counts before a lower-case one.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str| {
            [upper.to_owned(), upper.to_ascii_lowercase()]
                .iter()
                .find_map(|name| get(name).filter(|value| !value.trim().is_empty()))
        };
        Self {
            // A CGI script's `HTTP_PROXY` is a header of its caller: httpoxy.
            http: either("HTTP_PROXY").filter(|_| get("REQUEST_METHOD").is_none()),
            https: either("HTTPS_PROXY"),
            no_proxy: either("NO_PROXY").map(|list| split_list(&list)).unwrap_or_default(),
        }
    }

    /// The proxy for a host, as it was configured. `host` has no brackets.
    pub fn choose(&self, https: bool, host: &str, port: u16) -> Option<&str> {
        let proxy = if https { &self.https } else { &self.http };
        let proxy = proxy.as_deref()?;
        let direct = is_loopback(host)
            || self.no_proxy.iter().any(|rule| rule_matches(rule.trim(), host, port));
        (!direct).then_some(proxy)
    }
}

/// The rules of a `NO_PROXY` variable.
pub fn split_list(list: &str) -> Vec<String> {
    list.split([',', ' '])
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether one rule of `NO_PROXY` names this host.
fn rule_matches(rule: &str, host: &str, port: u16) -> bool {
    if rule == "*" {
        return true;
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    if let (Some(network), Some(address)) = (Network::parse(rule), address) {
        return network.contains(address);
    }
    let (name, wanted) = split_port(rule);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if let Ok(rule_address) = name.parse::<IpAddr>() {
        return address.is_some_and(|a| a.to_canonical() == rule_address.to_canonical());
    }
    let name = name.trim_end_matches('.');
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        _ if name.is_empty() => false,
        // `.suffix` names the subdomains alone.
        Some(suffix) => {
            host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

/// `name:port`, but not the colons of a bare IPv6 address.
fn split_port(rule: &str) -> (&str, Option<u16>) {
    match rule.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (rule, None),
        },
        _ => (rule, None),
    }
}

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
        Some(Self { address, bits })
    }

    /// Whether the address is one of the network's.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rules_never_fail(rule in "\\PC{0,40}", host in "\\PC{0,40}", port: u16) {
            rule_matches(&rule, &host, port);
        }

        #[test]
        fn a_network_has_its_own_addresses(bits in 0u8..=32, address: u32, other: u32) {
            let text = format!("{}/{bits}", std::net::Ipv4Addr::from(address));
            let network = Network::parse(&text).expect("valid");
            prop_assert!(network.contains(std::net::Ipv4Addr::from(address).into()));
            let same = bits == 0 || (address ^ other) >> (32 - u32::from(bits)) == 0;
            prop_assert_eq!(network.contains(std::net::Ipv4Addr::from(other).into()), same);
        }
    }

    fn proxies(no_proxy: &str) -> Proxies {
        Proxies {
            http: Some("http://plain:3128".into()),
            https: Some("http://secure:3128".into()),
            no_proxy: split_list(no_proxy),
        }
    }

    fn direct(no_proxy: &str, host: &str, port: u16) -> bool {
        proxies(no_proxy).choose(true, host, port).is_none()
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        assert_eq!(proxies("").choose(true, "a.example", 443), Some("http://secure:3128"));
        assert_eq!(proxies("").choose(false, "a.example", 80), Some("http://plain:3128"));
        assert_eq!(Proxies::default().choose(true, "a.example", 443), None);
    }

    #[test]
    fn loopback_needs_no_proxy() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1", "LocalHost."] {
            assert!(direct("", host, 443), "{host}");
        }
        assert!(!direct("", "128.0.0.1", 443));
    }

    #[test]
    fn names_and_suffixes_and_ports() {
        assert!(direct("a.example", "a.example", 443));
        assert!(direct("a.example", "b.A.example", 443));
        assert!(!direct("a.example", "ba.example", 443));
        assert!(!direct(".a.example", "a.example", 443));
        assert!(direct(".a.example", "b.a.example", 443));
        assert!(direct("*.a.example", "b.a.example", 443));
        assert!(direct("x, a.example:5000 ,y", "a.example", 5000));
        assert!(!direct("a.example:5000", "a.example", 443));
        assert!(direct("*", "anything.at.all", 1));
        assert!(!direct(".", "a.example", 443));
    }

    #[test]
    fn addresses_and_networks() {
        assert!(direct("10.0.0.0/8", "10.200.3.4", 443));
        assert!(!direct("10.0.0.0/8", "11.0.0.1", 443));
        assert!(!direct("10.0.0.0/8", "10.example", 443));
        assert!(direct("0.0.0.0/0", "9.9.9.9", 443));
        assert!(direct("2001:db8::/32", "2001:db8:1::1", 443));
        assert!(!direct("2001:db8::/32", "2001:db9::1", 443));
        assert!(direct("192.0.2.1", "192.0.2.1", 443));
        assert!(direct("2001:db8::1", "2001:db8::1", 443));
        assert!(direct("[2001:db8::1]:5000", "2001:db8::1", 5000));
        assert!(!direct("10.0.0.0/33", "10.0.0.1", 443));
    }

    #[test]
    fn variables_in_either_case() {
        let read = |pairs: &[(&str, &str)]| {
            Proxies::from_variables(|name| {
                pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
            })
        };
        let found =
            read(&[("http_proxy", "http://a"), ("HTTPS_PROXY", "b"), ("no_proxy", "x,y z")]);
        assert_eq!(found.http.as_deref(), Some("http://a"));
        assert_eq!(found.https.as_deref(), Some("b"));
        assert_eq!(found.no_proxy, ["x", "y", "z"]);
        assert_eq!(read(&[("HTTP_PROXY", "http://a"), ("REQUEST_METHOD", "GET")]).http, None);
        assert_eq!(read(&[("HTTP_PROXY", " ")]).http, None);
    }
}
