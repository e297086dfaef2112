//! Limits, as the runtime wants them.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};
use rustix::fs::{major, minor, stat};
use types::Error;
use types::container::HostConfig;
use types::resources::{Resources, ThrottleDevice};

/// Length of a CPU period where only a number of CPUs is given, µs (the kernel's default).
const PERIOD: i64 = 100_000;

/// The limits of a container, with its device rules.
pub(crate) fn make(
    host: &HostConfig,
    rules: Vec<LinuxDeviceCgroup>,
) -> Result<LinuxResources, Error> {
    let mut made = limits(&host.resources)?;
    made.set_devices(Some(rules));
    Ok(made)
}

/// The limits alone, for an update.
pub(crate) fn limits(limits: &Resources) -> Result<LinuxResources, Error> {
    let mut made = LinuxResources::default();
    made.set_devices(None)
        .set_memory(Some(memory(limits)))
        .set_cpu(Some(cpu(limits)))
        .set_pids(pids(limits))
        .set_block_io(block_io(limits)?);
    Ok(made)
}

fn positive(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn memory(limits: &Resources) -> LinuxMemory {
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(positive(limits.memory))
        .set_reservation(positive(limits.memory_reservation))
        .set_swap(positive(limits.memory_swap))
        .set_kernel(positive(limits.kernel_memory))
        .set_kernel_tcp(positive(limits.kernel_memory_tcp))
        // -1 means "inherit", which is not to touch it.
        .set_swappiness(limits.memory_swappiness.and_then(|value| u64::try_from(value).ok()))
        .set_disable_oom_killer(limits.oom_kill_disable);
    memory
}

fn cpu(limits: &Resources) -> LinuxCpu {
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let (period, quota) = if limits.nano_cpus > 0 {
        // nano_cpus · period / 10⁹, in an order that does not overflow.
        (PERIOD, limits.nano_cpus / (1_000_000_000 / PERIOD))
    } else {
        (limits.cpu_period, limits.cpu_quota)
    };
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(unsigned(limits.cpu_shares))
        .set_period(unsigned(period))
        .set_quota(positive(quota))
        .set_realtime_period(unsigned(limits.cpu_realtime_period))
        .set_realtime_runtime(positive(limits.cpu_realtime_runtime))
        .set_cpus(text(&limits.cpuset_cpus))
        .set_mems(text(&limits.cpuset_mems));
    cpu
}

fn pids(limits: &Resources) -> Option<LinuxPids> {
    let limit = limits.pids_limit.filter(|limit| *limit != 0)?;
    let mut pids = LinuxPids::default();
    pids.set_limit(limit);
    Some(pids)
}

fn block_io(limits: &Resources) -> Result<Option<LinuxBlockIo>, Error> {
    let throttles = |devices: &[ThrottleDevice]| -> Result<_, Error> {
        if devices.is_empty() {
            return Ok(None);
        }
        let one = |device: &ThrottleDevice| {
            let (major, minor) = numbers(&device.path)?;
            LinuxThrottleDeviceBuilder::default()
                .major(major)
                .minor(minor)
                .rate(device.rate)
                .build()
                .map_err(|error| Error::invalid(format!("{}: {error}", device.path)))
        };
        Ok(Some(devices.iter().map(one).collect::<Result<Vec<_>, Error>>()?))
    };
    let mut weights = Vec::new();
    for device in &limits.blkio_weight_device {
        let (major, minor) = numbers(&device.path)?;
        let weight = LinuxWeightDeviceBuilder::default()
            .major(major)
            .minor(minor)
            .weight(device.weight)
            .build()
            .map_err(|error| Error::invalid(format!("{}: {error}", device.path)))?;
        weights.push(weight);
    }
    let mut io = LinuxBlockIo::default();
    io.set_weight((limits.blkio_weight > 0).then_some(limits.blkio_weight))
        .set_weight_device((!weights.is_empty()).then_some(weights))
        .set_throttle_read_bps_device(throttles(&limits.blkio_device_read_bps)?)
        .set_throttle_write_bps_device(throttles(&limits.blkio_device_write_bps)?)
        .set_throttle_read_iops_device(throttles(&limits.blkio_device_read_iops)?)
        .set_throttle_write_iops_device(throttles(&limits.blkio_device_write_iops)?);
    Ok((io != LinuxBlockIo::default()).then_some(io))
}

fn numbers(path: &str) -> Result<(i64, i64), Error> {
    let found = stat(path).map_err(|error| Error::invalid(format!("stat {path}: {error}")))?;
    Ok((major(found.st_rdev).into(), minor(found.st_rdev).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_a_quota() {
        let limits = Resources { nano_cpus: 1_500_000_000, ..Resources::default() };
        let cpu = cpu(&limits);
        assert_eq!((cpu.period(), cpu.quota()), (Some(100_000), Some(150_000)));
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        let made = limits(&Resources::default()).expect("valid");
        assert_eq!(made.memory().as_ref().and_then(LinuxMemory::limit), None);
        assert!(made.pids().is_none());
        assert!(made.block_io().is_none());
    }
}
