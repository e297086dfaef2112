//! From what a user asks for to a network: checks and choices, nothing is done.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::cidr::Cidr;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::{DEFAULT_NETWORK, Driver, Network, NetworkSpec, Subnet, SubnetSpec};
use crate::{options, pools};

/// What a plan depends on.
pub(crate) struct Given<'a> {
    pub(crate) config: &'a Config,
    /// The networks there are.
    pub(crate) networks: &'a [&'a Network],
    /// What the host reaches by other ways: its routes and name servers.
    pub(crate) routed: &'a [Cidr],
}

/// A network for a spec, with the given id and time.
pub(crate) fn network(
    spec: &NetworkSpec,
    given: &Given<'_>,
    id: String,
    created: u64,
) -> Result<Network> {
    check_name(&spec.name)?;
    match spec.driver.as_str() {
        "" | "default" | "bridge" => {}
        "host" => return Err(Error::OnlyOne("host")),
        "null" => return Err(Error::OnlyOne("null")),
        other => return Err(Error::UnknownDriver(other.to_owned())),
    }
    if given.networks.iter().any(|n| n.name == spec.name) {
        return Err(Error::NameTaken(spec.name.clone()));
    }
    options::check(&spec.options)?;
    let bridge = match spec.options.get(options::BRIDGE_NAME) {
        Some(name) => name.clone(),
        None => format!("br-{}", id.get(..12).unwrap_or(&id)),
    };
    if let Some(other) = given.networks.iter().find(|n| n.bridge == bridge) {
        return Err(Error::BridgeTaken { bridge, other: other.name.clone() });
    }
    let subnets = subnets(spec, given, &id)?;
    Ok(Network {
        name: spec.name.clone(),
        created,
        driver: Driver::Bridge,
        bridge,
        internal: spec.internal,
        attachable: spec.attachable,
        ipv6: subnets.iter().any(|s| !s.subnet.is_v4()),
        mtu: options::mtu(&spec.options)?.unwrap_or(given.config.mtu),
        subnets,
        options: spec.options.clone(),
        ipam_options: spec.ipam_options.clone(),
        labels: spec.labels.clone(),
        id,
    })
}

/// As dockerd has it: a letter or digit, then those, `_`, `.` and `-`.
fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good { Ok(()) } else { Err(Error::InvalidName(name.to_owned())) }
}

fn subnets(spec: &NetworkSpec, given: &Given<'_>, id: &str) -> Result<Vec<Subnet>> {
    let mut all: Vec<Subnet> = Vec::new();
    for asked in &spec.subnets {
        let subnet = match asked.subnet {
            Some(subnet) => subnet.network(),
            None => from_pools(given)?,
        };
        if let Some(other) =
            given.networks.iter().find(|n| n.subnets.iter().any(|s| s.subnet.overlaps(&subnet)))
        {
            return Err(Error::Overlap { subnet, other: other.name.clone() });
        }
        if all.iter().any(|s| s.subnet.is_v4() == subnet.is_v4()) {
            let why = "a bridge network has one subnet of IPv4 and one of IPv6 at most".to_owned();
            return Err(Error::InvalidSubnet { subnet, why });
        }
        all.push(self::subnet(subnet, asked)?);
    }
    if !all.iter().any(|s| s.subnet.is_v4()) {
        all.insert(0, subnet(from_pools(given)?, &SubnetSpec::default())?);
    }
    if spec.ipv6 && all.iter().all(|s| s.subnet.is_v4()) {
        let chosen = pools::choose(&given.config.pools, false, &taken(given));
        let subnet = chosen.unwrap_or_else(|| unique_local(id));
        all.push(self::subnet(subnet, &SubnetSpec::default())?);
    }
    Ok(all)
}

fn taken(given: &Given<'_>) -> Vec<Cidr> {
    let own = given.networks.iter().flat_map(|n| n.subnets.iter().map(|s| s.subnet));
    own.chain(given.routed.iter().copied()).collect()
}

fn from_pools(given: &Given<'_>) -> Result<Cidr> {
    pools::choose(&given.config.pools, true, &taken(given)).ok_or(Error::PoolsExhausted)
}

