//! Starting a container: the hot path.
//!
//! One blocking step makes the root mount, the network and the specification and gives the
//! order to the launcher; the rest is a conversation with the monitor.

mod begin;
pub(crate) mod hidden;
mod log;
pub(crate) mod machine;
mod order;
mod run;
pub(crate) mod spare;
mod whole;

use std::sync::Arc;

use proto::control::Request;
use types::state::Status;
use types::{Error, ErrorKind};

use super::remove::Removal;
use super::{Container, Live, links, validate};
use crate::link::{Link, Notices};
use crate::record::{Record, Run};
use crate::{Engine, blocking, to_the_end};

pub(crate) use log::log;
pub(crate) use run::replace_run;

use begin::Begun;

/// How long a monitor may take to undo a launch that failed.
const UNDONE: std::time::Duration = std::time::Duration::from_secs(30);

/// Who starts a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starter {
    User,
    Policy,
}

impl Engine {
    /// Starts a container.
    ///
    /// # Errors
    /// [`ErrorKind::NotModified`] when it runs already; the reason when it cannot run.
    pub async fn start(&self, reference: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let engine = self.clone();
        to_the_end(async move { engine.start_one(&container, Starter::User).await }).await
    }

    pub(crate) async fn start_one(
        &self,
        container: &Arc<Container>,
        starter: Starter,
    ) -> Result<(), Error> {
        self.settle_peers(container).await;
        container.known().await?;
        let _start = container.being_started();
        let _operation = container.operation.lock().await;
        self.start_locked(container, starter).await
    }

    /// Waits for the starts of containers whose namespaces or addresses this one takes. Before its
    /// own `operation` is held: two may name each other.
    pub(super) async fn settle_peers(&self, container: &Container) {
        let peers: Vec<_> = {
            let record = container.record();
            let host = &record.host;
            let modes = [&host.network_mode, &host.ipc_mode, &host.pid_mode];
            let joined = modes.into_iter().filter_map(|mode| validate::joined(mode));
            let linked = host.links.iter().map(|link| links::split(link).0);
            joined.chain(linked).filter_map(|name| self.containers.find(name).ok()).collect()
        };
        for peer in peers {
            peer.settled().await;
        }
    }

