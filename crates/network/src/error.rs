//! What can go wrong, a variant a step.

mod kind;

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::cidr::Cidr;
use crate::model::Protocol;

pub use kind::Kind;

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

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
        "invalid network name {0:?}: a name is not empty, neither begins nor ends with a blank, and has no '/' and no control characters"
    )]
    InvalidName(String),
    /// One of the three that always exist.
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    /// The name of one of the three that always exist.
    #[error("operation is not permitted on predefined {0} network ")]
    PredefinedName(String),
    /// A network of the `host` or `null` driver.
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(&'static str),
    /// The daemon was told to go without a default bridge.
    #[error("this daemon has no default bridge network; choose another with --network")]
    NoDefaultBridge,
    /// Containers cannot be plugged into `host` or `null`.
    #[error("network {0} has no endpoints: a container is there from its start or not at all")]
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
        "plugin {0:?} not found: this engine has the network drivers bridge, macvlan, ipvlan, host and null"
    )]
    UnknownDriver(String),
    /// No such driver of the address management.
    #[error(
        "plugin {0:?} not found: this engine has the address management drivers default and null"
    )]
    UnknownIpam(String),
    /// A mode that the driver does not have.
    #[error(
        "requested {driver} mode '{mode}' is not valid, '{default}' mode is the {driver} driver default"
    )]
    UnknownMode {
        /// The driver.
        driver: &'static str,
        /// What was asked for.
        mode: String,
        /// What it does unless told otherwise.
        default: &'static str,
    },
    /// A parent that is not there, and whose name is not that of a sub-interface either.
    #[error(
        "invalid subinterface vlan name {0}, example formatting is eth0.10: there is no such link on this host, so it would be a VLAN's"
    )]
    SubInterface(String),
    /// The parent is not there.
    #[error("parent interface was not found: {0}")]
    NoParent(String),
    /// The parent is `lo`.
    #[error("loopback interface is not a valid {0} parent link")]
    LoopbackParent(&'static str),
    /// Two networks on a parent that one of them has for itself.
    #[error(
        "cannot use mode passthru with others: network {network} is already using parent interface {parent}"
    )]
    ParentTaken {
        /// The network that has it.
        network: String,
        /// The parent.
        parent: String,
    },
    /// The kernel was built without the driver's links.
    #[error(
        "this host's kernel has no {driver} links: it needs one with {setting}, or the module {driver}"
    )]
    KernelLacks {
        /// The driver.
        driver: &'static str,
        /// The kernel's setting.
        setting: &'static str,
    },
    /// The kernel was built without VLANs.
    #[error(
        "failed to create {0} vlan link: operation not supported: this host's kernel has no VLANs (CONFIG_VLAN_8021Q, or the module 8021q)"
    )]
    NoVlans(String),
    /// The kernel has no link that leads nowhere.
    #[error(
        "this host's kernel has neither dummy nor ifb links (CONFIG_DUMMY, CONFIG_IFB): name a parent with --opt parent=LINK"
    )]
    NoBlankLinks,
    /// IPv4 and IPv6 are both off.
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    /// The driver gets no subnets of the address management.
    #[error("ipv4 pool is empty: the bridge driver needs the address management driver default")]
    NoPool,
    /// Several subnets of a family on a bridge.
    #[error("bridge driver doesn't support multiple subnets")]
    SeveralSubnets,
    /// A configuration with what is not part of one.
    #[error(
        "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported."
    )]
    ConfigOperator,
    /// A configuration of a configuration.
    #[error("a configuration network cannot depend on another configuration network")]
    ConfigOfConfig,
    /// No such configuration.
    #[error("configuration network {0:?} does not exist")]
    NoConfig(String),
    /// What a configuration says is said once more.
    #[error(
        "user specified configurations are not supported if the network depends on a configuration network"
    )]
    ConfigAndMore,
    /// Networks were made from it.
    #[error("error while removing network: configuration network {0:?} is in use")]
    ConfigInUse(String),
    /// Containers cannot join configurations.
    #[error("cannot join network {0}: it is a configuration that networks are made from")]
    ConfigJoined(String),
    /// A bridge has no port left.
    #[error(
        "network {network} is full: a bridge of the Linux kernel has 1023 ports and each container takes one; spread the containers over several networks"
    )]
    BridgeFull {
        /// Name of the network.
        network: String,
    },
    /// A kernel setting for an endpoint's link that is not one.
    #[error(
        "invalid endpoint sysctl {0:?}: it is net.ipv4.conf.IFNAME.NAME=VALUE or its like, with the word IFNAME in it"
    )]
    InvalidSysctl(String),
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
    /// The direct way to an endpoint could not be taken back.
    #[error("taking back the direct way to a container: {0}")]
    Direct(#[source] io::Error),
    /// A kernel setting could not be written.
    #[error("writing {value} to {path}: {source}")]
    Sysctl {
        /// The file.
        path: String,
        /// What should be in it.
        value: String,
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
