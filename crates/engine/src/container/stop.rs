//! Ending, freezing and signalling containers.

use std::sync::Arc;
use std::time::Duration;

use proto::control::Request;
use types::state::Status;
use types::{Error, Timestamp};

use super::start::Starter;
use super::{Container, validate};
use crate::database::{Change, Table};
use crate::{Engine, to_the_end};

/// How long a container may take to end after SIGKILL before the engine stops waiting.
const AFTER_KILL: Duration = Duration::from_secs(10);

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Engine {
    /// Asks a container to end, and kills it when it does not in time.
    ///
    /// `timeout` is in seconds (`None`: the container's own, negative: for ever).
    ///
    /// # Errors
    /// [`types::ErrorKind::NotModified`] when it does not run.
    pub async fn stop(
        &self,
        reference: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let signal = signal.map(validate::signal).transpose()?;
        let engine = self.clone();
        to_the_end(async move { engine.stop_one(&container, signal, timeout).await }).await
    }

    pub(crate) async fn stop_one(
        &self,
        container: &Arc<Container>,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<(), Error> {
        if self.stop_restarting(container).await? {
            return Ok(());
        }
        if !container.record().state.status.is_active() {
            return Err(Error::not_modified(format!("container {} is not running", container.id)));
        }
        container.record().stopped_by_user = true;
        let (configured, seconds) = {
            let record = container.record();
            let configured = record.config.stop_signal.clone();
            (configured, timeout.unwrap_or_else(|| record.stop_timeout()))
        };
        let signal = match signal {
            Some(signal) => signal,
            None if configured.is_empty() => SIGTERM,
            None => validate::signal(&configured)?,
        };
        let ends = container.progress.borrow().ends;
        // An error means that it ended just now.
        self.signal(container, signal).await.ok();
        let grace = u64::try_from(seconds).ok().map(Duration::from_secs);
        if !self.wait_end(container, ends, grace).await {
            self.signal(container, SIGKILL).await.ok();
            if !self.wait_end(container, ends, Some(AFTER_KILL)).await {
                return Err(Error::system(format!(
                    "container {} does not end even after SIGKILL: a process of it hangs in the \
                     kernel",
                    container.id
                )));
            }
        }
        self.tell_container(container, "stop", &[]);
        Ok(())
    }

    /// Stops what waits for its next start; says whether it did.
    async fn stop_restarting(&self, container: &Arc<Container>) -> Result<bool, Error> {
        if container.record().state.status != Status::Restarting {
            return Ok(false);
        }
        // Said before the lock is waited for: a restart that has it already looks for this.
        container.record().stopped_by_user = true;
        let _operation = container.operation.lock().await;
        if container.live().is_some() {
            return Ok(false);
        }
        self.cancel_restart(container);
        let record = {
            let mut record = container.record();
            if record.state.status == Status::Restarting {
                record.state.status = Status::Exited;
            }
            record.clone()
        };
        container.progress.send_modify(|progress| progress.active = false);
        self.database
            .commit(Change::put(Table::Containers, container.id.as_str(), &record)?)
            .await?;
        self.tell_container(container, "stop", &[]);
        Ok(true)
    }

    /// Waits until a container has ended once more than `ends` times; says whether it has.
    async fn wait_end(&self, container: &Container, ends: u64, limit: Option<Duration>) -> bool {
        let mut progress = container.progress.subscribe();
        let ended = progress.wait_for(|now| now.ends > ends || now.removed);
        match limit {
            Some(limit) => tokio::time::timeout(limit, ended).await.is_ok(),
            None => ended.await.is_ok(),
        }
    }

    /// Sends a signal to the first process.
    async fn signal(&self, container: &Container, signal: i32) -> Result<(), Error> {
        let live = container.running()?;
        live.link.ask(Request::Signal(signal), None).await?;
        let number = signal.to_string();
        self.tell_container(container, "kill", &[("signal", &number)]);
        Ok(())
    }

    /// Stops a container if it runs, and starts it.
    ///
    /// # Errors
    /// Those of stopping and starting.
    pub async fn restart(
        &self,
        reference: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let signal = signal.map(validate::signal).transpose()?;
        let engine = self.clone();
        to_the_end(async move {
            // Stopping for a moment must not trigger --rm.
            let auto_remove = std::mem::take(&mut container.record().host.auto_remove);
            let stopped = engine.stop_one(&container, signal, timeout).await;
            container.record().host.auto_remove = auto_remove;
            match stopped {
                Err(error) if error.kind != types::ErrorKind::NotModified => return Err(error),
                _ => {}
            }
            engine.start_one(&container, Starter::User).await?;
            engine.tell_container(&container, "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Sends a signal (SIGKILL if none is named) to a running container.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it does not run.
    pub async fn kill(&self, reference: &str, signal: Option<&str>) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let number =
            signal.filter(|text| !text.is_empty()).map_or(Ok(SIGKILL), validate::signal)?;
        if self.stop_restarting(&container).await? {
            return Ok(());
        }
        if container.running().is_err() {
            return Err(Error::conflict(format!(
                "cannot kill container: {reference}: container {} is not running",
                container.id
            )));
        }
        let stop = container.record().config.stop_signal.clone();
        let stop = if stop.is_empty() { SIGTERM } else { validate::signal(&stop)? };
        if number == SIGKILL || number == stop {
            container.record().stopped_by_user = true;
        }
        let ends = container.progress.borrow().ends;
        self.signal(&container, number).await.map_err(|error| {
            Error::conflict(format!("cannot kill container: {reference}: {error}"))
        })?;
        if number == SIGKILL {
            // Docker answers when the container has ended.
            self.wait_end(&container, ends, Some(AFTER_KILL)).await;
        }
        Ok(())
    }

    /// Freezes every process of a container.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it does not run or is frozen already.
    pub async fn pause(&self, reference: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let _operation = container.operation.lock().await;
        let status = container.record().state.status;
        if status == Status::Paused {
            return Err(Error::conflict(format!("container {} is already paused", container.id)));
        }
        if status == Status::Restarting {
            return Err(Error::conflict(format!(
                "container {} is restarting, wait until the container is running",
                container.id
            )));
        }
        container.running()?.link.ask(Request::Pause, None).await?;
        self.set_status(&container, Status::Paused, "pause")
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it is not frozen.
    pub async fn unpause(&self, reference: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let _operation = container.operation.lock().await;
        if container.record().state.status != Status::Paused {
            return Err(Error::conflict(format!("Container {} is not paused", container.id)));
        }
        container.running()?.link.ask(Request::Resume, None).await?;
        self.set_status(&container, Status::Running, "unpause")
    }

    fn set_status(&self, container: &Container, status: Status, event: &str) -> Result<(), Error> {
        let record = {
            let mut record = container.record();
            record.state.status = status;
            record.clone()
        };
        self.database.post(Change::put(Table::Containers, container.id.as_str(), &record)?);
        self.tell_container(container, event, &[]);
        Ok(())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it is taken, [`types::ErrorKind::Invalid`] when it is
    /// no name.
    pub async fn rename(&self, reference: &str, name: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let name = validate::container_name(name)?.to_owned();
        let _operation = container.operation.lock().await;
        let old = container.record().name.clone();
        if old == name {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        self.containers.reserve(&name, &container.id)?;
        let mut record = container.record().clone();
        record.name.clone_from(&name);
        let change = Change::put(Table::Containers, container.id.as_str(), &record)?;
        if let Err(error) = self.database.commit(change).await {
            self.containers.release(&name);
            return Err(error);
        }
        container.record().name.clone_from(&name);
        self.containers.release(&old);
        self.tell_container(&container, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(())
    }

    /// Seconds since the engine was opened.
    pub fn uptime(&self) -> i64 {
        Timestamp::now().seconds() - self.started.seconds()
    }
}
