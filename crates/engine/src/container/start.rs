//! Starting a container: the hot path.
//!
//! One blocking step makes the root mount, the network and the specification and gives the
//! order to the launcher; the rest is a conversation with the monitor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use network::{Endpoint, Sandbox};
use proto::control::{Notice, Reply, Request};
use proto::launch::{Asked, Launch, Log, LogFile, Order, RootSource, Stdin, VERSION, WindowSize};
use types::container::{HostConfig, LogConfig};
use types::state::Status;
use types::{Error, ErrorKind, Timestamp};

use super::remove::Removal;
use super::{Container, Live, validate};
use crate::database::{Change, Pending, Table};
use crate::link::{Link, Notices};
use crate::networks::network_namespace;
use crate::record::{Record, Run};
use crate::spec::{self, Joined, Surroundings, users};
use crate::{Engine, blocking, from_image, from_network, to_the_end};

/// Logs rotate at this size unless told otherwise: a container that talks must not fill the disk.
const LOG_SIZE: u64 = 20 << 20;
/// How long a monitor may take to undo a launch that failed.
const UNDONE: std::time::Duration = std::time::Duration::from_secs(30);
/// How many log files are kept unless told otherwise.
const LOG_FILES: u32 = 5;

/// Who starts a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starter {
    User,
    Policy,
}

