//! Capability sets of the calling thread, as bit masks (bit n = capability n).

use std::io;

use super::check;

/// The three sets that `capset(2)` sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// What counts now.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What passes an `execve` of a file with matching inheritable capabilities.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two halves.
const VERSION_3: u32 = 0x2008_0522;

/// The caller's sets.
///
/// # Errors
/// None in practice.
pub fn get_caps() -> io::Result<Caps> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 means that the kernel writes exactly two halves.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Caps {
        effective: join(halves[0].effective, halves[1].effective),
        permitted: join(halves[0].permitted, halves[1].permitted),
        inheritable: join(halves[0].inheritable, halves[1].inheritable),
    })
}

/// Sets the caller's sets.
///
/// # Errors
/// `EPERM` when permitted would grow, or effective or inheritable go beyond what is allowed.
pub fn set_caps(caps: Caps) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Half {
        effective: (caps.effective >> shift) as u32,
        permitted: (caps.permitted >> shift) as u32,
        inheritable: (caps.inheritable >> shift) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 means that the kernel reads exactly two halves.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) })?;
    Ok(())
}

fn prctl(op: libc::c_int, a: u64, b: u64) -> io::Result<libc::c_long> {
    // SAFETY: the operations used here take integers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, op, a, b, 0u64, 0u64) })
}

/// Drops one capability from the bounding set, for good.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, `EINVAL` when the kernel has no such capability.
pub fn bounding_drop(cap: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0).map(|_| ())
}

/// Whether a capability is in the bounding set.
///
/// # Errors
/// `EINVAL` when the kernel has no such capability.
pub fn bounding_has(cap: u32) -> io::Result<bool> {
    Ok(prctl(libc::PR_CAPBSET_READ, u64::from(cap), 0)? == 1)
}

/// Raises one capability in the ambient set.
///
/// # Errors
/// `EPERM` unless it is both permitted and inheritable.
pub fn ambient_raise(cap: u32) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(cap)).map(|_| ())
}

/// Empties the ambient set.
///
/// # Errors
/// None since 4.3.
pub fn ambient_clear() -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(|_| ())
}

/// The highest capability that this kernel knows, found by asking (no `/proc` needed).
pub fn last_cap() -> u32 {
    let mut last = 40;
    while last < 63 && bounding_has(last + 1).is_ok() {
        last += 1;
    }
    while last > 0 && bounding_has(last).is_err() {
        last -= 1;
    }
    last
}
