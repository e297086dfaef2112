//! What an earlier daemon left, when an engine is opened.
//!
//! | record says | monitor's directory | then |
//! | --- | --- | --- |
//! | removing | any | go on removing |
//! | any | its monitor answers: running | adopt it |
//! | any | its monitor answers: created | the start was cut: undo it |
//! | any | its monitor answers: exited | wait for its last words, note the end |
//! | any | the same, but it has run nothing | wait for its end, go on as if there were none |
//! | any | its monitor is silent | let nobody start it meanwhile, ask again |
//! | any | no monitor, `exit.json` | it ended meanwhile: clean up, note the end |
//! | running | no monitor | its monitor was killed: clean up, note the end |
//! | running | none | the machine was restarted: note the end |
//! | about to restart | no monitor, or none | clean up, start it when all is known |
//! | none | any | a create or a removal was cut: remove what is left |
//!
//! Before anything is looked at, the orders that the earlier daemon gave have come to something:
//! see [`crate::launcher::Guard`].

mod strays;

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto::control::{Hello, Phase, Request};
use types::Error;
use types::container::{HostConfig, RestartRule};
use types::state::{State, Status};

use crate::container::contact::Contact;
use crate::container::exit::End;
use crate::container::remove::Removal;
use crate::container::start::ended_status;
use crate::container::{Container, Live, validate};
use crate::link::{Link, Notices};
use crate::record::{Record, Run};
use crate::{Engine, blocking};

