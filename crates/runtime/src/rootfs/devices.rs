//! `/dev`: the devices and links that every container has, and those the specification adds.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use sys::fs::{Mode, Node, Root, makedev};

use super::DIR_MODE;
use crate::error::{Context, Error, Result, Step};

/// Devices that the runtime specification promises.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
];

/// Links that it promises.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

/// One node to make.
#[derive(Debug)]
pub(crate) struct Device {
    path: PathBuf,
    node: Node,
    mode: u32,
    uid: u32,
    gid: u32,
    /// The host's node as a detached bind, where `mknod` is not allowed.
    bind: Option<OwnedFd>,
}

/// All nodes to make.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    devices: Vec<Device>,
    /// `/dev/core` too: the host's kernel has `/proc/kcore`.
    core: bool,
}

impl DevicePlan {
    /// Plans the default devices and the specification's. With `by_bind` (user namespaces, where
    /// `mknod` of devices is refused) the host's nodes are opened.
    pub(crate) fn prepare(listed: &[LinuxDevice], by_bind: bool) -> Result<DevicePlan> {
        let mut devices = Vec::with_capacity(DEFAULT.len() + listed.len());
        for (path, major, minor) in DEFAULT {
            if listed.iter().any(|d| d.path() == Path::new(path)) {
                continue;
            }
            devices.push(Device {
                path: path.into(),
                node: Node::Char(makedev(major, minor)),
                mode: 0o666,
                uid: 0,
                gid: 0,
                bind: by_bind.then(|| super::prepare::host_device(Path::new(path))).transpose()?,
            });
        }
        for device in listed {
            let (major, minor) = (device.major() as u32, device.minor() as u32);
            let node = match device.typ() {
                LinuxDeviceType::C | LinuxDeviceType::U => Node::Char(makedev(major, minor)),
                LinuxDeviceType::B => Node::Block(makedev(major, minor)),
                LinuxDeviceType::P => Node::Fifo,
                LinuxDeviceType::A => {
                    let text = format!("device {}: invalid type", device.path().display());
                    return Err(Error::Spec(text.into()));
                }
            };
            devices.push(Device {
                path: device.path().clone(),
                node,
                mode: device.file_mode().unwrap_or(0o666) & 0o7777,
                uid: device.uid().unwrap_or(0),
                gid: device.gid().unwrap_or(0),
                bind: by_bind.then(|| super::prepare::host_device(device.path())).transpose()?,
            });
        }
        Ok(DevicePlan { devices, core: Path::new("/proc/kcore").exists() })
    }

    /// Makes them. The umask must be 0.
    pub(super) fn make(&self, root: &Root) -> Result<()> {
        for device in &self.devices {
            device.make(root).context(Step::Device, || {
                format!("cannot make the device {}", device.path.display())
            })?;
        }
        let core = self.core.then_some(("/proc/kcore", "dev/core"));
        for (target, link) in LINKS.into_iter().chain(core) {
            match root.symlink(target, link) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if link == "dev/ptmx" {
                        replace_ptmx(root)?;
                    }
                }
                Err(e) => {
                    return Err(e)
                        .context(Step::Device, || format!("cannot make the link /{link}"));
                }
            }
        }
        Ok(())
    }
}

/// `/dev/ptmx` must lead to the container's own devpts, whatever the image has there.
fn replace_ptmx(root: &Root) -> Result<()> {
    let done = match root.read_link("dev/ptmx") {
        Ok(target) if target == Path::new("pts/ptmx") || target == Path::new("/dev/pts/ptmx") => {
            Ok(())
        }
        _ => root.remove_file("dev/ptmx").and_then(|()| root.symlink("pts/ptmx", "dev/ptmx")),
    };
    done.context(Step::Device, || "cannot make the link /dev/ptmx")
}

impl Device {
    fn make(&self, root: &Root) -> io::Result<()> {
        let mode = Mode::from_raw_mode(self.mode);
        if let Some(tree) = &self.bind {
            let dir_mode = Mode::from_raw_mode(DIR_MODE);
            let target = root.touch_all(&self.path, Mode::from_raw_mode(0o644), dir_mode)?;
            return sys::mount::attach(tree, target);
        }
        match root.mknod(&self.path, self.node, mode) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = self.path.parent().unwrap_or(Path::new("/"));
                root.mkdir_all(parent, Mode::from_raw_mode(DIR_MODE))?;
                root.mknod(&self.path, self.node, mode)?;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return self.check(root),
            Err(e) => return Err(e),
        }
        if self.uid != 0 || self.gid != 0 {
            root.chown(&self.path, self.uid, self.gid)?;
        }
        Ok(())
    }

    /// Something is there already: fine if it is this very device.
    fn check(&self, root: &Root) -> io::Result<()> {
        let stat = root.lstat(&self.path)?;
        let same = match self.node {
            Node::Char(dev) | Node::Block(dev) => stat.st_rdev == dev,
            Node::Fifo | Node::Socket => true,
        };
        if same { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }
}
