//! Binds, volumes and tmpfs that come to an existing container, or go; also while it runs.
//!
//! ```text
//!  add:     unsettled ─► attached in the container ─► mounts
//!  remove:  mounts ─► unsettled ─► detached ─► gone
//! ```
//!
//! Each arrow is one transaction or one step of the kernel. What a crash leaves unsettled was told
//! to nobody as added, or was to go: [`Engine::settle_mounts`] takes it out of the container. Until
//! then its volume counts as used.

use std::path::Path;

use oci_spec::runtime::Mount as OciMount;
use proto::control::Request;
use types::mount::{Mount, MountKind, MountPoint};
use types::{Error, ErrorKind};

use super::create::storage::LABEL;
use super::volumes::{self, Wanted};
use super::{Container, names};
use crate::record::Record;
use crate::spec::{mounts, process, users};
use crate::{Engine, blocking};

/// Which mounts are to come and to go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MountChanges {
    /// New ones in the long form.
    pub add: Vec<Mount>,
    /// New ones in the short form.
    pub add_binds: Vec<String>,
    /// Paths in the container.
    pub remove: Vec<String>,
}

/// Which variables are to be set and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvChanges {
    /// `NAME=value`.
    pub set: Vec<String>,
    /// Names.
    pub remove: Vec<String>,
}

impl EnvChanges {
    /// Changes an environment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no variable.
    pub(super) fn apply(&self, environment: &mut Vec<String>) -> Result<(), Error> {
        for variable in &self.set {
            if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                return Err(Error::invalid(format!(
                    "invalid environment variable: {variable}: write NAME=value"
                )));
            }
        }
        if let Some(bad) = self.remove.iter().find(|name| name.is_empty() || name.contains('=')) {
            return Err(Error::invalid(format!(
                "invalid name of an environment variable: {bad:?}"
            )));
        }
        let changed = process::overlay(std::mem::take(environment), &self.remove);
        *environment = process::overlay(changed, &self.set);
        Ok(())
    }
}

/// A mount to add: what it comes to, and how it was asked for.
struct Addition {
    wanted: Wanted,
    long: Option<Mount>,
    short: Option<String>,
}

/// What is to be done, all of it checked.
#[derive(Default)]
struct Plan {
    remove: Vec<MountPoint>,
    add: Vec<Addition>,
}

/// Decides what is to be done.
///
/// # Errors
/// Not found; [`ErrorKind::Invalid`] for malformed mounts and taken places;
/// [`ErrorKind::Conflict`] for a mount that others stand on.
fn plan(record: &Record, changes: &MountChanges) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let memories = memories(record)?;
    for path in &changes.remove {
        let place = volumes::clean(path)?;
        let point = record.mounts.iter().find(|point| point.destination == place).cloned();
        let memory = || memories.contains(&place).then(|| memory_at(place.clone(), true));
        let point = point.or_else(memory).ok_or_else(|| {
            Error::not_found(format!("no bind mount, volume or tmpfs is at {place}"))
        })?;
        plan.remove.push(point);
    }
    let goes = |place: &str| plan.remove.iter().any(|point| point.destination == place);
    for point in &plan.remove {
        let places = record.mounts.iter().map(|other| &other.destination).chain(&memories);
        let mut below =
            places.filter(|other| Path::new(other).starts_with(&point.destination) && !goes(other));
        if let Some(below) = below.next() {
            return Err(Error::conflict(format!(
                "cannot remove the mount at {}: another one is below it, at {below}",
                point.destination
            )));
        }
    }
    let mut taken: Vec<String> =
        record.mounts.iter().map(|point| point.destination.clone()).collect();
    taken.extend(memories.iter().cloned());
    taken.retain(|place| !goes(place));
    let files = record.host.secrets.iter().chain(&record.host.configs);
    taken.extend(files.map(|file| file.target.clone()));
    let mut add = |addition: Addition| {
        let place = addition.wanted.point.destination.clone();
        if taken.contains(&place) {
            return Err(Error::invalid(format!("Duplicate mount point: {place}")));
        }
        taken.push(place);
        plan.add.push(addition);
        Ok(())
    };
    for text in &changes.add_binds {
        let wanted = volumes::parse_bind(text, &record.host.volume_driver)?;
        add(Addition { wanted, long: None, short: Some(text.clone()) })?;
    }
    for mount in &changes.add {
        let wanted = match volumes::from_mount(mount)? {
            Some(wanted) => wanted,
            None => {
                mounts::long_tmpfs(mount)?;
                Wanted::new(memory_at(volumes::clean(&mount.target)?, !mount.read_only))
            }
        };
        add(Addition { wanted, long: Some(mount.clone()), short: None })?;
    }
    Ok(plan)
}

