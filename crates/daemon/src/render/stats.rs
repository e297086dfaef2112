//! What a container uses.

use docker_api::stats::{
    BlkioStatEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats,
    StatsResponse, ThrottlingData,
};
use engine::StatsSample;
use types::Timestamp;
use types::stats::{BlkioEntry, Stats};

use crate::http::version::Version;

/// One reading, and the processor's from the reading before.
pub(crate) fn reading(
    now: &StatsSample,
    before: Option<&StatsSample>,
    version: Version,
) -> StatsResponse {
    let name = format!("/{}", now.name);
    let id = now.id.to_string();
    let os_type = if version.at_least(52) { "linux" } else { "" }.to_owned();
    let Some(sample) = &now.sample else {
        // It does not run: everything is nothing, and there is no time of a reading.
        return StatsResponse { name, id, os_type, ..StatsResponse::default() };
    };
    let stats = &sample.stats;
    let networks = sample.interfaces.iter().map(|(name, counts)| {
        let stats = NetworkStats {
            rx_bytes: counts.rx_bytes,
            rx_packets: counts.rx_packets,
            rx_errors: counts.rx_errors,
            rx_dropped: counts.rx_dropped,
            tx_bytes: counts.tx_bytes,
            tx_packets: counts.tx_packets,
            tx_errors: counts.tx_errors,
            tx_dropped: counts.tx_dropped,
        };
        (name.clone(), stats)
    });
    StatsResponse {
        name,
        id,
        os_type,
        read: sample.at,
        preread: before
            .and_then(|before| before.sample.as_ref())
            .map_or(Timestamp::NEVER, |sample| sample.at),
        pids_stats: PidsStats { current: stats.pids.current, limit: stats.pids.limit.unwrap_or(0) },
        blkio_stats: blkio(stats),
        cpu_stats: cpu(now),
        precpu_stats: before.map(cpu).unwrap_or_default(),
        memory_stats: memory(stats, now.memory_total),
        networks: networks.collect(),
        ..StatsResponse::default()
    }
}

fn cpu(sample: &StatsSample) -> CpuStats {
    let Some(read) = &sample.sample else { return CpuStats::default() };
    let cpu = &read.stats.cpu;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.total_ns,
            percpu_usage: cpu.percpu_ns.clone(),
            usage_in_kernelmode: cpu.system_ns,
            usage_in_usermode: cpu.user_ns,
        },
        system_cpu_usage: sample.system_cpu_ns,
        online_cpus: u32::try_from(sample.online_cpus).unwrap_or(u32::MAX),
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_ns,
        },
    }
}

fn memory(stats: &Stats, total: u64) -> MemoryStats {
    let memory = &stats.memory;
    // The unified hierarchy's peak and failures are not in Docker's answer.
    let v1 = !stats.unified;
    MemoryStats {
        usage: memory.usage,
        max_usage: memory.max_usage.filter(|_| v1).unwrap_or(0),
        stats: memory.stat.clone(),
        failcnt: if v1 { memory.failcnt } else { 0 },
        // A limit above what the host has is none.
        limit: memory.limit.filter(|limit| *limit < total || total == 0).unwrap_or(total),
    }
}

fn blkio(stats: &Stats) -> BlkioStats {
    let rows = |entries: &[BlkioEntry]| {
        let row = |entry: &BlkioEntry| BlkioStatEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.op.clone(),
            value: entry.value,
        };
        entries.iter().map(row).collect()
    };
    BlkioStats {
        io_service_bytes_recursive: rows(&stats.blkio.service_bytes),
        io_serviced_recursive: rows(&stats.blkio.serviced),
        io_queue_recursive: rows(&stats.blkio.queued),
        io_service_time_recursive: rows(&stats.blkio.service_time),
        io_wait_time_recursive: rows(&stats.blkio.wait_time),
        io_merged_recursive: rows(&stats.blkio.merged),
        io_time_recursive: rows(&stats.blkio.time),
        sectors_recursive: rows(&stats.blkio.sectors),
    }
}
