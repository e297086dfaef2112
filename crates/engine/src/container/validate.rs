//! What may be asked of a container. Pure; messages are Docker's, because clients show them.

use types::container::{ContainerConfig, HostConfig, RestartPolicy, RestartRule};
use types::health::HealthConfig;
use types::host::Capabilities;
use types::resources::Resources;
use types::{Error, name};

/// The smallest memory limit: below it not even the set-up fits.
const MEMORY_MIN: i64 = 6 << 20;

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
    if joined(&host.network_mode).is_some() && !config.exposed_ports.is_empty() {
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
        "" | "isopod" | "runc" | "io.containerd.runc.v2" => {}
        other => refuse(format!("unknown or invalid runtime name: {other}"))?,
    }
    match host.isolation.as_str() {
        "" | "default" | "process" => {}
        other => refuse(format!("invalid isolation '{other}': this daemon offers 'process'"))?,
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

fn log(log: &types::container::LogConfig) -> Checked {
    let known: &[&str] = match log.kind.as_str() {
        "none" => return Ok(()),
        "" | "json-file" | "local" => &[
            "max-size",
            "max-file",
            "compress",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
            "tag",
            "mode",
            "max-buffer-size",
        ],
        other => {
            return refuse(format!("logger: no log driver named '{other}' is registered"));
        }
    };
    for (key, value) in &log.config {
        if !known.contains(&key.as_str()) {
            refuse(format!(
                "unknown log opt '{key}' for {} log driver",
                if log.kind.is_empty() { "json-file" } else { &log.kind }
            ))?;
        }
        let fine = match key.as_str() {
            "max-size" | "max-buffer-size" => size(value).is_some_and(|bytes| bytes > 0),
            "max-file" => value.parse::<u32>().is_ok_and(|count| count > 0),
            "compress" => value.parse::<bool>().is_ok(),
            "mode" => matches!(value.as_str(), "blocking" | "non-blocking"),
            _ => true,
        };
        if !fine {
            refuse(format!("invalid value '{value}' for log opt '{key}'"))?;
        }
    }
    if log.config.contains_key("max-file") && !log.config.contains_key("max-size") {
        let default = log.kind.is_empty() || log.kind == "json-file";
        let many = log.config.get("max-file").is_some_and(|count| count != "1");
        if default && many {
            // The default rotates here, unlike dockerd's, so a number of files alone is fine.
            return Ok(());
        }
    }
    Ok(())
}

/// Bytes of `10m`, `1g`, `512k`, `7`, `7b`.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: f64 = digits.trim().parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (number >= 0.0 && number.is_finite()).then(|| {
        (number * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift - shift / 2))) as u64
    })
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

/// Checks limits and fills in what follows from them; returns warnings.
pub(crate) fn resources(
    limits: &mut Resources,
    support: &Capabilities,
    cpus: usize,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    memory(limits, support, &mut warnings)?;
    processor(limits, cpus)?;
    cpusets(limits, support)?;
    if limits.blkio_weight > 0 && !(10..=1000).contains(&limits.blkio_weight) {
        refuse("Range of blkio weight is from 10 to 1000")?;
    }
    if limits.blkio_weight > 0 && !support.blkio_weight {
        warnings.push(
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight \
             discarded."
                .to_owned(),
        );
        limits.blkio_weight = 0;
    }
    if limits.pids_limit.is_some_and(|limit| limit < -1) {
        refuse("invalid PIDs limit: it must be -1, 0 or a positive number")?;
    }
    if limits.oom_kill_disable == Some(true) && !support.oom_kill_disable {
        warnings.push(
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned(),
        );
        limits.oom_kill_disable = None;
    }
    if limits.oom_kill_disable == Some(true) && limits.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can \
             result in the system running out of resources."
                .to_owned(),
        );
    }
    if !limits.device_requests.is_empty() {
        let wanted = limits.device_requests.iter().flat_map(|r| r.capabilities.iter().flatten());
        let wanted: Vec<_> = wanted.map(String::as_str).collect();
        refuse(format!(
            "could not select device driver {:?} with capabilities: [[{}]]",
            limits.device_requests[0].driver,
            wanted.join(" ")
        ))?;
    }
    for ulimit in &limits.ulimits {
        if ulimit.soft > ulimit.hard && ulimit.hard != -1 {
            refuse(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ))?;
        }
        if crate::spec::process::rlimit_name(&ulimit.name).is_none() {
            refuse(format!("invalid ulimit type: {}", ulimit.name))?;
        }
    }
    Ok(warnings)
}