/// Where a container has a tmpfs of its own.
fn memories(record: &Record) -> Result<Vec<String>, Error> {
    let long = record.host.mounts.iter().filter(|mount| mount.kind == MountKind::Tmpfs);
    let places = record.host.tmpfs.keys().chain(long.map(|mount| &mount.target));
    places.map(|place| volumes::clean(place)).collect()
}

/// A tmpfs, as far as it is like other mounts.
fn memory_at(destination: String, rw: bool) -> MountPoint {
    MountPoint { kind: MountKind::Tmpfs, destination, rw, ..MountPoint::default() }
}

impl Engine {
    /// Removes and adds mounts, in this order; `record` is brought up to date. What was done before
    /// a failure stays.
    pub(super) async fn remount(
        &self,
        container: &Container,
        record: &mut Record,
        changes: &MountChanges,
    ) -> Result<(), Error> {
        let plan = plan(record, changes)?;
        for point in plan.remove {
            self.remove_mount(container, record, point).await?;
        }
        for addition in plan.add {
            let added = self.add_mount(container, record, addition).await;
            self.unclaim(&container.id);
            added?;
        }
        Ok(())
    }

    async fn remove_mount(
        &self,
        container: &Container,
        record: &mut Record,
        point: MountPoint,
    ) -> Result<(), Error> {
        let place = point.destination.clone();
        let before = record.clone();
        record.mounts.retain(|other| other.destination != place);
        record
            .host
            .mounts
            .retain(|mount| !volumes::clean(&mount.target).is_ok_and(|at| at == place));
        let driver = record.host.volume_driver.clone();
        record.host.binds.retain(|text| {
            !volumes::parse_bind(text, &driver)
                .is_ok_and(|wanted| wanted.point.destination == place)
        });
        record.host.tmpfs.retain(|at, _| !volumes::clean(at).is_ok_and(|at| at == place));
        record.unsettled.push(point);
        self.keep_mounts(container, record).await?;
        let asked = container.ask(Request::Unmount(place.clone().into()), None).await;
        if let Err(error) = asked
            && error.kind != ErrorKind::Conflict
        {
            record.clone_from(&before);
            self.keep_mounts(container, record).await?;
            return Err(error);
        }
        record.unsettled.retain(|other| other.destination != place);
        self.keep_mounts(container, record).await
    }

    async fn add_mount(
        &self,
        container: &Container,
        record: &mut Record,
        addition: Addition,
    ) -> Result<(), Error> {
        let Addition { mut wanted, long, short } = addition;
        let fresh = wanted.point.kind == MountKind::Volume && wanted.point.name.is_empty();
        if fresh {
            wanted.point.name = names::id()?.to_string();
            wanted.labels.insert(LABEL.to_owned(), String::new());
        }
        let copy = wanted.copy;
        let (engine, id) = (self.clone(), container.id.clone());
        let (point, _turn) = blocking(move || {
            let point = engine.make_mount(&id, &wanted)?;
            let turn = engine.turn_for([point.name.as_str()].into_iter());
            Ok((point, turn))
        })
        .await?;
        record.unsettled.push(point.clone());
        self.keep_mounts(container, record).await?;
        record.host.mounts.extend(long);
        record.host.binds.extend(short);
        let attached = self.attach_mount(container, record, &point, copy).await;
        record.unsettled.retain(|other| other.destination != point.destination);
        if let Err(error) = attached {
            // What it was before; only that it is not unsettled any more is to be written.
            record.host = container.record().host.clone();
            self.keep_mounts(container, record).await?;
            if fresh && let Err(error) = self.remove_volume_of(&point.name, &container.id) {
                tracing::warn!(container = container.id.short(), "{error}");
            }
            return Err(error);
        }
        if point.kind != MountKind::Tmpfs {
            record.mounts.push(point);
        }
        self.keep_mounts(container, record).await
    }

