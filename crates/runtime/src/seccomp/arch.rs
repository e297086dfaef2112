//! The architectures a filter can meet on one machine.

use oci_spec::runtime::Arch as OciArch;

/// A system call interface. The order is that of the number table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit PC.
    X86_64,
    /// 32-bit PC.
    X86,
    /// 64-bit PC with 32-bit pointers: shares the token of x86_64, its calls have bit 30 set.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM (EABI).
    Arm,
}

impl Arch {
    /// What this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    /// What this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// `None` for one whose programs cannot run where we do.
    pub(super) fn from_oci(arch: OciArch, native: Arch) -> Option<Arch> {
        Some(match arch {
            OciArch::ScmpArchNative => native,
            OciArch::ScmpArchX86_64 => Arch::X86_64,
            OciArch::ScmpArchX86 => Arch::X86,
            OciArch::ScmpArchX32 => Arch::X32,
            OciArch::ScmpArchAarch64 => Arch::Aarch64,
            OciArch::ScmpArchArm => Arch::Arm,
            _ => return None,
        })
    }

    /// Whether programs of this kind run on a `native` kernel.
    pub(super) fn runs_on(self, native: Arch) -> bool {
        let pc = |arch| matches!(arch, Arch::X86_64 | Arch::X86 | Arch::X32);
        pc(self) == pc(native)
    }

    /// `AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch`.
    pub(super) fn token(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are compared with all 64 bits. x32 counts as narrow, as in libseccomp.
    pub(super) fn wide(self) -> bool {
        matches!(self, Arch::X86_64 | Arch::Aarch64)
    }
}
