//! What the engine says of itself and of the host.

use std::collections::BTreeMap;

use types::Error;
use types::host::Capabilities;
use types::state::Status;

use crate::{Engine, Sizes, Summary, VolumeUse, blocking, from_image};

/// The engine and its host.
#[derive(Clone, Debug)]
pub struct Info {
    /// An id that stays as long as the data root.
    pub id: String,
    /// Containers, all of them.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are frozen.
    pub paused: usize,
    /// Those that neither run nor are frozen.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// What the cgroups can limit.
    pub support: Capabilities,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: &'static str,
    /// The host's name.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution, as os-release(5) has it.
    pub operating_system: String,
    /// Its version.
    pub os_version: String,
    /// `x86_64`, `aarch64`, ….
    pub architecture: String,
    /// CPUs.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// The data root.
    pub data_root: String,
    /// Whether containers can forward packets.
    pub ip_forward: bool,
    /// Whether bridges pass packets through iptables.
    pub bridge_nf: bool,
    /// The default log driver.
    pub log_driver: String,
    /// The daemon's labels as `key=value`.
    pub labels: Vec<String>,
    /// User ids are remapped.
    pub remapped: bool,
    /// Whether the host enforces AppArmor.
    pub apparmor: bool,
    /// Whether the host enforces SELinux.
    pub selinux: bool,
    /// Open descriptors of the daemon.
    pub descriptors: usize,
    /// The pools that networks are taken from: base and prefix length.
    pub pools: Vec<(String, u8)>,
    /// What is missing on the host, in Docker's words.
    pub warnings: Vec<String>,
    /// The file system that the data root is on.
    pub backing: &'static str,
}

/// What takes up the disk.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// Images and their layers.
    pub images: image::Usage,
    /// Containers, with sizes.
    pub containers: Vec<Summary>,
    /// Volumes.
    pub volumes: Vec<VolumeUse>,
    /// What builds remember.
    pub build_cache: Vec<::build::cache::Record>,
}

/// Bytes of the host's memory.
pub(crate) fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

impl Engine {
    /// The engine and its host.
    pub fn info(&self) -> Info {
        let mut counts = BTreeMap::new();
        let all = self.containers.all();
        for container in &all {
            let status = container.record().state.status;
            let kind = match status {
                Status::Running | Status::Restarting => 0,
                Status::Paused => 1,
                _ => 2,
            };
            *counts.entry(kind).or_insert(0usize) += 1;
        }
        let count = |kind| counts.get(&kind).copied().unwrap_or(0);
        let release = os_release();
        let word = |key: &str| release.get(key).cloned().unwrap_or_default();
        let name = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let support = self.config.support.clone();
        let yes = |path: &str, wanted: &str| {
            std::fs::read_to_string(path).is_ok_and(|text| text.trim() == wanted)
        };
        let mut warnings = missing(&support);
        warnings.extend(self.network_warnings());
        Info {
            id: self.id.clone(),
            containers: all.len(),
            running: count(0),
            paused: count(1),
            stopped: count(2),
            images: self.images.list(&image::ListFilter::default()).map_or(0, |list| list.len()),
            cgroup_driver: if self.config.systemd_cgroup { "systemd" } else { "cgroupfs" },
            name: text(name.nodename()),
            kernel: text(name.release()),
            operating_system: word("PRETTY_NAME"),
            os_version: word("VERSION_ID"),
            architecture: text(name.machine()),
            cpus: self.cpus,
            memory: memory_total(),
            data_root: self.config.data_root.to_string_lossy().into_owned(),
            ip_forward: yes("/proc/sys/net/ipv4/ip_forward", "1"),
            bridge_nf: yes("/proc/sys/net/bridge/bridge-nf-call-iptables", "1"),
            log_driver: self.config.log.kind.clone(),
            labels: self
                .config
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
            remapped: self.remap.is_some(),
            apparmor: yes("/sys/module/apparmor/parameters/enabled", "Y"),
            selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            pools: self
                .config
                .network
                .pools
                .iter()
                .map(|pool| (format!("{}/{}", pool.base.addr(), pool.base.prefix()), pool.size))
                .collect(),
            warnings,
            backing: backing(&self.config.data_root),
            support,
        }
    }

    /// What takes up the disk.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let uses = self.image_uses();
        let engine = self.clone();
        let (images, volumes) = blocking(move || {
            let images = engine.images.usage(&uses).map_err(from_image)?;
            Ok((images, engine.volume_uses()))
        })
        .await?;
        let options = crate::ListOptions { all: true, size: true, ..crate::ListOptions::default() };
        let mut containers = self.list(options).await?;
        for container in &mut containers {
            container.sizes.get_or_insert(Sizes::default());
        }
        let build_cache = self.build_cache().await?;
        Ok(DiskUsage { images, containers, volumes, build_cache })
    }
}

/// The fields of os-release(5).
fn os_release() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once('='));
    fields.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// What `docker info` warns of.
fn missing(support: &Capabilities) -> Vec<String> {
    let checks = [
        (support.memory_limit, "memory limit"),
        (support.swap_limit, "swap limit"),
        (support.cpu_cfs_quota, "cpu cfs quota"),
        (support.cpu_shares, "cpu shares"),
        (support.cpuset, "cpuset"),
        (support.pids_limit, "pids limit"),
    ];
    let absent = checks.into_iter().filter(|(there, _)| !there);
    absent.map(|(_, what)| format!("WARNING: No {what} support")).collect()
}

/// The file system that a directory is on, by its magic number (statfs(2)).
fn backing(directory: &std::path::Path) -> &'static str {
    match rustix::fs::statfs(directory).map(|found| found.f_type as u64) {
        Ok(0xef53) => "extfs",
        Ok(0x5846_5342) => "xfs",
        Ok(0x9123_683e) => "btrfs",
        Ok(0x0102_1994) => "tmpfs",
        Ok(0x2fc1_2fc1) => "zfs",
        Ok(0xf2f5_2010) => "f2fs",
        Ok(0x794c_7630) => "overlayfs",
        _ => "<unknown>",
    }
}
