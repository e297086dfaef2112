//! OCI seccomp profiles, compiled to classic BPF.
//!
//! The effect is that of libseccomp as runc drives it (see `rules`), including runc's one addition: a
//! system call newer than the profile gets ENOSYS rather than the default EPERM.
//!
//! It never knows where a profile comes from; Docker's default is `proto::seccomp`. Compiling
//! it takes some 100 µs, and a [`Filter`] can be kept and installed any number of times.

mod arch;
mod program;
mod rules;
mod syscalls;

#[cfg(test)]
mod tests;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};
use sys::seccomp as kernel;
use thiserror::Error as ThisError;

pub use arch::Arch;

/// A compiled filter, ready for `seccomp(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: Vec<kernel::Instruction>,
    flags: u32,
}

/// Why a profile cannot be compiled or installed.
#[derive(Debug, ThisError)]
pub enum Error {
    /// User notification needs an agent that listens.
    #[error("seccomp action SCMP_ACT_NOTIFY is not supported")]
    Notify,
    /// There are six arguments.
    #[error("invalid seccomp argument index {0}: system calls have arguments 0 to 5")]
    Argument(usize),
    /// The kernel knows error numbers up to 4095.
    #[error("invalid seccomp errnoRet {0}: the highest is 4095")]
    Errno(u32),
    /// None of the profile's architectures is this machine's.
    #[error("the seccomp profile is for other architectures than this machine's")]
    Architecture,
    /// The kernel takes 4096 instructions.
    #[error("the seccomp profile is too long: {0} BPF instructions, the kernel takes {max}", max = kernel::MAX_INSTRUCTIONS)]
    TooLong(usize),
    /// `seccomp(2)` refused.
    #[error("cannot install the seccomp filter: {0}")]
    Install(#[source] std::io::Error),
}

/// Compiles a profile for this machine.
///
/// # Errors
/// All but [`Error::Install`].
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, Error> {
    compile_for(profile, Arch::NATIVE)
}

/// Compiles a profile for a machine with a kernel of the given kind.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(profile: &LinuxSeccomp, native: Arch) -> Result<Filter, Error> {
    let rules = rules::Rules::new(profile)?;
    let listed = profile.architectures().as_deref().unwrap_or_default();
    let mut arches: Vec<Arch> = listed
        .iter()
        .filter_map(|&arch| Arch::from_oci(arch, native))
        .filter(|arch| arch.runs_on(native))
        .collect();
    if listed.is_empty() {
        arches.push(native);
    } else if arches.is_empty() {
        return Err(Error::Architecture);
    }
    let program = program::program(&rules, &arches);
    if program.len() > kernel::MAX_INSTRUCTIONS {
        return Err(Error::TooLong(program.len()));
    }
    Ok(Filter { program, flags: flags(profile) })
}

/// Without a list, speculative store bypass is left alone, as with runc: kernels before 5.16 otherwise
/// slow down every process with a filter.
fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(list) = profile.flags() else { return kernel::FLAG_SPEC_ALLOW };
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => kernel::FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => kernel::FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => kernel::FLAG_SPEC_ALLOW,
        // It is about notifications, and EINVAL without them.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    };
    list.iter().map(bit).fold(0, |all, bit| all | bit)
}

impl Filter {
    /// Installs the filter on the calling thread, for good. Needs `no_new_privs` or CAP_SYS_ADMIN.
    /// Allocates nothing, so it may run between fork and exec.
    ///
    /// # Errors
    /// [`Error::Install`]: EACCES without either; EINVAL where the kernel lacks seccomp.
    pub fn install(&self) -> Result<(), Error> {
        kernel::install(&self.program, self.flags).map_err(Error::Install)
    }

    /// The number of BPF instructions.
    pub fn instructions(&self) -> usize {
        self.program.len()
    }
}
