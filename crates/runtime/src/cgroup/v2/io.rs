//! v2 io: `io.bfq.weight` or `io.weight`, and `io.max`.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxBlockIo;

use crate::cgroup::Missing;
use crate::cgroup::files::Knobs;
use crate::cgroup::plan::{Step, write};

pub(in crate::cgroup) fn plan(io: &LinuxBlockIo, knobs: &dyn Knobs) -> Vec<Step> {
    let mut steps = Vec::new();
    // BFQ takes 1 to 1000 as it is, the cost model's io.weight 1 to 10000.
    let bfq = knobs.has("io.bfq.weight");
    let (file, scale): (_, fn(u16) -> u64) =
        if bfq { ("io.bfq.weight", u64::from) } else { ("io.weight", weight) };
    if let Some(value) = io.weight().filter(|&weight| weight != 0) {
        steps.push(write(file, scale(value), Missing::BlkioWeight).into());
    }
    if io.leaf_weight().is_some_and(|weight| weight != 0) {
        steps.push(Step::Lacks(Missing::BlkioWeight));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(value) = device.weight().filter(|&weight| weight != 0) {
            let line = format!("{}:{} {}", device.major(), device.minor(), scale(value));
            steps.push(write(file, line, Missing::BlkioWeightDevice).into());
        }
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            steps.push(Step::Lacks(Missing::BlkioWeightDevice));
        }
    }
    for (device, limits) in throttles(io) {
        steps.push(write("io.max", format!("{device}{limits}"), Missing::BlkioThrottle).into());
    }
    steps
}

/// 10 to 1000 on a straight line to 1 to 10000, as runc and crun do.
pub(in crate::cgroup) fn weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

/// One line a device, all its limits in it.
fn throttles(io: &LinuxBlockIo) -> BTreeMap<String, String> {
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    let lists = [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ];
    for (key, devices) in lists {
        for device in devices.iter().flatten() {
            let line = lines.entry(format!("{}:{}", device.major(), device.minor())).or_default();
            match device.rate() {
                0 => line.push_str(&format!(" {key}=max")),
                rate => line.push_str(&format!(" {key}={rate}")),
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{
        LinuxBlockIoBuilder, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
    };

    use super::*;
    use crate::cgroup::files::fake::Fake;

    fn lines(io: &LinuxBlockIo, fake: &Fake) -> Vec<String> {
        plan(io, fake)
            .into_iter()
            .map(|step| match step {
                Step::Write(w) => format!("{} {}", w.file, w.value),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn weights_by_scheduler() {
        let device = LinuxWeightDeviceBuilder::default().major(8).minor(0).weight(1000u16);
        let io = LinuxBlockIoBuilder::default()
            .weight(10u16)
            .weight_device(vec![device.build().unwrap()])
            .build()
            .unwrap();
        let bfq = Fake::new(&[("io.bfq.weight", "default 100")]);
        assert_eq!(lines(&io, &bfq), ["io.bfq.weight 10", "io.bfq.weight 8:0 1000"]);
        assert_eq!(lines(&io, &Fake::default()), ["io.weight 1", "io.weight 8:0 10000"]);
        assert_eq!(weight(500), 4950);
    }

    #[test]
    fn a_device_is_one_line() {
        let rate = |minor: i64, rate: u64| {
            LinuxThrottleDeviceBuilder::default().major(8).minor(minor).rate(rate).build().unwrap()
        };
        let io = LinuxBlockIoBuilder::default()
            .throttle_read_bps_device(vec![rate(0, 1), rate(16, 2)])
            .throttle_write_bps_device(vec![rate(0, 3)])
            .throttle_write_iops_device(vec![rate(0, 0)])
            .build()
            .unwrap();
        assert_eq!(
            lines(&io, &Fake::default()),
            ["io.max 8:0 rbps=1 wbps=3 wiops=max", "io.max 8:16 rbps=2"]
        );
    }
}
