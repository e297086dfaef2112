//! Networks of containers: bridges, address management, the warm pool of network namespaces,
//! published ports and the text of `hosts` and `resolv.conf`.
//!
//! It owns a bridge for each network, the veth pairs on them and one nftables table. It knows
//! nothing of images, processes or the API: a container is an id and a namespace's file
//! descriptor. It stores nothing: [`Network`] and [`Endpoint`] are plain values that the engine
//! keeps in its database and passes to [`Networks::open`] when the daemon starts again.
//!
//! The start of a container, in order:
//!
//! ```text
//! reserve(Attach)      addresses, host ports (bound: a conflict is found here)      in memory
//! sandbox()            a network namespace with its veth, ready made                in memory
//! plug(endpoint, sandbox)   bridge port, MAC, address, route                       ~0.5 ms
//! publish(endpoint)    only with ports: one nft transaction                          ~5 ms
//! sandbox.into_fd()    goes to the monitor, with the sockets of `reserve`
//!    …
//! release(endpoint)    ports, addresses, and later the link if it is still there
//! ```
//!
//! All functions block and may be called from any thread of the host's namespace. `reserve`,
//! `sandbox` (while some are ready) and `plug` take well under a millisecond; `publish`, `release`
//! of ports, and everything about whole networks wait for `nft` or the kernel.
//!
//! What it does not do:
//! - A container without IPv6 is not published on `[::]`: that takes a process between the two.
//! - A container with IPv6 is not reached by `[::1]` of the host where br_netfilter is on for IPv6.
//! - Other firewalls on the host are left alone. One that drops forwarded packets by default
//!   (dockerd's, ufw's, firewalld's) has to be told to let the bridges through.

mod addresses;
mod bridge;
mod cidr;
mod config;
mod departed;
mod direct;
mod driver;
mod error;
mod firewall;
mod hosts;
mod mac;
mod model;
mod names;
mod networks;
mod options;
mod parent;
mod plan;
mod pools;
mod ports;
mod random;
mod reach;
mod resolv;
mod stacked;
mod sysctl;
mod warm;

pub use cidr::{Cidr, CidrError};
pub use config::{Config, Pool, default_pools, unique_local_pool};
pub use error::{Error, Kind, Result};
pub use hosts::{HostEntry, HostsError, extra_host, hosts_file, own_entry};
pub use model::{
    Attach, BoundPort, DEFAULT_NETWORK, Driver, Endpoint, HostPort, Mac, MacError, Network,
    NetworkSpec, PortRequest, Protocol, Reserved, Subnet, SubnetSpec, UnknownProtocol,
};
pub use names::{Asks, NameSockets, name_sockets};
pub use networks::{Networks, Removed, Republished, Sandbox, Saved, next_interface};
pub use options::is_link_name;
pub use ports::{HELD_PORTS, join};
pub use resolv::{
    ResolvOptions, host_name_servers, host_resolv_conf, name_servers, own_resolv_conf, resolv_conf,
};
