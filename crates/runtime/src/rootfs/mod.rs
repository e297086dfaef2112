//! The container's root file system, built in its new mount namespace.
//!
//! ```text
//!  /                      the detached root, attached over the host's root, then pivoted to
//!  ├─ proc, sys, dev, …   the specification's mounts, in order
//!  ├─ dev/null …          default devices and links, unless /dev is a bind
//!  ├─ dev/console         the container's terminal
//!  └─ masked, read-only   last, so that no mount can undo them
//! ```
//!
//! Every target is resolved inside the root (`openat2`) and mounted on by descriptor: a symlink in
//! the image leads where it would lead in the container, and nowhere else.

mod cgroup;
mod console;
mod copy_up;
mod devices;
mod mask;
pub(crate) mod mount;
pub(crate) mod plan;
pub(crate) mod prepare;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::fs::{Mode, Root};
use sys::mount::{MountPropagationFlags as Propagation, SetAttr, UnmountFlags};

pub(crate) use cgroup::CgroupView;
pub(crate) use console::{Terminal, open_terminal};
pub(crate) use devices::DevicePlan;
use prepare::Prepared;

use crate::error::{Context, Result, Step};

/// Mode of directories made for mount points.
const DIR_MODE: u32 = 0o755;

/// Everything the child needs to build the root.
#[derive(Debug)]
pub(crate) struct RootfsPlan {
    /// The root as a detached mount.
    pub root: OwnedFd,
    /// The mounts, in order.
    pub mounts: Vec<Prepared>,
    /// How `/sys/fs/cgroup` looks.
    pub cgroups: CgroupView,
    /// Devices of the specification and the default ones; none when `/dev` is a bind.
    pub devices: Option<DevicePlan>,
    /// Hidden paths.
    pub masked: Vec<PathBuf>,
    /// Read-only paths.
    pub read_only_paths: Vec<PathBuf>,
    /// The whole root is read-only.
    pub read_only: bool,
    /// Propagation of `/` that the specification asks for.
    pub propagation: Option<(Propagation, bool)>,
    /// A terminal of this size is wanted.
    pub terminal: Option<(u16, u16)>,
    /// Made if missing.
    pub cwd: PathBuf,
    /// `mountLabel`, for tmpfs and the like.
    pub label: Option<String>,
}

/// What the building brings forth.
#[derive(Debug)]
pub(crate) struct Built {
    /// The terminal, if one was asked for.
    pub terminal: Option<Terminal>,
    /// The container's own procfs as a mount, if the specification has one.
    pub proc: Option<OwnedFd>,
}

impl RootfsPlan {
    /// Attaches the root and everything in it. The process still has the host's root after this.
    pub(crate) fn build(&self) -> Result<Built> {
        // Nothing that is mounted or unmounted from here on may reach the host.
        sys::mount::propagation("/", Propagation::REC | Propagation::DOWNSTREAM)
            .context(Step::Root, || "cannot take the mounts of the host out of propagation")?;
        // Directly over `/`: needs no directory, and is what pivot_root takes as well as any other.
        sys::mount::attach_at(&self.root, sys::fs::CWD, "/")
            .context(Step::Root, || "cannot attach the root file system")?;
        let root = Root::from(
            self.root.try_clone().context(Step::Root, || "cannot keep the root file system")?,
        );
        let mut proc = None;
        for prepared in &self.mounts {
            let mounted = mount::mount(&root, prepared, &self.cgroups, self.label.as_deref())?;
            if mounted.is_some() && prepared.plan.dest == Path::new("/proc") {
                proc = mounted;
            }
        }
        if let Some(devices) = &self.devices {
            devices.make(&root)?;
        }
        let terminal = match self.terminal {
            Some(size) => {
                let terminal = open_terminal(&root, size)?;
                terminal.bind_console(&root)?;
                Some(terminal)
            }
            None => None,
        };
        Ok(Built { terminal, proc })
    }

    /// Makes the root the root, and the old one unreachable.
    pub(crate) fn pivot(&self) -> Result<()> {
        pivot(&self.root).context(Step::Pivot, || "cannot pivot to the new root")
    }

    /// What comes after the pivot: working directory, read-only and masked paths.
    pub(crate) fn finish(&self) -> Result<()> {
        let root = Root::open_host("/").context(Step::Root, || "cannot open the new root")?;
        self.make_cwd(&root)?;
        if let Some((kind, recursive)) = self.propagation {
            let flags = if recursive { kind | Propagation::REC } else { kind };
            sys::mount::propagation("/", flags)
                .context(Step::Root, || "cannot set the propagation of the root")?;
        }
        for path in &self.read_only_paths {
            mask::read_only(&root, path)?;
        }
        mask::mask_all(&root, &self.masked)?;
        if self.read_only {
            let change = SetAttr { set: sys::mount::RDONLY, ..SetAttr::default() };
            sys::mount::set_attr(&root, false, change)
                .context(Step::Root, || "cannot make the root file system read-only")?;
        }
        Ok(())
    }

    /// As Docker does: a working directory that is missing is made, if it can be.
    fn make_cwd(&self, root: &Root) -> Result<()> {
        match root.mkdir_all(&self.cwd, Mode::from_raw_mode(DIR_MODE)) {
            Ok(_) => Ok(()),
            // Found out again, and told properly, by whoever changes into it.
            Err(e) if e.raw_os_error() == Some(sys::errno::EACCES) => Ok(()),
            Err(e) => Err(e).context(Step::Cwd, || format!("mkdir {}", self.cwd.display())),
        }
    }
}

/// `pivot_root(".", ".")`: the old root ends up on top of the new one and is unmounted, with no
/// directory needed for it.
fn pivot(new: &OwnedFd) -> io::Result<()> {
    sys::fs::chdir_fd(new)?;
    match sys::mount::pivot_root(".", ".") {
        Ok(()) => {
            // The working directory is the new root still, and `.` as a mount point means the top
            // of the stack there: the old root.
            sys::mount::unmount(".", UnmountFlags::DETACH)?;
            sys::fs::chdir_root()
        }
        // The host runs from its initramfs, which cannot be pivoted away from: hide everything
        // beneath the new root instead.
        Err(e) if e.raw_os_error() == Some(sys::errno::EINVAL) => sys::fs::chroot_fd(new.as_fd()),
        Err(e) => Err(e),
    }
}
