//! What stands between a container and the host.

use std::borrow::Cow;

use oci_spec::runtime::{LinuxCpu, LinuxResources};
use runtime::seccomp::Filter;

use crate::guest::Guest;
use crate::whole::Whole;

/// The wall that a container is behind.
#[derive(Debug)]
pub(crate) enum Wall<'p> {
    /// Namespaces, cgroups and filters: its processes are the host's, and children of the monitor.
    Process {
        /// What execs get as well.
        filter: Option<Cow<'p, Filter>>,
    },
    /// A virtual machine, whose process is the monitor's child.
    Machine(Box<Guest>),
    /// A machine of its own system, whose process is the monitor's child.
    Whole(Box<Whole>),
}

/// Of new limits for a container in a machine, those that mean something in there.
pub(crate) fn of_guest(resources: &LinuxResources) -> LinuxResources {
    let mut limits = resources.clone();
    limits.set_block_io(None);
    if let Some(cpu) = resources.cpu() {
        let mut own = LinuxCpu::default();
        own.set_shares(cpu.shares()).set_period(cpu.period()).set_quota(cpu.quota());
        limits.set_cpu(Some(own));
    }
    limits
}

/// Of new limits for a container in a machine, those that the machine's process has too. Its memory is
/// the machine's, whose size stays.
pub(crate) fn of_host(resources: &LinuxResources) -> LinuxResources {
    let mut limits = LinuxResources::default();
    limits.set_cpu(resources.cpu().clone()).set_block_io(resources.block_io().clone());
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_of_the_wall_gets_the_limits_that_mean_something_there() {
        let all: LinuxResources = serde_json::from_value(serde_json::json!({
            "cpu": {"quota": 1000, "cpus": "0"},
            "memory": {"limit": 1 << 30},
            "pids": {"limit": 5},
            "blockIO": {"weight": 500},
        }))
        .expect("limits");
        let (host, guest) = (of_host(&all), of_guest(&all));
        assert_eq!((host.cpu(), host.block_io()), (all.cpu(), all.block_io()));
        assert!(host.memory().is_none() && host.pids().is_none());
        assert!(
            guest.block_io().is_none()
                && guest.cpu().as_ref().is_some_and(|cpu| cpu.cpus().is_none())
        );
        assert_eq!((guest.memory(), guest.pids()), (all.memory(), all.pids()));
    }
}
