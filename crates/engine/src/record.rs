//! What the engine remembers of a container.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use types::container::{ContainerConfig, HostConfig};
use types::mount::MountPoint;
use types::network::EndpointSettings;
use types::state::State;
use types::{ContainerId, Timestamp};

use crate::ranges::PortRange;

/// A container's row in the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// The image's id (`sha256:…`); empty with a plain directory as root.
    pub image: String,
    /// The portable part of its specification, the image's defaults filled in.
    pub config: ContainerConfig,
    /// What this host is asked for.
    pub host: HostConfig,
    /// Published ports that are neither in `config` nor in `host`, because they are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ranges: Vec<PortRange>,
    /// Its volumes and binds, resolved.
    pub mounts: Vec<MountPoint>,
    /// Mounts that are being added to it, or taken away. A crash leaves them here: they may be in
    /// the running container, and are taken out of it when the engine is opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsettled: Vec<MountPoint>,
    /// What it asks of each network, by network name.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// MAC addresses that the user chose, by network name.
    #[serde(default)]
    pub macs: BTreeMap<String, String>,
    /// The addresses that its last run had, by network name: it gets them again if they are free.
    #[serde(default)]
    pub last_addresses: BTreeMap<String, Vec<IpAddr>>,
    /// The last thing that is known of its process.
    pub state: State,
    /// How often its restart policy has started it since the user did.
    pub restart_count: u32,
    /// The user stopped it (which `unless-stopped` heeds).
    pub stopped_by_user: bool,
    /// Whoever has begun to remove it wants its anonymous volumes gone as well.
    #[serde(default)]
    pub removes_volumes: bool,
    /// User ids are remapped for it: first host id and count.
    #[serde(default)]
    pub remapped: Option<IdRange>,
    /// What instructions its virtual machine has, by Docker's name; empty: those of the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub architecture: String,
}

/// A contiguous range of host ids that containers' ids 0, 1, 2, … become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's user id of the container's root.
    pub uid: u32,
    /// The host's group id of the container's root.
    pub gid: u32,
    /// How many ids there are.
    pub count: u32,
}

impl Record {
    /// That of a container which is created at this moment, of no image and in no network.
    pub(crate) fn new(
        id: ContainerId,
        name: String,
        config: ContainerConfig,
        host: HostConfig,
    ) -> Self {
        Self {
            id,
            name,
            created: Timestamp::now(),
            image: String::new(),
            config,
            host,
            ranges: Vec::new(),
            mounts: Vec::new(),
            unsettled: Vec::new(),
            networks: BTreeMap::new(),
            macs: BTreeMap::new(),
            last_addresses: BTreeMap::new(),
            state: State::default(),
            restart_count: 0,
            stopped_by_user: false,
            removes_volumes: false,
            remapped: None,
            architecture: String::new(),
        }
    }

    /// The command line: entrypoint, then command.
    pub fn command(&self) -> Vec<String> {
        let words = |words: &Option<types::Words>| words.as_deref().cloned().unwrap_or_default();
        [words(&self.config.entrypoint), words(&self.config.cmd)].concat()
    }

    /// The seconds between the stop signal and SIGKILL; negative: for ever.
    pub fn stop_timeout(&self) -> i64 {
        self.config.stop_timeout.unwrap_or(10)
    }
}

/// What a run of a container holds: written to its monitor's directory before the launch, so
/// that a daemon that starts again knows the addresses that are in use.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its places in networks.
    pub(crate) endpoints: Vec<network::Endpoint>,
    /// Its cgroup, as the OCI specification has it.
    pub(crate) cgroups_path: String,
    /// What its virtual machine has, if it is in one.
    #[serde(default)]
    pub(crate) machine: Option<MachineSize>,
}

/// The size of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineSize {
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Processors.
    pub(crate) cpus: u32,
}
