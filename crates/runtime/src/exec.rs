//! One more process in a running container.

use std::os::fd::{BorrowedFd, OwnedFd};

use oci_spec::runtime::{Process, Spec};

use crate::cgroup::Cgroup;
use crate::create::{Asked, Stdio};
use crate::error::{Error, Result};

/// Everything about a process that is to join a container.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The container's init.
    pub container_pid: i32,
    /// The same, unmistakably.
    pub pidfd: BorrowedFd<'a>,
    /// What to run, as whom.
    pub process: &'a Process,
    /// The container's specification: namespaces, seccomp.
    pub spec: &'a Spec,
    /// Its standard streams.
    pub stdio: Stdio,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// No seccomp filter (`docker exec --privileged`); capabilities are those of `process`.
    pub privileged: bool,
    /// Further descriptors, which become 3, 4, … in the process.
    pub extra_fds: Vec<OwnedFd>,
    /// What to insist on.
    pub asked: Asked,
}

/// A process that was executed in the container.
#[derive(Debug)]
pub struct Exec {
    /// In the caller's pid namespace; the caller is its parent and reaps it.
    pub pid: i32,
    /// The same, unmistakably.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What had to be left out.
    pub warnings: Vec<String>,
}

/// Runs a process in the container and returns when `execve` has happened.
///
/// The caller must be single-threaded.
///
/// # Errors
/// The first step that failed, in the child or here.
pub fn exec(options: ExecOptions<'_>) -> Result<Exec> {
    Err(Error::Spec(format!("{}: exec is not built yet", options.container_pid).into()))
}
