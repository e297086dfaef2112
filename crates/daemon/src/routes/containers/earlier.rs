//! What clients of earlier versions of the API mean: defaults are those of their time, and settings
//! that meant something else then, or that clients send without meaning them, are as if not sent.
//! What is merely newer than the client says is heeded: whoever sends it wants it.

use docker_api::container::CreateBody;
use engine::EmptiedDevices;
use serde_json::Value;
use types::mount::{BindOptions, Mount, MountKind};
use types::network::PortBinding;
use types::resources::Resources;

use crate::http::version::Version;

/// Reads the body of a create as the client meant it; gives warnings.
pub(super) fn create(body: &mut CreateBody, version: Version) -> Vec<String> {
    let mut warnings = Vec::new();
    let (config, host) = (&mut body.config, &mut body.host_config);
    resources(&mut host.resources, version);
    if !version.at_least(40) && host.ipc_mode.is_empty() {
        "shareable".clone_into(&mut host.ipc_mode);
    }
    if !version.at_least(43) {
        host.annotations.clear();
    }
    if !version.at_least(44)
        && let Some(health) = &mut config.healthcheck
    {
        health.start_interval = 0;
    }
    for one in &mut host.mounts {
        mount(one, version);
    }
    if version.at_least(52) {
        config.mac_address.clear();
    } else if version.at_least(44) && !config.mac_address.is_empty() {
        warnings.push(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .to_owned(),
        );
    }
    warnings.extend(ports(body, version));
    warnings
}

/// From 1.42 to 1.52 a port without bindings was published on a free one; otherwise it is not.
fn ports(body: &mut CreateBody, version: Version) -> Option<String> {
    let bindings = &mut body.host_config.port_bindings;
    let is_bare = |found: &Option<Vec<PortBinding>>| found.as_ref().is_none_or(Vec::is_empty);
    if version.at_least(53) {
        bindings.retain(|_, found| !is_bare(found));
        return None;
    }
    if !version.at_least(42) {
        return None;
    }
    let mut bare = Vec::new();
    for (port, found) in bindings.iter_mut().filter(|(_, found)| is_bare(found)) {
        *found = Some(vec![PortBinding::default()]);
        bare.push(port.clone());
    }
    (version.at_least(52) && !bare.is_empty()).then(|| {
        format!(
            "Following container port(s) have an empty list of port-bindings: {}. Starting with API 1.53, such bindings will be discarded.",
            bare.join(", ")
        )
    })
}

/// Limits of an update, and which lists of devices are to be empty: those that are given and are.
pub(super) fn update(limits: &mut Resources, text: &Value, version: Version) -> EmptiedDevices {
    resources(limits, version);
    if !version.at_least(40) {
        limits.pids_limit = None;
    }
    if !version.at_least(55) {
        // They were read and not heeded.
        for rates in [
            &mut limits.blkio_device_read_bps,
            &mut limits.blkio_device_write_bps,
            &mut limits.blkio_device_read_iops,
            &mut limits.blkio_device_write_iops,
        ] {
            rates.clear();
        }
        limits.blkio_weight_device.clear();
        return EmptiedDevices::default();
    }
    let empty = |name: &str| text[name].as_array().is_some_and(Vec::is_empty);
    EmptiedDevices {
        weights: empty("BlkioWeightDevice"),
        read_bps: empty("BlkioDeviceReadBps"),
        write_bps: empty("BlkioDeviceWriteBps"),
        read_iops: empty("BlkioDeviceReadIOps"),
        write_iops: empty("BlkioDeviceWriteIOps"),
    }
}

/// Limits, of a create or an update.
fn resources(resources: &mut Resources, version: Version) {
    if version.at_least(42) {
        resources.kernel_memory = 0;
    }
    if version.at_least(52) || !version.at_least(40) {
        resources.kernel_memory_tcp = 0;
    }
}

fn mount(mount: &mut Mount, version: Version) {
    if !version.at_least(40)
        && let Some(options) = &mut mount.bind_options
    {
        options.non_recursive = false;
    }
    if !version.at_least(42) {
        if mount.kind != MountKind::Volume {
            mount.volume_options = None;
        }
        if mount.kind != MountKind::Tmpfs {
            mount.tmpfs_options = None;
        }
        if let Some(options) = &mut mount.bind_options {
            options.create_mountpoint = false;
        }
    }
    if !version.at_least(44) && mount.kind == MountKind::Bind && mount.read_only {
        // Read-only did not reach the mounts below.
        let options = mount.bind_options.get_or_insert_with(BindOptions::default);
        options.read_only_non_recursive = true;
        options.read_only_force_recursive = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, minor: u32) -> (CreateBody, Vec<String>) {
        let mut body: CreateBody = serde_json::from_str(text).expect("JSON");
        let warnings = create(&mut body, Version(1, minor));
        (body, warnings)
    }

    #[test]
    fn what_a_version_does_not_know_is_as_if_not_sent() {
        let text = r#"{"MacAddress":"02:00:00:00:00:01","Healthcheck":{"StartInterval":5},
            "HostConfig":{"KernelMemory":5,"KernelMemoryTCP":6,"Annotations":{"a":"b"},
            "Mounts":[{"Type":"volume","Target":"/v","TmpfsOptions":{"Mode":448}},
                {"Type":"bind","Target":"/b","ReadOnly":true,"BindOptions":{"CreateMountpoint":true}}]},
            "NetworkingConfig":{"EndpointsConfig":{"n":null}}}"#;
        let (old, _) = read(text, 39);
        let host = &old.host_config;
        assert_eq!(host.ipc_mode, "shareable");
        assert_eq!((host.resources.kernel_memory, host.resources.kernel_memory_tcp), (5, 0));
        assert!(host.annotations.is_empty());
        assert_eq!(old.config.healthcheck.as_ref().map(|health| health.start_interval), Some(0));
        assert_eq!(host.mounts[0].tmpfs_options, None);
        let bind = host.mounts[1].bind_options.as_ref().expect("options");
        assert!(bind.read_only_non_recursive && !bind.create_mountpoint);

        let (new, warnings) = read(text, 52);
        let host = &new.host_config;
        assert!(host.ipc_mode.is_empty() && warnings.is_empty());
        assert_eq!((host.resources.kernel_memory, host.resources.kernel_memory_tcp), (0, 0));
        assert_eq!(host.annotations.len(), 1);
        assert!(host.mounts[0].tmpfs_options.is_some());
        assert!(new.config.mac_address.is_empty());
        assert!(new.networking_config.endpoints_config.contains_key("n"));
        assert!(read(text, 44).1[0].contains("MacAddress field is now deprecated"));
        assert!(read(text, 43).1.is_empty());
    }

    #[test]
    fn ports_without_bindings_were_published() {
        let text = r#"{"HostConfig":{"PortBindings":{"80/tcp":[],"81/tcp":null,"82/tcp":[{}]}}}"#;
        let bound = |minor| {
            let (body, warnings) = read(text, minor);
            (body.host_config.port_bindings.len(), warnings.len())
        };
        assert_eq!((bound(51), bound(52), bound(53)), ((3, 0), (3, 1), (1, 0)));
        let (old, _) = read(text, 41);
        assert_eq!(old.host_config.port_bindings["81/tcp"], None);
    }
}
