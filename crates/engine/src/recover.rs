//! Opening an engine: the database, the stores, and everything that an earlier daemon left.
//!
//! | record says | monitor's directory | then |
//! | --- | --- | --- |
//! | any | `exit.json` | it ended meanwhile: note the end |
//! | any | a monitor answers | it runs: adopt it |
//! | running | no monitor answers | its monitor was killed: clean up, note the end |
//! | running | none | the machine was restarted: note the end |
//! | removing | any | go on removing |
//! | none | any | a create or a removal was cut: remove what is left |

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use network::{Network, Saved};
use proto::control::{ExitRecord, Hello, Phase, Reply, Request};
use types::capability::CapabilitySet;
use types::container::RestartRule;
use types::state::Status;
use types::{Error, Timestamp};

use crate::config::Config;
use crate::container::{Container, Live};
use crate::database::{Change, Database, Table, read};
use crate::events::Events;
use crate::launcher::Launcher;
use crate::link::{Link, Notices};
use crate::record::{IdRange, Record, Run};
use crate::{Engine, Inner, blocking};

/// Exit status of a container that ended with the machine, as in Docker.
const LOST: i32 = 255;

impl Engine {
    /// Opens the engine below the configured directories. `launcher` is the socket to the
    /// launcher process.
    ///
    /// # Errors
    /// When a directory, the database, a store or the network cannot be used.
    pub async fn open(config: Config, launcher: OwnedFd) -> Result<Self, Error> {
        let (engine, records) = blocking(move || open(config, launcher)).await?;
        engine.adopt(records).await;
        engine.tell(types::event::Subject::Daemon, "start", &engine.id, &[]);
        Ok(engine)
    }

