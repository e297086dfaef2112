//! `GET /containers/{id}/stats`.

use std::collections::BTreeMap;

use types::Timestamp;

api_json_verbatim! {
/// One reading of a container's counters, and the processor's from the reading before.
pub struct StatsResponse {
    pub name: String,
    pub id: String,
    /// `linux`; since API 1.52.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_type: String,
    pub read: Timestamp,
    /// Zero time when there was no reading before.
    pub preread: Timestamp,
    pub pids_stats: PidsStats,
    pub blkio_stats: BlkioStats,
    /// Windows only.
    pub num_procs: u32,
    /// Windows only.
    pub storage_stats: StorageStats,
    pub cpu_stats: CpuStats,
    pub precpu_stats: CpuStats,
    pub memory_stats: MemoryStats,
    /// By interface; absent without a network of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Tasks.
pub struct PidsStats {
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub limit: u64,
}

/// Block devices. Lists without entries are `null` (v2 only counts bytes and requests).
pub struct BlkioStats {
    #[serde(serialize_with = "types::empty_null")]
    pub io_service_bytes_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub io_serviced_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub io_queue_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub io_service_time_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub io_wait_time_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub io_merged_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub io_time_recursive: Vec<BlkioStatEntry>,
    #[serde(serialize_with = "types::empty_null")]
    pub sectors_recursive: Vec<BlkioStatEntry>,
}

/// One counter of one device.
pub struct BlkioStatEntry {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub value: u64,
}

/// Windows only.
pub struct StorageStats {
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub read_count_normalized: u64,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub read_size_bytes: u64,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub write_count_normalized: u64,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub write_size_bytes: u64,
}

/// The processor.
pub struct CpuStats {
    pub cpu_usage: CpuUsage,
    /// Nanoseconds of all processors of the host since its start.
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub system_cpu_usage: u64,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub online_cpus: u32,
    pub throttling_data: ThrottlingData,
}

/// Processor time, nanoseconds.
pub struct CpuUsage {
    pub total_usage: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
    pub usage_in_kernelmode: u64,
    pub usage_in_usermode: u64,
}

/// How often a quota ran out.
pub struct ThrottlingData {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

/// Memory, bytes. An empty object for a container that does not run.
pub struct MemoryStats {
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub max_usage: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub failcnt: u64,
    /// The host's memory when there is no limit.
    #[serde(skip_serializing_if = "crate::json::is_zero")]
    pub limit: u64,
}

/// One interface.
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
}
