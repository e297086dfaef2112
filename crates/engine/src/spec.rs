//! From a container's record to the OCI runtime specification that its monitor runs.
//!
//! Everything the host must be asked (devices, users, files of the engine) is asked here and
//! passed on; the shapes are pure.

pub(crate) mod devices;
pub(crate) mod machine;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod users;

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, Root, Spec,
};
use types::Error;
use types::container::HostConfig;

use crate::config::Config;
use crate::record::{IdRange, Record};

/// What a specification needs beyond the record.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    /// Capabilities of the daemon: nobody gets more.
    pub(crate) available: types::capability::CapabilitySet,
    /// First process of the container whose namespace is joined, by namespace.
    pub(crate) joined: Joined,
    /// A namespace of the network comes as a descriptor.
    pub(crate) netns: bool,
    /// The user, resolved in the root file system.
    pub(crate) user: users::User,
    /// Mounts of images and volumes that the engine has resolved.
    pub(crate) mounts: Vec<oci_spec::runtime::Mount>,
    /// Variables of legacy links.
    pub(crate) links: Vec<String>,
}

/// The processes whose namespaces are joined.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Joined {
    pub(crate) network: Option<i32>,
    pub(crate) ipc: Option<i32>,
    pub(crate) pid: Option<i32>,
    /// Joining a container whose ids are remapped means joining its user namespace too.
    pub(crate) user: Option<i32>,
}

/// The specification, and whether the default seccomp profile is to be used.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) spec: Spec,
    pub(crate) default_seccomp: bool,
    pub(crate) warnings: Vec<String>,
}

/// Makes the specification of one run.
pub(crate) fn make(record: &Record, around: Surroundings<'_>) -> Result<Made, Error> {
    let security = security::Options::parse(&record.host.security_opt)?;
    let privileges = security::privileges(&record.host, around.available)?;
    let process = process::make(record, &around, &security, &privileges.set)?;
    let found = if record.is_machine() && record.host.privileged {
        devices::all_allowed()
    } else {
        devices::find(&record.host)?
    };
    let resources = resources::make(&record.host, found.rules)?;

    let mut linux = Linux::default();
    let (uids, gids) = mappings(record.remapped);
    linux
        .set_uid_mappings(uids)
        .set_gid_mappings(gids)
        .set_sysctl(Some(sysctls(record, around.netns)))
        .set_resources(Some(resources))
        .set_cgroups_path(Some(PathBuf::from(cgroups_path(around.config, record))))
        .set_namespaces(Some(namespaces(record, &around)))
        .set_devices(Some(found.nodes))
        .set_masked_paths(record.host.masked_paths.clone())
        .set_readonly_paths(record.host.readonly_paths.clone())
        .set_mount_label(security.mount_label.clone());
    let default_seccomp = security::set_seccomp(&mut linux, record, &security, around.config)?;
    if shares_mounts(&record.host, &record.mounts) {
        linux.set_rootfs_propagation(Some("rslave".to_owned()));
    }

    let mut root = Root::default();
    root.set_path(PathBuf::from("/"));
    root.set_readonly(Some(record.host.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_hostname(hostname(record))
        .set_domainname(
            (!record.config.domainname.is_empty()).then(|| record.config.domainname.clone()),
        )
        .set_root(Some(root))
        .set_mounts(Some(mounts::list(record, around.config, around.mounts)?))
        .set_process(Some(process))
        .set_linux(Some(linux))
        .set_annotations((!record.host.annotations.is_empty()).then(|| {
            record.host.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
        }));
    Ok(Made { spec, default_seccomp, warnings: privileges.warnings })
}

/// Some bind mount wants to see later mounts of the host, or show its own.
fn shares_mounts(host: &HostConfig, mounts: &[types::mount::MountPoint]) -> bool {
    !host.privileged
        && mounts.iter().any(|mount| {
            matches!(mount.propagation.as_str(), "shared" | "rshared" | "slave" | "rslave")
        })
}

fn hostname(record: &Record) -> Option<String> {
    let own = record.host.uts_mode != "host" && !record.config.hostname.is_empty();
    own.then(|| record.config.hostname.clone())
}

/// Container ids to host ids.
pub(crate) fn mappings(
    range: Option<IdRange>,
) -> (Option<Vec<LinuxIdMapping>>, Option<Vec<LinuxIdMapping>>) {
    let one = |host: u32, count: u32| -> Vec<LinuxIdMapping> {
        let mapping =
            LinuxIdMappingBuilder::default().container_id(0u32).host_id(host).size(count).build();
        mapping.into_iter().collect()
    };
    match range {
        None => (None, None),
        Some(range) => (Some(one(range.uid, range.count)), Some(one(range.gid, range.count))),
    }
}

fn namespaces(record: &Record, around: &Surroundings<'_>) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as Kind;
    let host = &record.host;
    let mut list = Vec::new();
    let mut add = |kind: Kind, file: &str, joined: Option<i32>| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace.set_path(joined.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/{file}"))));
        list.push(namespace);
    };
    if record.remapped.is_some() || around.joined.user.is_some() {
        add(Kind::User, "user", around.joined.user);
    }
    add(Kind::Mount, "mnt", None);
    // A namespace that comes as a descriptor is not in the list: there is nothing to make.
    if host.network_mode != "host" && !around.netns {
        add(Kind::Network, "net", around.joined.network);
    }
    if host.uts_mode != "host" {
        // Whoever shares a network shares its host name too, as in Docker.
        add(Kind::Uts, "uts", around.joined.network);
    }
    if host.ipc_mode != "host" {
        add(Kind::Ipc, "ipc", around.joined.ipc);
    }
    if host.pid_mode != "host" {
        add(Kind::Pid, "pid", around.joined.pid);
    }
    if host.cgroupns_mode == "private" {
        add(Kind::Cgroup, "cgroup", None);
    }
    list
}

/// Sysctls: what makes low ports and ping work for every user, then what was asked for.
/// A namespace that comes from the networks has the former already.
fn sysctls(record: &Record, prepared: bool) -> HashMap<String, String> {
    let host = &record.host;
    let mut sysctls = HashMap::new();
    let own_network = !prepared
        && host.network_mode != "host"
        && super::container::validate::joined(&host.network_mode).is_none();
    if own_network {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        // EINVAL for groups that the writer's user namespace does not map.
        let last = record.remapped.map_or(i32::MAX as u32, |range| range.count.saturating_sub(1));
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), format!("0 {last}"));
    }
    sysctls.extend(host.sysctls.iter().map(|(key, value)| (key.clone(), value.clone())));
    sysctls
}

/// Where the container's cgroup is, as the runtime wants it.
pub(crate) fn cgroups_path(config: &Config, record: &Record) -> String {
    let asked = &record.host.resources.cgroup_parent;
    let parent = if asked.is_empty() { &config.cgroup_parent } else { asked };
    if config.systemd_cgroup {
        let slice = if parent.is_empty() { "system.slice" } else { parent };
        return format!("{slice}:isopod:{}", record.id);
    }
    let parent = if parent.is_empty() { "isopod" } else { parent.trim_matches('/') };
    format!("/{parent}/{}", record.id)
}