fn memory(limits: &mut Resources, support: &Capabilities, warnings: &mut Vec<String>) -> Checked {
    let mut discard = |value: &mut i64, supported: bool, what: &str| {
        if *value > 0 && !supported {
            warnings.push(format!(
                "Your kernel does not support {what} capabilities or the cgroup is not mounted. \
                 Limitation discarded."
            ));
            *value = 0;
        }
    };
    discard(&mut limits.memory, support.memory_limit, "memory limit");
    discard(&mut limits.memory_reservation, support.memory_reservation, "memory soft limit");
    discard(&mut limits.kernel_memory, support.kernel_memory, "kernel memory limit");
    discard(&mut limits.kernel_memory_tcp, support.kernel_memory_tcp, "kernel memory TCP limit");
    if limits.memory != 0 && limits.memory < MEMORY_MIN {
        refuse("Minimum memory limit allowed is 6MB")?;
    }
    if limits.memory > 0 && limits.memory_swap != -1 && !support.swap_limit {
        if limits.memory_swap > 0 {
            warnings.push(
                "Your kernel does not support swap limit capabilities or the cgroup is not \
                 mounted. Memory limited without swap."
                    .to_owned(),
            );
        }
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        refuse("Minimum memoryswap limit should be larger than memory limit, see usage")?;
    }
    if limits.memory == 0 && limits.memory_swap > 0 {
        refuse("You should always set the Memory limit when using Memoryswap limit, see usage")?;
    }
    if limits.memory > 0 && limits.memory_swap == 0 {
        limits.memory_swap = limits.memory.saturating_mul(2);
    }
    // -1 is how clients write "as it is".
    limits.memory_swappiness = limits.memory_swappiness.filter(|value| *value != -1);
    if let Some(swappiness) = limits.memory_swappiness {
        if !(-1..=100).contains(&swappiness) {
            refuse(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"))?;
        }
        if swappiness != -1 && !support.memory_swappiness {
            warnings.push(
                "Your kernel does not support memory swappiness capabilities or the cgroup is not \
                 mounted. Memory swappiness discarded."
                    .to_owned(),
            );
            limits.memory_swappiness = None;
        }
    }
    if limits.memory_reservation > 0 && limits.memory_reservation < MEMORY_MIN {
        refuse("Minimum memory reservation allowed is 6MB")?;
    }
    if limits.memory > 0 && limits.memory_reservation > limits.memory {
        refuse("Minimum memory limit can not be less than memory reservation limit, see usage")?;
    }
    Ok(())
}

fn processor(limits: &Resources, cpus: usize) -> Checked {
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set.")?;
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")?;
    }
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if limits.nano_cpus < 0 || limits.nano_cpus > most {
        refuse(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ))?;
    }
    if limits.cpu_shares < 0 {
        refuse(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            limits.cpu_shares
        ))?;
    }
    if limits.cpu_period != 0 && !(1000..=1_000_000).contains(&limits.cpu_period) {
        refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        )?;
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1000 {
        refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)")?;
    }
    Ok(())
}

fn cpusets(limits: &Resources, support: &Capabilities) -> Checked {
    for (what, asked, available) in [
        ("CPUs", &limits.cpuset_cpus, &support.cpuset_cpus),
        ("memory nodes", &limits.cpuset_mems, &support.cpuset_mems),
    ] {
        if asked.is_empty() {
            continue;
        }
        let short = if what == "CPUs" { "cpuset cpus" } else { "cpuset mems" };
        let Some(wanted) = list(asked) else {
            return refuse(format!("Invalid value {asked} for {short}"));
        };
        let have = list(available).unwrap_or_default();
        if !wanted.iter().all(|number| have.contains(number)) {
            refuse(format!(
                "Requested {what} are not available - requested {asked}, available: {available}"
            ))?;
        }
    }
    Ok(())
}

