//! The processes in a cgroup: who they are, moving in, stopping, killing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::files::{self, Dir, Knobs, open_for_writing};
use super::layout::Controller;
use super::place::{Place, Places};
use super::{Error, Missing, tree, v1, v2};

/// How long a freeze may take before it is taken back.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// How long killing tries where the kernel has no `cgroup.kill`.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How a process puts itself into the v1 hierarchies. A thread that writes `0` to `tasks` moves
/// only itself, and so the kernel takes no lock over all thread groups (5.4): some 25 µs a
/// hierarchy, where writing another's pid to `cgroup.procs` first waits for an RCU grace period of
/// 10 to 30 ms. The caller must have one thread only.
#[derive(Debug)]
pub struct Joiner {
    tasks: Vec<File>,
}

impl Joiner {
    pub(super) fn new(places: &Places) -> Result<Joiner, Error> {
        let open = |dir: &Dir| {
            let path = dir.file("tasks");
            open_for_writing(&path).map_err(|source| Error::Open { path, source })
        };
        let tasks: Result<_, _> = places.v1.iter().map(|place| open(&place.dir)).collect();
        Ok(Joiner { tasks: tasks? })
    }

    /// Moves the calling thread into every v1 hierarchy. The unified tree is not among them: be
    /// cloned into it. Allocates nothing, so it may run between fork and exec.
    pub fn join(&self) -> io::Result<()> {
        for tasks in &self.tasks {
            rustix::io::write(tasks, b"0")?;
        }
        Ok(())
    }

    /// The descriptors, for whoever forks with raw system calls: write `0` to each.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks.iter().map(|file| file.as_fd())
    }
}

/// Moves a process with all its threads into every hierarchy.
pub(super) fn add(places: &Places, pid: i32) -> Result<(), Error> {
    for (_, dir) in places.all() {
        let mut outcome = dir.write("cgroup.procs", &pid.to_string());
        // EINVAL: the process is so new that it has not run yet (runc's observation; TASK_NEW).
        for _ in 0..5 {
            match &outcome {
                Err(error) if error.raw_os_error() == Some(22) => {
                    std::thread::sleep(Duration::from_millis(5));
                    outcome = dir.write("cgroup.procs", &pid.to_string());
                }
                _ => break,
            }
        }
        let path = || dir.file("cgroup.procs");
        outcome.map_err(|source| Error::Join { pid, path: path(), source })?;
    }
    Ok(())
}

/// Every process in the cgroup and below, by number.
pub(super) fn pids(places: &Places) -> Result<Vec<i32>, Error> {
    let mut found = BTreeSet::new();
    if let Some(dir) = places.tracking() {
        collect(dir.path(), &mut found)?;
    }
    Ok(found.into_iter().collect())
}

fn collect(path: &Path, found: &mut BTreeSet<i32>) -> Result<(), Error> {
    let procs = path.join("cgroup.procs");
    match files::read(&procs) {
        // 0 is a process that our pid namespace does not see.
        Ok(text) => {
            found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|&p| p > 0))
        }
        // ENOENT, ENODEV: gone meanwhile. EOPNOTSUPP: threaded, its processes are listed above it.
        Err(error) if matches!(error.raw_os_error(), Some(2 | 19 | 95)) => {}
        Err(source) => return Err(Error::Read { path: procs, source }),
    }
    tree::subdirectories(path).iter().try_for_each(|below| collect(below, found))
}

/// Which freezer serves: the unified one (5.2) lets frozen processes be killed and traced, and never
/// stays half way, so it comes first where both are there.
enum Freezer<'a> {
    V1(&'a Dir),
    V2(&'a Dir),
}

fn freezer(places: &Places) -> Result<Freezer<'_>, Error> {
    match (&places.unified, places.of(Controller::Freezer)) {
        (Some((_, dir)), _) if dir.has("cgroup.freeze") => Ok(Freezer::V2(dir)),
        (_, Some(Place::V1(dir))) => Ok(Freezer::V1(dir)),
        _ => Err(Error::Unsupported(Missing::Freezer)),
    }
}

pub(super) fn freeze(places: &Places) -> Result<(), Error> {
    freeze_within(places, FREEZE_PATIENCE)
}

fn freeze_within(places: &Places, patience: Duration) -> Result<(), Error> {
    match freezer(places)? {
        Freezer::V1(dir) => v1::freezer::freeze(dir, patience),
        Freezer::V2(dir) => v2::freezer::freeze(dir, patience),
    }
}

pub(super) fn thaw(places: &Places) -> Result<(), Error> {
    match freezer(places)? {
        Freezer::V1(dir) => v1::freezer::thaw(dir),
        Freezer::V2(dir) => v2::freezer::thaw(dir),
    }
}

pub(super) fn frozen(places: &Places) -> Result<bool, Error> {
    match freezer(places)? {
        Freezer::V1(dir) => v1::freezer::frozen(dir),
        Freezer::V2(dir) => v2::freezer::frozen(dir),
    }
}

/// SIGKILL for everybody, forks in flight included.
pub(super) fn kill(places: &Places) -> Result<(), Error> {
    if let Some((_, dir)) = &places.unified {
        // 5.14. ENOENT before; EOPNOTSUPP in a threaded cgroup.
        match dir.write("cgroup.kill", "1") {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(2 | 95)) => {}
            Err(source) => {
                let (path, value) = (dir.file("cgroup.kill"), "1".to_owned());
                return Err(Error::Write { path, value, source });
            }
        }
    }
    kill_each(places)
}

/// Nobody who stands still can fork: freeze, signal, thaw. Where freezing does not work, signal until nobody is left.
fn kill_each(places: &Places) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let still = freeze_within(places, Duration::from_millis(500)).is_ok();
        let pids = pids(places);
        for pid in pids.iter().flatten().filter_map(|&pid| Pid::from_raw(pid)) {
            // ESRCH: gone meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        if still {
            // Frozen processes of v1 take the signal when they thaw.
            thaw(places)?;
        }
        let left = pids?.len();
        if still || left == 0 {
            return Ok(());
        }
        if start.elapsed() > KILL_PATIENCE {
            let path = places.tracking().map(|dir| dir.path().to_owned()).unwrap_or_default();
            return Err(Error::KillTimeout { path, left });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
