//! Networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use docker_api::network::{
    ConfigReference, EndpointResource, Ipam, IpamConfig, IpamStatus, NetworkInspect, NetworkStatus,
};
use engine::{Network, NetworkDetail};
use types::Timestamp;

use super::leases::{self, Block};
use crate::http::version::Version;

/// The subnets as Docker shows them: what was asked for as it was, and what was chosen with its
/// gateway.
fn subnets(found: &Network) -> Vec<IpamConfig> {
    let text = |address: Option<IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    let named = |aux: &BTreeMap<String, IpAddr>| {
        aux.iter().map(|(name, address)| (name.clone(), address.to_string())).collect()
    };
    let asked: Vec<_> = found.asked.iter().filter(|asked| asked.subnet.is_some()).collect();
    let is_chosen = |v4: bool| {
        !asked.iter().any(|asked| asked.subnet.is_some_and(|subnet| subnet.is_v4() == v4))
    };
    let chosen = found.subnets.iter().filter(|subnet| is_chosen(subnet.subnet.is_v4()));
    let chosen = chosen.map(|subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        auxiliary_addresses: named(&subnet.aux),
    });
    let asked = asked.iter().map(|asked| IpamConfig {
        subnet: asked.subnet.map(|subnet| subnet.to_string()).unwrap_or_default(),
        ip_range: asked.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: text(asked.gateway),
        auxiliary_addresses: named(&asked.aux),
    });
    chosen.chain(asked).collect()
}

/// A network without its containers, as lists show it.
pub(crate) fn network(found: Network) -> NetworkInspect {
    let config = subnets(&found);
    let driver = if found.ipam_driver.is_empty() { "default" } else { &found.ipam_driver };
    let driver = driver.to_owned();
    let options = (!found.ipam_options.is_empty()).then_some(found.ipam_options);
    NetworkInspect {
        name: found.name,
        id: found.id,
        created: Timestamp(i64::try_from(found.created).unwrap_or(0)),
        scope: "local".to_owned(),
        driver: found.driver.as_str().to_owned(),
        enable_ipv4: found.ipv4,
        enable_ipv6: found.ipv6,
        ipam: Ipam { driver, options, config },
        internal: found.internal,
        attachable: found.attachable,
        config_from: ConfigReference { network: found.config_from },
        config_only: found.config_only,
        options: found.options,
        labels: found.labels,
        ..NetworkInspect::default()
    }
}

/// How many addresses are left in a network's subnets.
fn status(found: &NetworkDetail) -> NetworkStatus {
    let endpoints = found.endpoints.iter().map(|(_, endpoint)| endpoint);
    let addresses: Vec<IpAddr> = endpoints
        .flat_map(|endpoint| [endpoint.ipv4, endpoint.ipv6])
        .flatten()
        .map(|cidr| cidr.addr())
        .collect();
    let subnets = found.network.subnets.iter().map(|subnet| {
        let whole = subnet.subnet;
        let range = subnet.range.unwrap_or(whole);
        let others = subnet.aux.values().copied().chain(Option::<IpAddr>::from(subnet.gateway));
        let used = addresses.iter().copied().chain(others).filter(|one| whole.contains(*one));
        let block = |first: IpAddr, prefix| Block { first, prefix };
        let status = leases::count(
            block(whole.network().addr(), whole.prefix()),
            block(range.network().addr(), range.prefix()),
            used,
        );
        (whole.to_string(), status)
    });
    NetworkStatus { ipam: IpamStatus { subnets: subnets.collect() } }
}

/// A network with its containers.
pub(crate) fn detail(found: NetworkDetail, version: Version) -> NetworkInspect {
    let status = version.at_least(52).then(|| status(&found));
    let containers = found.endpoints.into_iter().map(|(name, endpoint)| {
        let resource = EndpointResource {
            name,
            endpoint_id: endpoint.id,
            mac_address: endpoint.mac.to_string(),
            ipv4_address: endpoint.ipv4.map(|cidr| cidr.to_string()).unwrap_or_default(),
            ipv6_address: endpoint.ipv6.map(|cidr| cidr.to_string()).unwrap_or_default(),
        };
        (endpoint.container, resource)
    });
    NetworkInspect { containers: containers.collect(), status, ..network(found.network) }
}
