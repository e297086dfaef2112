//! v2 cpuset: an empty file means "what the parent has", so there is nothing to inherit by hand.

use oci_spec::runtime::LinuxCpu;

use crate::cgroup::Missing;
use crate::cgroup::plan::{Step, write};

pub(in crate::cgroup) fn plan(cpu: &LinuxCpu) -> Vec<Step> {
    let lists = [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())];
    lists
        .into_iter()
        .filter_map(|(file, list)| Some((file, list.as_deref().filter(|list| !list.is_empty())?)))
        .map(|(file, list)| write(file, list, Missing::Cpuset).into())
        .collect()
}
