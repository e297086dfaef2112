//! What this host's cgroups can limit, as a plain record for `/info` and for warnings at create.

use super::files::{Dir, Knobs};
use super::layout::{Controller, Home, Layout, Version};
use super::tree;

pub use types::host::Capabilities;

/// Looks for the files. Many exist only below the root (all limits of v2, BFQ's of v1), so the
/// first cgroup found below the root is looked at as well.
pub(super) fn probe(layout: &Layout) -> Capabilities {
    let mut caps = Capabilities {
        unified: layout.version == Version::V2,
        net_cls: layout.home(Controller::NetCls).is_some(),
        net_prio: layout.home(Controller::NetPrio).is_some(),
        hugetlb: layout.home(Controller::Hugetlb).is_some(),
        rdma: layout.home(Controller::Rdma).is_some(),
        pids_limit: layout.home(Controller::Pids).is_some(),
        // The unified tree has both without a controller (4.15 with BPF, 5.2).
        devices: layout.home(Controller::Devices).is_some() || layout.unified.is_some(),
        freezer: layout.home(Controller::Freezer).is_some() || layout.unified.is_some(),
        ..Capabilities::default()
    };
    memory(layout, &mut caps);
    cpu(layout, &mut caps);
    cpuset(layout, &mut caps);
    io(layout, &mut caps);
    caps
}

/// Where to look for one controller's files.
struct Sample(Vec<Dir>);

impl Sample {
    fn new(home: Home<'_>) -> Sample {
        let root = match home {
            Home::V1(hierarchy) => &hierarchy.mount,
            Home::Unified(tree) => &tree.mount,
        };
        let below = tree::subdirectories(root).into_iter().take(8).map(Dir);
        Sample(std::iter::once(Dir(root.clone())).chain(below).collect())
    }

    fn has(&self, file: &str) -> bool {
        self.0.iter().any(|dir| dir.has(file))
    }

    /// A v2 root that has no cgroup below it yet shows no limits: believe the controller then.
    fn blind(&self) -> bool {
        self.0.len() == 1
    }
}

fn memory(layout: &Layout, caps: &mut Capabilities) {
    let Some(home) = layout.home(Controller::Memory) else { return };
    let sample = Sample::new(home);
    caps.memory_limit = true;
    caps.memory_reservation = true;
    match home {
        Home::V1(_) => {
            caps.swap_limit = sample.has("memory.memsw.limit_in_bytes");
            caps.memory_swappiness = sample.has("memory.swappiness");
            caps.oom_kill_disable = sample.has("memory.oom_control");
            caps.kernel_memory =
                sample.has("memory.kmem.limit_in_bytes") && kernel_version() < (5, 16);
            caps.kernel_memory_tcp = sample.has("memory.kmem.tcp.limit_in_bytes");
        }
        Home::Unified(_) => caps.swap_limit = sample.blind() || sample.has("memory.swap.max"),
    }
}

fn cpu(layout: &Layout, caps: &mut Capabilities) {
    let Some(home) = layout.home(Controller::Cpu) else { return };
    let sample = Sample::new(home);
    let has = |v1: &str, v2: &str| match home {
        Home::V1(_) => sample.has(v1),
        Home::Unified(_) => sample.blind() || sample.has(v2),
    };
    caps.cpu_shares = has("cpu.shares", "cpu.weight");
    caps.cpu_cfs_period = has("cpu.cfs_period_us", "cpu.max");
    caps.cpu_cfs_quota = has("cpu.cfs_quota_us", "cpu.max");
    caps.cpu_burst = has("cpu.cfs_burst_us", "cpu.max.burst");
    // The root of v1 shows cpu.idle too, but cannot be made idle.
    caps.cpu_idle = has("cpu.idle", "cpu.idle");
    caps.cpu_realtime = matches!(home, Home::V1(_))
        && sample.has("cpu.rt_runtime_us")
        && sample.has("cpu.rt_period_us");
}

fn cpuset(layout: &Layout, caps: &mut Capabilities) {
    let Some(home) = layout.home(Controller::Cpuset) else { return };
    caps.cpuset = true;
    let read = |v1: &str, v2: &str| {
        let file = if matches!(home, Home::V1(_)) { v1 } else { v2 };
        layout.root_file(Controller::Cpuset, file).unwrap_or_default()
    };
    caps.cpuset_cpus = read("cpuset.cpus", "cpuset.cpus.effective");
    caps.cpuset_mems = read("cpuset.mems", "cpuset.mems.effective");
}

fn io(layout: &Layout, caps: &mut Capabilities) {
    let Some(home) = layout.home(Controller::Io) else { return };
    let sample = Sample::new(home);
    match home {
        Home::V1(_) => {
            // BFQ's counters are in the root, its weights only below.
            let bfq = sample.has("blkio.bfq.io_service_bytes");
            caps.blkio_weight = bfq || sample.has("blkio.weight");
            caps.blkio_weight_device = sample.has("blkio.weight_device")
                || sample.has("blkio.bfq.weight_device")
                || (bfq && kernel_version() >= (5, 4));
            caps.blkio_read_bps = sample.has("blkio.throttle.read_bps_device");
            caps.blkio_write_bps = sample.has("blkio.throttle.write_bps_device");
            caps.blkio_read_iops = sample.has("blkio.throttle.read_iops_device");
            caps.blkio_write_iops = sample.has("blkio.throttle.write_iops_device");
        }
        Home::Unified(_) => {
            let weight = sample.has("io.bfq.weight") || sample.has("io.weight");
            let max = sample.blind() || sample.has("io.max");
            (caps.blkio_weight, caps.blkio_weight_device) = (weight, weight);
            (caps.blkio_read_bps, caps.blkio_write_bps) = (max, max);
            (caps.blkio_read_iops, caps.blkio_write_iops) = (max, max);
        }
    }
}

/// Major and minor of the running kernel.
pub(super) fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    parse_release(&name.release().to_string_lossy())
}

fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::parse_release;

    #[test]
    fn releases() {
        assert_eq!(parse_release("6.18.0-rc1+"), (6, 18));
        assert_eq!(parse_release("5.10"), (5, 10));
        assert_eq!(parse_release("?"), (0, 0));
    }
}
