//! What becomes of a specification when its container is put into a virtual machine: what is the
//! host's goes, and what the host lends is named as the machine sees it.
//!
//! Who asks for something of the host that a machine cannot have is told so when the container is
//! created ([`check`]), not later and not in silence.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxCpu, LinuxMemory, LinuxNamespace, LinuxNamespaceType, LinuxPids, LinuxResources, Mount,
    PosixRlimitBuilder, PosixRlimitType, Process, Spec,
};
use proto::guest::{self, FILES, Family, Interface, SHARED_DIRECTORY, SHARED_FILE, SHARES, to_hex};
use proto::launch::Share;
use types::Error;
use types::container::HostConfig;
use types::resources::Resources;

use crate::config::MachineSettings;
use crate::record::{MachineSize, Record};
use crate::secrets::Plain;

/// The wall's name, as `--isolation` has it.
pub(crate) const ISOLATION: &str = "vm";

/// What the guest's kernel needs beside what containers may use, in bytes.
const KERNEL_MEMORY: u64 = 96 << 20;

/// What the machine's own process needs beside the guest's memory, in bytes: half of it for code that
/// it has translated, where processors are emulated (`TRANSLATED` in `vm`).
const MACHINE_MEMORY: i64 = 256 << 20;

/// Threads that a machine's processes have at most: for itself and its disks, for each processor, and
/// for each directory of the host that it shares.
const PROCESS_TASKS: i64 = 256;
const TASKS_PER_CPU: i64 = 16;
const TASKS_PER_SHARE: i64 = 80;

/// Memory comes in such steps, in bytes: few sizes mean few templates.
const MEMORY_STEP: u64 = 64 << 20;

/// Room for a virtual machine's own processors' work, in microseconds of a period: its process does
/// the guest's input and output as well.
const MAX_CPUS: u32 = 64;

/// The directories and files of the host that a machine is lent.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    pub(crate) shares: Vec<Share>,
    pub(crate) files: Vec<guest::File>,
}

/// By which a machine knows its n-th share.
pub(crate) fn tag(n: usize) -> String {
    format!("share{n}")
}

/// Refuses what cannot work behind this wall.
pub(crate) fn check(host: &HostConfig) -> Result<(), Error> {
    let refuse = |what: &str, why: &str| {
        Err(Error::invalid(format!("{what} cannot be used with --isolation vm: {why}")))
    };
    let joins = |mode: &str| mode == "host" || mode.starts_with("container:");
    let other_kernel = "the container has a kernel of its own";
    if joins(&host.network_mode) {
        return refuse(&format!("network mode {:?}", host.network_mode), other_kernel);
    }
    for (what, mode) in [("PID", &host.pid_mode), ("IPC", &host.ipc_mode), ("UTS", &host.uts_mode)]
    {
        if joins(mode) {
            return refuse(&format!("{what} mode {mode:?}"), other_kernel);
        }
    }
    let resources = &host.resources;
    if !resources.devices.is_empty()
        || !resources.device_requests.is_empty()
        || !resources.device_cgroup_rules.is_empty()
    {
        return refuse("devices of the host", "they cannot be handed into the machine");
    }
    if !host.rootfs.is_empty() {
        return refuse("a plain directory as root", "the machine has disks made of images");
    }
    for mount in &host.mounts {
        use types::mount::MountKind;
        let name = &mount.target;
        if mount.kind == MountKind::Image {
            return refuse(&format!("image mount {name}"), "use a volume");
        }
        let subpath = mount.volume_options.as_ref().is_some_and(|o| !o.subpath.is_empty());
        if subpath {
            return refuse(&format!("a part of a volume ({name})"), "mount all of it");
        }
    }
    Ok(())
}

/// What instructions a machine for images of an architecture has, by Docker's names.
///
/// # Errors
/// There are no such machines.
pub(crate) fn architecture(image: &str) -> Result<&'static str, Error> {
    match image {
        "" => Ok(image::host_architecture().0),
        // The processors run programs of 32 bits as well.
        "amd64" | "x86_64" | "386" => Ok("amd64"),
        "arm64" | "aarch64" | "arm" => Ok("arm64"),
        other => Err(Error::invalid(format!(
            "the platform linux/{other} cannot be used with --isolation vm: machines are amd64 or \
             arm64; choose an image for one of these"
        ))),
    }
}

/// The size of a machine with a system of its own: what was asked for is what it has.
fn whole_size(resources: &Resources, machines: &MachineSettings) -> MachineSize {
    let limit = u64::try_from(resources.memory).unwrap_or(0);
    let memory = if limit == 0 { machines.memory } else { limit };
    MachineSize { memory, ..size(resources, machines) }
}

