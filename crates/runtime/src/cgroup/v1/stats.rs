//! v1 counters.

use types::stats::{BlkioEntry, BlkioStats, CpuStats, HugetlbStats, MemoryStats, PidsStats};

use crate::cgroup::files::Dir;
use crate::cgroup::stats::{NO_LIMIT, hugetlb_sizes};

/// Ticks of `cpuacct.stat`: USER_HZ, 100 on every architecture we run on.
const NS_PER_TICK: u64 = 10_000_000;

pub(in crate::cgroup) fn cpuacct(dir: &Dir, cpu: &mut CpuStats) {
    cpu.total_ns = dir.number("cpuacct.usage").unwrap_or(0);
    cpu.percpu_ns = dir
        .read_text("cpuacct.usage_percpu")
        .split_whitespace()
        .filter_map(|value| value.parse().ok())
        .collect();
    // Both in nanoseconds since 4.6; ticks before.
    match (dir.number("cpuacct.usage_user"), dir.number("cpuacct.usage_sys")) {
        (Some(user), Some(system)) => (cpu.user_ns, cpu.system_ns) = (user, system),
        _ => {
            let ticks = |name| dir.field("cpuacct.stat", name).unwrap_or(0) * NS_PER_TICK;
            (cpu.user_ns, cpu.system_ns) = (ticks("user"), ticks("system"));
        }
    }
}

pub(in crate::cgroup) fn cpu(dir: &Dir, cpu: &mut CpuStats) {
    for (name, value) in dir.table("cpu.stat") {
        match name.as_str() {
            "nr_periods" => cpu.periods = value,
            "nr_throttled" => cpu.throttled_periods = value,
            "throttled_time" => cpu.throttled_ns = value,
            _ => {}
        }
    }
}

pub(in crate::cgroup) fn memory(dir: &Dir) -> MemoryStats {
    let usage = dir.number("memory.usage_in_bytes").unwrap_or(0);
    let with_swap = dir.number("memory.memsw.usage_in_bytes");
    MemoryStats {
        usage,
        max_usage: dir.number("memory.max_usage_in_bytes"),
        limit: dir.number("memory.limit_in_bytes").filter(|&limit| limit < NO_LIMIT),
        failcnt: dir.number("memory.failcnt").unwrap_or(0),
        swap_usage: with_swap.map(|both| both.saturating_sub(usage)),
        oom_kills: super::oom::kills(dir),
        stat: dir.table("memory.stat").into_iter().collect(),
    }
}

pub(in crate::cgroup) fn pids(dir: &Dir) -> PidsStats {
    PidsStats {
        current: dir.number("pids.current").unwrap_or(0),
        limit: dir.number("pids.max").filter(|&limit| limit != u64::MAX),
    }
}

/// CFQ's own files where a kernel still has them, BFQ's where that scheduler counts, else the
/// throttling layer's, which always count.
pub(in crate::cgroup) fn blkio(dir: &Dir) -> BlkioStats {
    let rows = |file: &str| entries(&dir.read_text(file));
    let mut stats = BlkioStats::default();
    for prefix in ["blkio.", "blkio.bfq.", "blkio.throttle."] {
        stats.serviced = rows(&format!("{prefix}io_serviced_recursive"));
        stats.service_bytes = rows(&format!("{prefix}io_service_bytes_recursive"));
        if !stats.serviced.is_empty() {
            if prefix != "blkio.throttle." {
                stats.queued = rows(&format!("{prefix}io_queued_recursive"));
                stats.service_time = rows(&format!("{prefix}io_service_time_recursive"));
                stats.wait_time = rows(&format!("{prefix}io_wait_time_recursive"));
                stats.merged = rows(&format!("{prefix}io_merged_recursive"));
                stats.time = rows(&format!("{prefix}time_recursive"));
                stats.sectors = rows(&format!("{prefix}sectors_recursive"));
            }
            break;
        }
    }
    stats
}

/// `8:0 Read 4096` or `8:0 17`; the last line is a grand total without a device.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let row = |line: &str| {
        let mut words = line.split([' ', ':']);
        let major = words.next()?.parse().ok()?;
        let minor = words.next()?.parse().ok()?;
        let word = words.next()?;
        let (op, value) = match words.next() {
            Some(value) => (word, value),
            None => ("", word),
        };
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(row).collect()
}

pub(in crate::cgroup) fn hugetlb(dir: &Dir) -> Vec<(String, HugetlbStats)> {
    let one = |size: String| {
        let number = |what: &str| dir.number(&format!("hugetlb.{size}.{what}")).unwrap_or(0);
        let stats = HugetlbStats {
            usage: number("usage_in_bytes"),
            max_usage: number("max_usage_in_bytes"),
            failcnt: number("failcnt"),
        };
        (size, stats)
    };
    hugetlb_sizes(dir, ".usage_in_bytes").into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio_rows() {
        let rows = entries("8:0 Read 10\n8:0 Total 12\n8:16 5\nTotal 17\nrubbish");
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[0].op.as_str(), rows[0].value), ("Read", 10));
        assert_eq!((rows[2].minor, rows[2].op.as_str(), rows[2].value), (16, "", 5));
    }
}
