//! The text of a container's `/etc/hosts`.

use std::net::IpAddr;

/// Names of the machine itself, as dockerd writes them.
const LOCAL: &str = "127.0.0.1\tlocalhost\n";
const LOCAL_V6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The address that `host-gateway` stands for is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// `host-gateway` without a bridge.
    #[error("unable to derive the IP value for host-gateway: this daemon has no default bridge")]
    NoGateway,
    /// Not `name:address`.
    #[error("bad format for add-host: {0:?}")]
    Format(String),
    /// The address is none.
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
}

/// An entry of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub addr: IpAddr,
    /// Names, the canonical one first.
    pub names: Vec<String>,
}

/// Reads an `--add-host`: `name:address` or `name=address`, the address bare, in brackets or
/// `host-gateway`.
///
/// # Errors
/// What is wrong with it.
pub fn extra_host(text: &str, gateway: Option<IpAddr>) -> Result<HostEntry, HostsError> {
    let (name, addr) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| HostsError::Format(text.to_owned()))?;
    let addr = match addr {
        "host-gateway" => gateway.ok_or(HostsError::NoGateway)?,
        addr => addr
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(addr)
            .parse()
            .map_err(|_| HostsError::Address(addr.to_owned()))?,
    };
    if name.chars().any(|c| c.is_whitespace() || c == '#') {
        return Err(HostsError::Format(text.to_owned()));
    }
    Ok(HostEntry { addr, names: vec![name.to_owned()] })
}

/// The container's own entry: with a domain the full name comes first.
pub fn own_entry(addr: IpAddr, hostname: &str, domain: &str) -> HostEntry {
    let mut names = match domain {
        "" => vec![hostname.to_owned()],
        domain => vec![format!("{hostname}.{domain}")],
    };
    // A host name may hold the domain already (`--hostname web.example.org`).
    let bare = names[0].split_once('.').map(|(bare, _)| bare.to_owned());
    names.extend(bare);
    HostEntry { addr, names }
}

/// The text: the machine's own names, extra hosts, the container's entries (one for each of its
/// addresses) and those of others. Without `ipv6` on its loopback link the names of IPv6 are left
/// out.
pub fn hosts_file(extra: &[HostEntry], own: &[HostEntry], ipv6: bool) -> String {
    let mut text = String::from(LOCAL);
    if ipv6 {
        text.push_str(LOCAL_V6);
    }
    for entry in extra.iter().chain(own) {
        text.push_str(&format!("{}\t{}\n", entry.addr, entry.names.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_file_is_dockers() {
        let extra = [extra_host("db:10.0.0.9", None).unwrap()];
        let own = [own_entry(ip("172.17.0.2"), "web", "example.org")];
        assert_eq!(
            hosts_file(&extra, &own, true),
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n\
             10.0.0.9\tdb\n\
             172.17.0.2\tweb.example.org web\n"
        );
        let names = |hostname, domain| own_entry(ip("::1"), hostname, domain).names;
        assert_eq!(names("web.example.org", ""), ["web.example.org", "web"]);
        assert_eq!(names("web.example", "org"), ["web.example.org", "web"]);
        let own = [own_entry(ip("172.17.0.2"), "web", "")];
        assert_eq!(hosts_file(&[], &own, false), "127.0.0.1\tlocalhost\n172.17.0.2\tweb\n");
    }

    #[test]
    fn extra_hosts_come_in_all_of_dockers_forms() {
        let gw = Some(ip("172.17.0.1"));
        let addr = |s| extra_host(s, gw).map(|e| (e.names[0].clone(), e.addr.to_string()));
        let ok = |n: &str, a: &str| Ok((n.to_owned(), a.to_owned()));
        assert_eq!(addr("a:1.2.3.4"), ok("a", "1.2.3.4"));
        assert_eq!(addr("a=1.2.3.4"), ok("a", "1.2.3.4"));
        assert_eq!(addr("a:::1"), ok("a", "::1"));
        assert_eq!(addr("a:[::1]"), ok("a", "::1"));
        assert_eq!(addr("me:host-gateway"), ok("me", "172.17.0.1"));
        assert_eq!(extra_host("me:host-gateway", None), Err(HostsError::NoGateway));
        assert!(matches!(addr("a"), Err(HostsError::Format(_))));
        assert!(matches!(addr(":1.2.3.4"), Err(HostsError::Format(_))));
        assert!(matches!(addr("a b:1.2.3.4"), Err(HostsError::Format(_))));
        assert!(matches!(addr("a\n1.1.1.1 b:1.2.3.4"), Err(HostsError::Format(_))));
        assert!(matches!(addr("a:nowhere"), Err(HostsError::Address(_))));
    }
}
