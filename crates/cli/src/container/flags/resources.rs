//! Limits.

use types::container::HostConfig;
use types::resources::{ThrottleDevice, Ulimit, WeightDevice};

use crate::options::{device, size};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Relative weight of block I/O, 10 to 1000, or 0
    #[arg(long, default_value = "0", hide_default_value = true)]
    blkio_weight: u16,
    /// Relative weight for a device: DEVICE:WEIGHT
    #[arg(long, value_parser = device::weight)]
    blkio_weight_device: Vec<WeightDevice>,
    /// Cgroup under which the container's stands
    #[arg(long, default_value = "", hide_default_value = true)]
    cgroup_parent: String,
    /// Windows only
    #[arg(long, default_value = "0", hide = true)]
    cpu_count: i64,
    /// Windows only
    #[arg(long, default_value = "0", hide = true)]
    cpu_percent: i64,
    /// Length of a CPU period in microseconds
    #[arg(long, default_value = "0", hide_default_value = true)]
    cpu_period: i64,
    /// CPU time within a period in microseconds
    #[arg(long, default_value = "0", hide_default_value = true)]
    cpu_quota: i64,
    /// Length of a real-time CPU period in microseconds
    #[arg(long, default_value = "0", hide_default_value = true)]
    cpu_rt_period: i64,
    /// Real-time CPU time within a period in microseconds
    #[arg(long, default_value = "0", hide_default_value = true)]
    cpu_rt_runtime: i64,
    /// Relative CPU weight
    #[arg(short, long, default_value = "0", hide_default_value = true)]
    cpu_shares: i64,
    /// Number of CPUs, such as 1.5
    #[arg(long, value_parser = size::cpus, default_value = "0", hide_default_value = true)]
    cpus: i64,
    /// CPUs it may run on, such as 0-2,7
    #[arg(long, default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes it may use
    #[arg(long, default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// Limit reads from a device: DEVICE:BYTES a second
    #[arg(long, value_parser = device::rate_bytes)]
    device_read_bps: Vec<ThrottleDevice>,
    /// Limit reads from a device: DEVICE:NUMBER a second
    #[arg(long, value_parser = device::rate_operations)]
    device_read_iops: Vec<ThrottleDevice>,
    /// Limit writes to a device: DEVICE:BYTES a second
    #[arg(long, value_parser = device::rate_bytes)]
    device_write_bps: Vec<ThrottleDevice>,
    /// Limit writes to a device: DEVICE:NUMBER a second
    #[arg(long, value_parser = device::rate_operations)]
    device_write_iops: Vec<ThrottleDevice>,
    /// Windows only
    #[arg(long, value_parser = size::bytes, default_value = "0", hide = true)]
    io_maxbandwidth: i64,
    /// Windows only
    #[arg(long, default_value = "0", hide = true)]
    io_maxiops: u64,
    /// Limit of kernel memory (gone from Linux)
    #[arg(long, value_parser = size::bytes, default_value = "0", hide = true)]
    kernel_memory: i64,
    /// Limit of memory
    #[arg(short, long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    memory: i64,
    /// Memory it is pushed back to when memory is short
    #[arg(long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    memory_reservation: i64,
    /// Limit of memory and swap together; -1 for unlimited swap
    #[arg(long, value_parser = size::bytes_or_unlimited, default_value = "0", hide_default_value = true)]
    memory_swap: i64,
    /// How readily the kernel swaps, 0 to 100
    #[arg(long, default_value = "-1", hide_default_value = true)]
    memory_swappiness: i64,
    /// Let it hang instead of killing it when memory runs out
    #[arg(long)]
    oom_kill_disable: bool,
    /// How eagerly the kernel kills it when memory runs out, -1000 to 1000
    #[arg(long, default_value = "0", hide_default_value = true)]
    oom_score_adj: i32,
    /// Limit of tasks; -1 for none
    #[arg(long, default_value = "0", hide_default_value = true)]
    pids_limit: i64,
    /// Size of /dev/shm
    #[arg(long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    shm_size: i64,
    /// Limit of setrlimit(2): NAME=SOFT[:HARD]
    #[arg(long, value_parser = device::ulimit)]
    ulimit: Vec<Ulimit>,
}

impl Flags {
    pub(super) fn apply(&self, host: &mut HostConfig) -> Result<(), String> {
        let swappiness = self.memory_swappiness;
        if swappiness != -1 && !(0..=100).contains(&swappiness) {
            return Err(format!(
                "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
            ));
        }
        host.shm_size = self.shm_size;
        host.oom_score_adj = self.oom_score_adj;
        let limits = &mut host.resources;
        limits.cgroup_parent = self.cgroup_parent.clone();
        limits.blkio_weight = self.blkio_weight;
        limits.blkio_weight_device = self.blkio_weight_device.clone();
        limits.blkio_device_read_bps = self.device_read_bps.clone();
        limits.blkio_device_write_bps = self.device_write_bps.clone();
        limits.blkio_device_read_iops = self.device_read_iops.clone();
        limits.blkio_device_write_iops = self.device_write_iops.clone();
        limits.cpu_count = self.cpu_count;
        limits.cpu_percent = self.cpu_percent;
        limits.cpu_period = self.cpu_period;
        limits.cpu_quota = self.cpu_quota;
        limits.cpu_realtime_period = self.cpu_rt_period;
        limits.cpu_realtime_runtime = self.cpu_rt_runtime;
        limits.cpu_shares = self.cpu_shares;
        limits.nano_cpus = self.cpus;
        limits.cpuset_cpus = self.cpuset_cpus.clone();
        limits.cpuset_mems = self.cpuset_mems.clone();
        limits.io_maximum_bandwidth = u64::try_from(self.io_maxbandwidth).unwrap_or(0);
        limits.io_maximum_iops = self.io_maxiops;
        limits.kernel_memory = self.kernel_memory;
        limits.memory = self.memory;
        limits.memory_reservation = self.memory_reservation;
        limits.memory_swap = self.memory_swap;
        limits.memory_swappiness = Some(swappiness);
        limits.oom_kill_disable = Some(self.oom_kill_disable);
        limits.pids_limit = Some(self.pids_limit);
        // The last of several limits of one name holds, and Docker sends them by name.
        let mut ulimits: Vec<Ulimit> = Vec::new();
        for ulimit in &self.ulimit {
            ulimits.retain(|known| known.name != ulimit.name);
            ulimits.push(ulimit.clone());
        }
        ulimits.sort_by(|a, b| a.name.cmp(&b.name));
        limits.ulimits = ulimits;
        Ok(())
    }
}
