//! From the kernel's first process to an agent that can be asked: a list of steps. Nothing here may
//! depend on which machine this is: a template is frozen right after it, and all of its clones
//! begin there.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sys::fs::OFlags;
use sys::mount::mount_legacy;

use crate::agent::Fatal;
use crate::devices::{self, Kind};
use crate::modules::Modules;

/// Where the machine's own file systems are gathered before they become its root.
const ROOT: &str = "/machine";

const NOSUID: u32 = 2;
const NODEV: u32 = 4;
const NOEXEC: u32 = 8;
const MOVE: u32 = 8192;

/// Does every step, and opens the port that leads to the monitor.
pub(crate) fn start() -> Result<(OwnedFd, Modules), Fatal> {
    let step = |what| move |error| Fatal::Boot(what, error);
    mount_kernel("").map_err(step("mounting the kernel's file systems"))?;
    let modules = Modules::read(Path::new("/modules")).map_err(step("reading the modules"))?;
    modules.load_early().map_err(step("loading the first modules"))?;
    if !own_cards().map_err(step("reading the kernel's command line"))? {
        // Interfaces wait: what they can do is read when they are bound, which in a clone of a
        // template is after the clone was made.
        no_autoprobe().map_err(step("keeping devices unbound"))?;
        unbind_cards().map_err(step("letting go of interfaces"))?;
    }
    modules.load_late().map_err(step("loading modules"))?;
    leave_initramfs().map_err(step("leaving the first root file system"))?;
    settings().map_err(step("setting the kernel up"))?;
    // In a template, so that no clone has to: what is on the disks comes later.
    devices::bind_all(Kind::Disk).map_err(step("binding disks"))?;
    bind_balloon().map_err(step("giving memory back"))?;
    limits().map_err(step("lifting limits"))?;
    let path = port().map_err(step("looking for the port"))?.ok_or(Fatal::NoPort)?;
    let port = sys::fs::open_host(&path, OFlags::RDWR | OFlags::CLOEXEC).map_err(Fatal::Port)?;
    Ok((port, modules))
}

fn mount_kernel(below: &str) -> io::Result<()> {
    for (kind, place, flags, options) in [
        ("proc", "/proc", NOSUID | NODEV | NOEXEC, ""),
        ("sysfs", "/sys", NOSUID | NODEV | NOEXEC, ""),
        ("devtmpfs", "/dev", NOSUID, "mode=755"),
        ("tmpfs", "/run", NOSUID | NODEV, "mode=755"),
    ] {
        let place = format!("{below}{place}");
        std::fs::create_dir_all(&place)?;
        match mount_legacy(kind, &place, kind, flags, options) {
            // EBUSY: the kernel mounts devtmpfs by itself if it was built so.
            Err(error) if error.raw_os_error() == Some(sys::errno::EBUSY) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Whether the machine has the cards already that it will have.
fn own_cards() -> io::Result<bool> {
    let line = std::fs::read_to_string("/proc/cmdline")?;
    Ok(line.split_whitespace().any(|word| word == proto::guest::OWN_CARDS))
}

/// A kernel without the bus has no devices that could be bound.
fn no_autoprobe() -> io::Result<()> {
    match sys::fs::write_file("/sys/bus/virtio/drivers_autoprobe", "0") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A kernel with a built-in driver has taken them by itself.
fn unbind_cards() -> io::Result<()> {
    match devices::unbind_all(Kind::Network) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What is free is given back from now on. A kernel that has no driver for it keeps it.
fn bind_balloon() -> io::Result<()> {
    match devices::bind_all(Kind::Balloon) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The first root cannot be pivoted away from (`pivot_root(2)`: EINVAL), which every container
/// does: a tmpfs takes its place.
fn leave_initramfs() -> io::Result<()> {
    std::fs::create_dir_all(ROOT)?;
    mount_legacy("machine", ROOT, "tmpfs", NOSUID | NODEV, "mode=755,size=16m")?;
    for place in ["proc", "sys", "dev", "run"] {
        let to = PathBuf::from(ROOT).join(place);
        std::fs::create_dir(&to)?;
        mount_legacy(&format!("/{place}"), &to, "", MOVE, "")?;
    }
    std::env::set_current_dir(ROOT)?;
    mount_legacy(".", "/", "", MOVE, "")?;
    let root = sys::fs::Root::open_host(".")?;
    sys::fs::chroot_fd(root.into_fd())?;
    std::env::set_current_dir("/")?;
    let cgroup = "/sys/fs/cgroup";
    mount_legacy("cgroup2", cgroup, "cgroup2", NOSUID | NODEV | NOEXEC, "")
}

/// What dockerd gives containers, so that they need neither a capability to bind port 80 nor one to
/// ping; and a killed machine is of no use.
fn settings() -> io::Result<()> {
    for (name, value) in [
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
        ("kernel/panic_on_oops", "1"),
        // The kernel's own number goes by its processors.
        ("kernel/pid_max", "4194304"),
    ] {
        match sys::fs::write_file(Path::new("/proc/sys").join(name), value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// What a daemon has on a host: the kernel's own limits are those of a first process.
fn limits() -> io::Result<()> {
    const NPROC: u32 = 6;
    const NOFILE: u32 = 7;
    // As far as the kernel goes (`fs.nr_open`).
    sys::process::set_rlimit(NOFILE, 1_048_576, 1_048_576)?;
    sys::process::set_rlimit(NPROC, u64::MAX, u64::MAX)
}

/// The port's device node.
fn port() -> io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == "agent" {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}
