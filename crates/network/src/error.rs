//! What can go wrong, a variant a step.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::cidr::Cidr;
use crate::model::Protocol;

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an [`Error`] is; the API turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing (404).
    NotFound,
    /// It is in the way of something that exists (409).
    Conflict,
    /// The request makes no sense (400).
    Invalid,
    /// The request is understood and refused (403).
    Forbidden,
    /// The host refuses, or runs out of something (500).
    Host,
}

/// An error of this crate. Texts that Docker's clients look into are Docker's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No network has this id or name.
    #[error("network {0} not found")]
    NetworkNotFound(String),
    /// More than one network's id begins so.
    #[error("network {0} is ambiguous: more than one network's id begins like that")]
    NetworkAmbiguous(String),
    /// The name is taken.
    #[error("network with name {0} already exists")]
    NameTaken(String),
    /// The name is empty or not one.
    #[error(
        "invalid network name {0:?}: it begins with a letter or digit and goes on with those, '_', '.' and '-'"
    )]
    InvalidName(String),
    /// One of the three that always exist.
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    /// A network of the `host` or `null` driver.
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(&'static str),
    /// The daemon was told to go without a default bridge.
    #[error("this daemon has no default bridge network; choose another with --network")]
    NoDefaultBridge,
    /// Containers cannot be plugged into `host` or `null`.
    #[error("network {0} is not a bridge: a container gets no endpoint there")]
    NotPluggable(String),
    /// Another network has the bridge.
    #[error("network {other} has the bridge {bridge} already")]
    BridgeTaken {
        /// Link name.
        bridge: String,
        /// Name of the network that has it.
        other: String,
    },
    /// Still in use.
    #[error("error while removing network: network {name} id {id} has active endpoints")]
    HasEndpoints {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// No such driver.
    #[error(
        "could not find plugin {0} in v1 plugin registry: this engine has the network drivers bridge, host and null"
    )]
    UnknownDriver(String),
    /// An option's value makes no sense.
    #[error("invalid value {value:?} of network option {option}: {why}")]
    InvalidOption {
        /// Name of the option.
        option: String,
        /// Its value.
        value: String,
        /// What it should be.
        why: &'static str,
    },
    /// The subnet is in use by another network.
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: {subnet} is taken by network {other}"
    )]
    Overlap {
        /// The subnet that was asked for.
        subnet: Cidr,
        /// The network that has it.
        other: String,
    },
    /// The subnet has no room for a gateway and a container, or its parts do not fit.
    #[error("invalid subnet {subnet}: {why}")]
    InvalidSubnet {
        /// The subnet.
        subnet: Cidr,
        /// What is wrong.
        why: String,
    },
    /// Every block of every pool is taken by a network or a route.
    #[error(
        "all predefined address pools have been fully subnetted: give the network a --subnet, or the daemon more default-address-pools"
    )]
    PoolsExhausted,
    /// No address is left.
    #[error("no available {family} addresses on this network's address pools: {name}")]
    AddressesExhausted {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The network.
        name: String,
    },
    /// Another container, the gateway or an auxiliary address has it.
    #[error("Address already in use: {0}")]
    AddressTaken(IpAddr),
    /// The address is not of the network.
    #[error("invalid address {0}: it does not belong to any of this network's subnets")]
    AddressOutside(IpAddr),
    /// `--ip` on the default bridge.
    #[error("user specified IP address is supported on user defined networks only")]
    AddressOnDefaultBridge,
    /// A link name that the kernel would refuse.
    #[error("invalid interface name {0:?}: 1 to 15 characters, no '/', ':' or white space")]
    InvalidInterface(String),
    /// The container is on that network already.
    #[error("endpoint of container {container} already exists in network {network}")]
    EndpointExists {
        /// Id of the container.
        container: String,
        /// Name of the network.
        network: String,
    },
    /// No such endpoint, or released already.
    #[error("endpoint {0} not found")]
    EndpointNotFound(String),
    /// Another container has the port.
    #[error("Bind for {0} failed: port is already allocated")]
    PortAllocated(SocketAddr),
    /// Somebody else on the host has the port, or the address is not the host's.
    #[error("failed to bind host port {address}/{protocol}: {}", plain(.source))]
    PortBind {
        /// Host address and port.
        address: SocketAddr,
        /// Protocol.
        protocol: Protocol,
        /// What bind said.
        #[source]
        source: io::Error,
    },
    /// Nothing free in the range.
    #[error("all ports are allocated: no free {protocol} port on {ip} from {first} to {last}")]
    PortsExhausted {
        /// Host address.
        ip: IpAddr,
        /// Protocol.
        protocol: Protocol,
        /// First of the range.
        first: u16,
        /// Last of the range.
        last: u16,
    },
    /// A port of 0, or a range that ends before it begins.
    #[error("invalid port: container port {container}, host ports {first} to {last}")]
    InvalidPort {
        /// Container port.
        container: u16,
        /// First of the range.
        first: u16,
        /// Last of the range.
        last: u16,
    },
    /// An IPv6 address is to be published of a container without IPv6.
    #[error("cannot publish on {0}: the container has no address of that family on its network")]
    NoAddressToPublish(IpAddr),
    /// Ports were asked for on an internal network or with the firewall off.
    #[error("cannot publish ports: {0}")]
    CannotPublish(&'static str),
    /// There is no `nft`.
    #[error(
        "publishing ports and reaching out of bridge networks needs the nft command, which is not in $PATH, and iptables does not do instead: install it (on Debian: apt-get install nftables)"
    )]
    NftMissing,
    /// `nft` could not be run.
    #[error("running nft: {0}")]
    NftRun(#[source] io::Error),
    /// `nft` refused.
    #[error("nft refused the rules: {0}")]
    NftRefused(String),
    /// Flows of earlier owners of a port could not be forgotten.
    #[error("forgetting tracked connections to published ports: {0}")]
    Conntrack(#[source] io::Error),
    /// A kernel setting could not be written.
    #[error("writing {value} to {path}: {source}")]
    Sysctl {
        /// The file.
        path: String,
        /// What should be in it.
        value: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A network namespace could not be made or entered.
    #[error("{step}: {source}")]
    Namespace {
        /// What was being done.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something about a link, an address or a route.
    #[error("{step} {link}: {source}")]
    Link {
        /// What was being done.
        step: &'static str,
        /// Name of the link.
        link: String,
        /// Why not.
        #[source]
        source: sys::netlink::Error,
    },
    /// A link of that name exists and is no bridge.
    #[error("{0} exists on this host and is not a bridge: choose another name")]
    NotABridge(String),
    /// Whoever remembers the networks could not.
    #[error("{0}")]
    NotKept(String),
    /// Several steps of a removal failed; the others were done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        use Error as E;
        match self {
            E::NetworkNotFound(_) | E::EndpointNotFound(_) | E::UnknownDriver(_) => Kind::NotFound,
            E::NameTaken(_) => Kind::Conflict,
            E::Predefined(_)
            | E::HasEndpoints { .. }
            | E::OnlyOne(_)
            | E::EndpointExists { .. }
            | E::Overlap { .. }
            | E::BridgeTaken { .. }
            | E::AddressTaken(_) => Kind::Forbidden,
            E::NetworkAmbiguous(_)
            | E::InvalidName(_)
            | E::InvalidOption { .. }
            | E::InvalidSubnet { .. }
            | E::AddressOutside(_)
            | E::AddressOnDefaultBridge
            | E::InvalidInterface(_)
            | E::InvalidPort { .. }
            | E::NoAddressToPublish(_)
            | E::CannotPublish(_)
            | E::NoDefaultBridge
            | E::NotPluggable(_) => Kind::Invalid,
            _ => Kind::Host,
        }
    }

    /// One error of several, or that one.
    pub(crate) fn all(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }
}

/// The system's text without Rust's "(os error N)", and lower case as Go's clients expect it.
fn plain(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