/// The numbers of a kernel list such as `0-2,7`; `None` when it is none.
fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u32>().ok()?, to.trim().parse::<u32>().ok()?);
        if from > to || to > 8192 {
            return None;
        }
        numbers.extend(from..=to);
    }
    Some(numbers)
}

/// A signal's number, from a number or a name with or without `SIG`.
///
/// # Errors
/// [`types::ErrorKind::Invalid`] in Docker's words.
pub(crate) fn signal(text: &str) -> Result<i32, Error> {
    const NAMES: [(&str, i32); 35] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("IOT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("STKFLT", 16),
        ("CHLD", 17),
        ("CLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("TTIN", 21),
        ("TTOU", 22),
        ("URG", 23),
        ("XCPU", 24),
        ("XFSZ", 25),
        ("VTALRM", 26),
        ("PROF", 27),
        ("WINCH", 28),
        ("IO", 29),
        ("POLL", 29),
        ("PWR", 30),
        ("SYS", 31),
        ("UNUSED", 31),
    ];
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == bare) {
        return Ok(*number);
    }
    let offset = |prefix: &str| bare.strip_prefix(prefix)?.parse::<i32>().ok();
    let real_time = match bare {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => offset("RTMIN+").map(|n| 34 + n).or_else(|| offset("RTMAX-").map(|n| 64 - n)),
    };
    real_time.filter(|number| (34..=64).contains(number)).ok_or_else(invalid)
}

/// Checks a name and takes the slash off.
pub(crate) fn container_name(text: &str) -> Result<&str, Error> {
    name::container(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Capabilities {
        Capabilities {
            memory_limit: true,
            swap_limit: true,
            memory_reservation: true,
            memory_swappiness: true,
            oom_kill_disable: true,
            cpuset: true,
            cpuset_cpus: "0-1".to_owned(),
            cpuset_mems: "0".to_owned(),
            blkio_weight: true,
            ..Capabilities::default()
        }
    }

    fn verdict(change: impl FnOnce(&mut Resources)) -> Result<Vec<String>, String> {
        let mut limits = Resources::default();
        change(&mut limits);
        resources(&mut limits, &all(), 2).map_err(|error| error.message)
    }

    #[test]
    fn limits_are_refused_in_dockers_words() {
        let refused = |change: fn(&mut Resources), words: &str| {
            let message = verdict(change).expect_err(words);
            assert!(message.contains(words), "{message}");
        };
        refused(|l| l.memory = 4096, "Minimum memory limit allowed is 6MB");
        refused(|l| l.memory_swap = 1 << 30, "always set the Memory limit");
        refused(|l| l.memory_swappiness = Some(101), "valid memory swappiness range is 0-100");
        refused(|l| l.nano_cpus = 3_000_000_000, "only 2 CPUs available");
        refused(|l| l.cpu_period = 1, "can not be less than 1ms");
        refused(|l| l.cpuset_cpus = "0-5".to_owned(), "Requested CPUs are not available");
        refused(|l| l.cpuset_cpus = "0-x".to_owned(), "Invalid value 0-x for cpuset cpus");
        refused(|l| l.blkio_weight = 5, "Range of blkio weight is from 10 to 1000");
    }

    #[test]
    fn swap_follows_memory() {
        let mut limits = Resources { memory: 64 << 20, ..Resources::default() };
        resources(&mut limits, &all(), 2).expect("fine");
        assert_eq!(limits.memory_swap, 128 << 20);
    }

    #[test]
    fn what_the_kernel_lacks_is_a_warning() {
        let mut limits = Resources { memory: 64 << 20, ..Resources::default() };
        let warnings = resources(&mut limits, &Capabilities::default(), 2).expect("fine");
        assert_eq!(limits.memory, 0);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal("SIGTERM"), Ok(15));
        assert_eq!(signal("kill"), Ok(9));
        assert_eq!(signal("RTMIN+3"), Ok(37));
        assert_eq!(signal("64"), Ok(64));
        for bad in ["0", "65", "SIGNOPE", "", "-9", "RTMIN+99"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("10m"), Some(10 << 20));
        assert_eq!(size("1.5k"), Some(1536));
        assert_eq!(size("2GB"), Some(2 << 30));
        assert_eq!(size("x"), None);
        assert_eq!(size("-1"), None);
    }
}
