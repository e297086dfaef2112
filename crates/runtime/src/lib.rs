//! Makes a container out of an OCI runtime specification: namespaces, cgroups, root file system,
//! limits, privileges, and one process.
//!
//! ```text
//!  caller                         child (clone3: all namespaces, cgroup v2)
//!  ------                         -----
//!  plan the specification
//!  open bind mounts, devices
//!  clone3 ----------------------> join cgroup v1, namespaces given by path
//!  write id maps  <-------------> (user namespace only)
//!                                 attach root, mounts, devices, console; pivot; mask
//!  run hooks      <-------------> (prestart, createRuntime)
//!                                 limits, user, labels; find the program
//!  Created        <-------------- ready
//!  start() ---------------------> seccomp, capabilities, execve
//!  Running        <-------------- end of file (close-on-exec), or what went wrong
//! ```
//!
//! It never knows images, networks, volumes or the Engine API, keeps no state of its own (but for
//! the `oci` command line, which has the state directory that runc has), and never waits for the
//! process that it has made: the caller is its parent.

pub mod cgroup;
mod channel;
mod child;
mod create;
mod created;
mod edit;
mod error;
mod exec;
pub mod failure;
mod hooks;
mod init;
mod namespaces;
pub mod oci;
mod process;
mod rootfs;
pub mod seccomp;
mod spawn;
mod sysctl;

pub use create::{Asked, CreateOptions, Root, Stdio, create};
pub use created::{Created, Running};
pub use edit::{Place, attach, detach};
pub use error::{Error, Result, Step};
pub use exec::{Exec, ExecOptions, exec};
pub use hooks::{HookPlan, Stage};

/// Keeps containers from writing to this program's file through `/proc/PID/exe`
/// (CVE-2019-5736): executes it again from a read-only view of its mount. To be called first thing
/// in `main` of whatever forks containers. Without root there is nothing to protect.
///
/// # Errors
/// Those of `open_tree(2)`, `mount_setattr(2)` (5.12) and `execveat(2)`.
pub fn protect_program() -> std::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    sys::process::reexec_read_only()?;
    // Executed by descriptor, the process would be called by its number.
    sys::process::set_name(c"isopod")
}
