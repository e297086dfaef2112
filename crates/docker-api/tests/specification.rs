//! Our structs against the Engine API's published specification: no field that it does not know
//! (but for what older clients look for, listed here) and none of its fields forgotten (but for
//! what this engine has not got, listed here).
//!
//! The specification is looked for in `$ISOPOD_SPECS` and then in `../shared/specs` beside the
//! workspace. Without it the test fails: an unchecked wire format is not a passing test.

use std::collections::BTreeSet;
use std::path::PathBuf;

use docker_api::{container, disk, event, exec, image, network, progress, stats, system, volume};
use serde::de::{self, DeserializeOwned, Visitor};
use serde_norway::Value;

const FILE: &str = "docker-engine-api-1.56.yaml";

fn specification() -> Value {
    let directory = std::env::var_os("ISOPOD_SPECS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs"),
        PathBuf::from,
    );
    let path = directory.join(FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; set ISOPOD_SPECS to the directory of {FILE}", path.display())
    });
    serde_norway::from_str(&text).expect("the specification is YAML")
}

/// Collects the property names of a schema, through `$ref` and `allOf`.
fn properties(spec: &Value, schema: &Value, names: &mut BTreeSet<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().expect("rsplit yields something");
        properties(spec, &spec["definitions"][name], names);
    }
    for part in schema.get("allOf").and_then(Value::as_sequence).into_iter().flatten() {
        properties(spec, part, names);
    }
    for (name, _) in schema.get("properties").and_then(Value::as_mapping).into_iter().flatten() {
        names.insert(name.as_str().expect("a name").to_owned());
    }
}

/// Follows `a/b/c` below the definitions; a leading `paths|…` starts at a path's operation.
fn schema<'a>(spec: &'a Value, at: &str) -> &'a Value {
    let mut parts = at.split(' ');
    let first = parts.next().expect("split yields something");
    let mut value = if first.starts_with('/') {
        let mut value = &spec["paths"][first][parts.next().expect("a method")];
        match parts.next().expect("body or a status") {
            "body" => {
                let parameters = value["parameters"].as_sequence().expect("parameters");
                value = &parameters.iter().find(|p| p["in"] == "body").expect("a body")["schema"];
            }
            status => {
                let code: usize = status.parse().expect("a status");
                value = value["responses"]
                    .get(code)
                    .or_else(|| value["responses"].get(status))
                    .expect("the status is specified")
                    .get("schema")
                    .expect("the answer has a schema");
            }
        }
        value
    } else {
        &spec["definitions"][first]
    };
    for part in parts {
        value = if part == "[]" { &value["items"] } else { &value["properties"][part] };
    }
    assert!(!value.is_null(), "the specification has no {at}");
    value
}

/// A deserialiser that only writes down which fields a struct asks for.
struct Fields<'a>(&'a mut Vec<&'static str>);

