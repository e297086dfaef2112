//! The daemon itself.

use std::collections::BTreeMap;

use docker_api::disk::DiskUsage;
use docker_api::system::{
    AddressPool, Component, FirewallInfo, IndexInfo, Info, PlatformName, PluginsInfo,
    RegistryConfig, Runtime, SwarmInfo, Version,
};
use docker_api::{API_VERSION, MIN_API_VERSION};
use serde_json::Value;
use types::Timestamp;

use super::build::cache;
use super::list::signed;
use super::{earlier, image, list, volume};
use crate::api::Api;
use crate::http::version::Version as ApiVersion;

/// Our version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Go's name of an architecture.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" | "i586" | "i386" => "386",
        "armv7l" | "armv6l" => "arm",
        other => other,
    }
}

/// `GET /version`.
pub(crate) fn version(info: &engine::Info, experimental: bool) -> Version {
    let arch = architecture(&info.architecture);
    let details = [
        ("ApiVersion", API_VERSION),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Arch", arch),
        ("Os", "linux"),
        ("KernelVersion", &info.kernel),
        ("Experimental", if experimental { "true" } else { "false" }),
        ("GitCommit", ""),
        ("GoVersion", ""),
        ("BuildTime", ""),
    ];
    let details: BTreeMap<String, String> =
        details.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Version {
        platform: PlatformName { name: "Isopod".to_owned() },
        components: vec![Component {
            // Clients look for the component of this name.
            name: "Engine".to_owned(),
            version: VERSION.to_owned(),
            details,
        }],
        version: VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        os: "linux".to_owned(),
        arch: arch.to_owned(),
        kernel_version: info.kernel.clone(),
        experimental,
        ..Version::default()
    }
}

/// `GET /info`.
pub(crate) fn info(info: engine::Info, api: &Api, version: ApiVersion) -> Value {
    // Plain data: writing it as JSON cannot fail.
    let mut value = serde_json::to_value(whole(info, api)).unwrap_or_default();
    earlier::info(&mut value, version);
    value
}

fn whole(info: engine::Info, api: &Api) -> Info {
    let changeable = api.changeable();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let security_options = security(&info);
    let support = info.support;
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut warnings = info.warnings;
    warnings.extend(api.warnings.iter().cloned());
    let proxies = proxies(&api.engine.registry_settings());
    Info {
        id: info.id,
        containers: count(info.containers),
        containers_running: count(info.running),
        containers_paused: count(info.paused),
        containers_stopped: count(info.stopped),
        images: count(info.images),
        driver: "overlay2".to_owned(),
        driver_status: [
            ("Backing Filesystem", info.backing),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]
        .map(|(key, value)| [key.to_owned(), value.to_owned()])
        .to_vec(),
        plugins: PluginsInfo {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&["json-file", "local", "none"]),
        },
        memory_limit: support.memory_limit,
        swap_limit: support.swap_limit,
        kernel_memory: support.kernel_memory,
        kernel_memory_tcp: support.kernel_memory_tcp,
        cpu_cfs_period: support.cpu_cfs_period,
        cpu_cfs_quota: support.cpu_cfs_quota,
        cpu_shares: support.cpu_shares,
        cpu_set: support.cpuset,
        pids_limit: support.pids_limit,
        ipv4_forwarding: info.ip_forward,
        bridge_nf_iptables: info.bridge_nf,
        bridge_nf_ip6tables: info.bridge_nf,
        debug: changeable.debug,
        n_fd: count(info.descriptors),
        oom_kill_disable: support.oom_kill_disable,
        n_goroutines: count(tokio::runtime::Handle::current().metrics().num_alive_tasks()),
        system_time: Timestamp::now().to_string(),
        logging_driver: info.log_driver,
        cgroup_driver: info.cgroup_driver.to_owned(),
        cgroup_version: if support.unified { "2" } else { "1" }.to_owned(),
        kernel_version: info.kernel,
        operating_system: info.operating_system,
        os_version: info.os_version,
        os_type: "linux".to_owned(),
        architecture: info.architecture,
        n_cpu: count(info.cpus),
        mem_total: signed(info.memory),
        docker_root_dir: info.data_root,
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(&api.engine.registry_settings()),
        name: info.name,
        labels: changeable.labels,
        experimental_build: api.experimental,
        server_version: VERSION.to_owned(),
        runtimes: ["runc", "vm"]
            .map(|name| {
                let runtime = Runtime { path: "isopod".to_owned(), ..Runtime::default() };
                (name.to_owned(), runtime)
            })
            .into(),
        default_runtime: "runc".to_owned(),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        live_restore_enabled: true,
        init_binary: "isopod".to_owned(),
        security_options,
        default_address_pools: info
            .pools
            .into_iter()
            .map(|(base, size)| AddressPool { base, size: i64::from(size) })
            .collect(),
        firewall_backend: Some(FirewallInfo {
            driver: "nftables".to_owned(),
            ..FirewallInfo::default()
        }),
        http_proxy: proxies.0,
        https_proxy: proxies.1,
        no_proxy: proxies.2,
        warnings,
        ..Info::default()
    }
}

