//! Volumes whose files are in memory: containers that use one at the same time share it.
//!
//! ```text
//! nobody ──mount──► the first container ──copy of its mount──► the second … ──the last ends──► nobody
//! ```
//!
//! The kernel makes a new tmpfs for every mount, and mounts of containers are nowhere on the host.
//! So the second container gets a copy of what a running one has. Two that start together take
//! turns, or each would be the first.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use types::Error;
use types::mount::MountKind;

use crate::record::Record;
use crate::{Engine, from_volume, lock};

/// Whose turn it is, by name of the volume.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: Mutex<BTreeSet<String>>,
    given: Condvar,
}

/// The turn for some volumes; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Arc<Turns>,
    names: BTreeSet<String>,
}

impl Turns {
    /// Waits for all of them at once, so that nobody waits for another who waits.
    fn take(self: &Arc<Self>, names: BTreeSet<String>) -> Turn {
        let mut taken = lock(&self.taken);
        while !names.is_disjoint(&taken) {
            taken = self.given.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.extend(names.iter().cloned());
        drop(taken);
        Turn { of: Arc::clone(self), names }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.names.is_empty() {
            lock(&self.of.taken).retain(|name| !self.names.contains(name));
            self.of.given.notify_all();
        }
    }
}

impl Engine {
    /// The turn for those of some volumes that are in memory, until the container that gets them
    /// runs. Blocks.
    pub(crate) fn turn_for<'a>(&self, volumes: impl Iterator<Item = &'a str>) -> Turn {
        let in_memory = |name: &&str| self.volumes.in_memory(name).unwrap_or(false);
        self.turns.take(volumes.filter(in_memory).map(str::to_owned).collect())
    }

    /// A volume that is a mount of its own, detached: what a running container has of it, where it
    /// is in memory, or a new mount. `record` is of whom it is for.
    pub(crate) fn volume_tree(
        &self,
        name: &str,
        record: Option<&Record>,
    ) -> Result<OwnedFd, Error> {
        if self.volumes.in_memory(name).map_err(from_volume)?
            && let Some(tree) = self.tree_in_use(name, record)
        {
            self.volumes.dress(name, tree.as_fd()).map_err(from_volume)?;
            return Ok(tree);
        }
        self.volumes.mount(name).map_err(from_volume)
    }

    fn tree_in_use(&self, name: &str, record: Option<&Record>) -> Option<OwnedFd> {
        self.containers.all().into_iter().find_map(|container| {
            let (pid, place) = {
                let other = container.record();
                // Another one's mount has another one's ids.
                let alike = record.is_none_or(|record| record.remapped == other.remapped);
                let mut mounts = other.mounts.iter();
                let point =
                    mounts.find(|point| point.kind == MountKind::Volume && point.name == name);
                (alike && other.state.pid != 0)
                    .then(|| Some((other.state.pid, point?.destination.clone())))??
            };
            // It may just have ended, or have taken the mount away.
            let namespace = File::open(format!("/proc/{pid}/ns/mnt")).ok()?;
            let tree = sys::foreign::clone_tree(namespace, place).ok()?;
            is_root_of_tmpfs(&tree).then_some(tree)
        })
    }
}

/// Whether it is a whole tmpfs, whose root has the number 1 (Linux 5.9).
fn is_root_of_tmpfs(tree: &OwnedFd) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    sys::fs::fs_magic(tree).is_ok_and(|magic| magic == TMPFS_MAGIC)
        && sys::entry::stat_fd(tree).is_ok_and(|stat| stat.st_ino == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_what_another_has_waits_for_it() {
        let turns = Arc::new(Turns::default());
        let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect();
        let first = turns.take(names(&["a", "b"]));
        let _other = turns.take(names(&["c"]));
        let _none = turns.take(names(&[]));
        let waiting = Arc::clone(&turns);
        let (sender, done) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let turn = waiting.take(["b".to_owned()].into());
            sender.send(lock(&waiting.taken).contains("a")).expect("a listener");
            drop(turn);
        });
        assert!(done.try_recv().is_err(), "it is not its turn");
        drop(first);
        assert_eq!(done.recv(), Ok(false));
        thread.join().expect("it ends");
        assert_eq!(*lock(&turns.taken), names(&["c"]));
    }
}