/// A run that has been ordered.
struct Ordered {
    socket: OwnedFd,
    run: Run,
    warnings: Vec<String>,
    /// The network is to be plugged in once the container has its own namespace.
    plug_later: bool,
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
        let _operation = container.operation.lock().await;
        self.start_locked(container, starter).await
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
                self.failed_start(container, &error).await;
                Err(error)
            }
        }
    }

    async fn launch(&self, container: &Arc<Container>) -> Result<(), Error> {
        let engine = self.clone();
        let subject = Arc::clone(container);
        let ordered = blocking(move || engine.order(&subject)).await?;
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

    /// From the order to the running process.
    async fn begin(
        &self,
        container: &Arc<Container>,
        live: &Live,
        notices: &mut Notices,
        plug_later: bool,
    ) -> Result<Begun, Error> {
        let (pid, warnings) = match notices.recv().await {
            Some(Notice::Created { pid, warnings }) => (pid, warnings),
            Some(Notice::Failed(error)) => return Err(error),
            Some(_) | None => {
                return Err(Error::system("the container's monitor ended while it was created"));
            }
        };
        let publish = live.run.endpoints.iter().any(|endpoint| !endpoint.ports.is_empty());
        let mut plugged = None;
        if plug_later || publish {
            let engine = self.clone();
            let run = Arc::clone(&live.run);
            let connected = blocking(move || engine.connect(&run, plug_later.then_some(pid)));
            plugged = connected.await.map_err(|error| external(container, error))?;
        }
        let attaches = std::mem::take(&mut *crate::lock(&container.attaches));
        for (attach, stream) in attaches {
            live.link.ask(Request::Attach(attach), Some(stream)).await?;
        }
        // While the process is let go, the database learns that it runs; nobody is told before.
        let written = {
            let now = container.record();
            let mut record = now.clone();
            record.state.status = Status::Running;
            record.state.pid = pid;
            record.state.started_at = Timestamp::now();
            let change = Change::put(Table::Containers, container.id.as_str(), &record)?;
            self.database.begin(change)?
        };
        match live.link.ask(Request::Start, None).await? {
            Reply::Started { at } => Ok(Begun { pid, at, warnings, plugged, written }),
            other => Err(Error::system(format!("the monitor answered a start with {other:?}"))),
        }
    }

    /// Plugs late endpoints in, which then know their links, and publishes ports.
    fn connect(&self, run: &Run, pid: Option<i32>) -> Result<Option<Vec<Endpoint>>, Error> {
        let mut plugged = None;
        if let Some(pid) = pid {
            let mut sandbox = Sandbox::adopt(network_namespace(pid)?);
            let mut endpoints = run.endpoints.clone();
            for endpoint in &mut endpoints {
                self.networks.plug(endpoint, &mut sandbox).map_err(from_network)?;
            }
            plugged = Some(endpoints);
        }
        for endpoint in run.endpoints.iter().filter(|endpoint| !endpoint.ports.is_empty()) {
            self.networks.publish(endpoint).map_err(from_network)?;
        }
        Ok(plugged)
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
        container.progress.send_modify(|progress| progress.active = true);
        for endpoint in &live.run.endpoints {
            self.tell_network("connect", endpoint, &container.id);
        }
        self.tell_container(container, "start", &[]);
        self.watch_health(container);
        // Those who came while it was being started.
        let late = std::mem::take(&mut *crate::lock(&container.attaches));
        for (attach, stream) in late {
            // An error means that it has ended; then the stream does as well.
            drop(live.link.ask(Request::Attach(attach), Some(stream)).await);
        }
        let engine = self.clone();
        let subject = Arc::clone(container);
        tokio::spawn(async move { engine.supervise(subject, notices).await });
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
        });
        let auto_remove = container.record().host.auto_remove;
        if auto_remove
            && let Err(error) =
                self.remove_locked(container, Removal::ByUser { volumes: true }).await
        {
            tracing::error!(container = container.id.short(), "{error}");
        }
    }

    /// Makes everything a run needs and gives the order. Blocks.
    fn order(&self, container: &Container) -> Result<Ordered, Error> {
        let record = container.record().clone();
        let directory = self.config.monitor_dir(container.id.as_str());
        let mut run =
            Run { endpoints: Vec::new(), cgroups_path: spec::cgroups_path(&self.config, &record) };
        let ordered = self.order_run(&record, &directory, &mut run);
        if ordered.is_err() {
            self.release_run(container, &run);
            self.forget_monitor(&container.id);
        }
        let (socket, warnings, plug_later) = ordered?;
        Ok(Ordered { socket, run, warnings, plug_later })
    }

    fn order_run(
        &self,
        record: &Record,
        directory: &std::path::Path,
        run: &mut Run,
    ) -> Result<(OwnedFd, Vec<String>, bool), Error> {
        let joined = self.joined(&record.host)?;
        let root = self.root_of(record)?;
        let user = users::resolve(root.as_fd(), &record.config.user, &record.host.group_add)?;
        let (sandbox, held, plug_later) = self.network_for(record, run)?;
        self.write_files(record, run, joined.network.is_some())?;
        let mut trees = Vec::new();
        let mounts = self.resolve_mounts(record, &joined, &mut trees)?;
        let made = spec::make(
            record,
            Surroundings {
                config: &self.config,
                available: self.available,
                joined,
                netns: sandbox.is_some(),
                user,
                mounts,
                links: self.link_environment(record)?,
            },
        )?;
        write_run(directory, run)?;
        let failed = |error| Error::system(format!("cannot make a connection: {error}"));
        let (ours, theirs) = sys::stream::pair().map_err(failed)?;
        let descriptor = record.host.rootfs.is_empty();
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![theirs.as_fd(), self.launcher.guard()];
        if descriptor {
            descriptors.push(root.as_fd());
        }
        descriptors.extend(sandbox.as_ref().map(Sandbox::fd));
        descriptors.extend(trees.iter().map(AsFd::as_fd));
        descriptors.extend(held.iter().map(AsFd::as_fd));
        let launch = Launch {
            version: VERSION,
            guard: true,
            id: record.id.to_string(),
            dir: directory.to_owned(),
            spec: made.spec,
            default_seccomp: made.default_seccomp,
            root: if descriptor {
                RootSource::Descriptor
            } else {
                RootSource::Directory(record.host.rootfs.clone().into())
            },
            netns: sandbox.is_some(),
            mounts: trees.len(),
            held: held.len(),
            terminal: record.config.tty.then(|| window(record.host.console_size)),
            stdin: match (record.config.open_stdin, record.config.stdin_once) {
                (false, _) => Stdin::Null,
                (true, false) => Stdin::Open,
                (true, true) => Stdin::Once,
            },
            log: log(&self.config.container_dir(record.id.as_str()), record),
            init: record.host.init.unwrap_or(false),
            asked: asked(&record.host),
            systemd_cgroup: self.config.systemd_cgroup,
        };
        self.launcher.order(&Order::Launch(Box::new(launch)), &descriptors)?;
        Ok((ours, made.warnings, plug_later))
    }

    /// The root file system: a detached mount, or the directory that was named.
    fn root_of(&self, record: &Record) -> Result<OwnedFd, Error> {
        if record.host.rootfs.is_empty() {
            let options = image::MountOptions {
                userns: record.remapped.and(self.remap_namespace.as_ref()).map(AsFd::as_fd),
                read_only: false,
                volatile: record.host.auto_remove,
            };
            return match self.images.mount(&record.id, options) {
                // Making a writable layer is not flushed, the record is: after a power cut there
                // may be a container without one, and as it wrote nothing, it gets a fresh one.
                Err(image::Error::NoSnapshot(_)) => {
                    let image = self.images.resolve(&record.image).map_err(from_image)?;
                    self.images.prepare(&record.id, &image).map_err(from_image)?;
                    self.images.mount(&record.id, options).map_err(from_image)
                }
                mounted => mounted.map_err(from_image),
            };
        }
        let root = sys::fs::Root::open_host(&record.host.rootfs);
        root.map(sys::fs::Root::into_fd).map_err(|error| {
            Error::invalid(format!("cannot open root directory {}: {error}", record.host.rootfs))
        })
    }

    /// The processes whose namespaces this container joins.
    fn joined(&self, host: &HostConfig) -> Result<Joined, Error> {
        let mut user = None;
        let mut pid_of = |mode: &str| {
            let Some(name) = validate::joined(mode) else { return Ok(None) };
            let other = self.containers.find(name)?;
            let other = other.record();
            if other.state.pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join namespace of a non running container: container {name} is {}",
                    other.state.status.as_str()
                )));
            }
            if other.remapped.is_some() {
                user = Some(other.state.pid);
            }
            Ok(Some(other.state.pid))
        };
        let network = pid_of(&host.network_mode)?;
        let ipc = pid_of(&host.ipc_mode)?;
        if let Some(name) = validate::joined(&host.ipc_mode) {
            let donor = self.containers.find(name)?;
            let donor = donor.record();
            if matches!(donor.host.ipc_mode.as_str(), "private" | "none") {
                return Err(Error::invalid(format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use \
                     IpcMode:shareable for the donor container)",
                    donor.id
                )));
            }
        }
        let pid = pid_of(&host.pid_mode)?;
        Ok(Joined { network, ipc, pid, user })
    }

    /// Reserves addresses and ports and prepares a network namespace.
    fn network_for(
        &self,
        record: &Record,
        run: &mut Run,
    ) -> Result<(Option<Sandbox>, Vec<OwnedFd>, bool), Error> {
        let mode = record.host.network_mode.as_str();
        if mode == "host" || validate::joined(mode).is_some() {
            return Ok((None, Vec::new(), false));
        }
        let late = record.remapped.is_some();
        if mode == "none" {
            let sandbox =
                if late { None } else { Some(self.networks.bare_sandbox().map_err(from_network)?) };
            return Ok((sandbox, Vec::new(), false));
        }
        let mut held = Vec::new();
        for attach in self.attachments(record)? {
            let reserved = self.networks.reserve(&attach).map_err(|error| match error {
                // Only what is about ports has that preface in Docker.
                error if attach.ports.is_empty() => from_network(error),
                error => {
                    let error = from_network(error);
                    let message = format!(
                        "driver failed programming external connectivity on endpoint {} ({}): {}",
                        record.name, record.id, error.message
                    );
                    Error { kind: error.kind, message }
                }
            })?;
            run.endpoints.push(reserved.endpoint);
            held.extend(reserved.sockets);
        }
        if late {
            return Ok((None, held, true));
        }
        let mut sandbox = self.networks.sandbox().map_err(from_network)?;
        for endpoint in &mut run.endpoints {
            self.networks.plug(endpoint, &mut sandbox).map_err(from_network)?;
        }
        Ok((Some(sandbox), held, false))
    }

    /// Gives back what a run held of the networks.
    pub(crate) fn release_run(&self, container: &Container, run: &Run) {
        for endpoint in &run.endpoints {
            if let Err(error) = self.networks.release(endpoint) {
                let error = from_network(error);
                tracing::error!(container = container.id.short(), "{error}");
            }
        }
    }

    /// Removes the directory of a monitor that has ended.
    pub(crate) fn forget_monitor(&self, id: &types::ContainerId) {
        let directory = self.config.monitor_dir(id.as_str());
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!("cannot remove {}: {error}", directory.display());
            }
            _ => {}
        }
    }
}

