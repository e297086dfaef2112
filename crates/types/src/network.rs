//! How a container stands in networks.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// What a container asks of the networks, by network name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkingConfig {
    /// Network name or id to what is asked of it; `null` asks for nothing but the network.
    #[serde(deserialize_with = "null_values")]
    pub endpoints_config: BTreeMap<String, EndpointSettings>,
}

fn null_values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, EndpointSettings>, D::Error> {
    let map = Option::<BTreeMap<String, Option<EndpointSettings>>>::deserialize(deserializer)?;
    let settled = |(name, settings): (String, Option<_>)| (name, settings.unwrap_or_default());
    Ok(map.unwrap_or_default().into_iter().map(settled).collect())
}

docker_json! {
/// A container's place in one network: what was asked, and what it got.
pub struct EndpointSettings {
    /// Addresses that were asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Legacy links.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub links: Vec<String>,
    /// Further names in this network.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub aliases: Vec<String>,
    /// MAC address.
    pub mac_address: String,
    /// Driver options.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub driver_opts: BTreeMap<String, String>,
    /// The network with the highest number gives the default gateway.
    pub gw_priority: i64,
    /// The network's id.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// IPv4 gateway.
    pub gateway: String,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Length of the IPv4 prefix.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: i64,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Length of the IPv6 prefix.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: i64,
    /// Every name it answers to in this network.
    #[serde(rename = "DNSNames", serialize_with = "crate::json::empty_null")]
    pub dns_names: Vec<String>,
}

/// Addresses that were asked for.
pub struct EndpointIpamConfig {
    /// IPv4 address.
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// IPv6 address.
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
}

/// One way to reach a container's port from the host.
pub struct PortBinding {
    /// Host address; empty means all.
    #[serde(rename = "HostIp")]
    pub host_ip: String,
    /// Host port, a range `a-b`, or empty for a free one.
    pub host_port: String,
}
}

/// Container port (`80/tcp`) to its bindings; `None` means exposed only.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;
