//! Networks, endpoints and ports as plain values, which the engine keeps in its database.

mod port;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
pub use crate::driver::Driver;
pub use crate::mac::{Mac, MacError};
pub use port::{BoundPort, HostPort, PortRequest, Protocol, UnknownProtocol};

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet, host bits clear.
    pub subnet: Cidr,
    /// The part that addresses are taken from when a container asks for none.
    pub range: Option<Cidr>,
    /// The bridge's address in it, which is the containers' gateway.
    pub gateway: IpAddr,
    /// Addresses that no container gets, by name.
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
}

/// What a user asks for with `network create --subnet …`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetSpec {
    /// `None`: from the pools.
    pub subnet: Option<Cidr>,
    /// `--ip-range`.
    pub range: Option<Cidr>,
    /// `None`: the subnet's first address.
    pub gateway: Option<IpAddr>,
    /// `--aux-address`.
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
}

/// What a user asks for with `network create`.
#[derive(Debug, Clone)]
pub struct NetworkSpec {
    /// Unique among networks.
    pub name: String,
    /// Driver's name; empty or `default`: `bridge`.
    pub driver: String,
    /// No way out, no way in.
    pub internal: bool,
    /// Kept and shown; without a swarm it changes nothing.
    pub attachable: bool,
    /// Have IPv4.
    pub ipv4: bool,
    /// Have IPv6 too.
    pub ipv6: bool,
    /// Subnets; empty: one from the pools.
    pub subnets: Vec<SubnetSpec>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Driver of the address management: empty or `default`, or `null` for none.
    pub ipam_driver: String,
    /// Options of the address management, kept and shown.
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Keep it as a configuration that others are made from.
    pub config_only: bool,
    /// Name of the network to take the configuration from; empty: of none.
    pub config_from: String,
}

impl Default for NetworkSpec {
    fn default() -> NetworkSpec {
        NetworkSpec {
            name: String::new(),
            driver: String::new(),
            internal: false,
            attachable: false,
            ipv4: true,
            ipv6: false,
            subnets: Vec::new(),
            options: BTreeMap::new(),
            ipam_driver: String::new(),
            ipam_options: BTreeMap::new(),
            labels: BTreeMap::new(),
            config_only: false,
            config_from: String::new(),
        }
    }
}

/// A network. The engine stores it and passes it to [`crate::Networks::open`] next time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hex digits.
    pub id: String,
    /// Unique among networks.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub created: u64,
    /// How it is made.
    pub driver: Driver,
    /// Link name of the bridge; empty for other drivers.
    pub bridge: String,
    /// Link of the host that `macvlan` and `ipvlan` stand on.
    #[serde(default)]
    pub parent: String,
    /// The parent was made for this network and goes with it.
    #[serde(default)]
    pub parent_made: bool,
    /// No way out, no way in.
    pub internal: bool,
    /// Kept and shown.
    pub attachable: bool,
    /// Whether it gives IPv4 addresses.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether it has an IPv6 subnet.
    pub ipv6: bool,
    /// MTU of its links, bytes; 0: the parent's.
    pub mtu: u32,
    /// At most one of each family on a bridge.
    pub subnets: Vec<Subnet>,
    /// The subnets that were asked for, as they were. All that there is of a configuration.
    #[serde(default)]
    pub asked: Vec<SubnetSpec>,
    /// Options of the driver, as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Driver of the address management; empty for the usual one.
    #[serde(default)]
    pub ipam_driver: String,
    /// Options of the address management, as given.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A configuration that others are made from; containers cannot join it.
    #[serde(default)]
    pub config_only: bool,
    /// Name of the configuration that it was made from.
    #[serde(default)]
    pub config_from: String,
}

fn yes() -> bool {
    true
}

/// Name of the network that containers join when they ask for none.
pub const DEFAULT_NETWORK: &str = "bridge";

