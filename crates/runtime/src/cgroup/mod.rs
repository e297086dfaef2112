//! A container's cgroups: made in every hierarchy, limited, watched, frozen, emptied, removed.
//!
//! ```text
//! layout         which hierarchies there are, probed at run time (v1, hybrid, v2)
//!   └─ place     the container's directory in each of them
//!       ├─ tree        mkdir and rmdir
//!       ├─ apply       OCI resources → plan (v1/*, v2/*: pure) → files and values
//!       ├─ processes   joining, listing, freezing, killing
//!       └─ stats       counters
//! systemd        the same directories, made by systemd as a transient scope
//! ```
//!
//! # How a process gets in
//! Fast: `clone3` with `CLONE_INTO_CGROUP` and [`Cgroup::v2_fd`], then, first thing in the child,
//! [`Joiner::join`] for the v1 hierarchies: about 200 µs on a hybrid host. Without a unified tree
//! `join` alone. [`Cgroup::add`] moves a process from outside, which costs one RCU grace period.
//!
//! # What this module never knows
//! Containers, their states, Docker's defaults. A limit that nobody asked for is not set.

mod apply;
mod capabilities;
mod dbus;
mod devices;
mod error;
mod files;
mod layout;
mod path;
mod place;
mod plan;
mod processes;
mod stats;
pub mod systemd;
mod tree;
mod v1;
mod v2;
mod view;

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};
use types::stats::Stats;

pub use capabilities::Capabilities;
pub use error::{Error, Missing, OnMissing, Warning};
pub use layout::{Controller, Layout, Version};
pub use processes::Joiner;
pub(crate) use view::View;

