//! One reading of a container's counters, as the kernel gives them: no rates, no percentages.
//!
//! The same shape for cgroup v1 and v2; what a version does not count is `None` or empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One reading of everything a container's cgroups count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
    /// Huge pages, by page size as the kernel spells it (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// The memory (and so nearly every) figure comes from the unified hierarchy. Docker's JSON
    /// leaves out different members for each version.
    pub unified: bool,
}

/// Processor time in nanoseconds since the cgroup was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// User and kernel time together.
    pub total_ns: u64,
    /// Time in user mode.
    pub user_ns: u64,
    /// Time in kernel mode.
    pub system_ns: u64,
    /// The total for each processor; empty on v2, which does not count it.
    pub percpu_ns: Vec<u64>,
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled_ns: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// Charged now, page cache included.
    pub usage: u64,
    /// The most ever charged; `None` where the kernel does not say (v2 before 5.19).
    pub max_usage: Option<u64>,
    /// The limit; `None` when there is none.
    pub limit: Option<u64>,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// Swap in use; `None` when swap is not accounted.
    pub swap_usage: Option<u64>,
    /// Processes that the OOM killer took.
    pub oom_kills: u64,
    /// `memory.stat`, name for name.
    pub stat: BTreeMap<String, u64>,
}

/// Tasks (threads), not processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Tasks now.
    pub current: u64,
    /// The limit; `None` when there is none.
    pub limit: Option<u64>,
}

/// Block device counters, a row a device and operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes moved.
    pub service_bytes: Vec<BlkioEntry>,
    /// Requests done.
    pub serviced: Vec<BlkioEntry>,
    /// Requests waiting (only a scheduler with cgroup support counts them).
    pub queued: Vec<BlkioEntry>,
    /// Nanoseconds between start and end of requests.
    pub service_time: Vec<BlkioEntry>,
    /// Nanoseconds in the scheduler's queues.
    pub wait_time: Vec<BlkioEntry>,
    /// Requests merged.
    pub merged: Vec<BlkioEntry>,
    /// Disk time in milliseconds.
    pub time: Vec<BlkioEntry>,
    /// Sectors moved.
    pub sectors: Vec<BlkioEntry>,
}

/// One counter of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// Major device number.
    pub major: u64,
    /// Minor device number.
    pub minor: u64,
    /// The operation as the kernel spells it (`Read` on v1, `read` on v2; empty where there is none).
    pub op: String,
    /// The counter.
    pub value: u64,
}

/// One huge page size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugetlbStats {
    /// Charged now.
    pub usage: u64,
    /// The most ever charged; 0 on v2, which does not say.
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}
