//! v2 counters.

use types::stats::{BlkioEntry, BlkioStats, CpuStats, HugetlbStats, MemoryStats};

use crate::cgroup::files::Dir;
use crate::cgroup::stats::hugetlb_sizes;

pub(in crate::cgroup) fn cpu(dir: &Dir) -> CpuStats {
    let mut cpu = CpuStats::default();
    for (name, value) in dir.table("cpu.stat") {
        match name.as_str() {
            "usage_usec" => cpu.total_ns = value * 1000,
            "user_usec" => cpu.user_ns = value * 1000,
            "system_usec" => cpu.system_ns = value * 1000,
            "nr_periods" => cpu.periods = value,
            "nr_throttled" => cpu.throttled_periods = value,
            "throttled_usec" => cpu.throttled_ns = value * 1000,
            _ => {}
        }
    }
    cpu
}

pub(in crate::cgroup) fn memory(dir: &Dir) -> MemoryStats {
    MemoryStats {
        usage: dir.number("memory.current").unwrap_or(0),
        max_usage: dir.number("memory.peak"),
        limit: dir.number("memory.max").filter(|&limit| limit != u64::MAX),
        failcnt: dir.field("memory.events", "max").unwrap_or(0),
        swap_usage: dir.number("memory.swap.current"),
        oom_kills: super::oom::kills(dir),
        stat: dir.table("memory.stat").into_iter().collect(),
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
pub(in crate::cgroup) fn io(dir: &Dir) -> BlkioStats {
    parse_io(&dir.read_text("io.stat"))
}

fn parse_io(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) =
            device.map(|(major, minor)| (major.parse(), minor.parse()))
        else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (rows, op) = match key {
                "rbytes" => (&mut stats.service_bytes, "read"),
                "wbytes" => (&mut stats.service_bytes, "write"),
                "rios" => (&mut stats.serviced, "read"),
                "wios" => (&mut stats.serviced, "write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            rows.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    stats
}

pub(in crate::cgroup) fn hugetlb(dir: &Dir) -> Vec<(String, HugetlbStats)> {
    let one = |size: String| {
        let usage = dir.number(&format!("hugetlb.{size}.current")).unwrap_or(0);
        let failcnt = dir.field(&format!("hugetlb.{size}.events"), "max").unwrap_or(0);
        (size, HugetlbStats { usage, max_usage: 0, failcnt })
    };
    hugetlb_sizes(dir, ".current").into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_rows() {
        let stats =
            parse_io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nx\n8:16 rbytes=7");
        let bytes: Vec<_> =
            stats.service_bytes.iter().map(|r| (r.minor, r.op.as_str(), r.value)).collect();
        assert_eq!(bytes, [(0, "read", 1), (0, "write", 2), (16, "read", 7)]);
        assert_eq!(stats.serviced.len(), 2);
    }
}
