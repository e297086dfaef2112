//! `seccomp(2)`: installing a classic BPF filter on the calling thread.

pub mod notify;

use std::io;

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The kernel takes no longer program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Applies to all threads of the process (3.17).
pub const FLAG_TSYNC: u32 = 1;
/// Actions other than allow are logged (4.14).
pub const FLAG_LOG: u32 = 2;
/// Leaves speculative store bypass alone (4.17).
pub const FLAG_SPEC_ALLOW: u32 = 4;
/// A notification that was received can only be interrupted by fatal signals (5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 32;

const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_ulong = 2;

/// Puts the filter on the calling thread, for good. Allocates nothing and takes no lock, so it may
/// run between fork and exec.
///
/// # Errors
/// EACCES without `no_new_privs` and without CAP_SYS_ADMIN, EINVAL for a bad program or unknown
/// flag, and with [`FLAG_TSYNC`] ESRCH when a thread cannot follow.
pub fn install(program: &[Instruction], flags: u32) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel only reads `len` of them,
    // and `program` outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const fprog,
        )
    };
    match answer {
        0 => Ok(()),
        // With TSYNC a positive answer is the thread that could not follow.
        1.. => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the kernel knows a filter's return action (`SECCOMP_RET_*`, 4.14).
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 through the pointer.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_GET_ACTION_AVAIL,
            0 as libc::c_ulong,
            &raw const action,
        )
    };
    answer == 0
}
