//! Docker's seccomp profiles: the default one, and the JSON that `--security-opt seccomp=FILE`
//! carries. Both depend on the container's capabilities, the machine and the kernel, and are
//! resolved here to what the OCI specification has. Compiling that is `runtime`'s.
//!
//! The default is a table in this program, so a start need not carry it: a message may
//! say "the default for these capabilities", and the monitor calls [`default_profile`].

mod default;
mod file;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall, Spec,
};
use types::capability::CapabilitySet;

pub use default::default_profile;
pub use file::{Error, Profile};

/// A kind of machine that containers run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit PC.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Machine {
    /// What this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Machine = Machine::X86_64;
    /// What this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Machine = Machine::Aarch64;

    /// The name that profiles use in `includes` and `excludes`.
    pub fn name(self) -> &'static str {
        match self {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
        }
    }

    /// The machine's own system call interface and those of 32-bit programs.
    fn architectures(self) -> Vec<Arch> {
        match self {
            Machine::X86_64 => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
            Machine::Aarch64 => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        }
    }
}

fn profile(
    default: LinuxSeccompAction,
    errno: Option<u32>,
    architectures: Vec<Arch>,
    calls: Vec<LinuxSyscall>,
) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(default)
        .set_default_errno_ret(errno)
        .set_architectures((!architectures.is_empty()).then_some(architectures))
        .set_syscalls((!calls.is_empty()).then_some(calls));
    profile
}

fn rule(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names)
        .set_action(action)
        .set_errno_ret(errno)
        .set_args((!args.is_empty()).then_some(args));
    rule
}

fn argument(index: usize, operator: LinuxSeccompOperator, value: u64) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(index).op(operator).value(value);
    builder.build().expect("every required field is set")
}

/// The capabilities that a container's processes can have at most.
pub fn bounding(spec: &Spec) -> CapabilitySet {
    let capabilities = spec.process().as_ref().and_then(|p| p.capabilities().as_ref());
    let bounding = capabilities.and_then(|capabilities| capabilities.bounding().as_ref());
    bounding
        .into_iter()
        .flatten()
        .filter_map(|capability| capability.to_string().parse().ok())
        .collect()
}

/// Kernel version from `uname -r`: the first two numbers.
pub fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
