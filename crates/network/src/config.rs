//! What the daemon's configuration says about networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cidr::Cidr;

/// A block of private addresses that networks without a subnet of their own are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The whole block.
    pub base: Cidr,
    /// Prefix length of each network cut from it.
    pub size: u8,
}

/// Settings of [`crate::Networks`]. [`Config::default`] is what a daemon without options uses.
#[derive(Debug, Clone)]
pub struct Config {
    /// Link name of the default bridge; `None`: there is no default bridge (dockerd's
    /// `--bridge=none`). Two daemons on a host need different names.
    pub bridge: Option<String>,
    /// Name of our nftables table (family `inet`). Two daemons on a host need different names.
    pub table: String,
    /// Where subnets come from (dockerd's `default-address-pools`), tried in order.
    pub pools: Vec<Pool>,
    /// Address and prefix of the default bridge (`--bip`); `None`: the first pool that is free.
    pub bip: Option<Cidr>,
    /// Part of the default bridge's subnet that containers get addresses from (`--fixed-cidr`).
    pub fixed_cidr: Option<Cidr>,
    /// IPv6 subnet of the default bridge (`--fixed-cidr-v6`); `None`: no IPv6 there.
    pub fixed_cidr_v6: Option<Cidr>,
    /// MTU of the default bridge and of networks that do not say (`--mtu`).
    pub mtu: u32,
    /// Turn on forwarding in the kernel (`--ip-forward`).
    pub ip_forward: bool,
    /// Masquerade what leaves a bridge for elsewhere (`--ip-masq`).
    pub ip_masq: bool,
    /// Whether to have firewall rules at all (`--iptables`). Without them nothing can be
    /// published and nothing is masqueraded.
    pub firewall: bool,
    /// Containers of the default bridge may talk to each other (`--icc`).
    pub icc: bool,
    /// Containers of networks that do not say may use addresses that are not theirs.
    pub spoofing: bool,
    /// Containers of networks that do not say may ask for the machine's metadata.
    pub metadata: bool,
    /// On networks that do not say, the gateway's address stands for the host's 127.0.0.1.
    pub host_loopback: bool,
    /// On networks that do not say, containers reach each other past the bridge, where the kernel
    /// can.
    pub direct: bool,
    /// Host address of published ports that name none (`--ip`).
    pub default_host_ip: IpAddr,
    /// What `host-gateway` stands for; `None`: the default bridge's gateway.
    pub host_gateway: Option<IpAddr>,
    /// Namespaces with their links kept ready for the next start.
    pub warm: usize,
    /// The most that are kept ready after a burst of starts that found none ready.
    pub warm_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bridge: Some("isopod0".to_owned()),
            table: "isopod".to_owned(),
            pools: default_pools(),
            bip: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            mtu: 1500,
            ip_forward: true,
            ip_masq: true,
            firewall: true,
            icc: true,
            spoofing: false,
            metadata: false,
            host_loopback: false,
            direct: true,
            default_host_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host_gateway: None,
            warm: 4,
            warm_max: 32,
        }
    }
}

/// dockerd's pools, 31 networks, and one more of 16,384 so that nobody runs out of them.
///
/// The last one is far from what home routers and cloud networks hand out, and like every pool
/// it is skipped block by block where the host has a route.
pub fn default_pools() -> Vec<Pool> {
    vec![
        Pool { base: Cidr::v4(172, 17, 0, 0, 16), size: 16 },
        Pool { base: Cidr::v4(172, 18, 0, 0, 16), size: 16 },
        Pool { base: Cidr::v4(172, 19, 0, 0, 16), size: 16 },
        Pool { base: Cidr::v4(172, 20, 0, 0, 14), size: 16 },
        Pool { base: Cidr::v4(172, 24, 0, 0, 14), size: 16 },
        Pool { base: Cidr::v4(172, 28, 0, 0, 14), size: 16 },
        Pool { base: Cidr::v4(192, 168, 0, 0, 16), size: 20 },
        Pool { base: Cidr::v4(10, 192, 0, 0, 10), size: 24 },
    ]
}

/// The pool of IPv6 networks of a daemon whose configuration has none: a unique local /48 (RFC
/// 4193) that follows from the daemon's id, so that the networks of two hosts are not the same.
pub fn unique_local_pool(id: &str) -> Pool {
    // FNV-1a: any function will do that spreads ids and is the same tomorrow.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    let addr = Ipv6Addr::new(
        u16::from_be_bytes([0xfd, a]),
        u16::from_be_bytes([b, c]),
        u16::from_be_bytes([d, e]),
        0,
        0,
        0,
        0,
        0,
    );
    Pool { base: Cidr::v6(addr, 48), size: 64 }
}
