//! The text of a container's `/etc/resolv.conf`.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

/// What `--dns`, `--dns-search` and `--dns-opt` say. Empty: as the host has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResolvOptions<'a> {
    /// Name servers.
    pub servers: &'a [IpAddr],
    /// Search domains; a single `.`: none.
    pub search: &'a [String],
    /// Options.
    pub options: &'a [String],
    /// Whether the container reaches IPv6: without it servers of IPv6 are left out.
    pub ipv6: bool,
    /// Whether it shares the host's network namespace: then the host's text is good as it is.
    pub host_network: bool,
}

/// Asked where the host has none that a container could reach: dockerd's choice.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const FALLBACK_V6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// The host's file that is to be read: that of systemd-resolved with the real servers if
/// `/etc/resolv.conf`, whose text this is, names only its stub.
pub fn host_resolv_conf(etc_resolv_conf: &str) -> PathBuf {
    let servers = name_servers(etc_resolv_conf);
    let stub = servers.len() == 1 && servers[0].to_string() == "127.0.0.53";
    let real = Path::new("/run/systemd/resolve/resolv.conf");
    if stub && real.exists() { real.to_owned() } else { PathBuf::from("/etc/resolv.conf") }
}

/// The servers that a text of `resolv.conf` names.
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    lines(text, "nameserver").filter_map(|v| address(v.first()?)).collect()
}

/// The servers that the host asks, where it reaches them: with the link that an address of IPv6 is
/// on, if one is named.
pub fn host_name_servers(text: &str) -> Vec<SocketAddr> {
    let server = |words: Vec<&str>| {
        let (text, zone) = words.first()?.split_once('%').unwrap_or((words.first()?, ""));
        Some(match text.parse().ok()? {
            IpAddr::V4(address) => SocketAddr::from((address, PORT)),
            IpAddr::V6(address) => SocketAddrV6::new(address, PORT, 0, link_index(zone)).into(),
        })
    };
    lines(text, "nameserver").filter_map(server).collect()
}

/// The port of DNS.
const PORT: u16 = 53;

/// The index of a link by its name or by its number; 0 without one.
fn link_index(zone: &str) -> u32 {
    let named = || {
        let mut kernel = sys::netlink::Socket::open().ok()?;
        sys::netlink::link_named(&mut kernel, zone).ok()?.map(|link| link.index)
    };
    zone.parse().ok().or_else(|| named().filter(|_| !zone.is_empty())).unwrap_or(0)
}

/// The text for a container that asks a resolver of ours: the host's, or what the user chose, but
/// for the servers. As in Docker, a name without a dot is asked for as it is before search domains
/// are put behind it, unless somebody has said otherwise.
pub fn own_resolv_conf(
    host: &str,
    resolver: std::net::Ipv4Addr,
    search: &[String],
    options: &[String],
) -> String {
    let servers = [IpAddr::V4(resolver)];
    let own = ResolvOptions { servers: &servers, search, options, ..Default::default() };
    let text = resolv_conf(host, &own);
    let all = |key| lines(&text, key).flatten().map(str::to_owned).collect::<Vec<_>>();
    if all("options").iter().any(|option| option.starts_with("ndots:")) {
        return text;
    }
    let options = [all("options"), vec!["ndots:0".to_owned()]].concat();
    resolv_conf(host, &ResolvOptions { options: &options, ..own })
}

/// The text for a container, from the host's.
pub fn resolv_conf(host: &str, o: &ResolvOptions<'_>) -> String {
    let asked = !(o.servers.is_empty() && o.search.is_empty() && o.options.is_empty());
    if o.host_network && !asked {
        return host.to_owned();
    }
    let mut text = String::new();
    let mut line = |key: &str, values: &[String]| {
        if !values.is_empty() {
            text.push_str(&format!("{key} {}\n", values.join(" ")));
        }
    };
    for server in servers(host, o) {
        line("nameserver", &[server]);
    }
    match o.search {
        [] => line("search", &search_of(host)),
        [dot] if dot == "." => {}
        all => line("search", all),
    }
    match o.options {
        [] => {
            let all: Vec<String> = lines(host, "options").flatten().map(str::to_owned).collect();
            line("options", &all);
        }
        all => line("options", all),
    }
    text
}

fn servers(host: &str, o: &ResolvOptions<'_>) -> Vec<String> {
    if !o.servers.is_empty() {
        return o.servers.iter().map(ToString::to_string).collect();
    }
    // The text as it is: an address of IPv6 may have a zone.
    let usable: Vec<String> = lines(host, "nameserver")
        .filter_map(|v| v.first().copied())
        .filter(|v| {
            address(v)
                .is_some_and(|a| o.host_network || (!a.is_loopback() && (a.is_ipv4() || o.ipv6)))
        })
        .map(str::to_owned)
        .collect();
    if !usable.is_empty() || o.host_network {
        return usable;
    }
    let v6: &[&str] = if o.ipv6 { &FALLBACK_V6 } else { &[] };
    FALLBACK.iter().chain(v6).map(|s| (*s).to_owned()).collect()
}

