//! What may be asked of a container. Pure; messages are Docker's, because clients show them.

pub(crate) mod limits;
mod log;
mod signal;

use types::container::{ContainerConfig, HostConfig, RestartPolicy, RestartRule};
use types::health::HealthConfig;
use types::host::Capabilities;
use types::{Error, name};

pub(crate) use limits::resources;
pub use log::size;
pub(crate) use signal::signal;

use log::log;

type Checked = Result<(), Error>;

fn refuse(message: impl Into<String>) -> Checked {
    Err(Error::invalid(message))
}

/// Checks everything that can be checked without looking at the host's files, fills in what
/// follows from what was said, and returns warnings.
pub(crate) fn check(
    config: &mut ContainerConfig,
    host: &mut HostConfig,
    support: &Capabilities,
    cpus: usize,
) -> Result<Vec<String>, Error> {
    check_config(config)?;
    check_host(config, host)?;
    restart_policy(&host.restart_policy, host.auto_remove)?;
    let mut warnings = resources(&mut host.resources, support, cpus)?;
    if host.oom_score_adj < -1000 || host.oom_score_adj > 1000 {
        refuse(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ))?;
    }
    let host_network = host.network_mode == "host";
    if host_network && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    Ok(warnings)
}

/// Checks what only the user can get wrong, before the image adds its own: a container that joins
/// another's network may not expose ports, but its image may.
pub(crate) fn asked(config: &ContainerConfig, host: &HostConfig) -> Checked {
    // A port that is published is exposed too, and refused as what it was asked for as.
    let only_exposed = host.port_bindings.is_empty() && !host.publish_all_ports;
    if joined(&host.network_mode).is_some() && only_exposed && !config.exposed_ports.is_empty() {
        refuse("conflicting options: port exposing and the container type network mode")?;
    }
    Ok(())
}

/// Checks what cannot go together with remapped ids: all that would need the host's namespaces.
pub(crate) fn remapped(host: &HostConfig) -> Checked {
    if host.privileged {
        refuse(
            "privileged mode is incompatible with user namespaces.  You must run the container in \
             the host namespace when running privileged mode",
        )?;
    }
    if host.network_mode == "host" {
        refuse("cannot share the host's network namespace when user namespaces are enabled")?;
    }
    if host.pid_mode == "host" {
        refuse("cannot share the host PID namespace when user namespaces are enabled")?;
    }
    Ok(())
}

fn check_config(config: &ContainerConfig) -> Checked {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        refuse(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ))?;
    }
    for variable in &config.env {
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            refuse(format!("invalid environment variable: {variable}"))?;
        }
    }
    if !config.stop_signal.is_empty() {
        signal(&config.stop_signal)?;
    }
    for port in config.exposed_ports.keys() {
        super::super::ports::parse(port)?;
    }
    if config.hostname.len() > 64 || config.hostname.contains('\0') {
        refuse(format!("invalid hostname: {} (64 bytes at most)", config.hostname))?;
    }
    config.healthcheck.as_ref().map_or(Ok(()), health)
}

fn health(health: &HealthConfig) -> Checked {
    for (what, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < 1_000_000 {
            refuse(format!("{what} in Healthcheck cannot be less than 1ms"))?;
        }
    }
    if health.retries < 0 {
        refuse("Retries in Healthcheck cannot be negative")?;
    }
    Ok(())
}

fn check_host(config: &ContainerConfig, host: &HostConfig) -> Checked {
    if host.shm_size < 0 {
        refuse("SHM size can not be less than 0")?;
    }
    for line in &host.extra_hosts {
        let Some((_, address)) = line.split_once(':') else {
            return refuse(format!("bad format for add-host: \"{line}\""));
        };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        if address != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
            refuse(format!("invalid IP address in add-host: \"{address}\""))?;
        }
    }
    for server in &host.dns {
        if server.parse::<std::net::IpAddr>().is_err() {
            refuse(format!("invalid IP address in dns: \"{server}\""))?;
        }
    }
    for (what, mode, modes) in [
        ("IPC", &host.ipc_mode, &["", "none", "private", "shareable", "host"][..]),
        ("PID", &host.pid_mode, &["", "host"][..]),
        ("UTS", &host.uts_mode, &["", "host"][..]),
        ("userns", &host.userns_mode, &["", "host", "private"][..]),
        ("cgroup namespace", &host.cgroupns_mode, &["", "private", "host"][..]),
    ] {
        let joins = matches!(what, "IPC" | "PID") && joined(mode).is_some();
        if !joins && !modes.contains(&mode.as_str()) {
            refuse(format!("invalid {what} mode: {mode}"))?;
        }
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        refuse("conflicting options: hostname and the UTS mode")?;
    }
    if joined(&host.network_mode).is_some() {
        let conflict =
            |what: &str| refuse(format!("conflicting options: {what} and the network mode"));
        if !config.hostname.is_empty() {
            conflict("hostname")?;
        }
        if !host.port_bindings.is_empty() || host.publish_all_ports {
            refuse("conflicting options: port publishing and the container type network mode")?;
        }
        if !host.extra_hosts.is_empty() {
            refuse("conflicting options: custom host-to-IP mapping and the network mode")?;
        }
        if !host.dns.is_empty() {
            conflict("dns")?;
        }
    }
    match host.runtime.as_str() {
        "" | "isopod" | "runc" | "io.containerd.runc.v2" | "vm" => {}
        other => refuse(format!("unknown or invalid runtime name: {other}"))?,
    }
    match host.isolation.as_str() {
        "" | "default" | "vm" => {}
        "process" if host.runtime == "vm" => {
            refuse("conflicting options: --isolation process and --runtime vm")?;
        }
        "process" => {}
        other => {
            refuse(format!("invalid isolation '{other}': this daemon offers 'process' and 'vm'"))?
        }
    }
    for bindings in host.port_bindings.iter() {
        super::super::ports::parse(bindings.0)?;
    }
    for volume in host.storage_opt.keys() {
        refuse(format!("storage option '{volume}' is not supported by the overlay2 driver here"))?;
    }
    log(&host.log_config)
}

/// The container that `container:X` names.
pub(crate) fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:").filter(|name| !name.is_empty())
}

/// Checks a restart policy.
pub(crate) fn restart_policy(policy: &RestartPolicy, auto_remove: bool) -> Checked {
    if auto_remove && policy.name != RestartRule::No {
        refuse("can't create 'AutoRemove' container with restart policy")?;
    }
    if policy.maximum_retry_count < 0 {
        refuse("invalid restart policy: maximum retry count cannot be negative")?;
    }
    if policy.maximum_retry_count > 0 && policy.name != RestartRule::OnFailure {
        refuse(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure', \
             not '{}'",
            policy.name.as_str()
        ))?;
    }
    Ok(())
}

/// Checks a name and takes the slash off.
pub(crate) fn container_name(text: &str) -> Result<&str, Error> {
    name::container(text)
}
