//! Removing containers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::MutexGuard;
use types::filter::Filters;
use types::mount::MountKind;
use types::state::Status;
use types::{ContainerId, Error, Timestamp};

use super::{Container, volumes};
use crate::{Engine, blocking, to_the_end};

/// How long work on files may go on that is in the way of a forced removal.
const MOMENT: Duration = Duration::from_secs(1);

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
    /// Remove a legacy link instead.
    pub link: bool,
}

/// Why a container is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Somebody asked for it.
    ByUser { volumes: bool },
    /// It ended, and was to be removed then. The database knows that, so that nothing needs to
    /// be written before.
    OfItself,
    /// An earlier daemon had begun with it.
    Unfinished,
}

/// What a prune has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names or ids.
    pub deleted: Vec<String>,
    /// Bytes that are free now.
    pub space: u64,
}

impl Engine {
    /// Removes a container.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it runs and `force` is not set.
    pub async fn remove(&self, reference: &str, options: RemoveOptions) -> Result<(), Error> {
        if options.link {
            return self.remove_link(reference).await;
        }
        let container = self.containers.find(reference)?;
        let engine = self.clone();
        to_the_end(async move { engine.remove_one(&container, options).await }).await
    }

    pub(crate) async fn remove_one(
        &self,
        container: &Arc<Container>,
        options: RemoveOptions,
    ) -> Result<(), Error> {
        // One that stays silent is not to be in the way of this for ever.
        let _ = container.known().await;
        loop {
            let (status, name) = {
                let record = container.record();
                (record.state.status, record.name.clone())
            };
            if status == Status::Removing {
                return Err(Error::conflict(format!(
                    "removal of container {} is already in progress",
                    container.id
                )));
            }
            if status.is_active() && !options.force {
                return Err(refused(&name, status));
            }
            // Once killed with --rm it removes itself; then there is nothing left to do.
            if options.force {
                self.kill_for_good(container).await.map_err(|error| {
                    Error::system(format!(
                        "Could not kill running container {}, cannot remove - {error}",
                        container.id
                    ))
                })?;
            }
            let _operation = self.operation_of(container, options.force).await;
            if container.progress.borrow().removed {
                return Ok(());
            }
            // It may have been on its way when it was looked at.
            if container.live().is_none() && !container.record().state.status.is_active() {
                let volumes = options.volumes;
                return self.remove_locked(container, Removal::ByUser { volumes }).await;
            }
        }
    }

