//! Published ports.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
