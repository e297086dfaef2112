//! Options of the bridge driver, under dockerd's names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::Config;
use crate::error::{Error, Result};

pub(crate) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
pub(crate) const ICC: &str = "com.docker.network.bridge.enable_icc";
pub(crate) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub(crate) const HOST_IP: &str = "com.docker.network.bridge.host_binding_ipv4";
pub(crate) const MTU: &str = "com.docker.network.driver.mtu";
pub(crate) const PARENT: &str = "parent";
pub(crate) const MACVLAN_MODE: &str = "macvlan_mode";
pub(crate) const IPVLAN_MODE: &str = "ipvlan_mode";
pub(crate) const IPVLAN_FLAG: &str = "ipvlan_flag";
pub(crate) const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
/// Containers may use addresses that are not theirs.
pub(crate) const SPOOFING: &str = "isopod.bridge.spoofing";
/// Containers may ask the machine's metadata service.
pub(crate) const METADATA: &str = "isopod.bridge.metadata";
/// Containers reach each other past the bridge.
pub(crate) const DIRECT: &str = "isopod.bridge.direct";
/// What the host serves on 127.0.0.1 is reached by the gateway's address.
pub(crate) const HOST_LOOPBACK: &str = "isopod.bridge.host_loopback";
const GATEWAY_MODES: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];

pub(crate) type Options = BTreeMap<String, String>;

/// Refuses values that make no sense. Unknown options are kept and shown, as dockerd does.
pub(crate) fn check(options: &Options) -> Result<()> {
    for option in [ICC, MASQUERADE, DEFAULT_BRIDGE, SPOOFING, METADATA, HOST_LOOPBACK, DIRECT] {
        if let Some(value) = options.get(option) {
            truth(value).ok_or_else(|| invalid(option, value, "it is true or false"))?;
        }
    }
    if let Some(value) = options.get(HOST_IP) {
        value
            .parse::<IpAddr>()
            .map_err(|_| invalid(HOST_IP, value, "it is an address of the host"))?;
    }
    if let Some(value) = options.get(BRIDGE_NAME)
        && !is_link_name(value)
    {
        return Err(Error::InvalidInterface(value.clone()));
    }
    for option in GATEWAY_MODES {
        if let Some(value) = options.get(option)
            && value != "nat"
        {
            return Err(invalid(option, value, "this engine has nat only"));
        }
    }
    mtu(options).map(drop)
}

/// `None`: not given.
pub(crate) fn mtu(options: &Options) -> Result<Option<u32>> {
    let Some(value) = options.get(MTU) else { return Ok(None) };
    match value.parse() {
        // 68 is the least that IPv4 works with; the kernel refuses a bridge beyond 65535.
        Ok(mtu @ (0 | 68..=65535)) => Ok((mtu > 0).then_some(mtu)),
        _ => Err(invalid(MTU, value, "it is a number of bytes from 68 to 65535")),
    }
}

/// Containers may talk to each other.
pub(crate) fn icc(options: &Options) -> bool {
    flag(options, ICC)
}

/// Addresses are hidden behind the host's.
pub(crate) fn masquerade(options: &Options) -> bool {
    flag(options, MASQUERADE)
}

/// Containers are kept to their own addresses; `spoofing` is what goes for networks that do not say.
pub(crate) fn guarded(options: &Options, spoofing: bool) -> bool {
    !options.get(SPOOFING).and_then(|v| truth(v)).unwrap_or(spoofing)
}

/// Containers may ask for the metadata of the machine.
pub(crate) fn metadata(options: &Options, otherwise: bool) -> bool {
    options.get(METADATA).and_then(|v| truth(v)).unwrap_or(otherwise)
}

/// The gateway's address stands for the host's loopback.
pub(crate) fn host_loopback(options: &Options, otherwise: bool) -> bool {
    options.get(HOST_LOOPBACK).and_then(|v| truth(v)).unwrap_or(otherwise)
}

/// Containers reach each other past the bridge: where they may, and are held to their addresses.
pub(crate) fn direct(options: &Options, config: &Config) -> bool {
    options.get(DIRECT).and_then(|v| truth(v)).unwrap_or(config.direct)
        && icc(options)
        && guarded(options, config.spoofing)
}

/// Where ports are published that name no address of the host.
pub(crate) fn host_ip(options: &Options) -> Option<IpAddr> {
    options.get(HOST_IP)?.parse().ok()
}

fn flag(options: &Options, name: &str) -> bool {
    options.get(name).and_then(|v| truth(v)).unwrap_or(true)
}

/// What Go's `strconv.ParseBool` takes.
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn invalid(option: &str, value: &str, why: &'static str) -> Error {
    Error::InvalidOption { option: option.to_owned(), value: value.to_owned(), why }
}

/// Whether the kernel would take it as a link's name (`dev_valid_name`), and nft and we can write
/// it without quoting tricks.
pub fn is_link_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'"' | b'\\' | b'*' | b'%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn values_are_checked() {
        check(&options(&[(ICC, "false"), (MTU, "1400"), (BRIDGE_NAME, "br-x"), ("my", "own")]))
            .unwrap();
        for (k, v) in [
            (ICC, "maybe"),
            (MTU, "12"),
            (MTU, "x"),
            (BRIDGE_NAME, "a/b"),
            (BRIDGE_NAME, "a-name-that-is-too-long"),
            (BRIDGE_NAME, "a\"b"),
            (HOST_IP, "here"),
            (GATEWAY_MODES[0], "routed"),
        ] {
            assert!(check(&options(&[(k, v)])).is_err(), "{k}={v}");
        }
        assert_eq!(mtu(&options(&[(MTU, "0")])).unwrap(), None);
        assert!(!icc(&options(&[(ICC, "0")])));
        assert!(masquerade(&options(&[])));
        assert!(guarded(&options(&[]), false) && !guarded(&options(&[]), true));
        assert!(!guarded(&options(&[(SPOOFING, "true")]), false));
        assert!(guarded(&options(&[(SPOOFING, "false")]), true));
        assert!(check(&options(&[(METADATA, "perhaps")])).is_err());
    }
}
