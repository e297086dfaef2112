//! One mount of the specification, made inside the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::fs::{Mode, Root};
use sys::mount::{self as m, FsContext, SetAttr};

use super::plan::{Change, Kind, MountPlan};
use super::prepare::Prepared;
use super::{CgroupView, DIR_MODE, copy_up};
use crate::error::{Context, Error, Result, Step};

/// Magic number of procfs.
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Makes the mount; returns the mount's own descriptor for a file system that is new.
pub(super) fn mount(
    root: &Root,
    prepared: &Prepared,
    cgroups: &CgroupView,
    label: Option<&str>,
) -> Result<Option<OwnedFd>> {
    let plan = &prepared.plan;
    let dest = &plan.dest;
    match (&plan.kind, &prepared.tree) {
        (Kind::Bind { .. }, _) => {
            bind(root, prepared)?;
            Ok(None)
        }
        (Kind::New { .. }, _) => create(root, plan, label).map(Some),
        (Kind::Cgroup, _) => {
            let target = target(root, dest, true)?;
            cgroups.mount(&target, plan)?;
            Ok(None)
        }
        (Kind::Remount, _) => {
            let there = root.open_path(dest).context(Step::Mount, || at(plan, "remount"))?;
            for (change, recursive) in [(plan.attr_rec, true), (plan.attr, false)] {
                if !change.is_none() {
                    let Change { set, clear } = change;
                    let change = SetAttr { set, clear, ..SetAttr::default() };
                    m::set_attr(&there, recursive, change)
                        .context(Step::Mount, || at(plan, "remount"))?;
                }
            }
            Ok(None)
        }
    }
}

/// Makes a file system of its own and attaches it; returns its descriptor.
pub(crate) fn create(root: &Root, plan: &MountPlan, label: Option<&str>) -> Result<OwnedFd> {
    let Kind::New { fs_type, source, data, copy_up } = &plan.kind else {
        return Err(Error::because(Step::Mount, at(plan, "it is no file system of its own")));
    };
    let source = source.as_deref().unwrap_or(Path::new(fs_type));
    let tree = new_mount(root, plan, fs_type, source, data, label)?;
    let target = target(root, &plan.dest, true)?;
    if *copy_up {
        copy_up::copy(&target, &tree).context(Step::Mount, || at(plan, "tmpcopyup"))?;
        read_only_after_copy(&tree, plan)?;
    }
    m::attach(&tree, &target).context(Step::Mount, || at(plan, "cannot attach"))?;
    propagate(&tree, plan)?;
    Ok(tree)
}

/// Attaches a bind mount.
pub(crate) fn bind(root: &Root, prepared: &Prepared) -> Result<()> {
    let plan = &prepared.plan;
    let Some((tree, directory)) = &prepared.tree else {
        return Err(Error::because(Step::Mount, at(plan, "the source was not opened")));
    };
    let target = target(root, &plan.dest, *directory)?;
    protect_proc(&target, tree, &plan.dest)?;
    m::attach(tree, &target).context(Step::Mount, || at(plan, "cannot attach"))
}

/// runc's sentence about a mount.
fn at(plan: &MountPlan, doing: &str) -> String {
    let (what, dest) = (name(plan), plan.dest.display());
    format!("error mounting \"{what}\" to rootfs at \"{dest}\": {doing}")
}

fn name(plan: &MountPlan) -> String {
    match &plan.kind {
        Kind::Bind { source, .. } => source.display().to_string(),
        Kind::New { source: Some(source), .. } => source.display().to_string(),
        Kind::New { fs_type, .. } => fs_type.clone(),
        Kind::Cgroup => "cgroup".into(),
        Kind::Remount => "remount".into(),
    }
}

/// The mount point, made if it is missing.
fn target(root: &Root, dest: &Path, directory: bool) -> Result<OwnedFd> {
    let dir_mode = Mode::from_raw_mode(DIR_MODE);
    let made = if directory {
        root.mkdir_all(dest, dir_mode)
    } else {
        root.touch_all(dest, Mode::from_raw_mode(0o644), dir_mode)
    };
    made.context(Step::Mount, || {
        format!("error mounting to rootfs at \"{0}\": create mount point {0}", dest.display())
    })
}

/// A bind over a file of procfs could feed the runtime and the container's programs false process
/// attributes; only procfs itself and the files that lxcfs and its like replace may be covered.
fn protect_proc(target: &OwnedFd, tree: &OwnedFd, dest: &Path) -> Result<()> {
    const MAY_COVER: [&str; 11] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    let magic = |fd: &OwnedFd| sys::fs::fs_magic(fd).unwrap_or(0);
    if magic(target) != PROC_SUPER_MAGIC || magic(tree) == PROC_SUPER_MAGIC {
        return Ok(());
    }
    let inside = dest.strip_prefix("/proc").ok();
    if inside.is_some_and(|p| MAY_COVER.iter().any(|may| p == Path::new(may))) {
        return Ok(());
    }
    let what = format!("\"{}\" cannot be mounted because it is inside /proc", dest.display());
    Err(Error::because(Step::Mount, what))
}

/// A file system of its own, configured and detached.
fn new_mount(
    root: &Root,
    plan: &MountPlan,
    fs_type: &str,
    source: &Path,
    data: &[(String, Option<String>)],
    label: Option<&str>,
) -> Result<OwnedFd> {
    let fs = FsContext::open(fs_type).context(Step::Mount, || at(plan, fs_type))?;
    let told = |fs: &FsContext, doing: &str| match fs.log() {
        log if log.is_empty() => at(plan, doing),
        log => at(plan, &format!("{doing} ({log})")),
    };
    fs.string("source", source).context(Step::Mount, || told(&fs, "source"))?;
    for (key, value) in data {
        let set = match value {
            Some(value) => fs.string(key, value),
            None => fs.flag(key),
        };
        set.context(Step::Mount, || told(&fs, &format!("option {key}")))?;
    }
    if fs_type == "tmpfs" && !data.iter().any(|(key, _)| key == "mode") {
        // As runc: a tmpfs without a mode looks like the directory it covers.
        if let Ok(stat) = root.stat(&plan.dest) {
            let mode = format!("{:o}", stat.st_mode & 0o7777);
            fs.string("mode", mode).context(Step::Mount, || told(&fs, "option mode"))?;
        }
    }
    if let (Some(label), "tmpfs" | "mqueue" | "ramfs") = (label, fs_type) {
        fs.string("context", label).context(Step::Mount, || told(&fs, "mount label"))?;
    }
    let copies_up = matches!(plan.kind, Kind::New { copy_up: true, .. });
    let set = plan.attr.set | plan.attr_rec.set;
    let set = if copies_up { set & !m::RDONLY } else { set };
    fs.mount(set).context(Step::Mount, || told(&fs, fs_type))
}

fn read_only_after_copy(tree: &OwnedFd, plan: &MountPlan) -> Result<()> {
    if plan.attr.set & m::RDONLY == 0 {
        return Ok(());
    }
    let change = SetAttr { set: m::RDONLY, ..SetAttr::default() };
    m::set_attr(tree, false, change).context(Step::Mount, || at(plan, "read-only"))
}

/// New mounts are private; only another wish needs a call.
fn propagate(tree: &OwnedFd, plan: &MountPlan) -> Result<()> {
    let Some((kind, recursive)) = plan.propagation else { return Ok(()) };
    if kind == m::MountPropagationFlags::PRIVATE {
        return Ok(());
    }
    let change = SetAttr { propagation: Some(kind), ..SetAttr::default() };
    m::set_attr(tree.as_fd(), recursive, change).context(Step::Mount, || at(plan, "propagation"))
}