    /// The container's `operation`. With force, whoever has it for the sake of files in a machine is given
    /// a moment, and then loses the machine: it may hang, and its guest may let it seem that it does not.
    async fn operation_of<'c>(&self, container: &'c Container, force: bool) -> MutexGuard<'c, ()> {
        // One place in the queue, however often somebody else's turn is cut short.
        let mut operation = pin!(container.operation.lock());
        if force && container.record().is_machine() {
            while container.live().is_none() {
                match tokio::time::timeout(MOMENT, &mut operation).await {
                    Ok(operation) => return operation,
                    Err(_) => self.end_files(container).await,
                }
            }
        }
        operation.await
    }

    /// Removes; the caller holds the container's `operation`, and nothing runs.
    ///
    /// What the database knows is enough to go on after a crash at any moment, and the record
    /// goes last.
    pub(crate) async fn remove_locked(
        &self,
        container: &Arc<Container>,
        removal: Removal,
    ) -> Result<(), Error> {
        let volumes = match removal {
            Removal::ByUser { volumes } => {
                let marked = self.change(container, |record| {
                    record.state.status = Status::Removing;
                    record.removes_volumes = volumes;
                });
                if let Err(error) = marked.await {
                    // On a full disk: what makes room must not need any.
                    tracing::warn!(container = container.id.short(), "{error}");
                }
                volumes
            }
            Removal::OfItself => true,
            Removal::Unfinished => container.record().removes_volumes,
        };
        container.record().state.status = Status::Removing;
        let engine = self.clone();
        let subject = Arc::clone(container);
        let removed = blocking(move || Ok(engine.remove_parts(&subject, volumes))).await;
        let mut failures = removed.unwrap_or_else(|error| vec![error.message]);
        if failures.is_empty()
            && let Err(error) = self.forget_record(container).await
        {
            failures.push(error.message);
        }
        if !failures.is_empty() {
            self.change_soon(container, |record| record.state.status = Status::Dead);
            let message =
                format!("cannot remove container {}: {}", container.id, failures.join("; "));
            container.progress.send_modify(|progress| {
                progress.failed_removals += 1;
                progress.unremoved.clone_from(&message);
            });
            return Err(Error::system(message));
        }
        self.containers.remove(container);
        crate::lock(&self.execs).retain(|_, exec| *exec.container() != container.id);
        // Whoever attached before a start waits for output that will not come.
        crate::lock(&container.attaches).clear();
        self.tell_container(container, "destroy", &[]);
        container.progress.send_modify(|progress| {
            progress.removed = true;
            progress.active = false;
        });
        Ok(())
    }

    /// Removes everything of a container but its record; every step, whatever becomes of the
    /// others. Blocks.
    fn remove_parts(&self, container: &Container, with_volumes: bool) -> Vec<String> {
        let failures = self.remove_storage(&container.id);
        let anonymous = if with_volumes { self.anonymous_volumes(container) } else { Vec::new() };
        for name in anonymous {
            // In use by another container, or gone already: as good, as in Docker.
            if let Err(error) = self.remove_volume_of(&name, &container.id) {
                tracing::debug!("volume {name} stays: {error}");
            }
        }
        self.forget_monitor(&container.id);
        failures
    }

    /// The volumes that were made for a container without being named by anybody.
    pub(crate) fn anonymous_volumes(&self, container: &Container) -> Vec<String> {
        let named: Vec<String> = {
            let record = container.record();
            let binds = record.host.binds.iter().filter_map(|bind| bind.split(':').next());
            let long = record
                .host
                .mounts
                .iter()
                .filter(|mount| mount.kind == MountKind::Volume)
                .map(|mount| mount.source.as_str());
            binds.chain(long).map(str::to_owned).collect()
        };
        // What came from another container may have a name there.
        let anonymous =
            |name: &String| self.volumes.get(name).is_ok_and(|volume| volume.is_anonymous());
        let mut volumes = volumes::names(container);
        volumes.retain(|name| !named.contains(name) && anonymous(name));
        volumes
    }

    /// Removes a container's directory; returns what failed.
    pub(crate) fn remove_storage(&self, id: &ContainerId) -> Vec<String> {
        let mut failures = Vec::new();
        if let Err(error) = self.images.remove_snapshot(id) {
            failures.push(crate::from_image(error).message);
        }
        let directory = self.config.container_dir(id.as_str());
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                failures.push(format!("cannot remove {}: {error}", directory.display()));
            }
            _ => {}
        }
        failures
    }

    /// Removes every container that does not run; machines with a disk of their own, which may be all
    /// that is left of somebody's work, only if they are asked for (`machine=true`).
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn prune_containers(&self, filters: &Filters) -> Result<Pruned, Error> {
        filters.allow(&["label", "label!", "machine", "until"])?;
        let machines = filters.boolean("machine")?.unwrap_or(false);
        let until = crate::volumes::until(filters)?;
        let (engine, filters) = (self.clone(), filters.clone());
        to_the_end(async move { Ok(engine.prune_chosen(&filters, machines, until).await) }).await
    }

    async fn prune_chosen(
        &self,
        filters: &Filters,
        machines: bool,
        until: Option<Timestamp>,
    ) -> Pruned {
        let mut pruned = Pruned::default();
        for container in self.containers.all() {
            let chosen = {
                let record = container.record();
                !record.state.status.is_active()
                    && record.state.status != Status::Removing
                    && record.host.machine.is_some() == machines
                    && until.is_none_or(|until| record.created < until)
                    && filters.labels("label", &record.config.labels)
                    && (!filters.has("label!") || !filters.labels("label!", &record.config.labels))
            };
            if !chosen {
                continue;
            }
            let space = self.frees(&container).await;
            match self.remove_one(&container, RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.deleted.push(container.id.to_string());
                    pruned.space += space;
                }
                Err(error) => tracing::warn!(container = container.id.short(), "{error}"),
            }
        }
        let space = pruned.space.to_string();
        self.tell(types::event::Subject::Container, "prune", "", &[("reclaimed", &space)]);
        pruned
    }
}

/// Why a container that runs is not removed.
fn refused(name: &str, status: Status) -> Error {
    let what = match status {
        Status::Paused => "paused and must be unpaused first",
        Status::Restarting => "restarting: stop the container before removing or force remove",
        _ => "running: stop the container before removing or force remove",
    };
    Error::conflict(format!("cannot remove container \"/{name}\": container is {what}"))
}
