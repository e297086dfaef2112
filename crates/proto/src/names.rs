//! What the engine tells the resolver: which containers ask, and what they are told.
//!
//! ```text
//!  engine ──► Put, Watch, Remove, Retain ──► resolver
//!         ◄── Hello, once for each connection ──
//! ```
//!
//! Every message says all there is to say about its container, so that the whole state can be
//! sent again at any time: after the daemon has been started again, or the resolver.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What tells old and new daemons and resolvers apart.
pub const VERSION: u32 = 1;

/// Where a resolver listens for daemons, below the exec root.
pub const SOCKET: &str = "resolver.sock";

/// The address that containers ask at, as Docker's.
pub const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);

/// The longest message, in bytes: a container with some thousand names.
pub const MAX_LEN: usize = 1 << 20;

/// The most descriptors that come with one message.
pub const MAX_FDS: usize = 64;

/// The first thing that a resolver says on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the resolver.
    pub version: u32,
    /// Its process.
    pub pid: i32,
    /// The ids of containers whose sockets it has.
    pub containers: Vec<String>,
}

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A container, in place of what was known of it. The frame carries what
    /// [`Container::descriptors`] counts.
    Put(Box<Container>),
    /// The frame carries a descriptor of a container's process: when that ends, the container is
    /// forgotten, daemon or no daemon.
    Watch {
        /// The container's id.
        id: String,
    },
    /// A container that has ended.
    Remove {
        /// The container's id.
        id: String,
    },
    /// All containers that there are; others are forgotten.
    Retain {
        /// Their ids.
        ids: Vec<String>,
    },
}

/// A container: where it stands and what it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Its places in networks, the most important first.
    pub places: Vec<Place>,
    /// Who is asked for names that no network knows, the first one first.
    pub servers: Vec<Server>,
    /// Whether anybody is: not when it stands in internal networks only.
    pub forwards: bool,
    /// Names without a dot are asked of nobody else: its user has chosen `ndots` so that the
    /// search domains are put behind them.
    pub keeps_short: bool,
    /// What comes along. Without sockets those that came before stay in use.
    pub descriptors: Option<Descriptors>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The network's id.
    pub network: String,
    /// The network's name: `NAME.NETWORK` means this network's container.
    pub network_name: String,
    /// The names that it answers to, the one that stands for it first.
    pub names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Names that it alone has for others: alias, then the name that it stands for.
    pub links: Vec<(String, String)>,
}

/// Somebody who knows the names of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// It is asked from the container's network, not from the host's.
    pub inside: bool,
}

/// Sockets that were made in a container's network namespace: one for datagrams and one that
/// listens, both where the container's questions are led to; then so many unused ones of each
/// kind, to ask servers from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// UDP over IPv4.
    pub udp4: usize,
    /// TCP over IPv4.
    pub tcp4: usize,
    /// UDP over IPv6.
    pub udp6: usize,
    /// TCP over IPv6.
    pub tcp6: usize,
}

impl Descriptors {
    /// How many there are altogether.
    pub fn count(&self) -> usize {
        2 + self.udp4 + self.tcp4 + self.udp6 + self.tcp6
    }
}
