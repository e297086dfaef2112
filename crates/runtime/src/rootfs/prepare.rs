//! What the caller opens on the host before the fork: the root and everything that is bound. In
//! the child these are descriptors only, so nothing of the host has to be reachable any more, not
//! even by the rights of a user namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::fs::{FileType, OFlags};
use sys::mount::{MountPropagationFlags as Propagation, SetAttr};

use super::plan::{Change, IdMapping, Kind, MountPlan};
use crate::create::Root;
use crate::error::{Context, Error, Result, Step};

/// A mount together with the detached tree that will be attached, for binds.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub plan: MountPlan,
    /// The detached tree, and whether it is a directory.
    pub tree: Option<(OwnedFd, bool)>,
}

/// Opens the root as a detached mount.
pub(crate) fn root(
    root: Root,
    bundle: Option<&Path>,
    propagation: Option<(Propagation, bool)>,
) -> Result<OwnedFd> {
    let tree = match root {
        Root::Detached(fd) => fd,
        Root::Path(path) => {
            let path = match bundle {
                Some(bundle) => bundle.join(path),
                None => path,
            };
            let shown = path.display();
            let tree = sys::mount::clone_tree_at(cwd(), &path, true)
                .context(Step::Root, || format!("cannot use {shown} as the root file system"))?;
            // As after `mount --make-rslave /`: what the host mounts below later is seen, what the
            // container mounts stays in it.
            let kind = propagation.map_or(Propagation::DOWNSTREAM, |(kind, _)| kind);
            propagate(&tree, kind, true)
                .context(Step::Root, || format!("cannot set the propagation of {shown}"))?;
            return Ok(tree);
        }
    };
    if let Some((kind, recursive)) = propagation
        && kind != Propagation::PRIVATE
        && kind != Propagation::DOWNSTREAM
    {
        propagate(&tree, kind, recursive)
            .context(Step::Root, || "cannot set the propagation of the root file system")?;
    }
    Ok(tree)
}

/// Opens the sources of all binds, with their options set.
pub(crate) fn mounts(plans: Vec<MountPlan>, bundle: Option<&Path>) -> Result<Vec<Prepared>> {
    let mut user_namespaces: Vec<(IdMapping, OwnedFd)> = Vec::new();
    let mut out = Vec::with_capacity(plans.len());
    for plan in plans {
        let tree = match &plan.kind {
            Kind::Bind { source, recursive, idmap } => {
                let source = match bundle {
                    Some(bundle) => bundle.join(source),
                    None => PathBuf::from(source),
                };
                let what = |doing: &str| {
                    let (source, dest) = (source.display(), plan.dest.display());
                    format!("error mounting \"{source}\" to rootfs at \"{dest}\": {doing}")
                };
                let tree = source_tree(&source, *recursive)
                    .context(Step::Mount, || what("cannot open the source"))?;
                if let Some(idmap) = idmap {
                    let ns = user_namespace(idmap, &mut user_namespaces)
                        .context(Step::Mount, || what("cannot make a user namespace"))?;
                    let change = SetAttr { userns: Some(ns), ..SetAttr::default() };
                    sys::mount::set_attr(&tree, idmap.recursive, change)
                        .context(Step::Mount, || {
                            what("cannot map ids (not every file system can be idmapped)")
                        })?;
                }
                set_attributes(&tree, &plan).context(Step::Mount, || what("cannot set options"))?;
                let directory = is_directory(&tree)
                    .context(Step::Mount, || what("cannot look at the source"))?;
                Some((tree, directory))
            }
            _ => None,
        };
        out.push(Prepared { plan, tree });
    }
    Ok(out)
}

/// The detached tree to bind: a copy of what a path shows, or, for a descriptor of the caller's
/// that is a detached mount, the mount itself (copying those works since Linux 6.15 only).
fn source_tree(source: &Path, recursive: bool) -> io::Result<OwnedFd> {
    if source.starts_with("/proc/self/fd") {
        return sys::fs::open_host(source, OFlags::PATH);
    }
    sys::mount::clone_tree_at(cwd(), source, recursive)
}

fn user_namespace<'a>(
    wanted: &IdMapping,
    made: &'a mut Vec<(IdMapping, OwnedFd)>,
) -> io::Result<BorrowedFd<'a>> {
    let found = made.iter().position(|(m, _)| m.uids == wanted.uids && m.gids == wanted.gids);
    let index = match found {
        Some(index) => index,
        None => {
            let ns = sys::process::user_namespace(&wanted.uids, &wanted.gids)?;
            made.push((wanted.clone(), ns));
            made.len() - 1
        }
    };
    Ok(made[index].1.as_fd())
}

/// Attributes and propagation of a detached bind.
fn set_attributes(tree: &OwnedFd, plan: &MountPlan) -> io::Result<()> {
    // A copy of a shared mount is a peer of it: what the container mounted below would appear on
    // the host. Slave unless told otherwise, as everything is after `--make-rslave /`.
    let (kind, recursive) = plan.propagation.unwrap_or((Propagation::DOWNSTREAM, true));
    if !plan.attr_rec.is_none() {
        let Change { set, clear } = plan.attr_rec;
        sys::mount::set_attr(tree, true, SetAttr { set, clear, ..SetAttr::default() })?;
    }
    let Change { set, clear } = plan.attr;
    if recursive {
        propagate(tree, kind, true)?;
        if !plan.attr.is_none() {
            sys::mount::set_attr(tree, false, SetAttr { set, clear, ..SetAttr::default() })?;
        }
        return Ok(());
    }
    let change = SetAttr { set, clear, propagation: Some(kind), userns: None };
    sys::mount::set_attr(tree, false, change)
}

fn propagate(tree: &OwnedFd, kind: Propagation, recursive: bool) -> io::Result<()> {
    let change = SetAttr { propagation: Some(kind), ..SetAttr::default() };
    sys::mount::set_attr(tree, recursive, change)
}

fn is_directory(tree: &OwnedFd) -> io::Result<bool> {
    // fstat works on O_PATH descriptors and needs no rights on the file.
    let meta = File::from(tree.try_clone()?).metadata()?;
    Ok(meta.is_dir())
}

/// Host device nodes, for user namespaces in which `mknod` is not allowed.
pub(crate) fn host_device(path: &Path) -> Result<OwnedFd> {
    let what = || format!("cannot use the host's device {}", path.display());
    let fd = sys::fs::open_host(path, OFlags::PATH).context(Step::Device, what)?;
    let mode = sys::fs::stat_fd(&fd).context(Step::Device, what)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {}
        _ => return Err(Error::because(Step::Device, format!("{} is no device", path.display()))),
    }
    sys::mount::clone_tree(&fd, false).context(Step::Device, what)
}

fn cwd() -> BorrowedFd<'static> {
    sys::fs::CWD
}
