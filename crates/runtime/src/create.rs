//! Making a container and starting it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, PosixRlimitType, Spec};

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};

/// Where the container's root file system is.
#[derive(Debug)]
pub enum Root {
    /// A detached mount, to be attached in the container's mount namespace.
    Detached(OwnedFd),
    /// A directory on the host (OCI bundle, `--rootfs`).
    Path(PathBuf),
}

/// What the process reads from and writes to.
#[derive(Debug)]
pub enum Stdio {
    /// Its stdin, stdout and stderr.
    Fds([OwnedFd; 3]),
    /// A new terminal of the container's devpts; its master comes back as `console`.
    Terminal {
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        cols: u16,
    },
}

/// What the user asked for by name. When the host forbids it, the start fails; what is not named
/// here is left out with a warning.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Resource limits.
    pub rlimits: Vec<PosixRlimitType>,
    /// `oom_score_adj`.
    pub oom_score_adj: bool,
    /// Capabilities.
    pub capabilities: Vec<Capability>,
}

/// Everything about a container that is to be made.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// Its id: the name of its keyring, and what hooks are told.
    pub id: &'a str,
    /// What it shall be.
    pub spec: &'a Spec,
    /// Its root file system.
    pub root: Root,
    /// A network namespace to join, in place of the specification's.
    pub netns: Option<OwnedFd>,
    /// Its standard streams.
    pub stdio: Stdio,
    /// Its cgroup, made and limited by the caller.
    pub cgroup: &'a Cgroup,
    /// Kill the container when the thread that called [`create`] ends.
    pub die_with_parent: bool,
    /// Further descriptors, which become 3, 4, … in the process.
    pub extra_fds: Vec<OwnedFd>,
    /// Put a small init of our own before the process: it reaps orphans and passes signals on.
    pub init: bool,
    /// The bundle's directory: told to hooks, and where a relative root is looked for.
    pub bundle: Option<&'a Path>,
    /// What to insist on.
    pub asked: Asked,
    /// A listening `SOCK_SEQPACKET` socket on which the process waits for its start, in place of
    /// [`Created::start`]: for a caller that ends before that (`isopod oci create`).
    pub gate: Option<OwnedFd>,
}

impl<'a> CreateOptions<'a> {
    /// With nothing special: no init, no further fds, no network namespace given, nothing asked.
    pub fn new(
        id: &'a str,
        spec: &'a Spec,
        root: Root,
        stdio: Stdio,
        cgroup: &'a Cgroup,
    ) -> CreateOptions<'a> {
        CreateOptions {
            id,
            spec,
            root,
            netns: None,
            stdio,
            cgroup,
            die_with_parent: false,
            extra_fds: Vec::new(),
            init: false,
            bundle: None,
            asked: Asked::default(),
            gate: None,
        }
    }
}

/// A container that waits just before `execve`. Dropping it lets the process see the closed
/// channel and end.
#[derive(Debug)]
pub struct Created {
    /// The init process, in the caller's pid namespace.
    pub pid: i32,
    /// The same, unmistakably. The caller is its parent and reaps it.
    pub pidfd: OwnedFd,
    /// The master of the terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What had to be left out.
    pub warnings: Vec<String>,
}

/// A container whose process has been executed.
#[derive(Debug)]
pub struct Running {
    /// The init process, in the caller's pid namespace.
    pub pid: i32,
    /// The same, unmistakably. The caller is its parent and reaps it.
    pub pidfd: OwnedFd,
}

/// Makes the container: everything is set up and its process waits just before `execve`.
///
/// The caller must be single-threaded.
///
/// # Errors
/// The first step that failed; nothing is left behind but the cgroup, which is the caller's.
pub fn create(options: CreateOptions<'_>) -> Result<Created> {
    Err(Error::Spec(format!("{}: create is not built yet", options.id).into()))
}

impl Created {
    /// Lets the process go on to `execve` and waits until it has happened.
    ///
    /// # Errors
    /// [`Error::Exec`] and what else could only fail now; the process has been reaped then.
    pub fn start(self) -> Result<Running> {
        Ok(Running { pid: self.pid, pidfd: self.pidfd })
    }
}