impl Network {
    /// One of the three networks that always exist and cannot be removed.
    pub fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), DEFAULT_NETWORK | "host" | "none")
    }

    /// Whether this is the default bridge.
    pub fn is_default_bridge(&self) -> bool {
        self.name == DEFAULT_NETWORK
    }

    /// Whether containers get endpoints on it.
    pub fn has_endpoints(&self) -> bool {
        self.driver.has_endpoints()
    }

    /// Whether its parent leads nowhere: none was named.
    pub fn has_blank_parent(&self) -> bool {
        self.driver.is_stacked() && self.parent == self.driver.blank_parent(&self.id)
    }

    /// Whether nothing beyond it can be reached.
    pub(crate) fn is_closed(&self) -> bool {
        self.internal || self.has_blank_parent()
    }

    /// Whether a default route of a family can go through it.
    pub fn leads_out(&self, v4: bool) -> bool {
        self.has_endpoints() && !self.is_closed() && self.subnet(v4).is_some()
    }

    /// The first subnet of a family.
    pub fn subnet(&self, v4: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.subnet.is_v4() == v4)
    }
}

/// What a container wants of a network.
#[derive(Debug, Clone, Default)]
pub struct Attach {
    /// Id or name of a `bridge` network.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// `--ip`.
    pub ipv4: Option<IpAddr>,
    /// `--ip6`.
    pub ipv6: Option<IpAddr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// Name of the link inside; `None`: `eth0`. See [`crate::next_interface`].
    pub interface: Option<String>,
    /// Addresses to be given if nobody has them: what the container had before.
    pub preferred: Vec<IpAddr>,
    /// Further addresses of the link, of no meaning to the network.
    pub link_local: Vec<IpAddr>,
    /// Kernel settings for the link: path below `/proc/sys` with `IFNAME` for its name, and value.
    pub sysctls: Vec<(String, String)>,
    /// Whether the default route of IPv4 goes through this network. A container on several
    /// networks has it on one.
    pub default_route: bool,
    /// The same of IPv6.
    pub default_route6: bool,
    /// Ports to publish.
    pub ports: Vec<PortRequest>,
}

/// A container's place on a network. The engine stores it while the container lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hex digits.
    pub id: String,
    /// Id of the network.
    pub network: String,
    /// Id of the container.
    pub container: String,
    /// Address with the subnet's prefix.
    pub ipv4: Option<Cidr>,
    /// Address with the subnet's prefix.
    pub ipv6: Option<Cidr>,
    /// `None` on internal networks.
    pub gateway4: Option<IpAddr>,
    /// `None` on internal networks.
    pub gateway6: Option<IpAddr>,
    /// Link-layer address inside.
    pub mac: Mac,
    /// Name of the link inside.
    pub interface: String,
    /// Name of the link on the host; empty until plugged.
    #[serde(default)]
    pub host_link: String,
    /// Everything is reached over the link, without a gateway.
    #[serde(default)]
    pub on_link: bool,
    /// Whether the default route of IPv4 goes through this endpoint.
    pub default_route: bool,
    /// The same of IPv6.
    #[serde(default)]
    pub default_route6: bool,
    /// Further addresses of the link.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Kernel settings for the link: path below `/proc/sys` with `IFNAME` for its name, and value.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Ports that are taken for it.
    #[serde(default)]
    pub ports: Vec<BoundPort>,
}

impl Endpoint {
    /// Whether a default route of a family can go through it.
    pub fn leads_out(&self, v4: bool) -> bool {
        let (address, gateway) =
            if v4 { (self.ipv4, self.gateway4) } else { (self.ipv6, self.gateway6) };
        gateway.is_some() || (self.on_link && address.is_some())
    }
}

/// An endpoint together with what keeps its host ports taken.
#[derive(Debug)]
pub struct Reserved {
    /// The endpoint; addresses and ports are taken until [`crate::Networks::release`].
    pub endpoint: Endpoint,
    /// Bound sockets, one per port where the kernel has the protocol, which keep other programs
    /// from taking the ports. Whoever lives as long as the container holds them; nobody reads.
    /// Of ranges longer than [`crate::HELD_PORTS`] the rest is checked but not held.
    pub sockets: Vec<OwnedFd>,
}
