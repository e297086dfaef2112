//! Mounts as file descriptors: the mount API of Linux 5.2 (`fsopen`, `fsmount`, `open_tree`,
//! `move_mount`) and 5.12 (`mount_setattr`).
//!
//! A detached mount (from [`FsContext::mount`] or [`clone_tree`]) belongs to its fd: it vanishes
//! when the last copy of the fd is closed, unless [`attach`] has put it somewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MoveMountFlags};
pub use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};

/// Attributes that only `mount_setattr(2)` and `fsmount(2)` know, as `MOUNT_ATTR_*` bits.
pub type Attr = u64;

/// `MOUNT_ATTR_RDONLY`
pub const RDONLY: Attr = 0x1;
/// `MOUNT_ATTR_NOSUID`
pub const NOSUID: Attr = 0x2;
/// `MOUNT_ATTR_NODEV`
pub const NODEV: Attr = 0x4;
/// `MOUNT_ATTR_NOEXEC`
pub const NOEXEC: Attr = 0x8;
/// `MOUNT_ATTR__ATIME`: the mask to clear before one of the atime values is set.
pub const ATIME_MASK: Attr = 0x70;
/// `MOUNT_ATTR_NOATIME`
pub const NOATIME: Attr = 0x10;
/// `MOUNT_ATTR_STRICTATIME`
pub const STRICTATIME: Attr = 0x20;
/// `MOUNT_ATTR_NODIRATIME`
pub const NODIRATIME: Attr = 0x80;
/// `MOUNT_ATTR_IDMAP` (5.12)
pub const IDMAP: Attr = 0x10_0000;
/// `MOUNT_ATTR_NOSYMFOLLOW` (5.14)
pub const NOSYMFOLLOW: Attr = 0x20_0000;

/// A file system being configured (`fsopen(2)`).
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
}

impl FsContext {
    /// Begins a new instance of a file system type (`overlay`, `tmpfs`, `proc`, …). Instances with
    /// namespaces (proc, mqueue, sysfs, …) take those of the caller at this moment.
    ///
    /// # Errors
    /// `ENODEV` when the kernel has no such type, `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open(fs_type: &str) -> io::Result<FsContext> {
        Ok(FsContext { fd: rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)? })
    }

    /// Sets an option without a value (`ro`, `noswap`, …).
    ///
    /// # Errors
    /// `EINVAL` for an unknown option; [`FsContext::log`] may say more.
    pub fn flag(&self, key: &str) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_flag(&self.fd, key)?)
    }

    /// Sets `key=value`. Values are limited to 255 bytes by the kernel (`EINVAL`).
    ///
    /// # Errors
    /// `EINVAL` for an unknown option or value.
    pub fn string(&self, key: &str, value: impl AsRef<Path>) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_string(&self.fd, key, value.as_ref())?)
    }

    /// Sets an option whose value is an open file (overlay's layers since 6.13).
    ///
    /// # Errors
    /// `EINVAL` when this file system or kernel does not take an fd there.
    pub fn fd(&self, key: &str, value: impl AsFd) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_set_fd(&self.fd, key, value)?)
    }

    /// Makes the superblock and a detached mount of it with the given `MOUNT_ATTR_*`.
    ///
    /// # Errors
    /// Whatever the file system says (`EINVAL`, `EBUSY`, `ENOENT`, …).
    pub fn mount(&self, attr: Attr) -> io::Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.fd)?;
        self.mount_created(attr)
    }

    /// As [`FsContext::mount`], for a superblock that was already made with
    /// [`FsContext::create`].
    ///
    /// # Errors
    /// Those of `fsmount(2)`.
    pub fn mount_created(&self, attr: Attr) -> io::Result<OwnedFd> {
        let attr = MountAttrFlags::from_bits_retain(attr as u32);
        Ok(rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attr)?)
    }

    /// Makes the superblock only.
    ///
    /// # Errors
    /// As [`FsContext::mount`].
    pub fn create(&self) -> io::Result<()> {
        Ok(rustix::mount::fsconfig_create(&self.fd)?)
    }

    /// What the kernel had to say about the last failure; empty when nothing. Lines come without
    /// their one-letter severity.
    pub fn log(&self) -> String {
        let mut out = String::new();
        let mut buf = [0u8; 512];
        while let Ok(n) = rustix::io::read(&self.fd, &mut buf) {
            let line = String::from_utf8_lossy(&buf[..n]);
            let line = line.trim_end();
            let line = line.get(2..).unwrap_or(line);
            if !out.is_empty() {
                out.push_str("; ");
            }
            out.push_str(line);
            if n == 0 {
                break;
            }
        }
        out
    }
}

