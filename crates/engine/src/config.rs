//! What an engine is told when it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proto::launch::{Accelerator, Templates};
use types::container::LogConfig;
use types::resources::Ulimit;

/// The default size of /dev/shm, in bytes.
pub(crate) const SHM_SIZE: i64 = 64 << 20;

/// The engine's settings. Where a container says nothing, these hold.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything that must survive a reboot is kept.
    pub data_root: PathBuf,
    /// Where everything that ends with the machine's run is kept; a tmpfs.
    pub exec_root: PathBuf,
    /// The default bridge, address pools and firewall.
    pub network: network::Config,
    /// The log driver and its options.
    pub log: LogConfig,
    /// Resource limits of every container.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    /// `private` or `shareable`.
    pub ipc_mode: String,
    /// `private` or `host`; empty: `host` on cgroup v1, `private` on v2, as dockerd has it.
    pub cgroupns_mode: String,
    /// The cgroup that containers stand under; empty: `/isopod`, or `system.slice`.
    pub cgroup_parent: String,
    /// Let systemd make the cgroups.
    pub systemd_cgroup: bool,
    /// Run an init as PID 1 in every container.
    pub init: bool,
    /// Remap user ids: `default`, `user` or `user:group` of /etc/subuid and /etc/subgid.
    pub userns_remap: Option<String>,
    /// The text of a seccomp profile that replaces the built-in one, or `unconfined`.
    pub seccomp_profile: Option<String>,
    /// Forbid new privileges in every container.
    pub no_new_privileges: bool,
    /// Name servers of every container.
    pub dns: Vec<String>,
    /// Search domains of every container.
    pub dns_search: Vec<String>,
    /// Resolver options of every container.
    pub dns_options: Vec<String>,
    /// What the host's cgroups can limit.
    pub support: types::host::Capabilities,
    /// The daemon's labels.
    pub labels: BTreeMap<String, String>,
    /// How registries are spoken to.
    pub registries: RegistrySettings,
    /// Keep layers as they were pulled, beside what is unpacked of them.
    pub keep_blobs: bool,
    /// Gzip's level for layers that are pushed; the image store's own if `None`.
    pub gzip_level: Option<u32>,
    /// When images are removed by themselves; never if `None`.
    pub watermarks: Option<Watermarks>,
    /// The most that a layer may unpack to, in bytes; the image store's own limit if `None`.
    pub max_layer_bytes: Option<u64>,
    /// The file with the key that secrets are encrypted with; in the data root if `None`.
    pub secret_key_file: Option<PathBuf>,
    /// The wall of containers that do not say which: `process` or `vm`.
    pub isolation: String,
    /// How virtual machines are made.
    pub machines: MachineSettings,
}

/// How virtual machines are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSettings {
    /// The kernels that they boot, one for each architecture; one is looked for where none is named.
    pub kernels: Vec<PathBuf>,
    /// The programs of agents that are named, for any architecture.
    pub agents: Vec<PathBuf>,
    /// Where others may be installed, now or later.
    pub agent_places: Vec<PathBuf>,
    /// How their processors are made.
    pub accelerator: Accelerator,
    /// Whether they are cloned.
    pub templates: Templates,
    /// The most that are had ready for the next containers.
    pub spares: usize,
    /// Bytes of memory without a limit.
    pub memory: u64,
    /// Processors without a limit.
    pub cpus: u32,
    /// Bytes that a container can write; the file takes only what has been written.
    pub disk_size: u64,
}

impl Default for MachineSettings {
    fn default() -> Self {
        Self {
            kernels: Vec::new(),
            agents: Vec::new(),
            agent_places: Vec::new(),
            accelerator: Accelerator::Auto,
            templates: Templates::Make,
            spares: 3,
            memory: 512 << 20,
            cpus: 1,
            disk_size: 20 << 30,
        }
    }
}

impl MachineSettings {
    /// The programs of agents that there are.
    pub(crate) fn agents(&self) -> Vec<PathBuf> {
        let installed = self.agent_places.iter().filter(|path| path.is_file());
        self.agents.iter().chain(installed).cloned().collect()
    }
}

/// How registries are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// `host[:port]` or blocks of addresses with which plain HTTP and unchecked TLS are spoken.
    pub insecure: Vec<String>,
    /// Addresses that are asked before Docker Hub.
    pub mirrors: Vec<String>,
    /// Proxy for `http://`; the environment's if `None`.
    pub http_proxy: Option<String>,
    /// Proxy for `https://`; the environment's if `None`.
    pub https_proxy: Option<String>,
    /// Hosts that need no proxy; the environment's if `None`.
    pub no_proxy: Option<String>,
    /// Layers that are pulled at once.
    pub downloads: usize,
    /// Layers that are pushed at once.
    pub uploads: usize,
    /// How often a request is tried.
    pub attempts: u32,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            downloads: 6,
            uploads: 6,
            attempts: 5,
        }
    }
}

/// When images that nobody uses are removed, in percent of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Above this, removing begins.
    pub high: u8,
    /// At this, it ends.
    pub low: u8,
}

impl Config {
    /// Settings as dockerd has them, for the given directories.
    pub fn new(data_root: PathBuf, exec_root: PathBuf) -> Self {
        Self {
            data_root,
            exec_root,
            network: network::Config::default(),
            log: LogConfig { kind: "json-file".to_owned(), config: BTreeMap::new() },
            ulimits: Vec::new(),
            shm_size: SHM_SIZE,
            ipc_mode: "private".to_owned(),
            cgroupns_mode: String::new(),
            cgroup_parent: String::new(),
            systemd_cgroup: false,
            init: false,
            userns_remap: None,
            seccomp_profile: None,
            no_new_privileges: false,
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            support: types::host::Capabilities::default(),
            labels: BTreeMap::new(),
            registries: RegistrySettings::default(),
            keep_blobs: true,
            gzip_level: None,
            watermarks: None,
            max_layer_bytes: None,
            secret_key_file: None,
            isolation: "process".to_owned(),
            machines: MachineSettings::default(),
        }
    }

    /// The directory of one container's upper layer, hosts file and logs.
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.data_root.join("containers").join(id)
    }

    /// The directory of one container's monitor.
    pub fn monitor_dir(&self, id: &str) -> PathBuf {
        self.exec_root.join("monitors").join(id)
    }
}
