//! What can be wrong with a kernel.

use std::io;
use std::path::PathBuf;

use crate::machine::Arch;

/// Why there is no kernel to boot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none anywhere.
    #[error(
        "no kernel for {0} guests was found: install one with `isopod vm kernel install{other}`, \
         or name one with --vm-kernel", other = other(*.0)
    )]
    None(Arch),
    /// There is none where one was named. Not in the words of a program that a container lacks.
    #[error(
        "there is no kernel at {}: name another one with --vm-kernel, or install one with \
         `isopod vm kernel install` and leave the option out", .0.display()
    )]
    NotThere(PathBuf),
    /// There is no agent for such guests.
    #[error(
        "{0} guests need the program guest-agent of their architecture, which is looked for beside \
         isopod and in /usr/lib/isopod as {name}: install it, or say where it is with --vm-agent",
        name = agent_name(*.0)
    )]
    NoAgent(Arch),
    /// There is no agent where it was.
    #[error(
        "the program guest-agent is not at {}: install it there, or say where it is with \
         --vm-agent", .0.display()
    )]
    AgentGone(PathBuf),
    /// The one that was named cannot be looked at.
    #[error("the kernel {}: {source}", .path.display())]
    Named {
        /// What was named.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// A directory was named that has no kernel.
    #[error("{}: there is no vmlinuz or vmlinux in it, nor in its boot directory", .0.display())]
    Empty(PathBuf),
    /// It is no kernel, or not one that can be booted here.
    #[error("{}: {why}; `isopod vm kernel install` installs one that fits", .path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: Unfit,
    },
    /// Its modules are not where they belong.
    #[error(
        "the kernel {} needs its modules, which are in none of {roots}: \
         `isopod vm kernel install` installs a kernel with its modules", .path.display()
    )]
    NoModules {
        /// The kernel.
        path: PathBuf,
        /// Where they were looked for.
        roots: String,
    },
    /// A module that guests cannot do without.
    #[error("the kernel {release} has no {module}, which guests need")]
    NoModule {
        /// Of the kernel.
        release: String,
        /// The module's name.
        module: String,
    },
    /// The agent cannot run in a guest.
    #[error("the guest agent {}: {why}", .path.display())]
    Agent {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        why: Unfit,
    },
    /// A file or directory.
    #[error("{step} {}: {source}", .path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that installs kernels failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// Something removed what was made this moment.
    #[error("{} was removed while it was made; try again", .0.display())]
    Vanished(PathBuf),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is something else.
    #[error("it is no Linux kernel for {0}")]
    NoKernel(Arch),
    /// The kernel says no version.
    #[error("it says no version")]
    NoRelease,
    /// It is compressed in an unknown way.
    #[error("it is compressed in a way that is not supported (gzip, xz, zstd and lz4 are)")]
    Compression,
    /// It cannot be decompressed.
    #[error("it cannot be decompressed: {0}")]
    Damaged(io::Error),
    /// It was built without `CONFIG_PVH`.
    #[error("it was built without CONFIG_PVH and cannot be booted directly")]
    NoPvh,
    /// It is no program for the guest.
    #[error("it is no program for {0}")]
    NoProgram(Arch),
    /// It needs libraries, which a guest does not have.
    #[error("it is not statically linked")]
    Dynamic,
}

/// What the agent for guests is called where it is looked for.
fn agent_name(arch: Arch) -> String {
    match Arch::host() == Some(arch) {
        true => "guest-agent".to_owned(),
        false => format!("guest-agent-{arch}"),
    }
}

/// What installing a kernel takes besides, for guests that are not of the host's architecture.
fn other(arch: Arch) -> String {
    match Arch::host() == Some(arch) {
        true => String::new(),
        false => format!(" --arch {}", arch.debian()),
    }
}

/// Puts a step to the failure of a system call.
pub(super) trait Step<T> {
    fn step(self, step: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::File { step, path: path.into(), source })
    }
}
