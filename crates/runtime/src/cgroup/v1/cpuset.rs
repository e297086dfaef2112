//! v1 cpuset: a new directory has no processors and no memory nodes, and no process may enter it
//! (ENOSPC) before it has both.

use oci_spec::runtime::LinuxCpu;

use crate::cgroup::files::Dir;
use crate::cgroup::plan::{Step, write};
use crate::cgroup::{Error, Missing};

pub(in crate::cgroup) fn plan(cpu: &LinuxCpu) -> Vec<Step> {
    let cpus = cpu.cpus().as_deref().filter(|list| !list.is_empty());
    let mems = cpu.mems().as_deref().filter(|list| !list.is_empty());
    // cpuset.cpus without the prefix: mounted with the noprefix option, as Android does.
    let cpus = cpus.map(|list| write("cpuset.cpus", list, Missing::Cpuset).or("cpus").into());
    let mems = mems.map(|list| write("cpuset.mems", list, Missing::Cpuset).or("mems").into());
    cpus.into_iter().chain(mems).collect()
}

/// Gives a new directory what its parent has, unless `cgroup.clone_children` did so already.
pub(in crate::cgroup) fn inherit(parent: &Dir, new: &Dir) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if new.text(file)?.trim().is_empty() {
            new.set(file, parent.text(file)?.trim())?;
        }
    }
    Ok(())
}

/// After [`inherit`], for a directory that will hold containers: the kernel then fills the
/// containers' directories itself, which saves two reads and two writes a start.
pub(in crate::cgroup) fn clone_children(dir: &Dir) -> Result<(), Error> {
    dir.set("cgroup.clone_children", "1")
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxCpuBuilder;

    use super::*;

    #[test]
    fn plans() {
        let cpu = LinuxCpuBuilder::default().cpus("0-1").mems("0").build().unwrap();
        let steps = plan(&cpu);
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[1], write("cpuset.mems", 0, Missing::Cpuset).or("mems").into());
        let empty = LinuxCpuBuilder::default().cpus("").build().unwrap();
        assert_eq!(plan(&empty), []);
    }
}