/// A detached copy of the mount that `source` lies on, rooted at `source` (a bind mount waiting for
/// its place). With `recursive` the mounts below come along.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`; `EINVAL` when the source is in another mount namespace, or,
/// before 6.15, on a detached mount itself ([`crate::foreign::part`] copies those), or unbindable, or
/// (not recursive) would show what a locked mount hides.
pub fn clone_tree(source: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(source, "", flags)?)
}

/// As [`clone_tree`] for a trusted host path; symlinks are followed.
///
/// # Errors
/// As [`clone_tree`], and those of the path lookup.
pub fn clone_tree_at(
    dir: impl AsFd,
    path: impl AsRef<Path>,
    recursive: bool,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path.as_ref(), flags)?)
}

/// Puts a detached mount on top of what `target` stands for.
///
/// # Errors
/// `EINVAL` when the target is not in the caller's mount namespace, `ENOTDIR`/`EINVAL` when one is
/// a directory and the other is not.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// As [`attach`], to a name in a directory (`path` is trusted, or one component).
///
/// # Errors
/// As [`attach`].
pub fn attach_at(mount: impl AsFd, dir: impl AsFd, path: impl AsRef<Path>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", dir, path.as_ref(), flags)?)
}

/// What `mount_setattr(2)` changes.
#[derive(Debug, Default, Clone, Copy)]
pub struct SetAttr<'a> {
    /// `MOUNT_ATTR_*` to set.
    pub set: Attr,
    /// `MOUNT_ATTR_*` to clear; must hold [`ATIME_MASK`] when an atime value is set.
    pub clear: Attr,
    /// New propagation (`MS_PRIVATE`, `MS_SHARED`, `MS_SLAVE`, `MS_UNBINDABLE`), or none.
    pub propagation: Option<MountPropagationFlags>,
    /// Map ids on this mount as the given user namespace does. Only on a detached mount that was
    /// never attached, once.
    pub userns: Option<std::os::fd::BorrowedFd<'a>>,
}

#[repr(C)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of a mount, with `recursive` those of all mounts below in one step
/// (all or none).
///
/// # Errors
/// `EPERM` for locked flags in a user namespace, `EINVAL` when the file system cannot be idmapped
/// or the kernel lacks a flag.
pub fn set_attr(mount: impl AsFd, recursive: bool, change: SetAttr<'_>) -> io::Result<()> {
    let mut raw = RawMountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation.map_or(0, |p| u64::from(p.bits())),
        userns_fd: 0,
    };
    if let Some(userns) = &change.userns {
        raw.attr_set |= IDMAP;
        raw.userns_fd = userns.as_raw_fd() as u64;
    }
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a NUL-terminated literal, `raw` is a mount_attr of the size passed and
    // outlives the call; the fds are borrowed for its length.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of::<RawMountAttr>(),
        )
    };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Changes the propagation of every mount of the caller's namespace below `path`.
///
/// # Errors
/// `EINVAL` when `path` is no mount point.
pub fn propagation(path: impl AsRef<Path>, flags: MountPropagationFlags) -> io::Result<()> {
    Ok(rustix::mount::mount_change(path.as_ref(), flags)?)
}

/// The old `mount(2)`, for file systems and options that the new calls do not take.
///
/// # Errors
/// Those of `mount(2)`.
pub fn mount_legacy(
    source: &str,
    target: impl AsRef<Path>,
    fs_type: &str,
    flags: u32,
    data: &str,
) -> io::Result<()> {
    let data = std::ffi::CString::new(data)?;
    let flags = rustix::mount::MountFlags::from_bits_retain(flags);
    Ok(rustix::mount::mount(source, target.as_ref(), fs_type, flags, data.as_c_str())?)
}

/// `pivot_root(2)`. With `.` for both, the old root ends up mounted on top of the new one and
/// [`unmount`] of `.` uncovers it, so no directory is needed for it.
///
/// # Errors
/// `EINVAL` when the current root is the initramfs or `new` is no mount point, `EBUSY`.
pub fn pivot_root(new: impl AsRef<Path>, put_old: impl AsRef<Path>) -> io::Result<()> {
    Ok(rustix::process::pivot_root(new.as_ref(), put_old.as_ref())?)
}

/// `umount2(2)`.
///
/// # Errors
/// `EINVAL` when it is no mount point, `EBUSY`.
pub fn unmount(path: impl AsRef<Path>, flags: UnmountFlags) -> io::Result<()> {
    Ok(rustix::mount::unmount(path.as_ref(), flags)?)
}