impl Engine {
    /// Takes over what an earlier daemon left, and starts what is to be started.
    pub(crate) async fn adopt(&self, records: Vec<Record>) {
        let mut containers = Vec::new();
        // All of them are known before anything is done: they refer to each other.
        for record in records {
            let name = record.name.clone();
            let container = Arc::new(Container::new(record));
            if self.containers.reserve(&name, &container.id).is_err() {
                tracing::error!("two containers are called {name}; {} is hidden", container.id);
            }
            self.containers.insert(Arc::clone(&container));
            containers.push(container);
        }
        self.prepare_snapshots(&containers).await;
        let mut tasks = tokio::task::JoinSet::new();
        for container in &containers {
            let (engine, container) = (self.clone(), Arc::clone(container));
            tasks.spawn(async move {
                if let Err(error) = engine.recover(&container).await {
                    tracing::error!(container = container.id.short(), "{error}");
                }
                if let Err(error) = engine.settle_mounts(&container).await {
                    tracing::error!(container = container.id.short(), "{error}");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        self.restore_links();
        self.names.settle();
        self.remove_strays().await;
        self.opening.store(false, Ordering::SeqCst);
        containers.retain(|container| self.wants_start(container));
        let engine = self.clone();
        tokio::spawn(async move { engine.start_again(containers).await });
    }

    /// Starts what is to run again: at once, but for those that need others, which follow one by
    /// one, the oldest first.
    async fn start_again(&self, containers: Vec<Arc<Container>>) {
        let (unclear, containers): (Vec<_>, Vec<_>) =
            containers.into_iter().partition(|container| *container.unclear.borrow() > 0);
        for container in unclear {
            let engine = self.clone();
            // Nobody else is to wait for a monitor that is silent.
            tokio::spawn(async move {
                while container.known().await.is_err() {}
                if engine.wants_start(&container) {
                    engine.start_by_policy(&container).await;
                }
            });
        }
        let (mut dependent, independent): (Vec<_>, Vec<_>) =
            containers.into_iter().partition(|container| needs_others(&container.record().host));
        let mut tasks = tokio::task::JoinSet::new();
        for container in independent {
            let engine = self.clone();
            tasks.spawn(async move { engine.start_by_policy(&container).await });
        }
        while tasks.join_next().await.is_some() {}
        dependent.sort_by_key(|container| container.record().created);
        for container in dependent {
            self.start_by_policy(&container).await;
        }
    }

    async fn start_by_policy(&self, container: &Arc<Container>) {
        if container.record().state.status == Status::Restarting {
            return self.restart_now(container).await;
        }
        match self.start_one(container, crate::container::start::Starter::Policy).await {
            Err(error) if error.kind != types::ErrorKind::NotModified => {
                tracing::error!(container = container.id.short(), "{error}");
            }
            _ => {}
        }
    }

    /// Makes snapshots again that were not on disk yet when the machine went down: they are not
    /// flushed when a container is created, and nothing has been written to them.
    async fn prepare_snapshots(&self, containers: &[Arc<Container>]) {
        let there: BTreeSet<_> = self.images.snapshots().into_iter().collect();
        for container in containers {
            let record = container.record().clone();
            let removing = matches!(record.state.status, Status::Removing | Status::Dead);
            let Ok(image) = record.image.parse() else { continue };
            if removing || there.contains(&record.id) {
                continue;
            }
            let engine = self.clone();
            let prepared = blocking(move || {
                engine.images.prepare(&record.id, &image).map_err(crate::from_image)
            });
            if let Err(error) = prepared.await {
                tracing::error!(container = container.id.short(), "{error}");
            }
        }
    }

    /// Finds out what became of a container, by the table above.
    async fn recover(&self, container: &Arc<Container>) -> Result<(), Error> {
        let directory = self.config.monitor_dir(container.id.as_str());
        let run = Arc::new(read_run(&directory));
        if matches!(container.record().state.status, Status::Removing | Status::Dead) {
            self.clean_up(container, &run).await;
            let _operation = container.operation.lock().await;
            return self.remove_locked(container, Removal::Unfinished).await;
        }
        loop {
            let (link, mut notices, hello) = match self.contact(&container.id).await {
                Contact::Gone => return self.recover_alone(container, run, &directory).await,
                Contact::Silent => {
                    // Nobody else is to wait for it but those who start or remove it.
                    container.unclear.send_modify(|waiting| *waiting += 1);
                    tokio::spawn(self.recover_later(Arc::clone(container)));
                    return Ok(());
                }
                Contact::Alive { link, notices, hello } => (link, notices, hello),
            };
            match hello.phase {
                Phase::Running | Phase::Paused => {
                    return self.take_over(container, link, notices, run, &hello).await;
                }
                // The daemon died between create and start: nobody was told that it runs. An
                // error means that it has been let go after all.
                Phase::Created => {
                    if link.ask(Request::Abandon, None).await.is_ok() {
                        while notices.recv().await.is_some() {}
                        return self.never_ran(container, &run).await;
                    }
                }
                // Files were read or written, or a start was undone: the container's last run was another
                // one, and what is known of that stays.
                Phase::Exited if hello.started_at.is_never() => {
                    while notices.recv().await.is_some() {}
                    return self.recover_alone(container, run, &directory).await;
                }
                // It is about to go; until then the cgroup and the directory are its own.
                Phase::Exited => {
                    let end = match self.follow(container, &mut notices).await {
                        Some(exit) => End::Told(exit),
                        None => End::Gone,
                    };
                    return self.ended(container, end, Some(run)).await;
                }
            }
        }
    }

    /// [`Engine::recover`] after a while.
    fn recover_later(
        &self,
        container: Arc<Container>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let engine = self.clone();
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            if let Err(error) = engine.recover(&container).await {
                tracing::error!(container = container.id.short(), "{error}");
            }
            container.unclear.send_modify(|waiting| *waiting -= 1);
        })
    }

    /// There is no monitor; what it left says what became of it.
    async fn recover_alone(
        &self,
        container: &Arc<Container>,
        run: Arc<Run>,
        directory: &Path,
    ) -> Result<(), Error> {
        let status = container.record().state.status;
        let active = matches!(status, Status::Running | Status::Paused);
        if let Some(exit) = self.exit_record(&container.id) {
            if exit.started_at.is_never() {
                // The program could not be executed.
                self.change_soon(container, |record| record.state.exit_code = exit.exit_code);
                return self.never_ran(container, &run).await;
            }
            return self.ended(container, End::Gone, Some(run)).await;
        }
        if directory.exists() {
            if active {
                return self.ended(container, End::Gone, Some(run)).await;
            }
            self.clean_up(container, &run).await;
        } else if active {
            // The machine has been restarted.
            return self.ended(container, End::Lost, None).await;
        }
        if status == Status::Restarting {
            self.restart_after(container, crate::container::restart::FIRST);
            return Ok(());
        }
        self.remove_if_it_would(container).await
    }

    /// A start that had been begun has come to nothing.
    async fn never_ran(&self, container: &Arc<Container>, run: &Arc<Run>) -> Result<(), Error> {
        self.clean_up(container, run).await;
        let restarting = container.record().state.status == Status::Restarting;
        if restarting {
            self.restart_after(container, crate::container::restart::FIRST);
            return Ok(());
        }
        self.change_soon(container, |record| {
            record.state.status = ended_status(record);
            record.state.pid = 0;
        });
        container.progress.send_modify(|progress| progress.active = false);
        self.remove_if_it_would(container).await
    }

    /// A container with `--rm` that has run and does not run removes itself.
    async fn remove_if_it_would(&self, container: &Arc<Container>) -> Result<(), Error> {
        let would = {
            let record = container.record();
            record.host.auto_remove && record.state.status == Status::Exited
        };
        if !would {
            return Ok(());
        }
        let _operation = container.operation.lock().await;
        self.remove_locked(container, Removal::OfItself).await
    }

    /// It runs: goes on where the earlier daemon was.
    async fn take_over(
        &self,
        container: &Arc<Container>,
        link: Arc<Link>,
        notices: Notices,
        run: Arc<Run>,
        hello: &Hello,
    ) -> Result<(), Error> {
        let status = container.record().state.status;
        let mut phase = hello.phase;
        if phase == Phase::Paused
            && status != Status::Paused
            && link.ask(Request::Resume, None).await.is_ok()
        {
            // Not by a user: a commit was cut.
            phase = Phase::Running;
        }
        let run = self.settle_endpoints(container, run, hello.pid).await;
        container.set_live(Some(Live { link, run: Arc::clone(&run) }));
        // The earlier daemon may have died before it could write that it runs.
        self.change_soon(container, |record| {
            let paused = phase == Phase::Paused;
            record.state.status = if paused { Status::Paused } else { Status::Running };
            record.state.pid = hello.pid;
            record.state.started_at = hello.started_at;
            record.state.oom_killed = hello.oom_killed;
            record.state.exit_code = 0;
            record.state.error.clear();
            self.note_endpoints(record, &run.endpoints);
        });
        let record = container.record().clone();
        self.adopt_names(&record, &run);
        container.progress.send_modify(|progress| progress.active = true);
        self.recall_execs(container, &hello.execs);
        let started = container.record().state.started_at;
        self.watch_health(container, started);
        let (engine, subject) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move { engine.supervise(subject, notices).await });
        if run.endpoints.iter().all(|endpoint| endpoint.ports.is_empty()) {
            return Ok(());
        }
        let engine = self.clone();
        blocking(move || {
            let published = run.endpoints.iter().map(|endpoint| engine.networks.publish(endpoint));
            // Every one is tried.
            let failures: Vec<_> = published.filter_map(Result::err).collect();
            failures.into_iter().next().map_or(Ok(()), |error| Err(crate::from_network(error)))
        })
        .await
    }

    /// Whether a restart policy wants a container to run that does not.
    fn wants_start(&self, container: &Container) -> bool {
        let record = container.record();
        wants_start(&record.state, record.host.restart_policy.name, record.stopped_by_user)
    }
}

/// Whether a container joins namespaces of others, or has legacy links to them: those have to run.
fn needs_others(host: &HostConfig) -> bool {
    let joins = |mode: &String| validate::joined(mode).is_some();
    [&host.network_mode, &host.ipc_mode, &host.pid_mode].into_iter().any(joins)
        || !host.links.is_empty()
}

/// Whether a restart policy wants a container to run that does not when the daemon starts.
fn wants_start(state: &State, rule: RestartRule, stopped_by_user: bool) -> bool {
    if state.status == Status::Restarting {
        return true;
    }
    let ran = !state.started_at.is_never();
    match rule {
        RestartRule::No | RestartRule::OnFailure => false,
        RestartRule::Always => ran && state.status == Status::Exited,
        RestartRule::UnlessStopped => ran && state.status == Status::Exited && !stopped_by_user,
    }
}

pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What a run held, as it was written before its launch.
pub(crate) fn read_run(directory: &Path) -> Run {
    let bytes = std::fs::read(directory.join("run.json")).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use types::Timestamp;

    #[test]
    fn policies_start_what_has_run_when_the_daemon_starts() {
        let state = |status, started| State {
            status,
            started_at: if started { Timestamp(1) } else { Timestamp::NEVER },
            ..State::default()
        };
        let exited = state(Status::Exited, true);
        assert!(wants_start(&exited, RestartRule::Always, false));
        assert!(wants_start(&exited, RestartRule::Always, true), "as Docker's documentation says");
        assert!(wants_start(&exited, RestartRule::UnlessStopped, false));
        assert!(!wants_start(&exited, RestartRule::UnlessStopped, true));
        assert!(!wants_start(&exited, RestartRule::OnFailure, false));
        assert!(!wants_start(&exited, RestartRule::No, false));
        let created = state(Status::Created, false);
        assert!(!wants_start(&created, RestartRule::Always, false), "nobody has started it yet");
        let restarting = state(Status::Restarting, true);
        assert!(wants_start(&restarting, RestartRule::OnFailure, false), "it was decided before");
        assert!(!wants_start(&state(Status::Running, true), RestartRule::Always, false));
    }

    #[test]
    fn a_half_written_run_is_none() {
        let directory = tempdir();
        let run = Run { cgroups_path: "/isopod/x".to_owned(), ..Run::default() };
        crate::container::start::replace_run(&directory, &run).expect("written");
        assert_eq!(read_run(&directory).cgroups_path, "/isopod/x");
        std::fs::write(directory.join("run.json"), "{\"endpoi").expect("written");
        assert_eq!(read_run(&directory).cgroups_path, "");
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    fn tempdir() -> PathBuf {
        let name = crate::container::names::id().expect("random").to_string();
        let directory = std::env::temp_dir().join(format!("isopod-recover-{name}"));
        std::fs::create_dir_all(&directory).expect("made");
        directory
    }
}
