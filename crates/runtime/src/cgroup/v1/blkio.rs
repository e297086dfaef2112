//! v1 blkio: weights (CFQ before 5.0, BFQ since) and throttles.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use crate::cgroup::Missing;
use crate::cgroup::plan::{Step, write};

pub(in crate::cgroup) fn plan(io: &LinuxBlockIo) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        let step = write("blkio.weight", weight, Missing::BlkioWeight).or("blkio.bfq.weight");
        steps.push(step.into());
    }
    if let Some(weight) = io.leaf_weight().filter(|&weight| weight != 0) {
        steps.push(write("blkio.leaf_weight", weight, Missing::BlkioWeight).into());
    }
    for device in io.weight_device().iter().flatten() {
        weights(device, &mut steps);
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", io.throttle_write_iops_device()),
    ];
    for (file, devices) in throttles {
        let line = |device: &LinuxThrottleDevice| {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            Step::from(write(file, value, Missing::BlkioThrottle))
        };
        steps.extend(devices.iter().flatten().map(line));
    }
    steps
}

fn weights(device: &LinuxWeightDevice, steps: &mut Vec<Step>) {
    let line = |weight| format!("{}:{} {weight}", device.major(), device.minor());
    if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
        let step = write("blkio.weight_device", line(weight), Missing::BlkioWeightDevice);
        // BFQ has it since 5.4.
        steps.push(step.or("blkio.bfq.weight_device").into());
    }
    if let Some(weight) = device.leaf_weight().filter(|&weight| weight != 0) {
        let file = "blkio.leaf_weight_device";
        steps.push(write(file, line(weight), Missing::BlkioWeightDevice).into());
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{
        LinuxBlockIoBuilder, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
    };

    use super::*;

    #[test]
    fn plans() {
        let rate = |rate: u64| {
            vec![
                LinuxThrottleDeviceBuilder::default().major(8).minor(0).rate(rate).build().unwrap(),
            ]
        };
        let weight = LinuxWeightDeviceBuilder::default().major(8).minor(1).weight(300u16);
        let io = LinuxBlockIoBuilder::default()
            .weight(500u16)
            .weight_device(vec![weight.build().unwrap()])
            .throttle_read_bps_device(rate(1))
            .throttle_write_bps_device(rate(2))
            .throttle_read_iops_device(rate(3))
            .throttle_write_iops_device(rate(4))
            .build()
            .unwrap();
        let lines: Vec<_> = plan(&io)
            .into_iter()
            .map(|step| match step {
                Step::Write(w) => format!("{} {}", w.file, w.value),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            lines,
            [
                "blkio.weight 500",
                "blkio.weight_device 8:1 300",
                "blkio.throttle.read_bps_device 8:0 1",
                "blkio.throttle.write_bps_device 8:0 2",
                "blkio.throttle.read_iops_device 8:0 3",
                "blkio.throttle.write_iops_device 8:0 4",
            ]
        );
    }
}