/// How registries are spoken to, in dockerd's shape. Loopback addresses are always insecure.
fn registries(settings: &engine::RegistrySettings) -> RegistryConfig {
    let (blocks, hosts): (Vec<String>, Vec<String>) =
        settings.insecure.iter().cloned().partition(|text| text.contains('/'));
    let mut insecure_registry_cidrs = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    insecure_registry_cidrs.extend(blocks);
    let hub = IndexInfo {
        name: "docker.io".to_owned(),
        mirrors: settings.mirrors.clone(),
        secure: true,
        official: true,
    };
    let insecure = hosts.into_iter().map(|name| IndexInfo { name, ..IndexInfo::default() });
    let index_configs =
        [hub].into_iter().chain(insecure).map(|index| (index.name.clone(), index)).collect();
    RegistryConfig { insecure_registry_cidrs, index_configs, mirrors: settings.mirrors.clone() }
}

/// Proxies to registries, without the passwords in their addresses.
fn proxies(settings: &engine::RegistrySettings) -> (String, String, String) {
    let one = |given: &Option<String>, names: [&str; 2]| {
        let environment = || names.iter().find_map(|name| std::env::var(name).ok());
        masked(&given.clone().or_else(environment).unwrap_or_default())
    };
    (
        one(&settings.http_proxy, ["HTTP_PROXY", "http_proxy"]),
        one(&settings.https_proxy, ["HTTPS_PROXY", "https_proxy"]),
        one(&settings.no_proxy, ["NO_PROXY", "no_proxy"]),
    )
}

/// An address whose user and password are not shown, in dockerd's manner.
fn masked(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}{path}"),
        None => address.to_owned(),
    }
}

fn security(info: &engine::Info) -> Vec<String> {
    let mut options = Vec::new();
    if info.apparmor {
        options.push("name=apparmor".to_owned());
    }
    options.push("name=seccomp,profile=builtin".to_owned());
    if info.selinux {
        options.push("name=selinux".to_owned());
    }
    if info.remapped {
        options.push("name=userns".to_owned());
    }
    if info.support.unified {
        options.push("name=cgroupns".to_owned());
    }
    options
}

/// `GET /system/df`, with the kinds that were asked for.
pub(crate) fn disk_usage(
    found: engine::DiskUsage,
    kinds: &[&str],
    version: ApiVersion,
    verbose: bool,
) -> Value {
    let mut usage = lists(found, kinds, version);
    if version.at_least(52) {
        usage = usage.summed(verbose);
    }
    // Plain data: writing it as JSON cannot fail.
    let mut value = serde_json::to_value(usage).unwrap_or_default();
    earlier::disk_usage(&mut value, version, verbose);
    value
}

fn lists(found: engine::DiskUsage, kinds: &[&str], version: ApiVersion) -> DiskUsage {
    let wants = |kind: &str| kinds.contains(&kind);
    DiskUsage {
        layers_size: if wants("image") { signed(found.images.layers_size) } else { 0 },
        layers_disk_size: wants("image").then(|| signed(found.images.disk_size)),
        images: wants("image").then(|| {
            let summary = |found| image::summary(found, version);
            found.images.images.into_iter().map(summary).collect()
        }),
        containers: wants("container")
            .then(|| found.containers.into_iter().map(|one| list::summary(one, version)).collect()),
        volumes: wants("volume").then(|| found.volumes.into_iter().map(volume::usage).collect()),
        build_cache: wants("build-cache")
            .then(|| found.build_cache.into_iter().map(|one| cache(one, version)).collect()),
        ..DiskUsage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_proxies_are_not_shown() {
        assert_eq!(masked("http://ann:s3cret@proxy:3128/x"), "http://xxxxx:xxxxx@proxy:3128/x");
        assert_eq!(masked("http://proxy:3128/a@b"), "http://proxy:3128/a@b");
        assert_eq!(masked("localhost,.example"), "localhost,.example");
    }
}
