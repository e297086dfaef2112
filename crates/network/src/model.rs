//! Networks, endpoints and ports as plain values, which the engine keeps in its database.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;

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
}

impl Driver {
    /// The name that the API shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }
}

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetSpec {
    /// `None`: from the pools.
    pub subnet: Option<Cidr>,
    /// `--ip-range`.
    pub range: Option<Cidr>,
    /// `None`: the subnet's first address.
    pub gateway: Option<IpAddr>,
    /// `--aux-address`.
    pub aux: BTreeMap<String, IpAddr>,
}

/// What a user asks for with `network create`.
#[derive(Debug, Clone, Default)]
pub struct NetworkSpec {
    /// Unique among networks.
    pub name: String,
    /// Driver's name; empty or `default`: `bridge`.
    pub driver: String,
    /// No way out, no way in.
    pub internal: bool,
    /// Kept and shown; without a swarm it changes nothing.
    pub attachable: bool,
    /// Have IPv6 too.
    pub ipv6: bool,
    /// Subnets; empty: one from the pools.
    pub subnets: Vec<SubnetSpec>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Options of the address management, kept and shown.
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
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
    /// Link name of the bridge; empty for `host` and `null`.
    pub bridge: String,
    /// No way out, no way in.
    pub internal: bool,
    /// Kept and shown.
    pub attachable: bool,
    /// Whether it has an IPv6 subnet.
    pub ipv6: bool,
    /// MTU of its links, bytes.
    pub mtu: u32,
    /// At most one of each family is used for containers.
    pub subnets: Vec<Subnet>,
    /// Options of the driver, as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Options of the address management, as given.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
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

    /// The first subnet of a family.
    pub fn subnet(&self, v4: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.subnet.is_v4() == v4)
    }
}

/// Transport protocols that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name that the API and nftables use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The number in the header of a packet.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(s: &str) -> Result<Protocol, UnknownProtocol> {
        match s.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(UnknownProtocol(s.to_owned())),
        }
    }
}

/// Not tcp, udp or sctp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid proto: {0}")]
pub struct UnknownProtocol(pub String);

/// Which host port a container's port shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// Any free one of the kernel's ephemeral range.
    Any,
    /// The first free one from the first to the last, both included. One port: both equal.
    Within(u16, u16),
}

/// A port to publish, or some that follow one another on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest {
    /// Protocol on both sides.
    pub protocol: Protocol,
    /// Port inside the container, the first of them.
    pub container_port: u16,
    /// How many; more than one only where the host's port is a certain one.
    pub count: u16,
    /// Address on the host; `None`: the configured default, and `[::]` too where the container
    /// has IPv6 and the default is `0.0.0.0`.
    pub host_ip: Option<IpAddr>,
    /// Port on the host, the first of them.
    pub host_port: HostPort,
}

/// Ports of the host that are taken for a container: one, or some that follow one another on both
/// sides. A range of ten thousand is one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BoundPort {
    /// Protocol on both sides.
    pub protocol: Protocol,
    /// Address on the host; unspecified: every one of its family.
    pub host_ip: IpAddr,
    /// Port on the host, the first of them.
    pub host_port: u16,
    /// Port inside the container, the first of them.
    pub container_port: u16,
    /// How many.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
}

impl BoundPort {
    /// The ports of the host.
    pub fn host_ports(&self) -> RangeInclusive<u16> {
        self.host_port..=self.host_port.saturating_add(self.count.saturating_sub(1))
    }

    /// Each of them for itself.
    pub fn each(self) -> impl Iterator<Item = BoundPort> {
        (0..self.count).map(move |n| BoundPort {
            host_port: self.host_port.saturating_add(n),
            container_port: self.container_port.saturating_add(n),
            count: 1,
            ..self
        })
    }
}

fn one() -> u16 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &u16) -> bool {
    *count == 1
}

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not a unicast link-layer address of six bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address: {0}")]
pub struct MacError(pub String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(s: &str) -> Result<Mac, MacError> {
        let bad = || MacError(s.to_owned());
        let mut bytes = [0u8; 6];
        let mut parts = s.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        // The kernel refuses multicast and all-zero addresses with EADDRNOTAVAIL.
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(bad());
        }
        Ok(Mac(bytes))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Mac, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
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
    /// Whether the default route goes through this network. A container on several networks has
    /// it on one.
    pub default_route: bool,
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
    /// Whether the default route goes through this endpoint.
    pub default_route: bool,
    /// Ports that are taken for it.
    #[serde(default)]
    pub ports: Vec<BoundPort>,
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