    /// Takes over what an earlier daemon left, and starts what is to be started.
    async fn adopt(&self, records: Vec<Record>) {
        let mut restarts = Vec::new();
        for record in records {
            let name = record.name.clone();
            let container = Arc::new(Container::new(record));
            if self.containers.reserve(&name, &container.id).is_err() {
                tracing::error!("two containers are called {name}; {} is hidden", container.id);
                continue;
            }
            self.containers.insert(Arc::clone(&container));
            if let Err(error) = self.recover(&container).await {
                tracing::error!(container = container.id.short(), "{error}");
            }
            if self.wants_start(&container) {
                restarts.push(container);
            }
        }
        self.remove_strays().await;
        for container in restarts {
            let engine = self.clone();
            tokio::spawn(async move {
                // The policy is wanted again, whoever stopped it before.
                container.record().stopped_by_user = false;
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

    async fn recover(&self, container: &Arc<Container>) -> Result<(), Error> {
        let record = container.record().clone();
        if matches!(record.state.status, Status::Removing | Status::Dead) {
            let _operation = container.operation.lock().await;
            return self.remove_locked(container, true).await;
        }
        let directory = self.config.monitor_dir(container.id.as_str());
        let run = Arc::new(read_run(&directory));
        if let Some(exit) = self.exit_record(&container.id) {
            self.hold(container, run)?;
            return self.ended(container, Some(exit)).await;
        }
        match Link::connect(&directory) {
            Ok((link, notices)) => match link.ask(Request::Hello, None).await {
                Ok(Reply::Hello(hello)) => {
                    return self.take_over(container, link, notices, run, *hello).await;
                }
                // It ended in this moment, or was never started.
                _ => {
                    if let Some(exit) = self.exit_record(&container.id) {
                        self.hold(container, run)?;
                        return self.ended(container, Some(exit)).await;
                    }
                }
            },
            Err(_) if !directory.exists() => {
                return self.recover_without_monitor(container, &record).await;
            }
            Err(_) => {}
        }
        // The monitor is gone without a record: perhaps its container is not.
        if record.state.status.is_active() {
            self.hold(container, run)?;
            return self.ended(container, None).await;
        }
        let engine = self.clone();
        let subject = Arc::clone(container);
        blocking(move || {
            engine.reap(
                &subject,
                Some(&run.cgroups_path).filter(|p| !p.is_empty()).map(|p| p.as_str()),
            );
            engine.release_run(&subject, &run);
            engine.forget_monitor(&subject.id);
            Ok(())
        })
        .await
    }

    /// Lets the end of a run find what it held.
    fn hold(&self, container: &Container, run: Arc<Run>) -> Result<(), Error> {
        let (_theirs, ours) = std::os::unix::net::UnixStream::pair()
            .map_err(|error| Error::system(format!("cannot make a connection: {error}")))?;
        let (link, _notices) = Link::new(ours.into())?;
        container.set_live(Some(Live { link, run }));
        Ok(())
    }

    async fn take_over(
        &self,
        container: &Arc<Container>,
        link: Arc<Link>,
        notices: Notices,
        run: Arc<Run>,
        hello: Hello,
    ) -> Result<(), Error> {
        if hello.phase == Phase::Created {
            // The daemon died between create and start: nobody was told that it runs.
            drop(link.ask(Request::Abandon, None).await);
            let mut notices = notices;
            while notices.recv().await.is_some() {}
            let (engine, subject) = (self.clone(), Arc::clone(container));
            return blocking(move || {
                engine.release_run(&subject, &run);
                engine.forget_monitor(&subject.id);
                Ok(())
            })
            .await;
        }
        {
            let mut record = container.record();
            record.state.status =
                if hello.phase == Phase::Paused { Status::Paused } else { Status::Running };
            record.state.pid = hello.pid;
            record.state.started_at = hello.started_at;
            record.state.oom_killed |= hello.oom_killed;
            record.state.error.clear();
            self.note_endpoints(&mut record, &run.endpoints);
        }
        let publish = run.endpoints.iter().any(|endpoint| !endpoint.ports.is_empty());
        if publish {
            let (engine, run) = (self.clone(), Arc::clone(&run));
            let published = blocking(move || {
                for endpoint in &run.endpoints {
                    engine.networks.publish(endpoint).map_err(crate::from_network)?;
                }
                Ok(())
            });
            if let Err(error) = published.await {
                tracing::error!(container = container.id.short(), "{error}");
            }
        }
        container.set_live(Some(Live { link, run }));
        container.progress.send_modify(|progress| progress.active = true);
        self.watch_health(container);
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move { engine.supervise(container, notices).await });
        Ok(())
    }

    /// Neither a monitor nor a trace of one: the machine has been restarted, or it never ran.
    async fn recover_without_monitor(
        &self,
        container: &Arc<Container>,
        record: &Record,
    ) -> Result<(), Error> {
        if !record.state.status.is_active() {
            if record.host.auto_remove && record.state.status == Status::Exited {
                let _operation = container.operation.lock().await;
                return self.remove_locked(container, true).await;
            }
            return Ok(());
        }
        if record.state.status == Status::Restarting {
            let mut record = container.record();
            record.state.status = Status::Exited;
            return Ok(());
        }
        let exit = ExitRecord {
            id: container.id.to_string(),
            exit_code: LOST,
            oom_killed: false,
            started_at: record.state.started_at,
            finished_at: Timestamp::now(),
            dropped: 0,
            failures: Vec::new(),
        };
        self.ended(container, Some(exit)).await
    }

    /// Whether a restart policy wants a container to run that does not.
    fn wants_start(&self, container: &Container) -> bool {
        let record = container.record();
        let ran = !record.state.started_at.is_never();
        if record.state.status.is_active() && record.state.status != Status::Restarting {
            return false;
        }
        match record.host.restart_policy.name {
            RestartRule::No | RestartRule::OnFailure => false,
            RestartRule::Always => ran,
            RestartRule::UnlessStopped => ran && !record.stopped_by_user,
        }
    }

    /// Removes what no record speaks of.
    async fn remove_strays(&self) {
        let known: BTreeSet<String> =
            self.containers.all().iter().map(|container| container.id.to_string()).collect();
        for name in names_in(&self.config.exec_root.join("monitors")) {
            if known.contains(&name) {
                continue;
            }
            let Ok(id) = name.parse::<types::ContainerId>() else { continue };
            if let Ok((link, mut notices)) = Link::connect(&self.config.monitor_dir(&name)) {
                drop(link.ask(Request::Abandon, None).await);
                drop(link.ask(Request::KillAll, None).await);
                while notices.recv().await.is_some() {}
            }
            let engine = self.clone();
            let cleaned = blocking(move || {
                let run = read_run(&engine.config.monitor_dir(id.as_str()));
                if !run.cgroups_path.is_empty() {
                    let reap = proto::launch::Reap {
                        id: id.to_string(),
                        cgroups_path: run.cgroups_path,
                        systemd_cgroup: engine.config.systemd_cgroup,
                    };
                    engine.launcher.reap(reap)?;
                }
                engine.forget_monitor(&id);
                Ok(())
            });
            if let Err(error) = cleaned.await {
                tracing::error!("{error}");
            }
        }
        for name in names_in(&self.config.data_root.join("containers")) {
            if !known.contains(&name)
                && let Ok(id) = name.parse()
            {
                let engine = self.clone();
                let removed = blocking(move || {
                    engine.discard_storage(&id);
                    Ok(())
                });
                drop(removed.await);
            }
        }
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
        launcher: Arc::new(Launcher::new(launcher)),
        containers: Default::default(),
        execs: Default::default(),
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
    std::fs::write(&path, &id)
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
