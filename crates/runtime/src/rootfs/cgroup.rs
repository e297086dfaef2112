//! `/sys/fs/cgroup` inside the container: its own cgroup in each hierarchy, and nothing above.
//!
//! The container's directories are bound rather than mounted anew: under a cgroup namespace both
//! look the same inside, one costs three calls less a hierarchy, and without a namespace only the
//! bind is confined.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::fs::{Mode, Root};
use sys::mount::{FsContext, SetAttr};

use super::plan::MountPlan;
use crate::cgroup::{Cgroup, View};
use crate::error::{Context, Error, Result, Step};

/// The container's directories as detached mounts.
#[derive(Debug)]
pub(crate) enum CgroupView {
    /// The specification has no cgroup mount.
    Absent,
    /// One unified tree.
    Unified(OwnedFd),
    /// A directory for each v1 hierarchy: its name and further names that lead to it.
    Split(Vec<(String, Vec<String>, OwnedFd)>),
}

impl CgroupView {
    /// Opens the container's directories.
    pub(crate) fn prepare(cgroup: &Cgroup) -> Result<CgroupView> {
        let open = |dir: &Path| {
            sys::mount::clone_tree_at(sys::fs::CWD, dir, false)
                .context(Step::Mount, || format!("cannot open the cgroup {}", dir.display()))
        };
        match cgroup.view() {
            View::Unified(dir) => Ok(CgroupView::Unified(open(&dir)?)),
            View::Split(list) => {
                let mut out = Vec::with_capacity(list.len());
                for (name, aliases, dir) in list {
                    out.push((name, aliases, open(&dir)?));
                }
                Ok(CgroupView::Split(out))
            }
        }
    }

    /// Mounts them on `target`.
    pub(super) fn mount(&self, target: &OwnedFd, plan: &MountPlan) -> Result<()> {
        let what = || format!("error mounting \"cgroup\" to rootfs at \"{}\"", plan.dest.display());
        match self {
            CgroupView::Absent => Err(Error::because(Step::Mount, what())),
            CgroupView::Unified(tree) => {
                { set(tree, plan).and_then(|()| sys::mount::attach(tree, target)) }
                    .context(Step::Mount, what)
            }
            CgroupView::Split(list) => split(list, target, plan).context(Step::Mount, what),
        }
    }
}

fn split(
    list: &[(String, Vec<String>, OwnedFd)],
    target: &OwnedFd,
    plan: &MountPlan,
) -> io::Result<()> {
    let fs = FsContext::open("tmpfs")?;
    fs.string("source", "tmpfs")?;
    fs.string("mode", "755")?;
    let tmpfs = fs.mount(plan.attr.set & !sys::mount::RDONLY)?;
    let root = Root::from(tmpfs.try_clone()?);
    for (name, aliases, _) in list {
        root.mkdir(name, Mode::from_raw_mode(0o755))?;
        for alias in aliases {
            root.symlink(name, alias)?;
        }
    }
    sys::mount::attach(&tmpfs, target)?;
    for (name, _, tree) in list {
        set(tree, plan)?;
        sys::mount::attach_at(tree, root.as_fd(), name)?;
    }
    if plan.attr.set & sys::mount::RDONLY != 0 {
        let change = SetAttr { set: sys::mount::RDONLY, ..SetAttr::default() };
        sys::mount::set_attr(&tmpfs, false, change)?;
    }
    Ok(())
}

fn set(tree: &OwnedFd, plan: &MountPlan) -> io::Result<()> {
    let propagation = Some(sys::mount::MountPropagationFlags::PRIVATE);
    let (set, clear) = (plan.attr.set, plan.attr.clear);
    sys::mount::set_attr(tree, false, SetAttr { set, clear, propagation, userns: None })
}