/// The machine's size for these limits.
pub(crate) fn size(resources: &Resources, machines: &MachineSettings) -> MachineSize {
    let limit = u64::try_from(resources.memory).unwrap_or(0);
    let memory = if limit == 0 { machines.memory } else { limit.saturating_add(KERNEL_MEMORY) };
    let memory = memory.div_ceil(MEMORY_STEP).max(1).saturating_mul(MEMORY_STEP);
    let quota = if resources.nano_cpus > 0 {
        resources.nano_cpus.div_ceil_positive(1_000_000_000)
    } else if resources.cpu_quota > 0 {
        let period = if resources.cpu_period > 0 { resources.cpu_period } else { 100_000 };
        resources.cpu_quota.div_ceil_positive(period)
    } else {
        i64::from(machines.cpus)
    };
    MachineSize { memory, cpus: u32::try_from(quota).unwrap_or(1).clamp(1, MAX_CPUS) }
}

trait DivCeil {
    fn div_ceil_positive(self, by: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_positive(self, by: i64) -> i64 {
        self / by + i64::from(self % by > 0)
    }
}

/// What the machine's processes may use of the host: what was asked for, and always as much memory
/// and as many threads as a machine of this size with so many shares needs, so that no mistake of
/// theirs costs the host more than that.
pub(crate) fn limits(
    resources: &LinuxResources,
    size: MachineSize,
    shares: usize,
) -> LinuxResources {
    let mut limits = resources.clone();
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(with_process(size.memory)));
    let shares = i64::try_from(shares).unwrap_or(i64::MAX);
    let mut pids = LinuxPids::default();
    pids.set_limit(
        PROCESS_TASKS
            .saturating_add(TASKS_PER_CPU * i64::from(size.cpus))
            .saturating_add(TASKS_PER_SHARE.saturating_mul(shares)),
    );
    // Rules for devices are the guest's; the machine's process is confined by other means.
    limits.set_devices(None).set_memory(Some(memory)).set_pids(Some(pids));
    limits
}

/// Bytes of the guest and of the machine's process together.
fn with_process(memory: u64) -> i64 {
    i64::try_from(memory).unwrap_or(i64::MAX).saturating_add(MACHINE_MEMORY)
}

/// Makes a specification one of a machine: returns what the machine must be lent for it.
/// `directory` is the container's own on the host, with its `hosts` and the like.
///
/// # Errors
/// A file of the engine's that cannot be read; a mount that cannot be lent.
pub(crate) fn adapt(spec: &mut Spec, directory: &Path) -> Result<Lent, Error> {
    if let Some(process) = spec.process_mut() {
        // Profiles of the host's security modules.
        process.set_apparmor_profile(None).set_selinux_label(None);
        keep_core_limit(process)?;
    }
    if let Some(linux) = spec.linux_mut() {
        linux
            .set_uid_mappings(None)
            .set_gid_mappings(None)
            .set_mount_label(None)
            .set_rootfs_propagation(None)
            .set_cgroups_path(None);
        // The machine's network is the container's.
        let mut kinds = linux.namespaces().clone().unwrap_or_default();
        kinds.retain(|namespace| {
            !matches!(
                namespace.typ(),
                LinuxNamespaceType::Network | LinuxNamespaceType::User | LinuxNamespaceType::Cgroup
            )
        });
        let mut cgroup = LinuxNamespace::default();
        cgroup.set_typ(LinuxNamespaceType::Cgroup);
        kinds.push(cgroup);
        linux.set_namespaces(Some(kinds));
        if let Some(resources) = linux.resources_mut() {
            strip(resources);
        }
    }
    let mut lent = Lent::default();
    let mut tags = BTreeMap::new();
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.typ().as_deref() == Some("bind") {
            lend(mount, directory, &mut lent, &mut tags)?;
        }
    }
    Ok(lent)
}

/// A process on the host has its daemon's limit; the guest's kernel would have its own.
fn keep_core_limit(process: &mut Process) -> Result<(), Error> {
    const CORE: u32 = 4;
    let mut limits = process.rlimits().clone().unwrap_or_default();
    if limits.iter().any(|limit| limit.typ() == PosixRlimitType::RlimitCore) {
        return Ok(());
    }
    let failed =
        |why: String| Error::system(format!("cannot pass on the limit of core files: {why}"));
    let (soft, hard) = sys::process::get_rlimit(CORE).map_err(|error| failed(error.to_string()))?;
    let own = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitCore).soft(soft).hard(hard);
    limits.push(own.build().map_err(|error| failed(error.to_string()))?);
    process.set_rlimits(Some(limits));
    Ok(())
}

/// Takes away what means the host's processors and disks.
pub(crate) fn strip(resources: &mut LinuxResources) {
    resources.set_block_io(None);
    if let Some(cpu) = resources.cpu() {
        let mut own = LinuxCpu::default();
        own.set_shares(cpu.shares()).set_period(cpu.period()).set_quota(cpu.quota());
        resources.set_cpu(Some(own));
    }
}

