//! From what a user asks for to a network: checks and choices, nothing is done.

use std::collections::BTreeMap;

use crate::cidr::Cidr;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::{DEFAULT_NETWORK, Driver, Network, NetworkSpec, Subnet, SubnetSpec};
use crate::{driver, options, pools};

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
    if given.networks.iter().any(|n| n.name == spec.name) {
        return Err(Error::NameTaken(spec.name.clone()));
    }
    if spec.config_only {
        return configuration(spec, id, created);
    }
    let spec = &filled_in(spec, given)?;
    let driver = Driver::named(&spec.driver)?;
    options::check(&spec.options)?;
    driver::sharing(driver, &spec.options)?;
    let without_addresses = match spec.ipam_driver.as_str() {
        "" | "default" => false,
        "null" if driver.is_stacked() => true,
        "null" => return Err(Error::NoPool),
        other => return Err(Error::UnknownIpam(other.to_owned())),
    };
    let mut network = blank(&spec.name, driver, id, created);
    match driver.is_stacked() {
        true => network.parent = parent(spec, driver, given, &network.id)?,
        false => network.bridge = bridge(spec, given, &network.id)?,
    }
    if !without_addresses {
        network.subnets = subnets(spec, driver, given)?;
    }
    network.ipv4 = spec.ipv4;
    network.ipv6 = network.subnets.iter().any(|s| !s.subnet.is_v4());
    network.mtu = options::mtu(&spec.options)?.unwrap_or(match driver.is_stacked() {
        true => 0,
        false => given.config.mtu,
    });
    Ok(as_said(network, spec))
}

/// Puts what a spec says, and nobody has to choose, into a network.
fn as_said(mut network: Network, spec: &NetworkSpec) -> Network {
    network.internal = spec.internal;
    network.attachable = spec.attachable;
    network.asked.clone_from(&spec.subnets);
    network.options.clone_from(&spec.options);
    if spec.ipam_driver != "default" {
        network.ipam_driver.clone_from(&spec.ipam_driver);
    }
    network.ipam_options.clone_from(&spec.ipam_options);
    network.labels.clone_from(&spec.labels);
    network.config_from.clone_from(&spec.config_from);
    network
}

/// A configuration: kept, and nothing more.
fn configuration(spec: &NetworkSpec, id: String, created: u64) -> Result<Network> {
    if spec.internal || spec.attachable {
        return Err(Error::ConfigOperator);
    }
    if !spec.config_from.is_empty() {
        return Err(Error::ConfigOfConfig);
    }
    let mut network = as_said(blank(&spec.name, Driver::Null, id, created), spec);
    network.ipv4 = spec.ipv4;
    network.ipv6 = spec.ipv6;
    network.config_only = true;
    Ok(network)
}

/// A spec with what the configuration says that it names.
fn filled_in(spec: &NetworkSpec, given: &Given<'_>) -> Result<NetworkSpec> {
    let mut spec = spec.clone();
    if spec.config_from.is_empty() {
        return Ok(spec);
    }
    let named = |n: &&&Network| n.config_only && n.name == spec.config_from;
    let Some(from) = given.networks.iter().find(named) else {
        return Err(Error::NoConfig(spec.config_from));
    };
    let more = spec.ipv6
        || !spec.ipv4
        || !spec.subnets.is_empty()
        || !spec.options.is_empty()
        || !spec.ipam_options.is_empty()
        || !spec.labels.is_empty()
        || !matches!(spec.ipam_driver.as_str(), "" | "default");
    if more {
        return Err(Error::ConfigAndMore);
    }
    spec.ipv4 = from.ipv4;
    spec.ipv6 = from.ipv6;
    spec.subnets.clone_from(&from.asked);
    spec.options.clone_from(&from.options);
    spec.ipam_driver.clone_from(&from.ipam_driver);
    spec.ipam_options.clone_from(&from.ipam_options);
    spec.labels.clone_from(&from.labels);
    Ok(spec)
}

fn bridge(spec: &NetworkSpec, given: &Given<'_>, id: &str) -> Result<String> {
    let bridge = match spec.options.get(options::BRIDGE_NAME) {
        Some(name) => name.clone(),
        None => format!("br-{}", id.get(..12).unwrap_or(id)),
    };
    match given.networks.iter().find(|n| n.bridge == bridge) {
        Some(other) => Err(Error::BridgeTaken { bridge, other: other.name.clone() }),
        None => Ok(bridge),
    }
}

