//! What can go wrong with a cgroup, and what is worth saying although it did not.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A step on a cgroup that failed.
#[derive(Debug, Error)]
pub enum Error {
    /// `/proc/self/mountinfo` or `/proc/self/cgroup` could not be read.
    #[error("cannot find out where the cgroups are: {path}: {source}")]
    Probe {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no cgroup hierarchy at all.
    #[error("no cgroup file system is mounted: mount cgroup2 on /sys/fs/cgroup")]
    NotMounted,
    /// The cgroup's path would leave the tree or names nothing.
    #[error("invalid cgroup path {path:?}: {why}")]
    Path {
        /// As given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A directory could not be made.
    #[error("cannot create cgroup {path}: {source}", path = path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory could not be opened.
    #[error("cannot open cgroup {path}: {source}", path = path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A cgroup directory could not be removed.
    #[error("cannot remove cgroup {path}: {source}", path = path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A control file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a value.
    #[error("cannot set {path} to {value:?}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be written.
        value: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel lacks what was asked for.
    #[error("{0}")]
    Unsupported(Missing),
    /// A value makes no sense, whatever the kernel.
    #[error("invalid {what}: {value}")]
    Value {
        /// The knob.
        what: &'static str,
        /// As given.
        value: String,
    },
    /// The new limit is below what is in use and `checkBeforeUpdate` was set.
    #[error("memory limit {limit} is below the current usage {usage}: unable to update")]
    BelowUsage {
        /// Asked for, in bytes.
        limit: i64,
        /// In use, in bytes.
        usage: u64,
    },
    /// A process could not be moved into the cgroup.
    #[error("cannot move process {pid} into {path}: {source}", path = path.display())]
    Join {
        /// The process.
        pid: i32,
        /// `cgroup.procs` or `tasks`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The processes would not stop.
    #[error("cgroup {path} did not freeze within {ms} ms", path = path.display())]
    FreezeTimeout {
        /// The directory.
        path: PathBuf,
        /// How long was waited.
        ms: u64,
    },
    /// Processes were still there after all attempts to kill them.
    #[error("{left} processes in cgroup {path} are still alive after SIGKILL", path = path.display())]
    KillTimeout {
        /// The directory.
        path: PathBuf,
        /// How many.
        left: usize,
    },
    /// The device filter could not be loaded or attached.
    #[error("cannot {step} the device filter: {source}")]
    DeviceFilter {
        /// `load`, `attach`, `detach` or `query`.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The out-of-memory notification could not be set up.
    #[error("cannot watch for out-of-memory events in {path}: {source}", path = path.display())]
    OomEvent {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// systemd does not run, or did not do what it was asked.
    #[error(transparent)]
    Systemd(#[from] super::systemd::Error),
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Probe { source, .. }
            | Error::Create { source, .. }
            | Error::Open { source, .. }
            | Error::Remove { source, .. }
            | Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Join { source, .. }
            | Error::DeviceFilter { source, .. }
            | Error::OomEvent { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Something that this kernel (or this mount of it) cannot do. `Display` is Docker's warning,
/// which clients show as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Missing {
    /// No memory controller.
    #[error(
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
    )]
    MemoryLimit,
    /// No swap accounting.
    #[error(
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
    )]
    SwapLimit,
    /// No soft limit.
    #[error(
        "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded."
    )]
    MemoryReservation,
    /// No per-cgroup swappiness.
    #[error(
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded."
    )]
    Swappiness,
    /// The OOM killer cannot be turned off.
    #[error("Your kernel does not support OomKillDisable. OomKillDisable discarded.")]
    OomKillDisable,
    /// No kernel memory limit (v1 up to 5.15 only).
    #[error(
        "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded."
    )]
    KernelMemory,
    /// No TCP buffer limit.
    #[error(
        "Your kernel does not support kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation discarded."
    )]
    KernelMemoryTcp,
    /// No pids controller.
    #[error(
        "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded."
    )]
    PidsLimit,
    /// No shares.
    #[error(
        "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded."
    )]
    CpuShares,
    /// No bandwidth control.
    #[error(
        "Your kernel does not support CPU CFS scheduler or the cgroup is not mounted. Limitation discarded."
    )]
    CpuCfs,
    /// No bandwidth burst (5.14).
    #[error(
        "Your kernel does not support CPU burst or the cgroup is not mounted. Burst discarded."
    )]
    CpuBurst,
    /// No SCHED_IDLE cgroups (5.15).
    #[error("Your kernel does not support CPU idle or the cgroup is not mounted. Idle discarded.")]
    CpuIdle,
    /// No realtime group scheduling.
    #[error(
        "Your kernel does not support CPU real-time scheduler or the cgroup is not mounted. Limitation discarded."
    )]
    CpuRealtime,
    /// No cpuset controller.
    #[error("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.")]
    Cpuset,
    /// No proportional block I/O.
    #[error(
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
    )]
    BlkioWeight,
    /// No proportional block I/O for one device.
    #[error(
        "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded."
    )]
    BlkioWeightDevice,
    /// No block I/O throttling.
    #[error(
        "Your kernel does not support Block I/O throttling or the cgroup is not mounted. Throttling discarded."
    )]
    BlkioThrottle,
    /// No device rules.
    #[error(
        "Your kernel does not support cgroup device rules or the cgroup is not mounted. Device rules discarded."
    )]
    Devices,
    /// No freezer.
    #[error("Your kernel does not support the cgroup freezer or it is not mounted.")]
    Freezer,
    /// No huge page limits, or not this size.
    #[error(
        "Your kernel does not support huge page limits of this size or the cgroup is not mounted. Limitation discarded."
    )]
    Hugetlb,
    /// No network classes.
    #[error(
        "Your kernel does not support network class identifiers or the cgroup is not mounted. Class discarded."
    )]
    NetCls,
    /// No network priorities.
    #[error(
        "Your kernel does not support network priorities or the cgroup is not mounted. Priorities discarded."
    )]
    NetPrio,
    /// No RDMA limits.
    #[error(
        "Your kernel does not support RDMA limits or the cgroup is not mounted. Limitation discarded."
    )]
    Rdma,
    /// The `unified` map names a file that is not there.
    #[error(
        "Your kernel does not support a control file of the unified resources or the unified hierarchy is not mounted. Value discarded."
    )]
    Unified,
}

/// Something to tell the user although the work went on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Warning {
    /// A limit was left out.
    #[error("{0}")]
    Missing(Missing),
    /// A hierarchy that carries no limits could not be used.
    #[error("cgroup hierarchy {hierarchy} is not used: {why}")]
    HierarchySkipped {
        /// Its controllers or name.
        hierarchy: String,
        /// Why, in the kernel's words.
        why: String,
    },
    /// A controller could not be turned on for the container (v2).
    #[error("cgroup controller {controller} cannot be enabled: {why}")]
    ControllerUnavailable {
        /// Its name.
        controller: String,
        /// Why, in the kernel's words.
        why: String,
    },
}

/// What to do about a limit that the kernel lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// Fail: somebody asked for it by name.
    #[default]
    Fail,
    /// Leave it out and return a [`Warning`].
    Warn,
}
