//! The daemon's settings in the engine's terms.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use engine::{AddressPool, Config};
use types::host::Capabilities;

use crate::config::{ConfigError, Settings, registry};

/// The engine's configuration.
///
/// # Errors
/// When an address makes no sense, or the seccomp profile cannot be read.
pub(crate) fn engine(settings: &Settings, support: Capabilities) -> Result<Config, ConfigError> {
    let mut config = Config::new(settings.data_root(), settings.exec_root());
    network(settings, &mut config)?;
    if let Some(kind) = &settings.log_driver {
        config.log.kind.clone_from(kind);
    }
    config.log.config.clone_from(&settings.log_opts);
    config.ulimits = settings.default_ulimits.values().cloned().collect();
    set(&mut config.shm_size, settings.default_shm_size);
    set(&mut config.ipc_mode, settings.default_ipc_mode.clone());
    set(&mut config.cgroupns_mode, settings.default_cgroupns_mode.clone());
    set(&mut config.cgroup_parent, settings.cgroup_parent.clone());
    machines(settings, &mut config)?;
    config.systemd_cgroup = settings.systemd_cgroup()?;
    config.init = settings.init;
    config.userns_remap = settings.userns_remap.clone().filter(|name| !name.is_empty());
    config.seccomp_profile = seccomp(settings.seccomp_profile.as_deref())?;
    config.no_new_privileges = settings.no_new_privileges;
    config.dns.clone_from(&settings.dns);
    config.dns_search.clone_from(&settings.dns_search);
    config.dns_options.clone_from(&settings.dns_opts);
    config.labels = settings.label_pairs()?;
    config.support = support;
    config.registries = registry::registries(settings)?;
    config.keep_blobs = settings.keep_blobs.unwrap_or(true);
    config.gzip_level = registry::gzip_level(settings)?;
    config.watermarks = registry::watermarks(settings)?;
    config.secret_key_file.clone_from(&settings.secret_key_file);
    config.max_layer_bytes = registry::max_layer_bytes(settings)?;
    Ok(config)
}

/// How virtual machines are made.
fn machines(settings: &Settings, config: &mut Config) -> Result<(), ConfigError> {
    let wrong = |directive, value: &str, why| Err(ConfigError::value(directive, value, why));
    match settings.default_isolation.as_deref() {
        None | Some("" | "default" | "process") => {}
        Some("vm") => config.isolation = "vm".to_owned(),
        Some(other) => return wrong("default-isolation", other, "it is process or vm"),
    }
    let machines = &mut config.machines;
    // At once, and not when the first container wants it.
    for (directive, paths) in [("vm-kernel", &settings.vm_kernel), ("vm-agent", &settings.vm_agent)]
    {
        if let Some(path) = paths.iter().find(|path| !path.exists()) {
            return wrong(directive, &path.to_string_lossy(), "there is no such file");
        }
    }
    machines.kernels.clone_from(&settings.vm_kernel);
    machines.agents.clone_from(&settings.vm_agent);
    machines.agent_places = agent_places();
    for (directive, text, place, least) in [
        ("vm-memory", &settings.vm_memory, &mut machines.memory, 128 << 20),
        ("vm-disk-size", &settings.vm_disk_size, &mut machines.disk_size, 64 << 20),
    ] {
        let Some(text) = text.as_deref() else { continue };
        match engine::parse_size(text) {
            Some(bytes) if bytes >= least => *place = bytes,
            _ => return wrong(directive, text, "not a size that is large enough"),
        }
    }
    if let Some(cpus) = settings.vm_cpus {
        match u32::try_from(cpus) {
            Ok(cpus @ 1..=64) => machines.cpus = cpus,
            _ => return wrong("vm-cpus", &cpus.to_string(), "it is 1 to 64"),
        }
    }
    machines.accelerator = match settings.vm_accelerator.as_deref() {
        None | Some("" | "auto") => engine::Accelerator::Auto,
        Some("kvm") => engine::Accelerator::Hardware,
        Some("emulation" | "tcg") => engine::Accelerator::Emulation,
        Some(other) => return wrong("vm-accelerator", other, "it is auto, kvm or emulation"),
    };
    if let Some(most) = settings.vm_spares {
        match usize::try_from(most) {
            Ok(most @ 0..=64) => machines.spares = most,
            _ => return wrong("vm-spares", &most.to_string(), "it is 0 to 64"),
        }
    }
    machines.templates = match settings.vm_templates.as_deref() {
        None | Some("" | "make") => engine::Templates::Make,
        Some("use") => engine::Templates::Use,
        Some("never") => engine::Templates::Never,
        Some(other) => return wrong("vm-templates", other, "it is make, use or never"),
    };
    Ok(())
}

/// What the programs of virtual machines' agents are called: that for machines of the host's
/// architecture, and those for others.
const AGENTS: [&str; 3] = ["guest-agent", "guest-agent-aarch64", "guest-agent-x86_64"];

