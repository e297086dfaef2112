//! Opening an engine: the database, the stores, and everything that an earlier daemon left.
//!
//! | record says | monitor's directory | then |
//! | --- | --- | --- |
//! | removing | any | go on removing |
//! | any | its monitor answers: running | adopt it |
//! | any | its monitor answers: created | the start was cut: undo it |
//! | any | its monitor answers: exited | wait for its last words, note the end |
//! | any | no monitor, `exit.json` | it ended meanwhile: clean up, note the end |
//! | running | no monitor | its monitor was killed: clean up, note the end |
//! | running | none | the machine was restarted: note the end |
//! | about to restart | no monitor, or none | clean up, and set its timer again |
//! | none | any | a create or a removal was cut: remove what is left |
//!
//! Before anything is looked at, the orders that the earlier daemon gave have come to something:
//! see [`crate::launcher::Guard`].

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use network::{Network, Saved};
use proto::control::{Hello, Phase, Request};
use types::capability::CapabilitySet;
use types::container::RestartRule;
use types::state::{State, Status};
use types::{ContainerId, Error, Timestamp};

use crate::config::Config;
use crate::container::contact::Contact;
use crate::container::exit::End;
use crate::container::remove::Removal;
use crate::container::start::ended_status;
use crate::container::{Container, Live};
use crate::database::{Change, Database, Table, read};
use crate::events::Events;
use crate::launcher::{Guard, Launcher};
use crate::link::{Link, Notices};
use crate::record::{IdRange, Record, Run};
use crate::{Engine, Inner, blocking};

/// How long the end of an unknown container may take.
const STRAY: std::time::Duration = std::time::Duration::from_secs(15);

impl Engine {
    /// Opens the engine below the configured directories. `launcher` is the socket to the
    /// launcher process.
    ///
    /// # Errors
    /// When a directory, the database, a store or the network cannot be used.
    pub async fn open(config: Config, launcher: OwnedFd) -> Result<Self, Error> {
        let (engine, records) = blocking(move || open(config, launcher)).await?;
        engine.adopt(records).await;
        engine.give_back_when_idle();
        engine.tell(types::event::Subject::Daemon, "start", &engine.id, &[]);
        Ok(engine)
    }

    /// Takes over what an earlier daemon left, and starts what is to be started.
    async fn adopt(&self, records: Vec<Record>) {
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
            });
        }
        while tasks.join_next().await.is_some() {}
        self.remove_strays().await;
        for container in containers {
            if !self.wants_start(&container) {
                continue;
            }
            let engine = self.clone();
            tokio::spawn(async move {
                let starter = crate::container::start::Starter::Policy;
                match engine.start_one(&container, starter).await {
                    Err(error) if error.kind != types::ErrorKind::NotModified => {
                        tracing::error!(container = container.id.short(), "{error}");
                    }
                    _ => {}
                }
            });
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
                    // Nobody else is to wait for it.
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
        container.progress.send_modify(|progress| progress.active = true);
        self.recall_execs(container, &hello.execs);
        self.watch_health(container);
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

    /// Whether a restart policy wants a container to run that does not. One that was about to
    /// restart has its timer.
    fn wants_start(&self, container: &Container) -> bool {
        let record = container.record();
        wants_start(&record.state, record.host.restart_policy.name, record.stopped_by_user)
    }

    /// Removes what no record speaks of.
    async fn remove_strays(&self) {
        let known: BTreeSet<String> =
            self.containers.all().iter().map(|container| container.id.to_string()).collect();
        let strays = |place: PathBuf| {
            let names = names_in(&place).into_iter().filter(|name| !known.contains(name));
            names.filter_map(|name| name.parse::<ContainerId>().ok()).collect::<Vec<_>>()
        };
        for id in strays(self.config.exec_root.join("monitors")) {
            self.remove_stray_run(id).await;
        }
        for id in strays(self.config.data_root.join("containers")) {
            let engine = self.clone();
            let removed = blocking(move || {
                engine.discard_storage(&id);
                Ok(())
            });
            if let Err(error) = removed.await {
                tracing::error!("{error}");
            }
        }
    }

    /// Ends a run whose container is not known (any more).
    async fn remove_stray_run(&self, id: ContainerId) {
        if let Contact::Alive { link, mut notices, .. } = self.contact(&id).await {
            let ended = async {
                // Whichever of the two fits.
                drop(link.ask(Request::Abandon, None).await);
                drop(link.ask(Request::KillAll, None).await);
                while notices.recv().await.is_some() {}
            };
            if tokio::time::timeout(STRAY, ended).await.is_err() {
                tracing::error!(container = id.short(), "its monitor does not end");
            }
        }
        let engine = self.clone();
        let cleaned = blocking(move || {
            let run = read_run(&engine.config.monitor_dir(id.as_str()));
            let mut failures = Vec::new();
            if !run.cgroups_path.is_empty() {
                let reap = proto::launch::Reap {
                    id: id.to_string(),
                    cgroups_path: run.cgroups_path,
                    systemd_cgroup: engine.config.systemd_cgroup,
                };
                match engine.launcher.reap(reap) {
                    Ok(reaped) => failures.extend(reaped.failures),
                    Err(error) => failures.push(error.message),
                }
            }
            let released = run.endpoints.iter().map(|endpoint| engine.networks.release(endpoint));
            failures.extend(released.filter_map(Result::err).map(|error| error.to_string()));
            engine.forget_monitor(&id);
            if failures.is_empty() { Ok(()) } else { Err(Error::system(failures.join("; "))) }
        });
        if let Err(error) = cleaned.await {
            tracing::error!("cannot clean up an unknown container: {error}");
        }
    }
}