impl<'de> de::Deserializer<'de> for Fields<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(de::Error::custom("seen enough"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
    let mut names = Vec::new();
    let _ = T::deserialize(Fields(&mut names));
    names.into_iter().map(str::to_owned).collect()
}

/// `legacy`: ours but not in this version of the specification. `absent`: specified but not ours.
fn compare(
    spec: &Value,
    at: &str,
    ours: &BTreeSet<String>,
    legacy: &[&str],
    absent: &[&str],
) -> Vec<String> {
    let mut specified = BTreeSet::new();
    properties(spec, schema(spec, at), &mut specified);
    let mut wrong = Vec::new();
    if ours.is_empty() || specified.is_empty() {
        wrong.push(format!("{at}: nothing to compare"));
    }
    for name in ours.difference(&specified) {
        if !legacy.contains(&name.as_str()) {
            wrong.push(format!("{at}: {name} is not in the specification"));
        }
    }
    for name in specified.difference(ours) {
        if !absent.contains(&name.as_str()) {
            wrong.push(format!("{at}: {name} is missing here"));
        }
    }
    for name in legacy.iter().filter(|name| specified.contains(**name) || !ours.contains(**name)) {
        wrong.push(format!("{at}: {name} is listed as legacy, but is not"));
    }
    for name in absent.iter().filter(|name| !specified.contains(**name) || ours.contains(**name)) {
        wrong.push(format!("{at}: {name} is listed as absent, but is not"));
    }
    wrong
}

macro_rules! check {
    ($spec:ident, $wrong:ident, $($type:ty, $at:literal, [$($legacy:literal),*], [$($absent:literal),*];)*) => {
        $($wrong.extend(compare(&$spec, $at, &fields::<$type>(), &[$($legacy),*], &[$($absent),*]));)*
    };
}

#[test]
fn containers_match_the_specification() {
    let spec = specification();
    let mut wrong = Vec::new();
    check! { spec, wrong,
        container::CreateResponse, "ContainerCreateResponse", [], [];
        container::ContainerSummary, "ContainerSummary", [], [];
        container::HealthSummary, "ContainerSummary Health", [], [];
        container::Port, "PortSummary", [], [];
        container::SummaryHostConfig, "ContainerSummary HostConfig", [], [];
        container::SummaryNetworkSettings, "ContainerSummary NetworkSettings", [], [];
        container::ContainerInspect, "ContainerInspectResponse", [], ["Storage"];
        container::State, "ContainerState", [], [];
        container::GraphDriver, "DriverData", [], [];
        container::NetworkSettings, "NetworkSettings",
            ["Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen",
             "SecondaryIPAddresses", "SecondaryIPv6Addresses", "EndpointID", "Gateway",
             "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen",
             "IPv6Gateway", "MacAddress"], [];
        container::Address, "Address", [], [];
        container::TopResponse, "ContainerTopResponse", [], [];
        container::Change, "FilesystemChange", [], [];
        container::WaitResponse, "ContainerWaitResponse", [], [];
        container::WaitError, "ContainerWaitExitError", [], [];
        container::ContainersPruneReport, "/containers/prune post 200", [], [];
        docker_api::WarningsResponse, "ContainerUpdateResponse", [], [];
        docker_api::IdResponse, "IDResponse", [], [];
        docker_api::ErrorResponse, "ErrorResponse", [], [];
        types::mount::Mount, "Mount", [], [];
        types::mount::MountPoint, "MountPoint", [], [];
        types::network::EndpointSettings, "EndpointSettings", [], [];
        types::resources::Resources, "Resources", ["KernelMemory", "KernelMemoryTCP"], ["Init"];
        types::health::HealthConfig, "HealthConfig", [], [];
        types::health::Health, "Health", [], [];
        exec::ExecCreateBody, "/containers/{id}/exec post body", ["Detach", "detachKeys"], [];
        exec::ExecStartBody, "/exec/{id}/start post body", [], [];
        exec::ExecInspect, "/exec/{id}/json get 200", [], [];
        exec::ProcessConfig, "ProcessConfig", [], [];
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn counters_match_the_specification() {
    let spec = specification();
    let mut wrong = Vec::new();
    check! { spec, wrong,
        stats::StatsResponse, "ContainerStatsResponse", [], [];
        stats::PidsStats, "ContainerPidsStats", [], [];
        stats::BlkioStats, "ContainerBlkioStats", [], [];
        stats::BlkioStatEntry, "ContainerBlkioStatEntry", [], [];
        stats::StorageStats, "ContainerStorageStats", [], [];
        stats::CpuStats, "ContainerCPUStats", [], [];
        stats::CpuUsage, "ContainerCPUUsage", [], [];
        stats::ThrottlingData, "ContainerThrottlingData", [], [];
        stats::MemoryStats, "ContainerMemoryStats", [],
            ["commitbytes", "commitpeakbytes", "privateworkingset"];
        stats::NetworkStats, "ContainerNetworkStats", [], ["endpoint_id", "instance_id"];
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rest_matches_the_specification() {
    let spec = specification();
    let mut wrong = Vec::new();
    check! { spec, wrong,
        event::EventMessage, "EventMessage", ["status", "id", "from"], [];
        event::EventActor, "EventActor", [], [];
        system::Version, "SystemVersion", [], [];
        system::Component, "SystemVersion Components []", [], [];
        system::Info, "SystemInfo",
            ["BridgeNfIptables", "BridgeNfIp6tables", "KernelMemory", "KernelMemoryTCP"],
            ["Containerd", "DiscoveredDevices", "NRI"];
        system::PluginsInfo, "PluginsInfo", [], [];
        system::RegistryConfig, "RegistryServiceConfig", [], [];
        system::IndexInfo, "IndexInfo", [], [];
        system::Runtime, "Runtime", [], [];
        system::SwarmInfo, "SwarmInfo", [], ["Nodes", "Managers", "Cluster"];
        system::Commit, "Commit", [], [];
        system::FirewallInfo, "FirewallInfo", [], [];
        image::ImageSummary, "ImageSummary", ["VirtualSize"], [];
        image::ImageInspect, "ImageInspect", ["Parent", "DockerVersion", "VirtualSize"],
            ["Identity"];
        image::ImageConfig, "ImageConfig", [], [];
        image::HistoryItem, "ImageHistoryResponseItem", [], [];
        image::DeleteResponse, "ImageDeleteResponseItem", [], [];
        image::ImagesPruneReport, "/images/prune post 200", [], [];
        image::Descriptor, "OCIDescriptor", [], ["urls", "data", "artifactType"];
        image::Platform, "OCIPlatform", [], [];
        network::NetworkInspect, "NetworkInspect", [], ["Peers", "Services"];
        network::NetworkStatus, "NetworkStatus", [], [];
        network::IpamStatus, "IPAMStatus", [], [];
        network::SubnetStatus, "SubnetStatus", [], [];
        network::Ipam, "IPAM", [], [];
        network::IpamConfig, "IPAMConfig", [], [];
        network::EndpointResource, "EndpointResource", [], [];
        network::NetworkCreateBody, "/networks/create post body", ["CheckDuplicate"], [];
        network::NetworkCreateResponse, "NetworkCreateResponse", [], [];
        network::NetworkConnectBody, "NetworkConnectRequest", [], [];
        network::NetworkDisconnectBody, "NetworkDisconnectRequest", [], [];
        network::NetworksPruneReport, "/networks/prune post 200", [], [];
        volume::Volume, "Volume", [], ["ClusterVolume"];
        volume::VolumeUsage, "Volume UsageData", [], [];
        volume::VolumeListResponse, "VolumeListResponse", [], [];
        volume::VolumeCreateBody, "VolumeCreateRequest", [], ["ClusterVolumeSpec"];
        volume::VolumesPruneReport, "/volumes/prune post 200", [], [];
        disk::DiskUsage, "/system/df get 200",
            ["LayersSize", "LayersDiskSize", "Images", "Containers", "Volumes", "BuildCache"], [];
        disk::ImagesUsage, "ImagesDiskUsage", [], [];
        disk::ContainersUsage, "ContainersDiskUsage", [], [];
        disk::VolumesUsage, "VolumesDiskUsage", [], [];
        disk::BuildCacheUsage, "BuildCacheDiskUsage", [], [];
        disk::BuildCache, "BuildCache", ["Parent"], [];
        progress::JsonMessage, "BuildInfo", ["progress", "error"], [];
        progress::ProgressDetail, "ProgressDetail", [], [];
        progress::ErrorDetail, "ErrorDetail", [], [];
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Structs with a flattened part hide their fields from [`fields`], so they are written out.
#[test]
fn flattened_bodies_match_the_specification() {
    let spec = specification();
    let names = |value: serde_json::Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let host = serde_json::to_value(types::container::HostConfig::default()).expect("serialises");
    let mut wrong = compare(
        &spec,
        "HostConfig",
        &names(host),
        &[],
        &["Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"],
    );
    let update = serde_json::to_value(container::UpdateBody::default()).expect("serialises");
    wrong.extend(compare(
        &spec,
        "/containers/{id}/update post body",
        &names(update),
        &[],
        &["Init"],
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_create_body_goes_both_ways() {
    let text = r#"{"Image":"busybox","Cmd":["sh"],"Env":null,"ExposedPorts":{"80/tcp":{}},
        "HostConfig":{"Memory":1048576,"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}},
        "NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["web"]}}}}"#;
    let body: container::CreateBody = serde_json::from_str(text).expect("valid");
    assert_eq!(body.config.image, "busybox");
    assert_eq!(body.host_config.resources.memory, 1 << 20);
    assert_eq!(body.networking_config.endpoints_config["bridge"].aliases, ["web"]);
    let again: container::CreateBody =
        serde_json::from_value(serde_json::to_value(&body).expect("serialises")).expect("valid");
    assert_eq!(again, body);
    let bare: container::CreateBody =
        serde_json::from_str(r#"{"Image":"x","HostConfig":null,"NetworkingConfig":null}"#)
            .expect("null parts are empty parts");
    assert_eq!(bare.host_config, types::container::HostConfig::default());
}
