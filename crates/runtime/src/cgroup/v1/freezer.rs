//! v1 freezer: a request that the kernel fulfils in its own time, and may fail to for ever.

use std::time::{Duration, Instant};

use crate::cgroup::Error;
use crate::cgroup::files::Dir;

const STATE: &str = "freezer.state";

/// A process that forks or is in an uninterruptible state while the kernel goes through the list
/// leaves the cgroup at FREEZING; writing FROZEN again goes through it again. A short thaw now and
/// then lets a process out that waits for another, already frozen one (vfork).
pub(in crate::cgroup) fn freeze(dir: &Dir, patience: Duration) -> Result<(), Error> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(20);
    for attempt in 1u32.. {
        dir.set(STATE, "FROZEN")?;
        if dir.text(STATE)?.trim() == "FROZEN" {
            return Ok(());
        }
        if start.elapsed() > patience {
            break;
        }
        if attempt.is_multiple_of(50) {
            dir.set(STATE, "THAWED")?;
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    // Half frozen is worse than not at all.
    dir.set(STATE, "THAWED")?;
    Err(Error::FreezeTimeout { path: dir.path().to_owned(), ms: patience.as_millis() as u64 })
}

pub(in crate::cgroup) fn thaw(dir: &Dir) -> Result<(), Error> {
    dir.set(STATE, "THAWED")
}

pub(in crate::cgroup) fn frozen(dir: &Dir) -> Result<bool, Error> {
    Ok(dir.text(STATE)?.trim() != "THAWED")
}
