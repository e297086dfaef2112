//! Removing containers.

use std::sync::Arc;

use types::filter::Filters;
use types::mount::MountKind;
use types::state::Status;
use types::{ContainerId, Error};

use super::{Container, volumes};
use crate::database::{Change, Table};
use crate::{Engine, blocking, to_the_end};

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
            return Err(Error::invalid(
                "cannot remove a link: legacy links are entries of /etc/hosts here and go with \
                 their container",
            ));
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
        if status.is_active() {
            if !options.force {
                let what = match status {
                    Status::Paused => "paused and must be unpaused first",
                    Status::Restarting => {
                        "restarting: stop the container before removing or force remove"
                    }
                    _ => "running: stop the container before removing or force remove",
                };
                return Err(Error::conflict(format!(
                    "cannot remove container \"/{name}\": container is {what}"
                )));
            }
            // Once killed with --rm it removes itself; then there is nothing left to do.
            match self.kill(container.id.as_str(), None).await {
                Err(error) if error.kind == types::ErrorKind::System => return Err(error),
                _ => {}
            }
            self.cancel_restart(container);
        }
        let _operation = container.operation.lock().await;
        if container.progress.borrow().removed {
            return Ok(());
        }
        if container.live().is_some() {
            return Err(Error::conflict(format!(
                "cannot remove container \"/{name}\": it has been started again meanwhile"
            )));
        }
        self.remove_locked(container, options.volumes).await
    }

    /// Removes; the caller holds the container's `operation`, and nothing runs.
    ///
    /// The record goes last: a crash in between leaves a container that is marked as being
    /// removed, and [`Engine::open`] goes on with it.
    pub(crate) async fn remove_locked(
        &self,
        container: &Arc<Container>,
        with_volumes: bool,
    ) -> Result<(), Error> {
        container.record().state.status = Status::Removing;
        let anonymous = if with_volumes { self.anonymous_volumes(container) } else { Vec::new() };
        let engine = self.clone();
        let id = container.id.clone();
        let failures = blocking(move || {
            let failures = engine.remove_storage(&id);
            engine.forget_monitor(&id);
            Ok(failures)
        })
        .await?;
        if !failures.is_empty() {
            container.record().state.status = Status::Dead;
            let record = container.record().clone();
            self.database
                .commit(Change::put(Table::Containers, container.id.as_str(), &record)?)
                .await?;
            return Err(Error::system(format!(
                "cannot remove container {}: {}",
                container.id,
                failures.join("; ")
            )));
        }
        self.database.commit(Change::remove(Table::Containers, container.id.as_str())).await?;
        self.containers.remove(container);
        for name in anonymous {
            // In use by another container: then it stays, as in Docker.
            if let Err(error) = self.volume_remove(&name, false) {
                tracing::debug!("volume {name} stays: {error}");
            }
        }
        self.tell_container(container, "destroy", &[]);
        container.progress.send_modify(|progress| {
            progress.removed = true;
            progress.active = false;
        });
        Ok(())
    }

    fn anonymous_volumes(&self, container: &Container) -> Vec<String> {
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
        volumes::names(container).into_iter().filter(|name| !named.contains(name)).collect()
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

    /// Removes every container that does not run.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn prune_containers(&self, filters: &Filters) -> Result<Pruned, Error> {
        filters.allow(&["label", "label!", "until"])?;
        let until = crate::volumes::until(filters)?;
        let mut pruned = Pruned::default();
        for container in self.containers.all() {
            let chosen = {
                let record = container.record();
                !record.state.status.is_active()
                    && record.state.status != Status::Removing
                    && until.is_none_or(|until| record.created < until)
                    && filters.labels("label", &record.config.labels)
                    && (!filters.has("label!") || !filters.labels("label!", &record.config.labels))
            };
            if !chosen {
                continue;
            }
            let space = self.images.size_rw(&container.id).unwrap_or(0);
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
        Ok(pruned)
    }
}
