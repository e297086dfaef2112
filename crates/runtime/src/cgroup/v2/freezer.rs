//! v2 freezer (5.2): `cgroup.freeze` asks, `cgroup.events` says when it is done and wakes who polls it.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::Error;
use crate::cgroup::files::Dir;

const FREEZE: &str = "cgroup.freeze";
const EVENTS: &str = "cgroup.events";

pub(in crate::cgroup) fn freeze(dir: &Dir, patience: Duration) -> Result<(), Error> {
    let path = dir.file(EVENTS);
    let failed = |source| Error::Read { path: path.clone(), source };
    let mut events = File::open(&path).map_err(failed)?;
    dir.set(FREEZE, "1")?;
    let start = Instant::now();
    loop {
        let mut text = String::new();
        events.rewind().map_err(failed)?;
        events.read_to_string(&mut text).map_err(failed)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        let Some(left) = patience.checked_sub(start.elapsed()) else { break };
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        // The file signals a change since it was last read.
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left));
    }
    dir.set(FREEZE, "0")?;
    Err(Error::FreezeTimeout { path: dir.path().to_owned(), ms: patience.as_millis() as u64 })
}

pub(in crate::cgroup) fn thaw(dir: &Dir) -> Result<(), Error> {
    dir.set(FREEZE, "0")
}

pub(in crate::cgroup) fn frozen(dir: &Dir) -> Result<bool, Error> {
    Ok(dir.text(FREEZE)?.trim() == "1")
}
