//! Tap devices: network links whose other side is a program.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// `_IOW('T', 202, int)`
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TAP: libc::c_short = 0x2;
const IFF_NO_PI: libc::c_short = 0x1000;
const IFF_VNET_HDR: libc::c_short = 0x4000;

/// `struct ifreq` as this call uses it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes a tap device in the calling thread's network namespace, down. Packets carry a
/// `virtio_net_hdr`, so that checksums and segmentation can be left to whoever is last. The device
/// lives as long as the descriptor.
///
/// # Errors
/// `EBUSY` when the name is taken, `EPERM` without `CAP_NET_ADMIN`, `EINVAL` for a bad name, those
/// of opening `/dev/net/tun` (`ENOENT`, `ENODEV`: the kernel has no tun module).
pub fn create(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    let mut request =
        Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, rest: [0; 22] };
    if name.is_empty() || name.len() >= request.name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the number takes a pointer to an `ifreq` of 40 bytes, which outlives the call; the
    // name in it ends with a NUL.
    let ret =
        unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF as _, std::ptr::from_mut(&mut request)) };
    if ret == -1 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}