struct Begun {
    pid: i32,
    at: Timestamp,
    warnings: Vec<String>,
    /// The endpoints, if they were plugged in only now.
    plugged: Option<Vec<Endpoint>>,
    /// The record that says that it runs, on its way to the disk.
    written: Pending,
}

/// What a container is that does not run: whether it has ever.
pub(crate) fn ended_status(record: &Record) -> Status {
    if record.state.finished_at.is_never() { Status::Created } else { Status::Exited }
}

/// Puts Docker's words before what went wrong with ports and links.
fn external(container: &Container, error: Error) -> Error {
    let name = container.record().name.clone();
    let message = format!(
        "driver failed programming external connectivity on endpoint {name} ({}): {}",
        container.id, error.message
    );
    Error { kind: error.kind, message }
}

/// The endpoints as they were when the run began, for a daemon that starts again.
fn write_run(directory: &std::path::Path, run: &Run) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::system(format!("cannot write {}: {error}", directory.display()))
    };
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&error)),
        _ => {}
    }
    std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    replace_run(directory, run)
}

/// Writes what a run holds: whoever reads finds all of the old or all of the new. There is no
/// fsync, because what is written here is worth nothing after a restart of the machine.
pub(crate) fn replace_run(directory: &std::path::Path, run: &Run) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::system(format!("cannot write {}: {error}", directory.display()))
    };
    let json = serde_json::to_vec(run).map_err(|error| failed(&error))?;
    let temporary = directory.join("run.json.new");
    std::fs::write(&temporary, json).map_err(|error| failed(&error))?;
    std::fs::rename(&temporary, directory.join("run.json")).map_err(|error| failed(&error))
}