/// Names a bind mount's source as the machine will see it.
fn lend(
    mount: &mut Mount,
    directory: &Path,
    lent: &mut Lent,
    tags: &mut BTreeMap<(PathBuf, bool), String>,
) -> Result<(), Error> {
    let target = mount.destination().display().to_string();
    let refuse = |why: &str| {
        Err(Error::invalid(format!(
            "the mount at {target} cannot be used with --isolation vm: {why}"
        )))
    };
    let source = mount.source().clone().unwrap_or_default();
    let mut options = mount.options().clone().unwrap_or_default();
    if options.iter().any(|option| matches!(option.as_str(), "shared" | "rshared")) {
        return refuse("mounts cannot be shared with the host");
    }
    let has = |name: &str| options.iter().any(|option| option == name);
    let read_only = has("ro") || has("rro");
    if source.parent() == Some(directory) {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let contents = std::fs::read(&source)
            .map_err(|error| Error::system(format!("cannot read {}: {error}", source.display())))?;
        let contents = to_hex(&contents);
        lent.files.push(guest::File { name: name.clone(), mode: 0o644, uid: 0, gid: 0, contents });
        mount.set_source(Some(Path::new(FILES).join(name)));
        return Ok(());
    }
    if !source.is_absolute() {
        return refuse(
            "it is no directory of the host; a volume with driver options cannot be lent",
        );
    }
    let file = match std::fs::metadata(&source) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            return refuse("a socket leads to a program of the host, which no machine can reach");
        }
        Ok(metadata) => !metadata.is_dir(),
        Err(error) => {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path {}: {error}",
                source.display()
            )));
        }
    };
    let next = tag(tags.len());
    let own = tags.entry((source.clone(), read_only)).or_insert_with(|| {
        lent.shares.push(Share { source: Some(source), tag: next.clone(), read_only });
        next
    });
    let place = Path::new(SHARES).join(own).join(if file { SHARED_FILE } else { SHARED_DIRECTORY });
    // Ids are the host's as they are, and mounts of the host below it are part of the share.
    options.retain(|option| {
        !matches!(option.as_str(), "idmap" | "ridmap" | "slave" | "rslave" | "private" | "rprivate")
    });
    mount
        .set_source(Some(place))
        .set_options(Some(options))
        .set_uid_mappings(None)
        .set_gid_mappings(None);
    Ok(())
}

/// Adds secrets and configs: files of the machine's own, which are nowhere on the host, so only
/// after [`adapt`]. They come above all other mounts, parents before children.
pub(crate) fn show(spec: &mut Spec, lent: &mut Lent, mut plain: Vec<Plain>) {
    plain.sort_by_key(|file| file.place.components().count());
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (number, file) in plain.into_iter().enumerate() {
        let name = format!("plain{number}");
        let source = Path::new(FILES).join(&name);
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        mounts.push(super::mounts::mount(&file.place.to_string_lossy(), "bind", source, &options));
        let ((uid, gid), contents) = (file.owner, to_hex(&file.content));
        lent.files.push(guest::File { name, mode: file.mode, uid, gid, contents });
    }
    spec.set_mounts(Some(mounts));
}

/// An endpoint as the machine's interface.
pub(crate) fn interface(endpoint: &network::Endpoint) -> Interface {
    let own = [endpoint.ipv4, endpoint.ipv6].into_iter().flatten();
    let mut addresses: Vec<_> = own.map(|cidr| (cidr.addr(), cidr.prefix())).collect();
    // What such addresses have: 169.254.0.0/16 and fe80::/64.
    addresses.extend(
        endpoint.link_local.iter().map(|addr| (*addr, if addr.is_ipv4() { 16 } else { 64 })),
    );
    let (mut gateways, mut on_link) = (Vec::new(), Vec::new());
    let families = [
        (endpoint.default_route, Family::V4, endpoint.gateway4),
        (endpoint.default_route6, Family::V6, endpoint.gateway6),
    ];
    for (wanted, family, gateway) in families {
        match gateway {
            _ if !wanted || !endpoint.leads_out(family == Family::V4) => {}
            Some(gateway) => gateways.push(gateway),
            None => on_link.push(family),
        }
    }
    Interface {
        name: endpoint.interface.clone(),
        // Both are found out when the link is joined to the machine's card.
        mac: [0; 6],
        mtu: 0,
        addresses,
        gateways,
        on_link,
        sysctls: endpoint.sysctls.clone(),
    }
}

impl Record {
    /// Whether it is behind the wall of a virtual machine.
    pub(crate) fn is_machine(&self) -> bool {
        self.host.isolation == ISOLATION
    }

    /// What instructions its programs have, by Docker's name.
    pub(crate) fn architecture(&self) -> &str {
        match self.architecture.as_str() {
            "" => image::host_architecture().0,
            other => other,
        }
    }

    /// The size of its machine, with its limits as they are.
    pub(crate) fn machine_size(&self, machines: &MachineSettings) -> MachineSize {
        match self.host.machine {
            Some(_) => whole_size(&self.host.resources, machines),
            None => size(&self.host.resources, machines),
        }
    }

    /// Who runs its processes, to be looked up in the machine.
    pub(crate) fn guest_user(&self) -> guest::User {
        guest::User {
            user: self.config.user.clone(),
            groups: self.host.group_add.clone(),
            keep_capabilities: false,
        }
    }
}

#[cfg(test)]
mod tests;
