//! Virtual machines that hold containers: a kernel that is found, not built; an initial file
//! system with the agent; disks; a monitor process that is confined; and *templates*, booted
//! machines that are cloned instead of booted again.
//!
//! ```text
//!  start ──► template fits? ──yes──► restore: memory mapped copy-on-write ──┐
//!              │ no                                                         ▼
//!              └──────────────────► boot ─────────► agent says hello ──► Running
//! ```
//!
//! What it owns of the data root:
//!
//! ```text
//! vm/kernel/<key>/vmlinux, initramfs, …          what is booted; key: kernel, agent and modules
//! vm/packages/<arch>/                            a kernel that was installed for guests
//! vm/templates/<key>/ram, state, hello, shape    a booted machine; key: all that must be the same
//! vm/disks/<MiB>.ext4                            empty file systems that are copied
//! vm/disks/rehearsal-<key>.erofs                 what spare machines run before they are needed
//! vm/accelerator                                 whether hardware virtualization was found to work
//! ```
//!
//! All of it can be made again, and is when it is missing or damaged. What is being made is called
//! `.<name>.<pid>` and locked meanwhile; what makers leave that are killed is swept.
//!
//! The crate never knows what a container is, what the agent says beyond that its first words are
//! complete, or what is on the disks. It blocks; call it from a process of one thread, for it
//! forks. A guest is not trusted: of what it sends, only the first words are looked at here, and
//! those only by a function of the caller.

mod accelerator;
mod backend;
mod command;
mod confine;
pub mod disk;
mod durable;
mod error;
mod filter;
pub mod kernel;
mod machine;
pub mod network;
mod qemu;
pub mod rehearsal;
mod running;
mod share;
mod start;
mod tail;
pub mod template;
pub mod whole;

use backend::Backend;

pub use accelerator::Accelerator;
pub use backend::{DiskStats, Stats};
pub use command::{Daemon, answers, main};
pub use error::Error;
pub use machine::{Arch, Disk, KernelImage, Machine, Nic, Share};
pub use running::{Origin, Running};
pub use start::{BOOT_LIMIT, Options, Templates, start, start_with_places};
pub use tail::Tail;

/// What runs machines of an architecture on this host. The one place that says who does: another one
/// is another [`Backend`].
fn backend(arch: Arch) -> Result<impl Backend, Error> {
    qemu::Qemu::find(arch)
}

/// Removes what makers of kernels, templates and disks that were killed have left below the directory
/// `vm` of the data root. Whatever somebody makes is let alone.
pub fn sweep(state: &std::path::Path) {
    for part in [disk::DIRECTORY, kernel::DIRECTORY, template::DIRECTORY] {
        durable::sweep(&state.join(part));
    }
    kernel::install::sweep(state);
    durable::sweep(state);
}
