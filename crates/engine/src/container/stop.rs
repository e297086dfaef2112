//! Ending, freezing and signalling containers.

use std::sync::Arc;
use std::time::Duration;

use proto::control::Request;
use types::container::RestartRule;
use types::state::Status;
use types::{Error, ErrorKind, Timestamp};

use super::start::Starter;
use super::{Container, validate};
use crate::record::Record;
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
        loop {
            // Counted before looking: an end after this moment is seen.
            let ends = container.progress.borrow().ends;
            if self.stop_restarting(container).await? {
                return Ok(());
            }
            container.settled().await;
            if !container.record().state.status.is_active() {
                let why = format!("container {} is not running", container.id);
                return Err(Error::not_modified(why));
            }
            self.end(container, ends, signal, timeout).await?;
            // It may have ended by itself, and its policy have spoken, before it was marked.
            if container.record().state.status != Status::Restarting {
                self.tell_container(container, "stop", &[]);
                return Ok(());
            }
        }
    }

    /// Signals a running container, kills it if that does not help, and waits for its end.
    async fn end(
        &self,
        container: &Arc<Container>,
        ends: u64,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<(), Error> {
        self.mark_stopped(container).await?;
        let (signal, seconds) = {
            let record = container.record();
            let signal = signal.map_or_else(|| stop_signal(&record), Ok)?;
            (signal, timeout.unwrap_or_else(|| record.stop_timeout()))
        };
        match self.signal(container, signal).await {
            // Whoever is in there does not hear of it: there is nothing to wait for.
            Err(error) if error.kind == ErrorKind::Invalid => {
                return self.kill_and_wait(container, ends).await;
            }
            // Another error means that it ended just now.
            _ => {}
        }
        self.let_go(container).await;
        let grace = u64::try_from(seconds).ok().map(Duration::from_secs);
        if self.wait_end(container, ends, grace).await {
            return Ok(());
        }
        self.kill_and_wait(container, ends).await
    }

    /// Kills a container and waits until it has ended.
    async fn kill_and_wait(&self, container: &Arc<Container>, ends: u64) -> Result<(), Error> {
        // An error means that it ended just now.
        self.signal(container, SIGKILL).await.ok();
        if self.wait_end(container, ends, Some(AFTER_KILL)).await {
            return Ok(());
        }
        Err(hangs(container))
    }

    /// Remembers that the user wants the container to end, before it does: a daemon that dies
    /// now must not start it again.
    async fn mark_stopped(&self, container: &Container) -> Result<(), Error> {
        let pending = self.begin_change(container, |record| record.stopped_by_user = true)?;
        let rule = container.record().host.restart_policy.name;
        match pending {
            Some(pending) if rule != RestartRule::No => pending.done().await,
            _ => Ok(()),
        }
    }

    /// Lets a frozen container go on, so that it can heed a signal, as Docker does.
    async fn let_go(&self, container: &Container) {
        if container.record().state.status != Status::Paused {
            return;
        }
        if let Ok(live) = container.running()
            // It may have been let go, or have ended, meanwhile.
            && live.link.ask(Request::Resume, None).await.is_ok()
        {
            let mut record = container.record();
            if record.state.status == Status::Paused {
                record.state.status = Status::Running;
            }
        }
    }

    /// Stops what waits for its next start; says whether it did.
    async fn stop_restarting(&self, container: &Arc<Container>) -> Result<bool, Error> {
        if container.record().state.status != Status::Restarting {
            return Ok(false);
        }
        // Said before the lock is waited for: a restart that has it already looks for this.
        container.record().stopped_by_user = true;
        let _operation = container.operation.lock().await;
        if container.record().state.status != Status::Restarting {
            return Ok(false);
        }
        self.cancel_restart(container);
        self.change(container, |record| {
            record.stopped_by_user = true;
            record.state.status = Status::Exited;
        })
        .await?;
        container.progress.send_modify(|progress| progress.active = false);
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
        container.ask(Request::Signal(signal), None).await?;
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
            let restarting = container.restarting();
            let stopped = engine.stop_one(&container, signal, timeout).await;
            drop(restarting);
            match stopped {
                Err(error) if error.kind != ErrorKind::NotModified => return Err(error),
                _ => {}
            }
            match engine.start_one(&container, Starter::User).await {
                // Somebody else was faster.
                Err(error) if error.kind != ErrorKind::NotModified => return Err(error),
                _ => {}
            }
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
        let refused = |error: Error| {
            let message = format!("cannot kill container: {reference}: {}", error.message);
            Error { message, ..error }
        };
        let container = self.containers.find(reference).map_err(refused)?;
        let number = signal.filter(|text| !text.is_empty()).map_or(Ok(SIGKILL), validate::signal);
        let number = number.map_err(refused)?;
        let engine = self.clone();
        let killed = to_the_end(async move { engine.kill_one(&container, number).await });
        killed.await.map_err(refused)
    }

    async fn kill_one(&self, container: &Arc<Container>, number: i32) -> Result<(), Error> {
        let ends = container.progress.borrow().ends;
        if self.stop_restarting(container).await? {
            return Ok(());
        }
        container.settled().await;
        container.running()?;
        let (stop, configured) = {
            let record = container.record();
            (stop_signal(&record)?, !record.config.stop_signal.is_empty())
        };
        let ending = number == SIGKILL || number == stop;
        if ending {
            self.mark_stopped(container).await?;
        }
        let sent = self.signal(container, number).await;
        sent.map_err(|error| Error { kind: ErrorKind::Conflict, ..error })?;
        if number != SIGKILL && (ending || !configured) {
            self.let_go(container).await;
        }
        if number == SIGKILL && !self.wait_end(container, ends, Some(AFTER_KILL)).await {
            // Docker too answers when the container has ended.
            return Err(hangs(container));
        }
        Ok(())
    }

    /// Ends a container whatever it is doing; nothing to do when it does not run.
    pub(crate) async fn kill_for_good(&self, container: &Arc<Container>) -> Result<(), Error> {
        let ends = container.progress.borrow().ends;
        if self.stop_restarting(container).await? || !container.record().state.status.is_active() {
            return Ok(());
        }
        self.mark_stopped(container).await?;
        self.kill_and_wait(container, ends).await
    }

    /// Freezes every process of a container.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it does not run or is frozen already.
    pub async fn pause(&self, reference: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let engine = self.clone();
        to_the_end(async move { engine.pause_one(&container).await }).await
    }

    async fn pause_one(&self, container: &Arc<Container>) -> Result<(), Error> {
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
        container.ask(Request::Pause, None).await?;
        // Written before it is told: a daemon that starts lets go what it does not know paused.
        self.change(container, |record| record.state.status = Status::Paused).await?;
        self.tell_container(container, "pause", &[]);
        Ok(())
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it is not frozen.
    pub async fn unpause(&self, reference: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let engine = self.clone();
        to_the_end(async move { engine.unpause_one(&container).await }).await
    }

    async fn unpause_one(&self, container: &Arc<Container>) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        if container.record().state.status != Status::Paused {
            return Err(Error::conflict(format!("Container {} is not paused", container.id)));
        }
        container.ask(Request::Resume, None).await?;
        self.change(container, |record| record.state.status = Status::Running).await?;
        self.tell_container(container, "unpause", &[]);
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
        let name = validate::container_name(name).map_err(unnamed)?.to_owned();
        let engine = self.clone();
        to_the_end(async move { engine.rename_one(&container, name).await }).await
    }

    async fn rename_one(&self, container: &Arc<Container>, name: String) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        container.still_there()?;
        let old = container.record().name.clone();
        if old == name {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        self.containers.reserve(&name, &container.id).map_err(unnamed)?;
        if let Err(error) = self.change(container, |record| record.name.clone_from(&name)).await {
            self.containers.release(&name, &container.id);
            return Err(error);
        }
        self.containers.release(&old, &container.id);
        if let Err(error) = self.names_changed(container).await {
            tracing::error!(container = container.id.short(), "{error}");
        }
        self.tell_container(container, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(())
    }

    /// Seconds since the engine was opened.
    pub fn uptime(&self) -> i64 {
        Timestamp::now().seconds() - self.started.seconds()
    }
}

fn hangs(container: &Container) -> Error {
    Error::system(format!(
        "container {} does not end even after SIGKILL: a process of it hangs in the kernel",
        container.id
    ))
}

/// The signal that asks a container to end.
fn stop_signal(record: &Record) -> Result<i32, Error> {
    match record.config.stop_signal.as_str() {
        "" => Ok(SIGTERM),
        text => validate::signal(text),
    }
}

fn unnamed(error: Error) -> Error {
    Error { message: format!("Error when allocating new name: {}", error.message), ..error }
}
