//! System calls that a supervisor answers (`SECCOMP_RET_USER_NOTIF`, 5.0; descriptors as answers
//! since 5.14).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Instruction, SECCOMP_SET_MODE_FILTER};

/// `SECCOMP_RET_USER_NOTIF`: the call waits for the listener's answer; without one it is ENOSYS.
pub const NOTIFY: u32 = 0x7fc0_0000;

const FLAG_NEW_LISTENER: libc::c_ulong = 8;
/// `_IOWR('!', 0, struct seccomp_notif)` and so on (`linux/seccomp.h`).
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
const FLAG_CONTINUE: u32 = 1;
const ADDFD_FLAG_SEND: u32 = 2;

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Default)]
struct RawNotification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct RawResponse {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct RawDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    new: u32,
    new_flags: u32,
}

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// What the answer is for.
    pub id: u64,
    /// The caller, a thread; 0 when it is not in the supervisor's pid namespace.
    pub pid: u32,
    /// The call's number.
    pub number: i32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// As [`super::install`], and returns the listener that gets the calls for which the program
/// returns [`NOTIFY`].
///
/// # Errors
/// As [`super::install`]; `EBUSY` when the thread has a listener already, `EINVAL` before 5.0.
pub fn install_listening(program: &[Instruction]) -> io::Result<OwnedFd> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: as in `install`; with this flag the answer is a new descriptor (close-on-exec) that
    // nobody else owns.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            FLAG_NEW_LISTENER,
            &raw const fprog,
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Takes the next call that waits.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile.
pub fn receive(listener: impl AsFd) -> io::Result<Notification> {
    let mut raw = RawNotification::default();
    // SAFETY: the number is that of a `seccomp_notif` of this size, which is zeroed as it must be
    // and outlives the call.
    let ret = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), NOTIF_RECV as _, std::ptr::from_mut(&mut raw))
    };
    if ret == -1 {
        return Err(io::Error::last_os_error());
    }
    let RawNotification { id, pid, number, arguments, .. } = raw;
    Ok(Notification { id, pid, number, arguments })
}

/// Lets a call do what it would have done without the filter. Whatever it points to may have been
/// changed since it was looked at, so this must not be what decides whether it may.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile; `EINVAL` before 5.5.
pub fn let_go_on(listener: impl AsFd, id: u64) -> io::Result<()> {
    respond(listener, &RawResponse { id, value: 0, error: 0, flags: FLAG_CONTINUE })
}

fn respond(listener: impl AsFd, raw: &RawResponse) -> io::Result<()> {
    // SAFETY: the number is that of a `seccomp_notif_resp` of this size, which outlives the call.
    let ret = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), NOTIF_SEND as _, std::ptr::from_ref(raw))
    };
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has a call succeed with 0, or fail with an error number, without being made.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile.
pub fn answer(listener: impl AsFd, id: u64, result: Result<(), i32>) -> io::Result<()> {
    respond(listener, &RawResponse { id, value: 0, error: -result.err().unwrap_or(0), flags: 0 })
}

/// Gives the caller a copy of a descriptor, close-on-exec, and makes its number, which is returned,
/// the call's result.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile; `EINVAL` before 5.14.
pub fn answer_with(listener: impl AsFd, id: u64, fd: BorrowedFd<'_>) -> io::Result<RawFd> {
    let raw = RawDescriptor {
        id,
        flags: ADDFD_FLAG_SEND,
        source: fd.as_raw_fd() as u32,
        new: 0,
        new_flags: libc::O_CLOEXEC as u32,
    };
    // SAFETY: the number is that of a `seccomp_notif_addfd` of this size, which outlives the call;
    // the descriptor is borrowed for its length.
    let ret = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), NOTIF_ADDFD as _, std::ptr::from_ref(&raw))
    };
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}