/// Whether a restart policy wants a container to run that does not when the daemon starts.
fn wants_start(state: &State, rule: RestartRule, stopped_by_user: bool) -> bool {
    let ran = !state.started_at.is_never();
    match rule {
        RestartRule::No | RestartRule::OnFailure => false,
        RestartRule::Always => ran && state.status == Status::Exited,
        RestartRule::UnlessStopped => ran && state.status == Status::Exited && !stopped_by_user,
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What a run held, as it was written before its launch.
fn read_run(directory: &Path) -> Run {
    let bytes = std::fs::read(directory.join("run.json")).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The part that blocks.
fn open(mut config: Config, launcher: OwnedFd) -> Result<(Engine, Vec<Record>), Error> {
    for directory in [
        config.data_root.clone(),
        config.data_root.join("containers"),
        config.exec_root.join("monitors"),
    ] {
        std::fs::create_dir_all(&directory).map_err(|error| {
            Error::system(format!("cannot make {}: {error}", directory.display()))
        })?;
    }
    let guard = Guard::take(&config.exec_root)?;
    let (mut database, file) = Database::open(&config.data_root.join("meta.redb"))?;
    let records: Vec<Record> =
        read(&file, Table::Containers)?.into_iter().map(|(_, record)| record).collect();
    let networks: Vec<Network> =
        read(&file, Table::Networks)?.into_iter().map(|(_, network)| network).collect();
    database.serve(file)?;
    let endpoints = names_in(&config.exec_root.join("monitors"))
        .iter()
        .flat_map(|name| read_run(&config.monitor_dir(name)).endpoints)
        .collect();
    let images = image::Store::open(&config.data_root, image::Options::default())
        .map_err(crate::from_image)?;
    let volumes = volume::Volumes::open(&config.data_root).map_err(crate::from_volume)?;
    let networks = network::Networks::open(config.network.clone(), Saved { networks, endpoints })
        .map_err(crate::from_network)?;
    keep_networks(&database, &networks)?;
    let (remap, remap_namespace) = remap(config.userns_remap.as_deref())?;
    let id = engine_id(&config.data_root)?;
    if config.log.kind.is_empty() {
        "json-file".clone_into(&mut config.log.kind);
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let inner = Inner {
        available: available()?,
        cpus,
        remap,
        remap_namespace,
        started: Timestamp::now(),
        id,
        database,
        images: Arc::new(images),
        volumes: Arc::new(volumes),
        networks,
        launcher: Arc::new(Launcher::new(launcher, guard)),
        containers: Default::default(),
        execs: Default::default(),
        claims: Default::default(),
        events: Events::new(),
        config,
    };
    Ok((Engine { inner: Arc::new(inner) }, records))
}

/// Remembers the networks that were made just now, so that they keep their ids.
fn keep_networks(database: &Database, networks: &network::Networks) -> Result<(), Error> {
    for network in networks.list() {
        database.post(Change::put(Table::Networks, &network.id, &network)?);
    }
    Ok(())
}

/// The daemon's bounding set: what it can give away.
fn available() -> Result<CapabilitySet, Error> {
    let text = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| Error::system(format!("cannot read /proc/self/status: {error}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    bits.map(CapabilitySet::from_bits)
        .ok_or_else(|| Error::system("/proc/self/status names no capabilities"))
}

/// The engine's own id: made once for a data root.
fn engine_id(data_root: &Path) -> Result<String, Error> {
    let path = data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let bytes = crate::container::names::random::<16>()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    crate::durable::write(data_root, "engine-id", id.as_bytes())
        .map_err(|error| Error::system(format!("cannot write {}: {error}", path.display())))?;
    Ok(id)
}

/// The range of ids that `--userns-remap` names, and a user namespace that maps so.
fn remap(asked: Option<&str>) -> Result<(Option<IdRange>, Option<OwnedFd>), Error> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok((None, None)) };
    let (user, group) = asked.split_once(':').unwrap_or((asked, asked));
    let name =
        |name: &str| if name == "default" { "dockremap".to_owned() } else { name.to_owned() };
    let (uid, uids) = subordinate("/etc/subuid", &name(user))?;
    let (gid, gids) = subordinate("/etc/subgid", &name(group))?;
    let range = IdRange { uid, gid, count: uids.min(gids) };
    let map = |host: u32| sys::process::IdMap { inside: 0, outside: host, size: range.count };
    let namespace = sys::process::user_namespace(&[map(uid)], &[map(gid)])
        .map_err(|error| Error::system(format!("cannot make a user namespace: {error}")))?;
    Ok((Some(range), Some(namespace)))
}

/// The first range of a user in subuid(5) or subgid(5).
fn subordinate(path: &str, user: &str) -> Result<(u32, u32), Error> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == user && count > 0).then_some((first, count))
    });
    found.ok_or_else(|| {
        Error::invalid(format!(
            "no ids to remap to: {path} has no range for '{user}'; add a line such as \
             '{user}:100000:65536'"
        ))
    })
}

impl Engine {
    /// Writes what was only posted so far, before the process ends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn close(&self) -> Result<(), Error> {
        self.tell(types::event::Subject::Daemon, "stop", &self.id, &[]);
        // An empty change goes through the same queue as everything before it.
        self.database.commit(Change::remove(Table::Containers, "")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(!wants_start(&restarting, RestartRule::Always, false), "it has its timer");
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

    #[test]
    fn the_engine_keeps_its_id() {
        let directory = tempdir();
        let id = engine_id(&directory).expect("an id");
        assert_eq!(engine_id(&directory), Ok(id));
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    fn tempdir() -> PathBuf {
        let name = crate::container::names::id().expect("random").to_string();
        let directory = std::env::temp_dir().join(format!("isopod-recover-{name}"));
        std::fs::create_dir_all(&directory).expect("made");
        directory
    }
}
