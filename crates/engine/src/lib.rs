//! Containers as a user knows them: state machines, the database, and the order in which
//! images, networks, volumes and monitors are asked to do their part.
//!
//! The engine never links the runtime: it tells the launcher to fork a monitor for a container
//! and from then on only speaks `proto` to it. It knows no HTTP and no JSON of the API.
//!
//! ```text
//!  create ─► record in the database, upper layer on disk
//!  start  ─► root mount + network namespace + specification ─► launcher ─► monitor
//!  exit   ◄─ exit record ◄─ monitor
//! ```
//!
//! What a crash leaves is put right by [`Engine::open`]: monitors that run are adopted, exit
//! records are read, half-made and half-removed containers are removed.

mod build;
mod config;
mod container;
mod database;
mod events;
mod idle;
mod images;
mod info;
mod launcher;
mod layers;
mod link;
mod names;
mod networks;
mod open;
mod ports;
mod ranges;
mod record;
mod recover;
mod registries;
mod secrets;
mod spec;
mod subordinate;
mod upkeep;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use types::capability::CapabilitySet;
use types::event::{Event, Subject};
use types::{ContainerId, Error, ErrorKind, Timestamp};

pub use build::{BuildRequest, CacheKeep, platform as builder_platform};
pub use config::{Config, RegistrySettings, Watermarks};
pub use container::archive::ArchiveOptions;
pub use container::attach::{AttachOptions, Attached, Ending};
pub use container::commit::CommitRequest;
pub use container::create::{CreateSpec, Created};
pub use container::exec::{ExecConfig, ExecState};
pub use container::inspect::{Inspect, Sizes};
pub use container::list::{ListOptions, Summary};
pub use container::logs::{LogLine, LogOptions, LogReader, Stream};
pub use container::remount::{EnvChanges, MountChanges};
pub use container::remove::{Pruned, RemoveOptions};
pub use container::republish::PortChanges;
pub use container::top::{StatsSample, Top};
pub use container::update::{EmptiedDevices, Update};
pub use container::validate::size as parse_size;
pub use container::wait::{WaitCondition, WaitOutcome, Waiter};
pub use events::{EventOptions, EventStream};
pub use idle::prepare_to_idle;
pub use info::{DiskUsage, Info};
pub use layers::ImageDocuments;
pub use networks::NetworkDetail;
pub use proto::launch::{Accelerator, Templates};
pub use record::{IdRange, Record};
pub use registries::{
    Credentials, ImportRequest, LayerState, Login, PullRequest, PushRequest, RegistryImage,
    SearchHit, TransferStep,
};
pub use secrets::{Kept, KeptKind};
pub use upkeep::CheckEvent;
pub use volumes::{VolumeCopy, VolumeUse};

/// The builder, for those who describe builds and listen to them.
pub use ::build as builder;

// What the stores answer is handed through as it is.
pub use disk::Snapshot as DiskSnapshot;
pub use distribution::manifest::Descriptor;
pub use image::archive::PathStat;
pub use image::{
    CheckReport, CheckStep, Outcome as CheckOutcome, Problem as CheckProblem,
    Subject as CheckSubject,
};
pub use image::{
    HistoryItem as ImageHistory, Inspect as ImageInspect, Loaded, Origin as ImageOrigin,
    OriginManifest as ImageManifest, Progress as LoadProgress, Removal, Summary as ImageSummary,
};
pub use network::{Cidr, Network, NetworkSpec, Pool as AddressPool, SubnetSpec};
pub use volume::{CreateOptions as VolumeCreateOptions, Volume};

use container::Container;
use container::table::Containers;
use events::Events;

/// Bytes that come one piece after another; an error ends them.
pub type ByteStream = mpsc::Receiver<std::io::Result<bytes::Bytes>>;

