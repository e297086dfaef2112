//! Networks.

use std::collections::BTreeMap;

use types::Timestamp;
use types::network::EndpointSettings;

api_json! {
/// An item of `GET /networks`, and `GET /networks/{id}`.
pub struct NetworkInspect {
    pub name: String,
    pub id: String,
    pub created: Timestamp,
    /// `local`.
    pub scope: String,
    pub driver: String,
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_from: ConfigReference,
    pub config_only: bool,
    /// By container id. An empty object in lists.
    pub containers: BTreeMap<String, EndpointResource>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Since API 1.52, and not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<NetworkStatus>,
}

/// How a network is at the moment.
pub struct NetworkStatus {
    #[serde(rename = "IPAM")]
    pub ipam: IpamStatus,
}

/// How many addresses are left, by subnet.
pub struct IpamStatus {
    pub subnets: BTreeMap<String, SubnetStatus>,
}

/// How many addresses of a subnet are left.
pub struct SubnetStatus {
    /// Those that are in use or reserved.
    #[serde(rename = "IPsInUse")]
    pub ips_in_use: u64,
    /// Those that can be given out.
    #[serde(rename = "DynamicIPsAvailable")]
    pub dynamic_ips_available: u64,
}

/// How addresses are given out.
pub struct Ipam {
    pub driver: String,
    /// `null` when there are none.
    pub options: Option<BTreeMap<String, String>>,
    pub config: Vec<IpamConfig>,
}

/// One range of addresses.
pub struct IpamConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// The network that a configuration is taken from.
pub struct ConfigReference {
    pub network: String,
}

/// A container in a network.
pub struct EndpointResource {
    pub name: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub mac_address: String,
    /// With the prefix length.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// With the prefix length.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// Body of `POST /networks/create`.
pub struct NetworkCreateBody {
    pub name: String,
    /// Without meaning since API 1.44; kept because clients send it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_duplicate: Option<bool>,
    pub driver: String,
    pub scope: String,
    /// `null` means yes.
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// `null` means the daemon's default.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_only: bool,
    pub config_from: Option<ConfigReference>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// Answer of `POST /networks/create`.
pub struct NetworkCreateResponse {
    pub id: String,
    pub warning: String,
}

/// Body of `POST /networks/{id}/connect`.
pub struct NetworkConnectBody {
    pub container: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_config: Option<EndpointSettings>,
}

/// Body of `POST /networks/{id}/disconnect`.
pub struct NetworkDisconnectBody {
    pub container: String,
    pub force: bool,
}

/// Answer of `POST /networks/prune`.
pub struct NetworksPruneReport {
    #[serde(serialize_with = "types::empty_null")]
    pub networks_deleted: Vec<String>,
}
}
