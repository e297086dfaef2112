//! Networks.

use docker_api::network::{EndpointResource, Ipam, IpamConfig, NetworkInspect};
use engine::{Network, NetworkDetail};
use types::Timestamp;

/// A network without its containers, as lists show it.
pub(crate) fn network(found: Network) -> NetworkInspect {
    let config = found
        .subnets
        .into_iter()
        .map(|subnet| IpamConfig {
            subnet: subnet.subnet.to_string(),
            ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
            gateway: subnet.gateway.to_string(),
            auxiliary_addresses: subnet
                .aux
                .into_iter()
                .map(|(name, address)| (name, address.to_string()))
                .collect(),
        })
        .collect();
    let options = (!found.ipam_options.is_empty()).then_some(found.ipam_options);
    NetworkInspect {
        name: found.name,
        id: found.id,
        created: Timestamp(i64::try_from(found.created).unwrap_or(0)),
        scope: "local".to_owned(),
        driver: found.driver.as_str().to_owned(),
        enable_ipv4: true,
        enable_ipv6: found.ipv6,
        ipam: Ipam { driver: "default".to_owned(), options, config },
        internal: found.internal,
        attachable: found.attachable,
        options: found.options,
        labels: found.labels,
        ..NetworkInspect::default()
    }
}

/// A network with its containers.
pub(crate) fn detail(found: NetworkDetail) -> NetworkInspect {
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
    NetworkInspect { containers: containers.collect(), ..network(found.network) }
}
