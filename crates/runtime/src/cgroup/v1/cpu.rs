//! v1 cpu: `cpu.*`.

use oci_spec::runtime::LinuxCpu;

use crate::cgroup::plan::{Step, write};
use crate::cgroup::{Error, Missing};

/// What the scheduler takes for shares; outside it would clamp without a word.
pub(in crate::cgroup) const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(in crate::cgroup) fn plan(cpu: &LinuxCpu) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    if let Some(shares) = shares(cpu)? {
        steps.push(write("cpu.shares", shares, Missing::CpuShares).into());
    }
    // The kernel compares all three with each other and quota/period with the parent's ratio.
    let mut bandwidth = Vec::new();
    if let Some(period) = cpu.period().filter(|&period| period != 0) {
        bandwidth.push(write("cpu.cfs_period_us", period, Missing::CpuCfs));
    }
    if let Some(quota) = cpu.quota().filter(|&quota| quota != 0) {
        bandwidth.push(write("cpu.cfs_quota_us", quota, Missing::CpuCfs));
    }
    if let Some(burst) = cpu.burst() {
        bandwidth.push(write("cpu.cfs_burst_us", burst, Missing::CpuBurst));
    }
    let mut realtime = Vec::new();
    if let Some(period) = cpu.realtime_period().filter(|&period| period != 0) {
        realtime.push(write("cpu.rt_period_us", period, Missing::CpuRealtime));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|&runtime| runtime != 0) {
        realtime.push(write("cpu.rt_runtime_us", runtime, Missing::CpuRealtime));
    }
    for group in [bandwidth, realtime] {
        if !group.is_empty() {
            steps.push(Step::AnyOrder(group));
        }
    }
    if let Some(idle) = cpu.idle() {
        steps.push(write("cpu.idle", idle, Missing::CpuIdle).into());
    }
    Ok(steps)
}

/// The shares, if asked for. 0 means: leave them.
pub(in crate::cgroup) fn shares(cpu: &LinuxCpu) -> Result<Option<u64>, Error> {
    match cpu.shares() {
        None | Some(0) => Ok(None),
        Some(shares) if SHARES.contains(&shares) => Ok(Some(shares)),
        Some(shares) => Err(Error::Value {
            what: if shares < *SHARES.start() {
                "cpu shares (the minimum allowed is 2)"
            } else {
                "cpu shares (the maximum allowed is 262144)"
            },
            value: shares.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxCpuBuilder;

    use super::*;

    #[test]
    fn plans() {
        let cpu = LinuxCpuBuilder::default()
            .shares(512u64)
            .quota(50_000)
            .period(100_000u64)
            .burst(1000u64)
            .idle(1)
            .build()
            .unwrap();
        let steps = plan(&cpu).unwrap();
        assert_eq!(steps[0], write("cpu.shares", 512, Missing::CpuShares).into());
        let Step::AnyOrder(group) = &steps[1] else { panic!("{steps:?}") };
        let files: Vec<_> = group.iter().map(|w| w.file.as_ref()).collect();
        assert_eq!(files, ["cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us"]);
        assert_eq!(steps[2], write("cpu.idle", 1, Missing::CpuIdle).into());
        assert_eq!(plan(&LinuxCpu::default()).unwrap(), []);
    }

    #[test]
    fn shares_outside_the_schedulers_range_are_refused() {
        for (shares, ok) in [(0, true), (1, false), (2, true), (262_144, true), (262_145, false)] {
            let cpu = LinuxCpuBuilder::default().shares(shares as u64).build().unwrap();
            assert_eq!(plan(&cpu).is_ok(), ok, "{shares}");
        }
    }
}
