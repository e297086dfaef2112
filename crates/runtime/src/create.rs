//! Making a container and starting it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, Linux, PosixRlimitType, Spec};
use sys::namespace;
use sys::process::IdMap;

use crate::cgroup::Cgroup;
use crate::child::{self, ChildPlan};
use crate::created::{self, Created};
use crate::error::{Context, Error, Result, Step};
use crate::hooks::HookPlan;
use crate::namespaces::{Namespaces, id_maps};
use crate::process::{Given, ProcessPlan, SeccompSource};
use crate::rootfs::{CgroupView, DevicePlan, RootfsPlan, plan as mounts, prepare};
use crate::seccomp::Filter;
use crate::spawn::{Side, Spawn};
use crate::sysctl::SysctlPlan;

/// Where the container's root file system is.
#[derive(Debug)]
pub enum Root {
    /// A detached mount, to be attached in the container's mount namespace.
    Detached(OwnedFd),
    /// A directory on the host (OCI bundle, `--rootfs`).
    Path(PathBuf),
}

/// What the process reads from and writes to.
#[derive(Debug)]
pub enum Stdio {
    /// Its stdin, stdout and stderr.
    Fds([OwnedFd; 3]),
    /// A new terminal of the container's devpts; its master comes back as `console`.
    Terminal {
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        cols: u16,
    },
}

/// What the user asked for by name. When the host forbids it, the start fails; what is not named
/// here is left out with a warning.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Resource limits.
    pub rlimits: Vec<PosixRlimitType>,
    /// `oom_score_adj`.
    pub oom_score_adj: bool,
    /// Capabilities.
    pub capabilities: Vec<Capability>,
}

/// Everything about a container that is to be made.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// Its id: the name of its keyring, and what hooks are told.
    pub id: &'a str,
    /// What it shall be.
    pub spec: &'a Spec,
    /// Its root file system.
    pub root: Root,
    /// A network namespace to join, in place of the specification's.
    pub netns: Option<OwnedFd>,
    /// Its standard streams.
    pub stdio: Stdio,
    /// Its cgroup, made and limited by the caller.
    pub cgroup: &'a Cgroup,
    /// Kill the container when the thread that called [`create`] ends.
    pub die_with_parent: bool,
    /// Further descriptors, which become 3, 4, … in the process.
    pub extra_fds: Vec<OwnedFd>,
    /// Put a small init of our own before the process: it reaps orphans and passes signals on.
    pub init: bool,
    /// The bundle's directory: told to hooks, and where a relative root is looked for.
    pub bundle: Option<&'a Path>,
    /// What to insist on.
    pub asked: Asked,
    /// A compiled seccomp filter, in place of the specification's profile.
    pub seccomp: Option<&'a Filter>,
    /// A listening `SOCK_SEQPACKET` socket on which the process waits for its start, in place of
    /// [`Created::start`]: for a caller that ends before that (`isopod oci create`).
    pub gate: Option<OwnedFd>,
}

impl<'a> CreateOptions<'a> {
    /// With nothing special: no init, no further fds, no network namespace given, nothing asked.
    pub fn new(
        id: &'a str,
        spec: &'a Spec,
        root: Root,
        stdio: Stdio,
        cgroup: &'a Cgroup,
    ) -> CreateOptions<'a> {
        CreateOptions {
            id,
            spec,
            root,
            netns: None,
            stdio,
            cgroup,
            die_with_parent: false,
            extra_fds: Vec::new(),
            init: false,
            bundle: None,
            asked: Asked::default(),
            seccomp: None,
            gate: None,
        }
    }
}