fn window([rows, cols]: [u32; 2]) -> WindowSize {
    let small = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    WindowSize { rows: small(rows), cols: small(cols) }
}

/// What the user asked for by name.
pub(crate) fn asked(host: &HostConfig) -> Asked {
    let upper = |name: &String| format!("RLIMIT_{}", name.to_ascii_uppercase());
    Asked {
        rlimits: host.resources.ulimits.iter().map(|limit| upper(&limit.name)).collect(),
        oom_score_adj: host.oom_score_adj != 0,
        capabilities: host.cap_add.clone(),
    }
}

/// Where the container's output goes.
pub(crate) fn log(directory: &std::path::Path, record: &Record) -> Log {
    let LogConfig { kind, config } = &record.host.log_config;
    let local = kind == "local";
    let name = if local { "container.log".to_owned() } else { format!("{}-json.log", record.id) };
    let file = LogFile {
        path: directory.join(name),
        max_size: Some(
            config.get("max-size").and_then(|size| validate::size(size)).unwrap_or(LOG_SIZE),
        ),
        max_file: config.get("max-file").and_then(|n| n.parse().ok()).unwrap_or(LOG_FILES),
        compress: config.get("compress").map_or(local, |value| value == "true"),
        attributes: log_attributes(record),
    };
    match kind.as_str() {
        "none" => Log::None,
        "local" => Log::Local(file),
        _ => Log::JsonFile(file),
    }
}

/// Labels and variables that the user wants in every log record.
fn log_attributes(record: &Record) -> std::collections::BTreeMap<String, String> {
    let options = &record.host.log_config.config;
    let mut attributes = std::collections::BTreeMap::new();
    let names = |key: &str| options.get(key).map(String::as_str).unwrap_or_default().split(',');
    for name in names("labels") {
        if let Some(value) = record.config.labels.get(name) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env").filter(|name| !name.is_empty()) {
        let variable = record.config.env.iter().find_map(|line| {
            line.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value)
        });
        if let Some(value) = variable {
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag") {
        let tag = tag
            .replace("{{.ID}}", record.id.short())
            .replace("{{.FullID}}", record.id.as_str())
            .replace("{{.Name}}", &record.name)
            .replace("{{.ImageName}}", &record.config.image);
        attributes.insert("tag".to_owned(), tag);
    }
    attributes
}