/// A unique local /64 (RFC 4193) whose 40 random bits are those of the network's id.
fn unique_local(id: &str) -> Cidr {
    let bits = id.get(..10).and_then(|h| u128::from_str_radix(h, 16).ok()).unwrap_or(0);
    let addr = Ipv6Addr::from((0xfd << 120) | (bits << 80));
    Cidr::new(IpAddr::V6(addr), 64).unwrap_or(Cidr::v4(0, 0, 0, 0, 0))
}

/// One subnet, its parts checked against it.
pub(crate) fn subnet(subnet: Cidr, asked: &SubnetSpec) -> Result<Subnet> {
    let bad = |why: String| Error::InvalidSubnet { subnet, why };
    if subnet.prefix() == subnet.bits() || subnet.prefix() == 0 {
        return Err(bad("it has no room for a gateway and a container".to_owned()));
    }
    if let Some(range) = asked.range.filter(|r| !subnet.covers(r)) {
        return Err(bad(format!("the range {range} is not within it")));
    }
    let first = u128::from(subnet.bits() - subnet.prefix() > 1);
    let gateway = asked.gateway.or_else(|| subnet.nth(first)).unwrap_or(subnet.addr());
    for addr in std::iter::once(&gateway).chain(asked.aux.values()) {
        if !subnet.contains(*addr) {
            return Err(bad(format!("{addr} is not within it")));
        }
    }
    Ok(Subnet { subnet, range: asked.range.map(|r| r.network()), gateway, aux: asked.aux.clone() })
}

/// The default bridge: what is configured, else what its link has, else what it had, else the
/// first pool that is free. With `keep` what it had wins: containers live with it.
pub(crate) fn default_bridge(
    given: &Given<'_>,
    saved: Option<&Network>,
    on_link: Option<Cidr>,
    keep: bool,
    id: String,
    created: u64,
) -> Result<Option<Network>> {
    let config = given.config;
    let Some(bridge) = &config.bridge else { return Ok(None) };
    if !options::is_link_name(bridge) {
        return Err(Error::InvalidInterface(bridge.clone()));
    }
    let before = saved.and_then(|n| n.subnet(true));
    let fits = |s: &&Subnet| !taken(given).iter().any(|t| t.overlaps(&s.subnet));
    let (cidr, gateway) = match (config.bip.or(on_link), before) {
        (_, Some(s)) if keep => (s.subnet, s.gateway),
        (Some(bip), _) => (bip.network(), bip.addr()),
        (None, Some(s)) if fits(&s) => (s.subnet, s.gateway),
        (None, _) => {
            let cidr = from_pools(given)?;
            (cidr, cidr.nth(1).unwrap_or(cidr.addr()))
        }
    };
    let asked = SubnetSpec {
        range: config.fixed_cidr.filter(|r| !keep || cidr.covers(r)),
        gateway: Some(gateway),
        ..SubnetSpec::default()
    };
    let mut subnets = vec![subnet(cidr, &asked)?];
    if let Some(v6) = config.fixed_cidr_v6 {
        subnets.push(subnet(v6.network(), &SubnetSpec::default())?);
    }
    let options = BTreeMap::from(
        [
            (options::DEFAULT_BRIDGE, "true".to_owned()),
            (options::ICC, config.icc.to_string()),
            (options::MASQUERADE, config.ip_masq.to_string()),
            (options::HOST_IP, config.default_host_ip.to_string()),
            (options::BRIDGE_NAME, bridge.clone()),
            (options::MTU, config.mtu.to_string()),
        ]
        .map(|(k, v)| (k.to_owned(), v)),
    );
    Ok(Some(Network {
        id: saved.map_or(id, |n| n.id.clone()),
        name: DEFAULT_NETWORK.to_owned(),
        created: saved.map_or(created, |n| n.created),
        driver: Driver::Bridge,
        bridge: bridge.clone(),
        internal: false,
        attachable: false,
        ipv6: subnets.len() > 1,
        mtu: config.mtu,
        subnets,
        options,
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }))
}

/// `host` and `none`.
pub(crate) fn without_bridge(name: &str, driver: Driver, id: String, created: u64) -> Network {
    Network {
        id,
        name: name.to_owned(),
        created,
        driver,
        bridge: String::new(),
        internal: false,
        attachable: false,
        ipv6: false,
        mtu: 0,
        subnets: Vec::new(),
        options: BTreeMap::new(),
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests;
