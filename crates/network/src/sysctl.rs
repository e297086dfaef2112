//! Kernel settings of the calling thread's network namespace.

use std::fs;
use std::io;

use crate::error::{Error, Result};

/// Writes a setting, given as in `net/ipv4/ip_forward`, unless it has the value already: then a
/// read-only `/proc/sys` is no obstacle.
pub(crate) fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| Error::Sysctl {
        path,
        value: value.to_owned(),
        source,
    })
}

/// As [`set`], but a kernel that lacks the setting (IPv6 left out) is fine.
pub(crate) fn set_if_there(name: &str, value: &str) -> Result<()> {
    match set(name, value) {
        Err(Error::Sysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Turns on IPv6 for a link, without duplicate detection: what addresses it gets are its alone.
pub(crate) fn turn_on_ipv6(link: &str) -> Result<()> {
    set(&format!("net/ipv6/conf/{link}/accept_dad"), "0")?;
    set(&format!("net/ipv6/conf/{link}/disable_ipv6"), "0")
}

/// Whether packets that only cross a bridge pass through the firewall, too (br_netfilter).
pub(crate) fn bridges_are_filtered() -> bool {
    bridge_calls("iptables") && ipv6_bridges_are_filtered()
}

/// The same of IPv6 alone.
pub(crate) fn ipv6_bridges_are_filtered() -> bool {
    bridge_calls("ip6tables")
}

fn bridge_calls(family: &str) -> bool {
    let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
    fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
}

/// The ports that the kernel hands out by itself.
pub(crate) fn ephemeral_ports() -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next()?, numbers.next()?) {
        (Ok(first), Ok(last)) if first > 0 && first <= last => Some((first, last)),
        _ => None,
    }
}
