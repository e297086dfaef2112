//! One container in full.

use docker_api::container::{ContainerInspect, GraphDriver, NetworkSettings, State};
use engine::{Inspect, Record};
use serde_json::Value;
use types::container::HostConfig;
use types::health::Health;
use types::mount::{MountKind, MountPoint};
use types::network::PortMap;
use types::state::Status;

use super::earlier;
use super::list::{shown, signed};
use crate::http::version::Version;

/// `GET /containers/{id}/json`.
pub(crate) fn inspect(found: Inspect, version: Version) -> Value {
    let (short, hostname) =
        (found.record.id.short().to_owned(), found.record.config.hostname.clone());
    let mut inspect = whole(found);
    // It was given when the container joined its networks, which is when it first started.
    if !version.at_least(45)
        && !inspect.state.started_at.is_never()
        && earlier::is_user_defined(&inspect.host_config.network_mode)
    {
        for settings in inspect.network_settings.networks.values_mut() {
            earlier::alias(settings, &short, &hostname);
        }
    }
    // Plain data: writing it as JSON cannot fail.
    let mut value = serde_json::to_value(inspect).unwrap_or_default();
    earlier::container(&mut value, version);
    value
}

fn whole(found: Inspect) -> ContainerInspect {
    let record = found.record;
    let mut command = record.command().into_iter();
    let network_settings = networks(&record, found.ports, found.sandbox_key);
    let mounts = record.mounts.iter().cloned().chain(memory(&record.host)).collect();
    let graph_driver = match found.graph_driver {
        Some(driver) => GraphDriver { data: Some(driver.data), name: driver.name },
        None => GraphDriver::default(),
    };
    ContainerInspect {
        id: record.id.to_string(),
        created: record.created,
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        state: state(&record, found.health),
        image: record.image,
        resolv_conf_path: found.resolv_conf_path,
        hostname_path: found.hostname_path,
        hosts_path: found.hosts_path,
        log_path: found.log_path,
        name: format!("/{}", record.name),
        restart_count: i64::from(record.restart_count),
        driver: "overlay2".to_owned(),
        platform: "linux".to_owned(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: found.apparmor_profile,
        exec_ids: found.exec_ids,
        host_config: record.host,
        graph_driver,
        size_rw: found.sizes.map(|sizes| signed(sizes.rw)),
        size_root_fs: found.sizes.map(|sizes| signed(sizes.root_fs)),
        image_manifest_descriptor: None,
        mounts,
        config: record.config,
        network_settings,
    }
}

/// Memory that was mounted in the long form, which Docker lists with the mounts.
fn memory(host: &HostConfig) -> impl Iterator<Item = MountPoint> {
    let asked = host.mounts.iter().filter(|mount| mount.kind == MountKind::Tmpfs);
    asked.map(|mount| MountPoint {
        kind: MountKind::Tmpfs,
        destination: mount.target.clone(),
        rw: !mount.read_only,
        ..MountPoint::default()
    })
}

fn state(record: &Record, health: Option<Health>) -> State {
    let state = &record.state;
    State {
        status: state.status.as_str().to_owned(),
        running: state.status.is_active(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: state.started_at,
        finished_at: state.finished_at,
        health,
    }
}

/// Old clients read the default bridge's addresses beside the list of networks.
fn networks(record: &Record, ports: PortMap, sandbox_key: String) -> NetworkSettings {
    let running = !sandbox_key.is_empty();
    let bridge = record.networks.get("bridge").cloned().unwrap_or_default();
    NetworkSettings {
        sandbox_id: if running { record.id.to_string() } else { String::new() },
        sandbox_key,
        ports,
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        global_ipv6_address: bridge.global_ipv6_address,
        global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        ipv6_gateway: bridge.ipv6_gateway,
        mac_address: bridge.mac_address,
        networks: shown(record.networks.clone()),
        ..NetworkSettings::default()
    }
}

/// What a path of a container is.
pub(crate) fn path_stat(found: engine::PathStat) -> docker_api::archive::PathStat {
    docker_api::archive::PathStat {
        name: found.name,
        size: found.size,
        mode: found.mode,
        mtime: found.mtime,
        link_target: found.link_target,
    }
}