/// The last `search` or `domain` line counts (resolv.conf(5)).
fn search_of(host: &str) -> Vec<String> {
    let last = host.lines().rev().find_map(|l| {
        let mut words = l.split_whitespace();
        matches!(words.next()?, "search" | "domain").then(|| words.map(str::to_owned).collect())
    });
    last.unwrap_or_default()
}

/// The values of each line of a kind; comments are no such lines.
fn lines<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    text.lines().filter_map(move |l| {
        let mut words = l.split_whitespace();
        (words.next()? == key).then(|| words.collect())
    })
}

fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 127.0.0.1\nnameserver 10.0.0.53\n\
        nameserver fd00::53%eth0\nsearch old.example\nsearch a.example b.example\noptions ndots:2\n";

    #[test]
    fn the_hosts_text_without_what_cannot_be_reached() {
        assert_eq!(
            resolv_conf(HOST, &ResolvOptions::default()),
            "nameserver 10.0.0.53\nsearch a.example b.example\noptions ndots:2\n"
        );
        let six = ResolvOptions { ipv6: true, ..Default::default() };
        assert!(resolv_conf(HOST, &six).contains("nameserver fd00::53%eth0\n"));
    }

    #[test]
    fn none_left_means_dockers_fallback() {
        let text = resolv_conf("nameserver 127.0.0.53\n", &ResolvOptions::default());
        assert_eq!(text, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let six = ResolvOptions { ipv6: true, ..Default::default() };
        assert_eq!(resolv_conf("", &six).lines().count(), 4);
    }

    #[test]
    fn each_option_replaces_the_hosts_of_its_kind() {
        let servers = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let search = ["x.example".to_owned()];
        let options = ["timeout:1".to_owned(), "rotate".to_owned()];
        let o = ResolvOptions { servers: &servers, ..Default::default() };
        assert_eq!(
            resolv_conf(HOST, &o),
            "nameserver 127.0.0.1\nnameserver ::1\nsearch a.example b.example\noptions ndots:2\n"
        );
        let o = ResolvOptions { search: &search, options: &options, ..Default::default() };
        assert_eq!(
            resolv_conf(HOST, &o),
            "nameserver 10.0.0.53\nsearch x.example\noptions timeout:1 rotate\n"
        );
        let dot = [".".to_owned()];
        let o = ResolvOptions { search: &dot, ..Default::default() };
        assert!(!resolv_conf(HOST, &o).contains("search"));
    }

    #[test]
    fn our_resolver_takes_the_place_of_the_servers_only() {
        let own = |host, search: &[String], options: &[String]| {
            own_resolv_conf(host, [127, 0, 0, 11].into(), search, options)
        };
        assert_eq!(
            own(HOST, &[], &[]),
            "nameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:2\n"
        );
        assert_eq!(
            own("nameserver 1.1.1.1\n", &[], &[]),
            "nameserver 127.0.0.11\noptions ndots:0\n"
        );
        let (search, options) = (["x.example".to_owned()], ["timeout:1".to_owned()]);
        assert_eq!(
            own(HOST, &search, &options),
            "nameserver 127.0.0.11\nsearch x.example\noptions timeout:1 ndots:0\n"
        );
        let servers = host_name_servers("nameserver 127.0.0.53\nnameserver fe80::1%7\n");
        let expected = ["127.0.0.53:53", "[fe80::1%7]:53"];
        assert_eq!(servers.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn on_the_hosts_network_the_hosts_text_is_right() {
        let o = ResolvOptions { host_network: true, ..Default::default() };
        assert_eq!(resolv_conf(HOST, &o), HOST);
        let options = ["rotate".to_owned()];
        let o = ResolvOptions { options: &options, ..o };
        assert!(resolv_conf(HOST, &o).starts_with("nameserver 127.0.0.1\nnameserver 10.0.0.53\n"));
    }

    #[test]
    fn the_stub_of_resolved_is_seen_through_only_when_it_is_there() {
        let real = Path::new("/run/systemd/resolve/resolv.conf").exists();
        let path = host_resolv_conf("nameserver 127.0.0.53\n");
        assert_eq!(path == Path::new("/etc/resolv.conf"), !real);
        assert_eq!(host_resolv_conf(HOST), Path::new("/etc/resolv.conf"));
        assert_eq!(name_servers(HOST).len(), 3);
    }
}
