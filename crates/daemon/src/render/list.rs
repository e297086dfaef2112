//! Containers in lists.

use std::collections::BTreeMap;

use docker_api::container::{
    ContainerSummary, HealthSummary, Port, SummaryHostConfig, SummaryNetworkSettings, command_line,
};
use engine::Summary;
use types::Timestamp;
use types::health::HealthStatus;
use types::network::EndpointSettings;
use types::state::{State, Status};

use super::duration::human;
use crate::http::version::Version;

/// An item of `GET /containers/json`.
pub(crate) fn summary(found: Summary, version: Version) -> ContainerSummary {
    let record = found.record;
    let mut command = record.command().into_iter();
    let path = command.next().unwrap_or_default();
    let args = types::Words(command.collect());
    let names = std::iter::once(format!("/{}", record.name)).chain(found.links).collect();
    let ports = found
        .ports
        .into_iter()
        .map(|port| Port {
            ip: port.host.map(|(ip, _)| ip.to_string()).unwrap_or_default(),
            private_port: port.private,
            public_port: port.host.map_or(0, |(_, public)| public),
            kind: port.protocol.to_owned(),
        })
        .collect();
    ContainerSummary {
        id: record.id.to_string(),
        names,
        image: found.image,
        image_id: record.image,
        image_manifest_descriptor: None,
        command: command_line(&path, &args),
        created: record.created.seconds(),
        ports,
        size_rw: found.sizes.map(|sizes| signed(sizes.rw)),
        size_root_fs: found.sizes.map(|sizes| signed(sizes.root_fs)),
        labels: record.config.labels,
        state: record.state.status.as_str().to_owned(),
        status: status(&record.state, found.health, Timestamp::now()),
        host_config: SummaryHostConfig {
            network_mode: record.host.network_mode,
            annotations: match version.at_least(46) {
                true => record.host.annotations,
                false => BTreeMap::new(),
            },
        },
        network_settings: SummaryNetworkSettings { networks: shown(record.networks) },
        mounts: record.mounts,
        health: version.at_least(52).then(|| HealthSummary {
            status: found.health.as_str().to_owned(),
            failing_streak: found.failing_streak,
        }),
    }
}

/// A container's places in networks, without the engine's own notes among the driver's options.
pub(super) fn shown(
    mut networks: BTreeMap<String, EndpointSettings>,
) -> BTreeMap<String, EndpointSettings> {
    for settings in networks.values_mut() {
        settings.driver_opts.retain(|key, _| !key.starts_with("isopod."));
    }
    networks
}

/// A size as Go's signed integers have it.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// `Up 2 minutes (healthy)`, `Exited (1) 3 hours ago`, ….
fn status(state: &State, health: HealthStatus, now: Timestamp) -> String {
    let since = |then: Timestamp| human(now.seconds() - then.seconds());
    let up = since(state.started_at);
    match state.status {
        Status::Running => match health {
            HealthStatus::None => format!("Up {up}"),
            HealthStatus::Starting => format!("Up {up} (health: starting)"),
            other => format!("Up {up} ({})", other.as_str()),
        },
        Status::Paused => format!("Up {up} (Paused)"),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at))
        }
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        _ if state.started_at.is_never() => "Created".to_owned(),
        _ if state.finished_at.is_never() => String::new(),
        _ => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_dockers() {
        let second = 1_000_000_000;
        let now = Timestamp(1000 * second);
        let mut state = State::default();
        let say = |state: &State, health| status(state, health, now);
        assert_eq!(say(&state, HealthStatus::None), "Created");
        state.status = Status::Running;
        state.started_at = Timestamp(870 * second);
        assert_eq!(say(&state, HealthStatus::None), "Up 2 minutes");
        assert_eq!(say(&state, HealthStatus::Starting), "Up 2 minutes (health: starting)");
        assert_eq!(say(&state, HealthStatus::Unhealthy), "Up 2 minutes (unhealthy)");
        state.status = Status::Paused;
        assert_eq!(say(&state, HealthStatus::Healthy), "Up 2 minutes (Paused)");
        state.status = Status::Exited;
        state.exit_code = 137;
        state.finished_at = Timestamp(997 * second);
        assert_eq!(say(&state, HealthStatus::None), "Exited (137) 3 seconds ago");
        state.status = Status::Restarting;
        assert_eq!(say(&state, HealthStatus::None), "Restarting (137) 3 seconds ago");
    }
}