/// Where such programs are installed, if they are.
fn agent_places() -> Vec<PathBuf> {
    // The program itself runs from a copy of its mount: what it was started as says where it is.
    let started = std::env::args_os().next().map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let searched = match &started {
        Some(word) if word.components().count() == 1 => {
            std::env::split_paths(&path).map(|place| place.join(word)).find(|file| file.is_file())
        }
        _ => None,
    };
    let beside = [searched, started, std::env::current_exe().ok()]
        .into_iter()
        .flatten()
        .filter_map(|program| program.canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned));
    beside
        .chain([PathBuf::from("/usr/lib/isopod")])
        .flat_map(|directory| AGENTS.map(|name| directory.join(name)))
        .collect()
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn network(settings: &Settings, config: &mut Config) -> Result<(), ConfigError> {
    let network = &mut config.network;
    // Two daemons on a host have different exec roots, and must not share a bridge or a table.
    if settings.exec_root() != Path::new("/run/isopod") {
        let suffix = short_hash(&settings.exec_root());
        network.bridge = Some(format!("isopod{suffix}"));
        network.table = format!("isopod_{suffix}");
    }
    match settings.bridge.as_deref() {
        None | Some("") => {}
        Some("none") => network.bridge = None,
        Some(name) => network.bridge = Some(name.to_owned()),
    }
    network.bip = read("--bip", &settings.bip)?;
    network.fixed_cidr = read("--fixed-cidr", &settings.fixed_cidr)?;
    network.fixed_cidr_v6 = read("--fixed-cidr-v6", &settings.fixed_cidr_v6)?;
    set(&mut network.mtu, settings.mtu.filter(|mtu| *mtu > 0));
    set(&mut network.ip_forward, settings.ip_forward);
    set(&mut network.ip_masq, settings.ip_masq);
    set(&mut network.firewall, settings.iptables);
    set(&mut network.icc, settings.icc);
    set(&mut network.spoofing, settings.allow_spoofing);
    set(&mut network.metadata, settings.allow_metadata);
    set(&mut network.host_loopback, settings.allow_host_loopback);
    set(&mut network.direct, settings.direct);
    set(&mut network.default_host_ip, read::<IpAddr>("--ip", &settings.ip)?);
    network.host_gateway = read("--host-gateway-ip", &settings.host_gateway_ip)?;
    if !settings.default_address_pools.is_empty() {
        network.pools.clear();
        for pool in &settings.default_address_pools {
            let base = read("--default-address-pool", &Some(pool.base.clone()))?;
            network.pools.extend(base.map(|base| AddressPool { base, size: pool.size }));
        }
    }
    Ok(())
}

fn read<T: FromStr>(
    directive: &'static str,
    text: &Option<String>,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |_| ConfigError::value(directive, text, "not an address of the expected form");
    text.parse().map(Some).map_err(wrong)
}

/// Six hexadecimal digits that are the same for the same path in every version (FNV-1a).
fn short_hash(path: &Path) -> String {
    let hash =
        path.as_os_str().as_encoded_bytes().iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    format!("{:06x}", hash & 0x00ff_ffff)
}

/// The profile's text; `None` for the built-in one.
fn seccomp(setting: Option<&str>) -> Result<Option<String>, ConfigError> {
    match setting {
        None | Some("" | "builtin" | "default") => Ok(None),
        Some("unconfined") => Ok(Some("unconfined".to_owned())),
        Some(path) => fs::read_to_string(path).map(Some).map_err(|error| {
            ConfigError::value("--seccomp-profile", path, format!("cannot be read: {error}"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_the_engine() {
        let settings = Settings {
            exec_root: Some("/tmp/x".into()),
            bip: Some("10.9.0.1/24".to_owned()),
            mtu: Some(1400),
            iptables: Some(false),
            log_driver: Some("local".to_owned()),
            ..Settings::default()
        };
        let config = engine(&settings, Capabilities::default()).expect("valid");
        assert_eq!(config.network.mtu, 1400);
        assert!(!config.network.firewall);
        assert!(config.network.bip.is_some());
        assert_eq!(config.log.kind, "local");
        let bridge = config.network.bridge.expect("a bridge");
        assert!(bridge.len() <= 15 && bridge != "isopod0", "{bridge}");
        assert_ne!(config.network.table, "isopod");
    }

    #[test]
    fn two_roots_have_two_bridges_and_the_default_keeps_its_name() {
        let bridge = |root: Option<&str>, bridge: Option<&str>| {
            let settings = Settings {
                exec_root: root.map(Into::into),
                bridge: bridge.map(str::to_owned),
                ..Settings::default()
            };
            engine(&settings, Capabilities::default()).expect("valid").network.bridge
        };
        assert_eq!(bridge(None, None).as_deref(), Some("isopod0"));
        assert_ne!(bridge(Some("/a"), None), bridge(Some("/b"), None));
        assert_eq!(bridge(Some("/a"), Some("br7")).as_deref(), Some("br7"));
        assert_eq!(bridge(None, Some("none")), None);
    }

    #[test]
    fn machines_are_not_made_of_what_is_not_there() {
        let kernel =
            Settings { vm_kernel: vec!["/nonexistent/vmlinuz".into()], ..Settings::default() };
        let agent = Settings { vm_agent: vec!["/nonexistent/agent".into()], ..Settings::default() };
        for (settings, word) in [(kernel, "vm-kernel"), (agent, "vm-agent")] {
            let error = engine(&settings, Capabilities::default()).expect_err("not there");
            let text = error.to_string();
            assert!(text.contains(word) && text.contains("there is no such file"), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let bip = Settings { bip: Some("x".to_owned()), ..Settings::default() };
        assert!(engine(&bip, Capabilities::default()).is_err());
        let profile =
            Settings { seccomp_profile: Some("/does/not/exist".to_owned()), ..Settings::default() };
        assert!(engine(&profile, Capabilities::default()).is_err());
    }
}