/// Makes the container: everything is set up and its process waits just before `execve`.
///
/// The caller must be single-threaded.
///
/// # Errors
/// The first step that failed; nothing is left behind but the cgroup, which is the caller's.
pub fn create(options: CreateOptions<'_>) -> Result<Created> {
    let linux = options.spec.linux().as_ref();
    let mut namespaces = Namespaces::plan(linux)?;
    if options.netns.is_some() {
        namespaces.network_given();
    }
    if namespaces.new & namespace::MOUNT == 0 {
        return Err(Error::Spec("a container needs a mount namespace of its own".into()));
    }
    check_supported(linux)?;
    let maps = IdMaps {
        uids: id_maps(linux.and_then(|l| l.uid_mappings().as_ref())),
        gids: id_maps(linux.and_then(|l| l.gid_mappings().as_ref())),
    };
    let new_user = namespaces.new & namespace::USER != 0;
    if new_user && (maps.uids.is_empty() || maps.gids.is_empty()) {
        return Err(Error::Spec("a user namespace needs uidMappings and gidMappings".into()));
    }
    let mut join = namespaces.open()?;
    if let Some(netns) = options.netns {
        join.insert(0, (netns, namespace::NET));
    }
    let joined_net = join.iter().any(|(_, kind)| *kind == namespace::NET);
    let time_offsets = linux
        .map(crate::namespaces::time_offsets)
        .transpose()
        .context(Step::Namespace, || "invalid time offsets")?
        .flatten();
    let hooks = HookPlan::new(options.spec, options.id, options.bundle);
    let spec_process = options.spec.process().as_ref();
    let spec_process = spec_process.ok_or(Error::Spec("process property must be set".into()))?;
    let process = ProcessPlan::new(
        spec_process,
        linux,
        options.id,
        &options.asked,
        SeccompSource::new(true, options.seccomp),
    )?;
    let (stdio, terminal) = match options.stdio {
        Stdio::Fds(fds) => (Some(fds), None),
        Stdio::Terminal { rows, cols } => (None, Some((rows, cols))),
    };
    let hidden = namespaces.join.iter().any(|(kind, _)| *kind == namespace::PID);
    if let Some(fds) = &stdio {
        process.own_streams(fds, &maps.uids);
    }
    let plan = ChildPlan {
        rootfs: rootfs(
            options.spec,
            options.root,
            options.bundle,
            options.cgroup,
            (&maps, namespaces.has(namespace::USER)),
            terminal,
            process.cwd().to_owned(),
        )?,
        process,
        sysctls: SysctlPlan::new(linux, |kind| {
            namespaces.has(kind) || kind == namespace::NET && joined_net
        })?,
        hostname: hostname(options.spec, &namespaces)?,
        domainname: options.spec.domainname().clone(),
        new_user,
        new_network: namespaces.new & namespace::NET != 0,
        hidden,
        in_user: namespaces.has(namespace::USER),
        die_with_parent: options.die_with_parent,
        init: options.init,
        hooks: hooks.clone(),
        gate: options.gate,
        given: Given { stdio, extra: options.extra_fds },
    };
    let spawn = Spawn {
        new: namespaces.new,
        hidden,
        join,
        cgroup: options.cgroup,
        time_offsets,
        before_join: &|channel| {
            plan.process.limit(channel)?;
            if hidden { plan.process.label() } else { Ok(()) }
        },
    };
    match spawn.run()? {
        Side::Child(channel) => child::run(plan, channel),
        Side::Parent(child) => {
            // Closes everything that was opened for the child.
            drop(plan);
            created::follow(child, new_user.then_some(&maps), hooks)
        }
    }
}

/// What of the specification we cannot do must not be passed over in silence.
fn check_supported(linux: Option<&Linux>) -> Result<()> {
    let Some(linux) = linux else { return Ok(()) };
    let refuse = |what: &str| Err(Error::Spec(format!("linux.{what} is not supported").into()));
    if linux.intel_rdt().is_some() {
        return refuse("intelRdt");
    }
    if linux.memory_policy().is_some() {
        return refuse("memoryPolicy");
    }
    if linux.net_devices().as_ref().is_some_and(|list| !list.is_empty()) {
        return refuse("netDevices");
    }
    Ok(())
}

/// The id maps of the container's user namespace.
#[derive(Debug)]
pub(crate) struct IdMaps {
    pub(crate) uids: Vec<IdMap>,
    pub(crate) gids: Vec<IdMap>,
}

fn hostname(spec: &Spec, namespaces: &Namespaces) -> Result<Option<String>> {
    let name = spec.hostname().clone().filter(|name| !name.is_empty());
    if name.is_some() && !namespaces.has(namespace::UTS) {
        return Err(Error::Spec("unable to set hostname without a private UTS namespace".into()));
    }
    Ok(name)
}

/// Opens on the host whatever the root file system is made of.
fn rootfs(
    spec: &Spec,
    root: Root,
    bundle: Option<&Path>,
    cgroup: &Cgroup,
    (maps, in_user): (&IdMaps, bool),
    terminal: Option<(u16, u16)>,
    cwd: PathBuf,
) -> Result<RootfsPlan> {
    let linux = spec.linux().as_ref();
    let propagation = linux
        .and_then(|l| l.rootfs_propagation().as_deref())
        .filter(|text| !text.is_empty())
        .map(mounts::root_propagation)
        .transpose()?;
    let mut plans = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        plans.push(mounts::plan(mount, (&maps.uids, &maps.gids))?);
    }
    let dev_is_bind = plans
        .iter()
        .any(|p| p.dest == Path::new("/dev") && matches!(p.kind, mounts::Kind::Bind { .. }));
    let devices = linux.and_then(|l| l.devices().as_deref()).unwrap_or_default();
    let paths = |list: Option<&Vec<String>>| {
        list.into_iter().flatten().map(PathBuf::from).collect::<Vec<_>>()
    };
    Ok(RootfsPlan {
        root: prepare::root(root, bundle, propagation)?,
        cgroups: match plans.iter().any(|p| p.kind == mounts::Kind::Cgroup) {
            true => CgroupView::prepare(cgroup)?,
            false => CgroupView::Absent,
        },
        mounts: prepare::mounts(plans, bundle)?,
        devices: match dev_is_bind {
            true => None,
            false => Some(DevicePlan::prepare(devices, in_user)?),
        },
        masked: paths(linux.and_then(|l| l.masked_paths().as_ref())),
        read_only_paths: paths(linux.and_then(|l| l.readonly_paths().as_ref())),
        read_only: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        propagation,
        terminal,
        cwd,
        label: linux.and_then(|l| l.mount_label().clone()).filter(|label| !label.is_empty()),
    })
}