    /// Fills a new volume, and shows the mount to the container if it runs.
    async fn attach_mount(
        &self,
        container: &Container,
        record: &Record,
        point: &MountPoint,
        copy: bool,
    ) -> Result<(), Error> {
        let (engine, subject, mount) = (self.clone(), record.clone(), point.clone());
        let made = blocking(move || engine.source_of(&subject, &mount, copy)).await?;
        let Some((mount, tree)) = made else { return Ok(()) };
        match container.ask(Request::Mount(Box::new(mount)), tree).await {
            Ok(_) => Ok(()),
            // It has ended meanwhile: its next start has it.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a running container is to be shown; `None` if it does not run. Blocks.
    fn source_of(
        &self,
        record: &Record,
        point: &MountPoint,
        copy: bool,
    ) -> Result<Option<(OciMount, Option<std::os::fd::OwnedFd>)>, Error> {
        if copy && point.kind == MountKind::Volume && record.host.rootfs.is_empty() {
            self.copy_up_of_image(record, &[(point.name.clone(), point.destination.clone())])?;
        }
        if record.state.pid == 0 {
            return Ok(None);
        }
        let root = sys::fs::Root::open_host(format!("/proc/{}/root", record.state.pid))
            .map_err(|_| Error::conflict(format!("container {} is not running", record.id)))?;
        let user = users::resolve(root.into_fd(), &record.config.user, &record.host.group_add)?;
        let mut trees = Vec::new();
        let mount = self.resolve_mount(record, point, &user, &mut trees)?;
        Ok(mount.map(|mount| (mount, trees.pop())))
    }

    /// Writes down a container's mounts.
    async fn keep_mounts(&self, container: &Container, record: &Record) -> Result<(), Error> {
        let (mounts, unsettled) = (record.mounts.clone(), record.unsettled.clone());
        let (binds, long) = (record.host.binds.clone(), record.host.mounts.clone());
        let tmpfs = record.host.tmpfs.clone();
        self.change(container, |now| {
            (now.mounts, now.unsettled) = (mounts, unsettled);
            (now.host.binds, now.host.mounts) = (binds, long);
            now.host.tmpfs = tmpfs;
        })
        .await
    }

    /// Takes what a crash has left unsettled out of a container.
    pub(crate) async fn settle_mounts(&self, container: &Container) -> Result<(), Error> {
        let (unsettled, pid) = {
            let record = container.record();
            (record.unsettled.clone(), record.state.pid)
        };
        if unsettled.is_empty() || (pid != 0 && container.live().is_none()) {
            return Ok(());
        }
        let _operation = container.operation.lock().await;
        for point in unsettled {
            match container.ask(Request::Unmount(point.destination.into()), None).await {
                Err(error) if error.kind != ErrorKind::Conflict => return Err(error),
                _ => {}
            }
        }
        self.change(container, |now| now.unsettled.clear()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_and_removed() {
        let mut environment = vec!["A=1".to_owned(), "B=2".to_owned()];
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let changes = EnvChanges { set: words(&["B=3", "C="]), remove: words(&["A", "X"]) };
        changes.apply(&mut environment).expect("valid");
        assert_eq!(environment, ["B=3", "C="]);
        let bad: [(&[&str], &[&str]); 4] =
            [(&["=x"], &[]), (&["X"], &[]), (&[], &["A=1"]), (&[], &[""])];
        for (set, remove) in bad {
            let changes = EnvChanges { set: words(set), remove: words(remove) };
            assert!(changes.apply(&mut environment).is_err());
        }
    }
}