/// The parent that is named, or the name of one that leads nowhere.
fn parent(spec: &NetworkSpec, driver: Driver, given: &Given<'_>, id: &str) -> Result<String> {
    let Some(name) = spec.options.get(options::PARENT).filter(|name| !name.is_empty()) else {
        return Ok(driver.blank_parent(id));
    };
    if !options::is_link_name(name) {
        return Err(Error::InvalidInterface(name.clone()));
    }
    let alone = driver::is_alone(driver, &spec.options);
    let in_the_way =
        |n: &&&Network| n.parent == *name && (alone || driver::is_alone(n.driver, &n.options));
    match given.networks.iter().find(in_the_way) {
        Some(n) => Err(Error::ParentTaken { network: n.name.clone(), parent: name.clone() }),
        None => Ok(name.clone()),
    }
}

/// As dockerd takes nearly every name, so do we: all that can be shown in a line, and asked for in
/// a path.
fn check_name(name: &str) -> Result<()> {
    if matches!(name, DEFAULT_NETWORK | "host" | "none" | "default") {
        return Err(Error::PredefinedName(name.to_owned()));
    }
    let good = !name.is_empty()
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || c == '/');
    if good { Ok(()) } else { Err(Error::InvalidName(name.to_owned())) }
}

fn subnets(spec: &NetworkSpec, driver: Driver, given: &Given<'_>) -> Result<Vec<Subnet>> {
    let v6 = spec.ipv6 || spec.subnets.iter().any(|s| s.subnet.is_some_and(|s| !s.is_v4()));
    if !spec.ipv4 && !v6 {
        return Err(Error::NoFamily);
    }
    let mut all: Vec<Subnet> = Vec::new();
    for asked in &spec.subnets {
        let subnet = match asked.subnet {
            Some(subnet) => subnet.network(),
            None => from_pools(given, true, &all)?,
        };
        if subnet.is_v4() && !spec.ipv4 {
            let why = "IPv4 is not enabled for the network".to_owned();
            return Err(Error::InvalidSubnet { subnet, why });
        }
        if let Some(other) =
            given.networks.iter().find(|n| n.subnets.iter().any(|s| s.subnet.overlaps(&subnet)))
        {
            return Err(Error::Overlap { subnet, other: other.name.clone() });
        }
        if all.iter().any(|s| s.subnet.overlaps(&subnet)) {
            return Err(Error::Overlap { subnet, other: spec.name.clone() });
        }
        let again = all.iter().any(|s| s.subnet.is_v4() == subnet.is_v4());
        if again && driver == Driver::Bridge {
            return Err(Error::SeveralSubnets);
        }
        all.push(self::subnet(subnet, asked)?);
    }
    for (v4, wanted) in [(true, spec.ipv4), (false, v6)] {
        if wanted && !all.iter().any(|s| s.subnet.is_v4() == v4) {
            let subnet = subnet(from_pools(given, v4, &all)?, &SubnetSpec::default())?;
            let at = if v4 { 0 } else { all.len() };
            all.insert(at, subnet);
        }
    }
    Ok(all)
}

fn taken(given: &Given<'_>) -> Vec<Cidr> {
    let own = given.networks.iter().flat_map(|n| n.subnets.iter().map(|s| s.subnet));
    own.chain(given.routed.iter().copied()).collect()
}

fn from_pools(given: &Given<'_>, v4: bool, besides: &[Subnet]) -> Result<Cidr> {
    let mut taken = taken(given);
    taken.extend(besides.iter().map(|s| s.subnet));
    pools::choose(&given.config.pools, v4, &taken).ok_or(Error::PoolsExhausted)
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
            let cidr = from_pools(given, true, &[])?;
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
    let id = saved.map_or(id, |n| n.id.clone());
    let created = saved.map_or(created, |n| n.created);
    Ok(Some(Network {
        bridge: bridge.clone(),
        ipv6: subnets.len() > 1,
        mtu: config.mtu,
        subnets,
        options,
        ..blank(DEFAULT_NETWORK, Driver::Bridge, id, created)
    }))
}

/// A network of which nothing is known but that: `host` and `none` have no more.
pub(crate) fn blank(name: &str, driver: Driver, id: String, created: u64) -> Network {
    Network {
        id,
        name: name.to_owned(),
        created,
        driver,
        bridge: String::new(),
        parent: String::new(),
        parent_made: false,
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        mtu: 0,
        subnets: Vec::new(),
        asked: Vec::new(),
        options: BTreeMap::new(),
        ipam_driver: String::new(),
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
        config_only: false,
        config_from: String::new(),
    }
}

#[cfg(test)]
mod tests;
