//! What the first process of a machine does: modules, entropy, the clock, the power.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::time::{ClockId, Timespec};

/// Loads a kernel module from an open file.
///
/// # Errors
/// `EEXIST` when it is there already, `ENOEXEC` when it is no module of this kernel, `ENOENT` for a
/// symbol that another module has to bring first.
pub fn load_module(module: impl AsFd) -> io::Result<()> {
    Ok(rustix::system::finit_module(module, c"", 0)?)
}

/// Gives random bytes to the kernel's generator, counted as fully random, and has it use them at
/// once (`RNDADDENTROPY`, `RNDRESEEDCRNG`).
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`; `EINVAL` for more than 4096 bytes.
pub fn add_entropy(random: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    /// `_IOW('R', 0x03, int[2])`
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    /// `_IO('R', 0x07)` (4.14)
    const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
    const MOST: usize = 4096;
    /// `struct rand_pool_info`
    #[repr(C)]
    struct Pool {
        bits: libc::c_int,
        length: libc::c_int,
        bytes: [u8; MOST],
    }
    let mut pool = Pool { bits: 0, length: 0, bytes: [0; MOST] };
    let Some(place) = pool.bytes.get_mut(..bytes.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    place.copy_from_slice(bytes);
    let length = libc::c_int::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    (pool.bits, pool.length) = (length * 8, length);
    let fd = random.as_fd().as_raw_fd();
    // SAFETY: RNDADDENTROPY reads two ints and as many bytes as the second says, all of which lie
    // in `pool`, which outlives the call; the descriptor is borrowed for its length.
    let added = unsafe { libc::ioctl(fd, RNDADDENTROPY as _, &raw const pool) };
    if added == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: RNDRESEEDCRNG takes no argument.
    match unsafe { libc::ioctl(fd, RNDRESEEDCRNG as _, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sets the wall clock, in nanoseconds since the epoch.
///
/// # Errors
/// `EPERM` without `CAP_SYS_TIME`, `EINVAL` for a time before the epoch.
pub fn set_clock(nanoseconds: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: nanoseconds.div_euclid(1_000_000_000),
        tv_nsec: nanoseconds.rem_euclid(1_000_000_000) as _,
    };
    Ok(rustix::time::clock_settime(ClockId::Realtime, time)?)
}

/// Sets the host name of the caller's UTS namespace.
///
/// # Errors
/// `EINVAL` for more than 64 bytes, `EPERM`.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// Turns the machine off, without waiting for anything; in a process namespace, ends that.
///
/// # Errors
/// `EPERM` without `CAP_SYS_BOOT`.
pub fn power_off() -> io::Result<()> {
    Ok(rustix::system::reboot(rustix::system::RebootCommand::PowerOff)?)
}

/// Writes everything to the disks.
pub fn sync() {
    rustix::fs::sync();
}
