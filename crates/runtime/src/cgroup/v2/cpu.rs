//! v2 cpu: `cpu.weight`, `cpu.max`, `cpu.max.burst`, `cpu.idle`.

use oci_spec::runtime::LinuxCpu;

use crate::cgroup::files::Knobs;
use crate::cgroup::plan::{Step, write};
use crate::cgroup::v1::cpu::shares;
use crate::cgroup::{Error, Missing};

const DEFAULT_PERIOD: u64 = 100_000;

pub(in crate::cgroup) fn plan(cpu: &LinuxCpu, knobs: &dyn Knobs) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    if let Some(idle) = cpu.idle() {
        steps.push(write("cpu.idle", idle, Missing::CpuIdle).into());
    }
    // An idle cgroup has no weight (EINVAL).
    if let Some(shares) = shares(cpu)?
        && cpu.idle() != Some(1)
    {
        steps.push(write("cpu.weight", weight(shares), Missing::CpuShares).into());
    }
    let mut bandwidth = Vec::new();
    if let Some(max) = bandwidth_max(cpu, knobs) {
        bandwidth.push(write("cpu.max", max, Missing::CpuCfs));
    }
    if let Some(burst) = cpu.burst() {
        bandwidth.push(write("cpu.max.burst", burst, Missing::CpuBurst));
    }
    if !bandwidth.is_empty() {
        steps.push(Step::AnyOrder(bandwidth));
    }
    let realtime = [
        cpu.realtime_runtime().is_some_and(|us| us != 0),
        cpu.realtime_period().is_some_and(|us| us != 0),
    ];
    if realtime.contains(&true) {
        steps.push(Step::Lacks(Missing::CpuRealtime));
    }
    Ok(steps)
}

/// Shares (2 to 262144, usually 1024) to a weight (1 to 10000, usually 100). The curve of runc 1.3.2 and
/// crun 1.23, which hits both ends and the middle; the straight line before it made 39 of 1024.
pub(in crate::cgroup) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// `quota period`; the half that was not asked for stays as it is.
fn bandwidth_max(cpu: &LinuxCpu, knobs: &dyn Knobs) -> Option<String> {
    let quota = cpu.quota().filter(|&quota| quota != 0);
    let period = cpu.period().filter(|&period| period != 0);
    if quota.is_none() && period.is_none() {
        return None;
    }
    let now = knobs.read("cpu.max").unwrap_or_default();
    let (quota_now, period_now) = now.split_once(' ').unwrap_or(("max", ""));
    let quota = match quota {
        Some(quota @ 1..) => quota.to_string(),
        Some(_) => "max".to_owned(),
        None => quota_now.to_owned(),
    };
    let period = period.unwrap_or_else(|| period_now.parse().unwrap_or(DEFAULT_PERIOD));
    Some(format!("{quota} {period}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::files::fake::Fake;

    #[test]
    fn weights() {
        for (shares, expected) in [(2, 1), (1024, 100), (262_144, 10_000), (512, 59), (2048, 174)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }

    proptest! {
        #[test]
        fn weights_grow_within_bounds(a in 0u64..300_000, b in 0u64..300_000) {
            prop_assert!((1..=10_000).contains(&weight(a)));
            prop_assert!(a > b || weight(a) <= weight(b));
        }
    }

    fn max(quota: Option<i64>, period: Option<u64>, now: &str) -> Option<String> {
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(quota).set_period(period);
        bandwidth_max(&cpu, &Fake::new(&[("cpu.max", now)]))
    }

    #[test]
    fn quota_and_period() {
        assert_eq!(max(Some(5000), Some(10_000), "max 100000").unwrap(), "5000 10000");
        assert_eq!(max(Some(5000), None, "max 100000").unwrap(), "5000 100000");
        assert_eq!(max(Some(-1), None, "5000 20000").unwrap(), "max 20000");
        assert_eq!(max(None, Some(10_000), "5000 20000").unwrap(), "5000 10000");
        assert_eq!(max(None, None, "x"), None);
    }

    #[test]
    fn idle_wins_over_shares() {
        let mut cpu = LinuxCpu::default();
        cpu.set_idle(Some(1)).set_shares(Some(512)).set_realtime_runtime(Some(5));
        let steps = plan(&cpu, &Fake::default()).unwrap();
        assert_eq!(
            steps,
            [write("cpu.idle", 1, Missing::CpuIdle).into(), Step::Lacks(Missing::CpuRealtime)]
        );
    }
}
