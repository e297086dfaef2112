//! Limits on what a container may use.

use std::collections::BTreeMap;

docker_json! {
/// Limits. Zero means "no limit" or "the kernel's default" unless said otherwise.
pub struct Resources {
    /// Relative CPU weight, 2 to 262144 (1024 is the kernel's default).
    pub cpu_shares: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// CPUs times 10⁹.
    pub nano_cpus: i64,
    /// The cgroup under which the container's stands.
    pub cgroup_parent: String,
    /// Relative block I/O weight, 10 to 1000.
    pub blkio_weight: u16,
    /// Weights of single devices.
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Bytes read a second.
    pub blkio_device_read_bps: Vec<ThrottleDevice>,
    /// Bytes written a second.
    pub blkio_device_write_bps: Vec<ThrottleDevice>,
    /// Reads a second.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Vec<ThrottleDevice>,
    /// Writes a second.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Vec<ThrottleDevice>,
    /// Length of a CPU period, µs.
    pub cpu_period: i64,
    /// CPU time in a period, µs; -1 means no limit.
    pub cpu_quota: i64,
    /// Length of a real-time period, µs.
    pub cpu_realtime_period: i64,
    /// Real-time CPU time in a period, µs.
    pub cpu_realtime_runtime: i64,
    /// CPUs it may run on, as `0-2,7`.
    pub cpuset_cpus: String,
    /// Memory nodes it may use.
    pub cpuset_mems: String,
    /// Devices of the host.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub devices: Vec<DeviceMapping>,
    /// Rules such as `c 13:* rwm`.
    #[serde(serialize_with = "crate::json::empty_null")]
    pub device_cgroup_rules: Vec<String>,
    /// Devices through a driver (GPUs).
    #[serde(serialize_with = "crate::json::empty_null")]
    pub device_requests: Vec<DeviceRequest>,
    /// Bytes of kernel memory (gone since Linux 5.16).
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel_memory: i64,
    /// Bytes of kernel TCP buffers.
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
    pub kernel_memory_tcp: i64,
    /// Bytes below which the kernel pushes it when memory is short.
    pub memory_reservation: i64,
    /// Bytes of memory and swap together; -1 means unlimited swap.
    pub memory_swap: i64,
    /// 0 to 100; `None` (or -1) inherits.
    pub memory_swappiness: Option<i64>,
    /// Let it hang instead of killing it when memory runs out (cgroup v1).
    pub oom_kill_disable: Option<bool>,
    /// Number of tasks; `None`, 0 and -1 mean no limit.
    pub pids_limit: Option<i64>,
    /// Limits of setrlimit(2).
    pub ulimits: Vec<Ulimit>,
    /// Windows only.
    pub cpu_count: i64,
    /// Windows only.
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
}

/// The weight of one block device.
pub struct WeightDevice {
    /// Its path on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A rate limit of one block device.
pub struct ThrottleDevice {
    /// Its path on the host.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// A device of the host inside the container.
pub struct DeviceMapping {
    /// Device node, or directory of nodes, on the host.
    pub path_on_host: String,
    /// Where it appears; empty means the same path.
    pub path_in_container: String,
    /// Some of `r`, `w`, `m`; empty means all.
    pub cgroup_permissions: String,
}

/// A request for devices through a driver.
pub struct DeviceRequest {
    /// The driver.
    pub driver: String,
    /// How many; -1 means all.
    pub count: i64,
    /// Which ones.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Vec<String>,
    /// Alternatives of sets of capabilities.
    pub capabilities: Vec<Vec<String>>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// One limit of setrlimit(2).
pub struct Ulimit {
    /// Its name in lower case without `RLIMIT_`.
    pub name: String,
    /// The limit that holds; -1 means unlimited.
    pub soft: i64,
    /// The limit up to which the process may raise it; -1 means unlimited.
    pub hard: i64,
}
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}
