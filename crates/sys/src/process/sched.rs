//! Limits, scheduling and personality of the calling process.

use std::io;

use super::check;

/// Sets a resource limit (`RLIMIT_*` number); `u64::MAX` is unlimited.
///
/// # Errors
/// `EPERM` when the hard limit would rise without `CAP_SYS_RESOURCE`, `EINVAL` when soft > hard.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` outlives the call; no old value is asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, none) })?;
    Ok(())
}

/// Soft and hard value of a resource limit.
///
/// # Errors
/// `EINVAL` for an unknown resource.
pub fn get_rlimit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null::<libc::rlimit64>();
    // SAFETY: `limit` outlives the call and is only written.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, none, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// What `sched_setattr(2)` sets; fields that the policy does not use are 0.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sched {
    /// `SCHED_*` number.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// For the normal policies.
    pub nice: i32,
    /// For the realtime policies.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub period: u64,
}

/// Sets the scheduling policy of the caller.
///
/// # Errors
/// `EPERM`, `EINVAL`, `EBUSY` (deadline bandwidth).
pub fn set_sched(sched: Sched) -> io::Result<()> {
    #[repr(C)]
    struct Raw {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let raw = Raw {
        size: size_of::<Raw>() as u32,
        policy: sched.policy,
        flags: sched.flags,
        nice: sched.nice,
        priority: sched.priority,
        runtime: sched.runtime,
        deadline: sched.deadline,
        period: sched.period,
    };
    // SAFETY: `raw` is a sched_attr of version 0 and says its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) })?;
    Ok(())
}

/// Class and level for `ioprio_set(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority {
    /// 1 realtime, 2 best effort, 3 idle.
    pub class: u8,
    /// 0 (highest) to 7.
    pub level: u8,
}

/// Sets the I/O priority of the caller.
///
/// # Errors
/// `EPERM` for realtime without `CAP_SYS_ADMIN`, `EINVAL`.
pub fn set_ioprio(priority: IoPriority) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = i32::from(priority.class) << 13 | i32::from(priority.level);
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })?;
    Ok(())
}

/// Confines the caller to the given cpus.
///
/// # Errors
/// `EINVAL` when none of them is allowed.
pub fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < rustix::thread::CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Sets the execution domain (`PER_LINUX`, `PER_LINUX32`).
///
/// # Errors
/// None in practice.
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: one integer.
    check(unsafe { libc::personality(persona) }.into())?;
    Ok(())
}
