//! v1: how often the OOM killer came, and an event descriptor that says so.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::cgroup::Error;
use crate::cgroup::files::Dir;

const CONTROL: &str = "memory.oom_control";

/// The `oom_kill` line is there since 4.13.
pub(in crate::cgroup) fn kills(dir: &Dir) -> u64 {
    dir.field(CONTROL, "oom_kill").unwrap_or(0)
}

/// The kernel writes to the event descriptor when the cgroup is out of memory, and when it is removed.
pub(in crate::cgroup) fn event(dir: &Dir) -> Result<OwnedFd, Error> {
    let failed = |source| Error::OomEvent { path: dir.file(CONTROL), source };
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| failed(errno.into()))?;
    let control = File::open(dir.file(CONTROL)).map_err(failed)?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &line).map_err(failed)?;
    Ok(event)
}