    /// Starts; the caller holds the container's `operation`.
    pub(crate) async fn start_locked(
        &self,
        container: &Arc<Container>,
        starter: Starter,
    ) -> Result<(), Error> {
        let status = container.record().state.status;
        match status {
            Status::Running => {
                return Err(Error::not_modified(format!(
                    "container {} is already running",
                    container.id
                )));
            }
            Status::Paused => {
                return Err(Error::conflict(
                    "cannot start a paused container, try unpause instead",
                ));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::conflict(
                    "container is marked for removal and cannot be started",
                ));
            }
            Status::Restarting if starter == Starter::User => self.cancel_restart(container),
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        if starter == Starter::User {
            let mut record = container.record();
            record.stopped_by_user = false;
            record.restart_count = 0;
        }
        match self.launch(container).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // It may have taken a machine along that was ready.
                self.refill_spares();
                self.failed_start(container, &error).await;
                Err(error)
            }
        }
    }

    async fn launch(&self, container: &Arc<Container>) -> Result<(), Error> {
        let engine = self.clone();
        let subject = Arc::clone(container);
        let ordered = blocking(move || engine.order(&subject)).await?;
        let _turn = ordered.turn;
        let run = Arc::new(ordered.run);
        let (link, mut notices) = match Link::new(ordered.socket) {
            Ok(connected) => connected,
            // The monitor has lost its connection, and gives up.
            Err(error) => {
                self.clean_up(container, &run).await;
                return Err(error);
            }
        };
        let mut live = Live { link, run };
        let begun = self.begin(container, &live, &mut notices, ordered.plug_later).await;
        let started = match begun {
            Ok(started) => started,
            Err(error) => {
                self.undo_launch(container, &live, notices).await;
                return Err(error);
            }
        };
        if let Some(plugged) = &started.plugged {
            match self.change_run(container, &live, |run| run.endpoints.clone_from(plugged)) {
                Ok(changed) => live = changed,
                // It runs: the next daemon will know its addresses, but not its links.
                Err(error) => tracing::error!(container = container.id.short(), "{error}"),
            }
        }
        for warning in ordered.warnings.iter().chain(&started.warnings) {
            tracing::warn!(container = container.id.short(), "{warning}");
        }
        self.started(container, live, notices, started).await
    }

    /// A launch that failed half way: the monitor undoes its part, and what the engine did goes.
    async fn undo_launch(&self, container: &Arc<Container>, live: &Live, mut notices: Notices) {
        let gone = async {
            // An error only says that the monitor has ended by itself.
            drop(live.link.ask(Request::Abandon, None).await);
            while notices.recv().await.is_some() {}
        };
        if tokio::time::timeout(UNDONE, gone).await.is_err() {
            tracing::error!(container = container.id.short(), "its monitor does not end");
        }
        self.clean_up(container, &live.run).await;
    }

    /// Gives back what a run held that is not, or no more. Nobody told of its end, so a cgroup
    /// may be left of it.
    pub(crate) async fn clean_up(&self, container: &Arc<Container>, run: &Arc<Run>) {
        let (engine, subject, run) = (self.clone(), Arc::clone(container), Arc::clone(run));
        let cleaned = blocking(move || {
            for failure in engine.reap(&subject, Some(&run.cgroups_path)) {
                tracing::error!(container = subject.id.short(), "{failure}");
            }
            engine.release_run(&subject, &run);
            engine.forget_monitor(&subject.id);
            Ok(())
        });
        if let Err(error) = cleaned.await {
            tracing::error!(container = container.id.short(), "{error}");
        }
    }

    /// It runs: everybody may know.
    async fn started(
        &self,
        container: &Arc<Container>,
        live: Live,
        notices: Notices,
        begun: Begun,
    ) -> Result<(), Error> {
        container.set_live(Some(live.clone()));
        self.watch_health(container, begun.at);
        // First, for who sees that it runs may wait for its end.
        container.progress.send_modify(|progress| {
            progress.active = true;
            progress.error.clear();
        });
        // What a crash would lose of this, the monitor knows.
        self.change_soon(container, |record| {
            record.state.status = Status::Running;
            record.state.pid = begun.pid;
            record.state.error.clear();
            record.state.oom_killed = false;
            record.state.exit_code = 0;
            record.state.started_at = begun.at;
            self.note_endpoints(record, &live.run.endpoints);
        });
        self.names.watch(container.id.as_str(), begun.pid);
        for endpoint in &live.run.endpoints {
            self.tell_network("connect", &endpoint.network, &container.id);
        }
        self.tell_container(container, "start", &[]);
        // Those who came while it was being started.
        let late = std::mem::take(&mut *crate::lock(&container.attaches));
        for (attach, stream) in late {
            // An error means that it has ended; then the stream does as well.
            drop(live.link.ask(Request::Attach(attach), Some(stream)).await);
        }
        let engine = self.clone();
        let subject = Arc::clone(container);
        tokio::spawn(async move { engine.supervise(subject, notices).await });
        let kind = spare::kind_for(&container.record(), &live.run);
        if let Some(kind) = kind {
            self.prepare_spare(&kind);
        }
        if let Err(error) = begun.written.done().await {
            // It runs all the same; what a crash of the machine would lose is told.
            tracing::error!(container = container.id.short(), "{error}");
        }
        Ok(())
    }

    /// Remembers why a start failed, as Docker does: exit status 127, 126 or 128.
    async fn failed_start(&self, container: &Arc<Container>, error: &Error) {
        let code = if error.kind != ErrorKind::Invalid {
            128
        } else if error.message.contains("not found") || error.message.contains("no such file") {
            127
        } else {
            126
        };
        // Whoever attached before the start waits for output that will not come.
        crate::lock(&container.attaches).clear();
        self.change_soon(container, |record| {
            record.state.status = ended_status(record);
            record.state.pid = 0;
            record.state.exit_code = code;
            record.state.error.clone_from(&error.message);
        });
        // As in Docker, a failed start is no end: who waits for the next one goes on waiting.
        container.progress.send_modify(|progress| {
            progress.active = false;
            progress.code = i64::from(code);
            progress.error.clone_from(&error.message);
        });
        let auto_remove = container.record().host.auto_remove;
        if auto_remove
            && let Err(error) =
                self.remove_locked(container, Removal::ByUser { volumes: true }).await
        {
            tracing::error!(container = container.id.short(), "{error}");
        }
    }
}

/// What a container is that does not run: whether it has ever.
pub(crate) fn ended_status(record: &Record) -> Status {
    if record.state.finished_at.is_never() { Status::Created } else { Status::Exited }
}
