//! What a host can do for containers.

/// What can be limited. Everything false means: no such controller, or not mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Memory limit.
    pub memory_limit: bool,
    /// Memory + swap limit.
    pub swap_limit: bool,
    /// Soft limit.
    pub memory_reservation: bool,
    /// Per-cgroup swappiness (v1).
    pub memory_swappiness: bool,
    /// The OOM killer can be turned off (v1).
    pub oom_kill_disable: bool,
    /// Kernel memory limit (v1 up to 5.15).
    pub kernel_memory: bool,
    /// TCP buffer limit (v1).
    pub kernel_memory_tcp: bool,
    /// Shares / weight.
    pub cpu_shares: bool,
    /// CFS period.
    pub cpu_cfs_period: bool,
    /// CFS quota.
    pub cpu_cfs_quota: bool,
    /// CFS burst (5.14).
    pub cpu_burst: bool,
    /// SCHED_IDLE cgroups (5.15).
    pub cpu_idle: bool,
    /// Realtime runtime and period (v1 with CONFIG_RT_GROUP_SCHED).
    pub cpu_realtime: bool,
    /// CPU and memory node sets.
    pub cpuset: bool,
    /// The CPUs that may be given, as the kernel lists them (`0-3`).
    pub cpuset_cpus: String,
    /// The memory nodes that may be given.
    pub cpuset_mems: String,
    /// Task limit.
    pub pids_limit: bool,
    /// Proportional block I/O.
    pub blkio_weight: bool,
    /// Proportional block I/O, a device at a time.
    pub blkio_weight_device: bool,
    /// Bytes a second, reading.
    pub blkio_read_bps: bool,
    /// Bytes a second, writing.
    pub blkio_write_bps: bool,
    /// Requests a second, reading.
    pub blkio_read_iops: bool,
    /// Requests a second, writing.
    pub blkio_write_iops: bool,
    /// Device access rules.
    pub devices: bool,
    /// Freezing (docker pause).
    pub freezer: bool,
    /// Huge page limits.
    pub hugetlb: bool,
    /// Network class identifiers.
    pub net_cls: bool,
    /// Network priorities.
    pub net_prio: bool,
    /// RDMA limits.
    pub rdma: bool,
    /// The unified tree carries the controllers: Docker's `CgroupVersion` "2".
    pub unified: bool,
}
