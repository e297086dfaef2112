//! The drivers of networks, and what those are told that stand on a link of the host.

use serde::{Deserialize, Serialize};
use sys::netlink::{Among, IpVlanMode, MacVlanMode, Sharing};

use crate::error::{Error, Result};
use crate::options::{self, Options};

/// How a network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on this host.
    Bridge,
    /// The host's own network namespace.
    Host,
    /// A namespace with nothing but a loopback link.
    Null,
    /// Links on a parent, each with a link-layer address of its own.
    Macvlan,
    /// Links on a parent that share its link-layer address.
    Ipvlan,
}

impl Driver {
    /// The name that the API shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Host => "host",
            Driver::Null => "null",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
        }
    }

    /// The driver that a user names; the usual one for an empty name.
    pub(crate) fn named(name: &str) -> Result<Driver> {
        match name {
            "" | "default" | "bridge" => Ok(Driver::Bridge),
            "macvlan" => Ok(Driver::Macvlan),
            "ipvlan" => Ok(Driver::Ipvlan),
            "host" => Err(Error::OnlyOne("host")),
            "null" => Err(Error::OnlyOne("null")),
            other => Err(Error::UnknownDriver(other.to_owned())),
        }
    }

    /// Whether its links stand on a parent.
    pub const fn is_stacked(self) -> bool {
        matches!(self, Driver::Macvlan | Driver::Ipvlan)
    }

    /// Whether containers get endpoints from it.
    pub const fn has_endpoints(self) -> bool {
        matches!(self, Driver::Bridge | Driver::Macvlan | Driver::Ipvlan)
    }

    /// What links that lead nowhere are called, as in Docker: `dm-` or `di-` and the id's
    /// beginning.
    pub(crate) fn blank_parent(self, id: &str) -> String {
        let prefix = if self == Driver::Ipvlan { "di" } else { "dm" };
        format!("{prefix}-{}", id.get(..12).unwrap_or(id))
    }
}

/// How a network's links share their parent; `None` for drivers without one.
pub(crate) fn sharing(driver: Driver, options: &Options) -> Result<Option<Sharing>> {
    let option = |name: &str| options.get(name).map_or("", String::as_str);
    match driver {
        Driver::Macvlan => macvlan(option(options::MACVLAN_MODE)).map(Some),
        Driver::Ipvlan => {
            ipvlan(option(options::IPVLAN_MODE), option(options::IPVLAN_FLAG)).map(Some)
        }
        _ => Ok(None),
    }
}

fn macvlan(mode: &str) -> Result<Sharing> {
    let mode = match mode {
        "" | "bridge" => MacVlanMode::Bridge,
        "private" => MacVlanMode::Private,
        "vepa" => MacVlanMode::Vepa,
        "passthru" => MacVlanMode::Passthrough,
        other => {
            return Err(Error::UnknownMode {
                driver: "macvlan",
                mode: other.to_owned(),
                default: "bridge",
            });
        }
    };
    Ok(Sharing::Macvlan(mode))
}

fn ipvlan(mode: &str, flag: &str) -> Result<Sharing> {
    let mode = match mode {
        "" | "l2" => IpVlanMode::L2,
        "l3" => IpVlanMode::L3,
        "l3s" => IpVlanMode::L3S,
        other => {
            return Err(Error::UnknownMode {
                driver: "ipvlan",
                mode: other.to_owned(),
                default: "l2",
            });
        }
    };
    let among = match flag {
        "" | "bridge" => Among::Bridge,
        "private" => Among::Private,
        "vepa" => Among::Vepa,
        other => {
            return Err(Error::InvalidOption {
                option: options::IPVLAN_FLAG.to_owned(),
                value: other.to_owned(),
                why: "it is bridge, private or vepa",
            });
        }
    };
    Ok(Sharing::Ipvlan(mode, among))
}

/// Whether everything is reached over the link without a gateway: ipvlan above layer 2 has no
/// neighbours to be asked.
pub(crate) fn is_on_link(driver: Driver, options: &Options) -> bool {
    driver == Driver::Ipvlan
        && options.get(options::IPVLAN_MODE).is_some_and(|mode| mode.starts_with("l3"))
}

/// Whether a network has its parent for itself.
pub(crate) fn is_alone(driver: Driver, options: &Options) -> bool {
    driver == Driver::Macvlan
        && options.get(options::MACVLAN_MODE).is_some_and(|mode| mode == "passthru")
}

/// The link and the VLAN of a sub-interface's name, `eth0.10`.
pub(crate) fn sub_interface(name: &str) -> Result<(&str, u16)> {
    let wrong = || Error::SubInterface(name.to_owned());
    let (parent, id) = name.rsplit_once('.').ok_or_else(wrong)?;
    match id.parse() {
        Ok(id @ 1..=4094) if !parent.is_empty() => Ok((parent, id)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn modes_are_read() {
        let of = |driver, pairs: &[(&str, &str)]| sharing(driver, &options(pairs));
        assert_eq!(of(Driver::Macvlan, &[]).unwrap(), Some(Sharing::Macvlan(MacVlanMode::Bridge)));
        assert_eq!(
            of(Driver::Macvlan, &[("macvlan_mode", "passthru")]).unwrap(),
            Some(Sharing::Macvlan(MacVlanMode::Passthrough))
        );
        assert_eq!(
            of(Driver::Ipvlan, &[("ipvlan_mode", "l3s"), ("ipvlan_flag", "vepa")]).unwrap(),
            Some(Sharing::Ipvlan(IpVlanMode::L3S, Among::Vepa))
        );
        assert_eq!(of(Driver::Bridge, &[]).unwrap(), None);
        let error = of(Driver::Ipvlan, &[("ipvlan_mode", "l4")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default"
        );
        assert!(of(Driver::Ipvlan, &[("ipvlan_flag", "x")]).is_err());
    }

    #[test]
    fn layer_three_has_no_gateway_and_passthru_no_neighbours() {
        assert!(is_on_link(Driver::Ipvlan, &options(&[("ipvlan_mode", "l3s")])));
        assert!(!is_on_link(Driver::Ipvlan, &options(&[("ipvlan_mode", "l2")])));
        assert!(!is_on_link(Driver::Macvlan, &options(&[("ipvlan_mode", "l3")])));
        assert!(is_alone(Driver::Macvlan, &options(&[("macvlan_mode", "passthru")])));
        assert!(!is_alone(Driver::Macvlan, &options(&[])));
    }

    #[test]
    fn sub_interfaces_have_a_link_and_a_number() {
        assert_eq!(sub_interface("eth0.10").unwrap(), ("eth0", 10));
        assert_eq!(sub_interface("a.b.4094").unwrap(), ("a.b", 4094));
        for bad in ["eth0", "eth0.", "eth0.0", "eth0.4095", ".7", "eth0.x"] {
            assert!(sub_interface(bad).is_err(), "{bad}");
        }
    }
}
