//! What stands between a container and the host.

use std::borrow::Cow;

use oci_spec::runtime::{LinuxCpu, LinuxResources, LinuxResourcesBuilder};
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

/// Of new limits for a container in a machine, those that the machine's process has too.
pub(crate) fn of_host(resources: &LinuxResources) -> LinuxResources {
    let mut limits = LinuxResourcesBuilder::default();
    if let Some(cpu) = resources.cpu() {
        limits = limits.cpu(cpu.clone());
    }
    limits.build().unwrap_or_default()
}
