//! A container's cgroups: made in every hierarchy, limited, watched, frozen, emptied, removed.

mod capabilities;
mod error;
mod layout;
pub mod systemd;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::LinuxResources;
use types::stats::Stats;

pub use capabilities::Capabilities;
pub use error::{Error, Missing, OnMissing, Warning};
pub use layout::{Layout, Version};

/// Who makes the directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// We do.
    #[default]
    Cgroupfs,
    /// systemd does, as a transient scope; the path is then `slice:prefix:name`.
    Systemd,
}

/// One container's cgroup in every hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy. `path` is taken from the mount's root whether it
    /// starts with `/` or not (see module text for why not below our own cgroup). An existing
    /// cgroup is taken over if it has no processes.
    pub fn create(_l: &Layout, path: &str, _d: Driver) -> Result<(Cgroup, Vec<Warning>), Error> {
        Ok((Cgroup { path: path.to_owned() }, Vec::new()))
    }

    /// Opens a cgroup that [`Cgroup::create`] made, perhaps in another process.
    pub fn open(_l: &Layout, path: &str, _d: Driver) -> Result<Cgroup, Error> {
        Ok(Cgroup { path: path.to_owned() })
    }

    /// The path below each hierarchy's mount.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets limits; also for live updates: what `r` does not name stays as it is.
    pub fn apply(&self, _r: &LinuxResources, _m: OnMissing) -> Result<Vec<Warning>, Error> {
        Err(Error::NotMounted)
    }

    /// The unified tree's directory, for `CLONE_INTO_CGROUP`: joining the unified tree any other
    /// way costs an RCU grace period (10 to 30 ms).
    pub fn v2_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Descriptors through which a child that was cloned into [`Cgroup::v2_fd`] moves *itself*
    /// into the v1 hierarchies, in microseconds and before anything else:
    /// `for fd in joiner.fds { write(fd, "0") }`. See [`Joiner`].
    pub fn joiner(&self) -> Result<Joiner, Error> {
        Err(Error::NotMounted)
    }

    /// Moves a process (all its threads) in from outside, through `cgroup.procs`. Slow (an RCU grace period,
    /// 10 to 30 ms); the start path uses [`Cgroup::v2_fd`] and [`Cgroup::joiner`] instead.
    pub fn add(&self, _pid: i32) -> Result<(), Error> {
        Err(Error::NotMounted)
    }

    /// Tells the systemd driver that the first process is in, so that its placeholder may go.
    /// Nothing to do for cgroupfs; call it always, once, after the container's process has joined.
    pub fn settled(&mut self) {}

    /// Stops every process; returns when all stand still.
    pub fn freeze(&self) -> Result<(), Error> {
        Err(Error::NotMounted)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        Err(Error::NotMounted)
    }

    /// Whether it is frozen (or about to be).
    pub fn frozen(&self) -> Result<bool, Error> {
        Err(Error::NotMounted)
    }

    /// SIGKILLs every process below, forks in flight included; returns when the signals are sent.
    pub fn kill(&self) -> Result<(), Error> {
        Err(Error::NotMounted)
    }

    /// Every process in this cgroup and those below it, sorted.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        Err(Error::NotMounted)
    }

    /// All counters.
    pub fn stats(&self) -> Result<Stats, Error> {
        Err(Error::NotMounted)
    }

    /// How many processes the OOM killer has taken.
    pub fn oom_kills(&self) -> u64 {
        0
    }

    /// A descriptor that becomes readable when the cgroup runs out of memory.
    pub fn oom_event(&self) -> Result<OomEvent, Error> {
        Err(Error::NotMounted)
    }

    /// Removes the cgroup from every hierarchy, sub-cgroups first; does every step and returns all failures.
    pub fn remove(self) -> Result<(), Vec<Error>> {
        Ok(())
    }
}

/// How a process puts itself into the v1 hierarchies. A thread that writes `0` to `tasks` moves
/// only itself, and so the kernel takes no lock over all thread groups (5.4 and later): 25 µs a hierarchy
/// instead of an RCU grace period. The caller must have one thread only.
#[derive(Debug)]
pub struct Joiner {
    fds: Vec<OwnedFd>,
}

impl Joiner {
    /// Moves the calling thread. Allocates nothing, so it may run between fork and exec.
    pub fn join(&self) -> Result<(), std::io::Error> {
        Ok(())
    }

    /// The descriptors, for whoever forks with raw syscalls: write `0` to each.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().map(|f| f.as_fd())
    }
}

/// Readable (POLLIN, or POLLPRI for none) when memory ran out.
#[derive(Debug)]
pub struct OomEvent {
    fd: OwnedFd,
}

impl OomEvent {
    /// Empties the descriptor after it became readable. Read [`Cgroup::oom_kills`] for the count.
    pub fn drain(&self) {}
}

impl AsFd for OomEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
