//! Containers.

use std::collections::BTreeMap;

use types::container::{ContainerConfig, HostConfig};
use types::health::Health;
use types::mount::{Mount, MountPoint};
use types::network::{EndpointSettings, NetworkingConfig, PortMap};
use types::resources::Resources;
use types::{Timestamp, Words};

use crate::image::Descriptor;

api_json! {
/// Answer of `POST /containers/create`.
pub struct CreateResponse {
    pub id: String,
    /// `[]`, never `null`.
    pub warnings: Vec<String>,
}

/// An item of `GET /containers/json`.
pub struct ContainerSummary {
    pub id: String,
    /// With a leading slash.
    pub names: Vec<String>,
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
    pub command: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub ports: Vec<Port>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub state: String,
    /// `Up 2 minutes (healthy)`.
    pub status: String,
    pub host_config: SummaryHostConfig,
    pub network_settings: SummaryNetworkSettings,
    pub mounts: Vec<MountPoint>,
    /// Since API 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
}

/// How well a container is, in lists.
pub struct HealthSummary {
    /// `none`, `starting`, `healthy` or `unhealthy`.
    pub status: String,
    pub failing_streak: i64,
}

/// A port of a container as lists show it.
pub struct Port {
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    pub private_port: u16,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub public_port: u16,
    /// `tcp`, `udp`, `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// The little that lists say about the host configuration.
pub struct SummaryHostConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_mode: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The little that lists say about networks.
pub struct SummaryNetworkSettings {
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// `GET /containers/{id}/json`.
pub struct ContainerInspect {
    pub id: String,
    pub created: Timestamp,
    /// The program.
    pub path: String,
    pub args: Vec<String>,
    pub state: State,
    /// The image's id.
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    /// With a leading slash.
    pub name: String,
    pub restart_count: i64,
    pub driver: String,
    pub platform: String,
    pub mount_label: String,
    pub process_label: String,
    pub app_armor_profile: String,
    /// `null` when there are none.
    #[serde(rename = "ExecIDs", serialize_with = "types::empty_null")]
    pub exec_ids: Vec<String>,
    pub host_config: HostConfig,
    pub graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<Descriptor>,
    pub mounts: Vec<MountPoint>,
    pub config: ContainerConfig,
    pub network_settings: NetworkSettings,
}

/// Where a container stands.
pub struct State {
    pub status: String,
    /// Docker counts `paused` and `restarting` in.
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    pub pid: i32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// How a root file system is stored.
pub struct GraphDriver {
    /// `LowerDir`, `MergedDir`, `UpperDir`, `WorkDir`; `null` when unknown.
    pub data: Option<BTreeMap<String, String>>,
    pub name: String,
}

/// A container's networks. All but `SandboxID`, `SandboxKey`, `Ports` and `Networks` repeats the
/// default bridge network's entry for old clients.
pub struct NetworkSettings {
    pub bridge: String,
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    pub sandbox_key: String,
    pub ports: PortMap,
    pub hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: i64,
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<Address>>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<Address>>,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: i64,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: i64,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    pub mac_address: String,
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// An address and its prefix length.
pub struct Address {
    pub addr: String,
    pub prefix_len: i64,
}

/// `GET /containers/{id}/top`.
pub struct TopResponse {
    pub titles: Vec<String>,
    pub processes: Vec<Vec<String>>,
}

/// An item of `GET /containers/{id}/changes` (which answers `null` when nothing changed).
pub struct Change {
    pub path: String,
    /// 0 modified, 1 added, 2 deleted.
    pub kind: u8,
}

/// Answer of `POST /containers/{id}/wait`.
pub struct WaitResponse {
    pub status_code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why waiting failed.
pub struct WaitError {
    pub message: String,
}

/// The restart policy of an update. An empty name means "as it is", which is why this is not
/// [`types::container::RestartPolicy`].
pub struct UpdateRestartPolicy {
    pub name: String,
    pub maximum_retry_count: i64,
}

/// Answer of `POST /containers/prune`.
pub struct ContainersPruneReport {
    #[serde(serialize_with = "types::empty_null")]
    pub containers_deleted: Vec<String>,
    pub space_reclaimed: u64,
}
}

/// Body of `POST /containers/create`: the configuration, and beside its fields the two others.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateBody {
    /// The portable part.
    #[serde(flatten)]
    pub config: ContainerConfig,
    /// What this host is asked for.
    #[serde(deserialize_with = "types::null_default")]
    pub host_config: HostConfig,
    /// What the networks are asked for.
    #[serde(deserialize_with = "types::null_default")]
    pub networking_config: NetworkingConfig,
}

/// Body of `POST /containers/{id}/update`. Zero and absent mean "as it is".
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateBody {
    /// New limits.
    #[serde(flatten)]
    pub resources: Resources,
    /// New restart policy.
    #[serde(deserialize_with = "types::null_default")]
    pub restart_policy: UpdateRestartPolicy,
    /// Our own: ports to publish.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "PortMap::is_empty")]
    pub publish_add: PortMap,
    /// Our own: ports that are no longer published. Without bindings all of the container's port;
    /// an empty part of a binding stands for any.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "PortMap::is_empty")]
    pub publish_remove: PortMap,
    /// Our own: mounts to add, in the long form.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "Vec::is_empty")]
    pub mount_add: Vec<Mount>,
    /// Our own: mounts to add, in the short form.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "Vec::is_empty")]
    pub bind_add: Vec<String>,
    /// Our own: paths of the container whose mounts are to go.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "Vec::is_empty")]
    pub mount_remove: Vec<String>,
    /// Our own: variables to set, `NAME=value`.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "Vec::is_empty")]
    pub env_add: Vec<String>,
    /// Our own: names of variables to remove.
    #[serde(deserialize_with = "types::null_default", skip_serializing_if = "Vec::is_empty")]
    pub env_remove: Vec<String>,
}

/// The command line as `Command` in lists shows it: words that hold white space in quotes.
pub fn command_line(path: &str, args: &Words) -> String {
    let mut line = path.to_owned();
    for arg in args.iter() {
        line.push(' ');
        if arg.contains(' ') {
            line.push('\'');
            line.push_str(arg);
            line.push('\'');
        } else {
            line.push_str(arg);
        }
    }
    line
}
