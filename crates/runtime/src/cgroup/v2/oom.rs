//! v2: how often the OOM killer came, and a watch on the file that says so.

use std::os::fd::OwnedFd;

use rustix::fs::inotify;

use crate::cgroup::Error;
use crate::cgroup::files::Dir;

const EVENTS: &str = "memory.events";

pub(in crate::cgroup) fn kills(dir: &Dir) -> u64 {
    dir.field(EVENTS, "oom_kill").unwrap_or(0)
}

/// Modified at every event of the file, reaching `memory.high` too.
pub(in crate::cgroup) fn event(dir: &Dir) -> Result<OwnedFd, Error> {
    let failed =
        |errno: rustix::io::Errno| Error::OomEvent { path: dir.file(EVENTS), source: errno.into() };
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(failed)?;
    inotify::add_watch(&watch, dir.file(EVENTS), inotify::WatchFlags::MODIFY).map_err(failed)?;
    Ok(watch)
}