/// The engine. Clones share everything.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl std::ops::Deref for Engine {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// What all clones of an [`Engine`] share.
#[derive(Debug)]
pub struct Inner {
    pub(crate) config: Config,
    pub(crate) database: database::Database,
    pub(crate) images: Arc<image::Store>,
    /// Snapshots of machines' disks.
    pub(crate) disks: Arc<disk::Snapshots>,
    pub(crate) volumes: Arc<volume::Volumes>,
    pub(crate) secrets: secrets::Store,
    pub(crate) networks: Arc<network::Networks>,
    pub(crate) launcher: Arc<launcher::Launcher>,
    pub(crate) spares: container::start::spare::Spares,
    pub(crate) names: names::Names,
    pub(crate) containers: Containers,
    pub(crate) execs: Mutex<HashMap<String, Arc<container::exec::Exec>>>,
    /// Volumes, by name, and secrets that containers are being created with. Locked while one is
    /// removed, so that none goes that a container is about to have.
    pub(crate) claims: Mutex<BTreeMap<String, Vec<ContainerId>>>,
    pub(crate) turns: Arc<volumes::Turns>,
    pub(crate) events: Events,
    pub(crate) registries: registries::Registries,
    pub(crate) builds: build::Builds,
    /// What an earlier daemon left is being taken over: nothing is started before all is known.
    pub(crate) opening: AtomicBool,
    /// Capabilities of the daemon.
    pub(crate) available: CapabilitySet,
    /// Number of CPUs of the host.
    pub(crate) cpus: usize,
    /// Where user ids are remapped to, and a user namespace that maps so.
    pub(crate) remap: Option<IdRange>,
    pub(crate) remap_namespace: Option<OwnedFd>,
    pub(crate) started: Timestamp,
    pub(crate) id: String,
}

/// Locks, also when another holder has panicked: the data are plain values that every step
/// leaves in order.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::system(format!("a task of the engine failed: {error}"))),
    }
}

/// Runs what waits for a client on a thread of its own: slow clients must not keep the threads
/// that [`blocking`] needs.
pub(crate) async fn aside<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("client".to_owned())
        // Whoever asked may have gone.
        .spawn(move || drop(done.send(work())))
        .map_err(|error| Error::system(format!("cannot start a thread: {error}")))?;
    outcome.await.unwrap_or_else(|_| Err(Error::system("a task of the engine failed")))
}

/// Runs an operation to its end, even if whoever asked for it goes away.
pub(crate) async fn to_the_end<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::system(format!("a task of the engine failed: {error}"))),
    }
}

pub(crate) fn from_image(error: image::Error) -> Error {
    Error { kind: error.kind(), message: chain(&error) }
}

pub(crate) fn from_volume(error: volume::Error) -> Error {
    Error { kind: error.kind(), message: chain(&error) }
}

pub(crate) fn from_disk(error: disk::Error) -> Error {
    Error { kind: error.kind(), message: chain(&error) }
}

pub(crate) fn from_network(error: network::Error) -> Error {
    let kind = match error.kind() {
        network::Kind::NotFound => ErrorKind::NotFound,
        network::Kind::Conflict => ErrorKind::Conflict,
        network::Kind::Invalid => ErrorKind::Invalid,
        network::Kind::Forbidden => ErrorKind::Forbidden,
        network::Kind::Host => ErrorKind::System,
    };
    Error { kind, message: chain(&error) }
}

/// An error and its sources in one line, none of them twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

impl Engine {
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Tells listeners that something happened to a container.
    pub(crate) fn tell_container(
        &self,
        container: &Container,
        action: &str,
        more: &[(&str, &str)],
    ) {
        let mut attributes = container::create::attributes(&container.record());
        attributes.extend(more.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        self.events.tell(Event {
            subject: Subject::Container,
            action: action.to_owned(),
            id: container.id.to_string(),
            attributes,
            time: Timestamp::now(),
        });
    }

    /// Tells listeners that something happened to something else.
    pub(crate) fn tell(&self, subject: Subject, action: &str, id: &str, more: &[(&str, &str)]) {
        let attributes: BTreeMap<_, _> =
            more.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let (action, id) = (action.to_owned(), id.to_owned());
        self.events.tell(Event { subject, action, id, attributes, time: Timestamp::now() });
    }

    /// Listens to what happens.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for unknown filters.
    pub fn events(&self, options: EventOptions) -> Result<EventStream, Error> {
        self.events.listen(options)
    }

    /// Whether an error says that nothing had to be done.
    pub fn is_not_modified(error: &Error) -> bool {
        error.kind == ErrorKind::NotModified
    }
}
