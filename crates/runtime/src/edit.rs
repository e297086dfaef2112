//! Mounts of a container that runs: one more, or one less.
//!
//! A child of the caller goes into the container's mount namespace and does it there. The target is
//! resolved inside the container's root by descriptor, as when the container was made: whatever its
//! processes do with the path meanwhile, the mount ends up in the container and nowhere else.

use std::os::fd::BorrowedFd;
use std::path::Path;

use oci_spec::runtime::{Mount, Spec};
use sys::fs::Root;
use sys::mount::UnmountFlags;
use sys::namespace;
use sys::process::{CloneOptions, Exit, Forked, clone3};

use crate::channel::{Channel, Report};
use crate::child::become_root;
use crate::error::{Context, Error, Result, Step};
use crate::namespaces::{Namespaces, id_maps};
use crate::rootfs::mount::{bind, create};
use crate::rootfs::plan::{Kind, plan};
use crate::rootfs::prepare;

/// A running container.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its init.
    pub pidfd: BorrowedFd<'a>,
    /// What it was made of.
    pub spec: &'a Spec,
}

/// Adds a bind mount or a tmpfs. The caller must be single-threaded.
///
/// # Errors
/// The step that failed, here or in the container.
pub fn attach(container: Place<'_>, mount: &Mount) -> Result<()> {
    let linux = container.spec.linux().as_ref();
    let uids = id_maps(linux.and_then(|l| l.uid_mappings().as_ref()));
    let gids = id_maps(linux.and_then(|l| l.gid_mappings().as_ref()));
    let plan = plan(mount, (&uids, &gids))?;
    let tmpfs = match &plan.kind {
        Kind::Bind { .. } => false,
        Kind::New { fs_type, .. } if fs_type == "tmpfs" => true,
        _ => {
            let why = "only bind mounts and tmpfs can be added to a running container";
            return Err(Error::Spec(why.into()));
        }
    };
    let label = linux.and_then(|linux| linux.mount_label().as_deref());
    let prepared = prepare::mounts(vec![plan], None)?;
    container.inside(&|| {
        let root = Root::open_host("/").context(Step::Root, || "cannot open the root")?;
        prepared.iter().try_for_each(|prepared| match tmpfs {
            true => create(&root, &prepared.plan, label).map(drop),
            false => bind(&root, prepared),
        })
    })
}

/// Takes away what is mounted at a path, with everything below it. That nothing is mounted there is
/// fine: somebody in the container may have taken it away.
///
/// # Errors
/// The step that failed.
pub fn detach(container: Place<'_>, target: &Path) -> Result<()> {
    container.inside(&|| {
        let what = |doing: &str| format!("error unmounting \"{}\": {doing}", target.display());
        let root = Root::open_host("/").context(Step::Root, || "cannot open the root")?;
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        let place = match root.resolve(target) {
            Err(error) if gone(&error) => return Ok(()),
            other => other.context(Step::Mount, || what("cannot find it"))?,
        };
        let (dir, name) = match root.parent(&place) {
            Err(error) if gone(&error) => return Ok(()),
            other => other.context(Step::Mount, || what("cannot open what it is in"))?,
        };
        // By its name in a directory that is open: no path of the container is walked again, and
        // /proc, by which descriptors have paths, need not be there.
        sys::fs::chdir_fd(&dir).context(Step::Mount, || what("cannot enter what it is in"))?;
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match sys::mount::unmount(Path::new(name), flags) {
            // EINVAL: nothing is mounted there.
            Err(error) if gone(&error) || error.raw_os_error() == Some(sys::errno::EINVAL) => {
                Ok(())
            }
            other => other.context(Step::Mount, || what("umount2")),
        }
    })
}

impl Place<'_> {
    /// Does work in a child that is in the container's mount namespace, as its root.
    fn inside(self, work: &dyn Fn() -> Result<()>) -> Result<()> {
        let (ours, theirs) =
            Channel::pair().context(Step::Prepare, || "cannot make a socket pair")?;
        let forked = clone3(&CloneOptions::default());
        match forked.context(Step::Clone, || "cannot make a process")? {
            Forked::Child => {
                drop(ours);
                match self.enter().and_then(|()| work()) {
                    Ok(()) => sys::process::exit_now(0),
                    Err(error) => {
                        theirs.fail(&error);
                        sys::process::exit_now(1)
                    }
                }
            }
            Forked::Parent { pidfd, .. } => {
                drop(theirs);
                let report = ours.report();
                let exit = sys::process::wait_pidfd(&pidfd);
                match (report, exit) {
                    (Ok(Report::Failed(error)), _) => Err(error),
                    (Ok(Report::Closed), Ok(Exit::Code(0))) => Ok(()),
                    (_, how) => Err(Error::Died(format!("{how:?}"))),
                }
            }
        }
    }

    fn enter(self) -> Result<()> {
        sys::process::set_umask(0);
        // It is nobody's business in there what this copy of the runtime has in its memory.
        sys::process::set_dumpable(false).context(Step::Privileges, || "cannot hide")?;
        let user = Namespaces::plan(self.spec.linux().as_ref())?.all() & namespace::USER;
        namespace::join(self.pidfd, user | namespace::MOUNT)
            .context(Step::Namespace, || "cannot join the container's mount namespace")?;
        if user == 0 { Ok(()) } else { become_root() }
    }
}
