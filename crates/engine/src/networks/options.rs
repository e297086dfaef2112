//! What the driver options of an endpoint say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use types::Error;
use types::network::EndpointSettings;

use crate::from_network;

const INTERFACE: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// What is wanted of a link beyond its addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LinkOptions {
    /// Its name inside.
    pub(super) interface: Option<String>,
    /// Paths below `/proc/sys`, with `IFNAME` for its name, and values.
    pub(super) sysctls: Vec<(String, String)>,
}

impl LinkOptions {
    pub(super) fn read(options: &BTreeMap<String, String>) -> Result<LinkOptions, Error> {
        let interface = options.get(INTERFACE).filter(|name| !name.is_empty()).cloned();
        if let Some(name) = &interface
            && !network::is_link_name(name)
        {
            return Err(from_network(network::Error::InvalidInterface(name.clone())));
        }
        let text = options.get(SYSCTLS).map_or("", String::as_str);
        let settings = text.split(',').map(str::trim).filter(|setting| !setting.is_empty());
        Ok(LinkOptions { interface, sysctls: settings.map(sysctl).collect::<Result<_, _>>()? })
    }
}

/// `net.ipv4.conf.IFNAME.log_martians=1`. Only what belongs to the link can be set, so that the
/// path leads nowhere else.
fn sysctl(setting: &str) -> Result<(String, String), Error> {
    let wrong = || from_network(network::Error::InvalidSysctl(setting.to_owned()));
    let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
    let parts: Vec<&str> = name.split('.').collect();
    let plain = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    let good = parts.first() == Some(&"net")
        && parts.len() > 3
        && parts.iter().filter(|part| **part == "IFNAME").count() == 1
        && parts.iter().all(plain);
    if good { Ok((parts.join("/"), value.trim().to_owned())) } else { Err(wrong()) }
}

/// An address, or none.
pub(super) fn address(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

/// The link-local addresses that are asked for.
pub(super) fn link_local(settings: &EndpointSettings) -> Result<Vec<IpAddr>, Error> {
    let asked = settings.ipam_config.iter().flat_map(|ipam| &ipam.link_local_ips);
    asked
        .filter(|text| !text.is_empty())
        .map(|text| {
            text.parse()
                .map_err(|_| Error::invalid(format!("invalid link-local IP address: {text}")))
        })
        .collect()
}

/// Refuses settings that no network could give.
pub(super) fn check(network: &str, settings: &EndpointSettings) -> Result<(), Error> {
    LinkOptions::read(&settings.driver_opts)?;
    link_local(settings)?;
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    for (text, v4) in [(&ipam.ipv4_address, true), (&ipam.ipv6_address, false)] {
        let Some(address) = address(text)? else { continue };
        if address.is_ipv4() != v4 {
            let family = if v4 { "IPv4" } else { "IPv6" };
            return Err(Error::invalid(format!("invalid {family} address: {text}")));
        }
        if matches!(network, "bridge" | "host" | "none") {
            return Err(from_network(network::Error::AddressOnDefaultBridge));
        }
    }
    if matches!(network, "host" | "none") && !settings.aliases.is_empty() {
        return Err(Error::invalid(
            "network-scoped aliases are only supported for user-defined networks",
        ));
    }
    if !settings.mac_address.is_empty() {
        settings.mac_address.parse::<network::Mac>().map_err(|_| {
            Error::invalid(format!("invalid MAC address: {}", settings.mac_address))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::network::EndpointIpamConfig;

    fn read(pairs: &[(&str, &str)]) -> Result<LinkOptions, Error> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LinkOptions::read(&pairs.collect())
    }

    #[test]
    fn names_and_settings_of_links_are_read() {
        let options = read(&[
            (INTERFACE, "lan0"),
            (SYSCTLS, "net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.conf.IFNAME.mtu=1400"),
        ])
        .expect("valid");
        assert_eq!(options.interface.as_deref(), Some("lan0"));
        let setting = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        assert_eq!(
            options.sysctls,
            [
                setting("net/ipv4/conf/IFNAME/log_martians", "1"),
                setting("net/ipv6/conf/IFNAME/mtu", "1400"),
            ]
        );
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for bad in [
            "kernel.IFNAME.x.y=1",
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.conf.IFNAME",
            "net.ipv4.conf.IFNAME.../../x=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.IFNAME.IFNAME.x=1",
        ] {
            assert!(read(&[(SYSCTLS, bad)]).is_err(), "{bad}");
        }
        for bad in ["a/b", "a-name-that-is-too-long", ".."] {
            assert!(read(&[(INTERFACE, bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_have_their_family_and_a_network_of_their_own() {
        let with = |v4: &str, v6: &str, local: &str| EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: v4.to_owned(),
                ipv6_address: v6.to_owned(),
                link_local_ips: vec![local.to_owned()],
            }),
            ..EndpointSettings::default()
        };
        assert!(check("own", &with("10.0.0.1", "fd00::1", "169.254.8.8")).is_ok());
        assert!(check("bridge", &with("10.0.0.1", "", "")).is_err());
        assert!(check("own", &with("fd00::1", "", "")).is_err());
        assert!(check("own", &with("", "10.0.0.1", "")).is_err());
        assert!(check("own", &with("", "", "x")).is_err());
    }
}