use layout::Controller::Memory;
use place::{Place, Places};
use tree::Existing;

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
    places: Places,
    v2: Option<OwnedFd>,
    unit: Option<systemd::Unit>,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy. `path` counts from the root of each mount whether it
    /// starts with `/` or not. A cgroup of that name without processes is replaced.
    ///
    /// Hierarchies that may not be written (read-only mounts in a container) are left out with a
    /// warning; a limit in one of them is then [`Missing`].
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Create`] (EBUSY: the cgroup is in use), [`Error::Systemd`]. What
    /// was made is removed again.
    pub fn create(
        layout: &Layout,
        path: &str,
        driver: Driver,
    ) -> Result<(Cgroup, Vec<Warning>), Error> {
        let (path, unit, existing) = match driver {
            Driver::Cgroupfs => (path::clean(path)?, None, Existing::Replace),
            Driver::Systemd => {
                let unit = systemd::Unit::start(path, layout.version)?;
                (unit.cgroup_path(), Some(unit), Existing::Keep)
            }
        };
        let mut places = Places::new(layout, &path);
        let warnings = tree::create(&mut places, &path, existing)?;
        let made = places.clone();
        let mut cgroup = Cgroup::new(path, places).inspect_err(|_| {
            // The first failure is the one to tell.
            let _ = tree::remove(made.all().map(|(_, dir)| dir));
        })?;
        cgroup.unit = unit;
        Ok((cgroup, warnings))
    }

    /// Takes hold of a cgroup that [`Cgroup::create`] made, perhaps in another process.
    ///
    /// # Errors
    /// [`Error::Open`] with ENOENT when it is in no hierarchy.
    pub fn open(layout: &Layout, path: &str, driver: Driver) -> Result<Cgroup, Error> {
        let (path, unit) = match driver {
            Driver::Cgroupfs => (path::clean(path)?, None),
            Driver::Systemd => {
                let unit = systemd::Unit::named(path)?;
                (unit.cgroup_path(), Some(unit))
            }
        };
        let mut places = Places::new(layout, &path);
        let lost = || Error::Open {
            path: path.clone().into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        places.v1.retain(|place| place.dir.path().is_dir());
        places.unified = places.unified.take().filter(|(_, dir)| dir.path().is_dir());
        if places.v1.is_empty() && places.unified.is_none() {
            return Err(lost());
        }
        let mut cgroup = Cgroup::new(path, places)?;
        cgroup.unit = unit;
        Ok(cgroup)
    }

    fn new(path: String, places: Places) -> Result<Cgroup, Error> {
        let open = |dir: &files::Dir| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(dir.path(), flags, Mode::empty())
                .map_err(|errno| Error::Open { path: dir.path().to_owned(), source: errno.into() })
        };
        let v2 = places.unified.as_ref().map(|(_, dir)| open(dir)).transpose()?;
        Ok(Cgroup { path, places, v2, unit: None })
    }

    /// The path below each hierarchy's mount, without a slash at its start.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets limits; also for live updates: what `resources` does not name stays as it is.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when a knob is missing and `on_missing` says so, [`Error::Value`],
    /// [`Error::BelowUsage`], [`Error::Write`]. Device rules that cannot be enforced always fail.
    pub fn apply(
        &self,
        resources: &LinuxResources,
        on_missing: OnMissing,
    ) -> Result<Vec<Warning>, Error> {
        if let Some(unit) = &self.unit {
            unit.set_limits(resources, self.places.version)?;
        }
        apply::apply(&self.places, &self.path, resources, on_missing)
    }

    /// The unified tree's directory, for `CLONE_INTO_CGROUP`: joining the unified tree in any other
    /// way costs an RCU grace period (10 to 30 ms).
    pub fn v2_fd(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    /// Descriptors through which a child that was cloned into [`Cgroup::v2_fd`] moves *itself*
    /// into the v1 hierarchies, in microseconds and before anything else.
    pub fn joiner(&self) -> Result<Joiner, Error> {
        Joiner::new(&self.places)
    }

    /// Moves a process (all its threads) in from outside. Slow (an RCU grace period,
    /// 10 to 30 ms); the start path uses [`Cgroup::v2_fd`] and [`Cgroup::joiner`] instead.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        processes::add(&self.places, pid)
    }

    /// Tells the systemd driver that the first process is in, so that its placeholder may go.
    /// Nothing to do for cgroupfs; call it always, once, after the container's process has joined.
    pub fn settled(&mut self) {
        if let Some(unit) = &mut self.unit {
            unit.settled();
        }
    }

    /// Stops every process; returns when all stand still. After 10 s it is taken back.
    pub fn freeze(&self) -> Result<(), Error> {
        processes::freeze(&self.places)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        processes::thaw(&self.places)
    }

    /// Whether it is frozen, or about to be.
    pub fn frozen(&self) -> Result<bool, Error> {
        processes::frozen(&self.places)
    }

    /// SIGKILLs every process below, forks in flight included; returns when the signals are sent.
    pub fn kill(&self) -> Result<(), Error> {
        processes::kill(&self.places)
    }

    /// Every process in this cgroup and those below it, by number.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = processes::pids(&self.places)?;
        if let Some(placeholder) = self.unit.as_ref().and_then(systemd::Unit::placeholder) {
            pids.retain(|&pid| pid != placeholder);
        }
        Ok(pids)
    }

    /// All counters. A single one that cannot be read counts as zero.
    ///
    /// # Errors
    /// [`Error::Read`] when the cgroup is gone.
    pub fn stats(&self) -> Result<Stats, Error> {
        if let Some(dir) = self.places.tracking() {
            dir.text("cgroup.procs")?;
        }
        Ok(stats::read(&self.places))
    }

    /// How many processes the OOM killer has taken; 0 also when that cannot be known.
    pub fn oom_kills(&self) -> u64 {
        match self.places.of(Memory) {
            Some(Place::V1(dir)) => v1::oom::kills(dir),
            Some(Place::Unified(dir)) => v2::oom::kills(dir),
            None => 0,
        }
    }

    /// A descriptor that becomes readable when the cgroup runs out of memory.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a memory controller, [`Error::OomEvent`].
    pub fn oom_event(&self) -> Result<OomEvent, Error> {
        let fd = match self.places.of(Memory) {
            Some(Place::V1(dir)) => v1::oom::event(dir)?,
            Some(Place::Unified(dir)) => v2::oom::event(dir)?,
            None => return Err(Error::Unsupported(Missing::MemoryLimit)),
        };
        Ok(OomEvent { fd })
    }

    /// Removes the cgroup and those below it from every hierarchy. Waits up to 2 s for processes on
    /// their way out; does every step and returns all failures.
    pub fn remove(mut self) -> Result<(), Vec<Error>> {
        let mut failures = Vec::new();
        if let Some(unit) = &mut self.unit {
            failures.extend(unit.stop().err().map(Error::from));
        }
        failures.extend(tree::remove(self.places.all().map(|(_, dir)| dir)));
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    /// Removes an empty parent of containers (such as `isopod`) from every hierarchy; where it still has
    /// cgroups or processes it stays, which is no failure. A create at the same time makes it anew.
    pub fn prune_parent(layout: &Layout, path: &str) -> Result<(), Error> {
        let places = Places::new(layout, &path::clean(path)?);
        for (_, dir) in places.all() {
            match std::fs::remove_dir(dir.path()) {
                Err(source) if !matches!(source.raw_os_error(), Some(2 | 16 | 39)) => {
                    return Err(Error::Remove { path: dir.path().to_owned(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Becomes readable when memory ran out.
#[derive(Debug)]
pub struct OomEvent {
    fd: OwnedFd,
}

impl OomEvent {
    /// Empties the descriptor after it became readable. Ask [`Cgroup::oom_kills`] what happened: on v1
    /// the descriptor also wakes up when the cgroup is removed, on v2 at lesser events too.
    pub fn drain(&self) {
        let mut buffer = [0; 512];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n > 0) {}
    }
}

impl AsFd for OomEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
