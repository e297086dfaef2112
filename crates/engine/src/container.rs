//! One container in the engine's memory.

pub(crate) mod archive;
mod assembled;
pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod contact;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod exit;
mod guest_files;
mod guest_top;
pub(crate) mod health;
pub(crate) mod inspect;
pub(crate) mod keep;
pub(crate) mod links;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod names;
pub(crate) mod remount;
pub(crate) mod remove;
pub(crate) mod republish;
pub(crate) mod restart;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod table;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod volumes;
pub(crate) mod wait;
mod whole;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::control::{Attach, Reply, Request};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use types::health::Health;
use types::state::Status;
use types::{ContainerId, Error};

use crate::link::Link;
use crate::record::{Record, Run};

/// How long a monitor that an earlier daemon left may be silent before others go on without it: it
/// may be waiting for a machine that boots, and for one that others make before.
const SILENT: Duration = Duration::from_secs(180);

/// A container: what is remembered of it, and what runs.
///
/// Locks are taken in this order: `operation`, then any one of the others, each for moments
/// only. `operation` is held by whoever creates, starts, ends, renames, updates or removes, or reads
/// and writes files while nothing runs. Who asks something of a running container does without it,
/// and waits for a start at most ([`Container::settled`]).
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) operation: Arc<tokio::sync::Mutex<()>>,
    record: Mutex<Record>,
    live: Mutex<Option<Live>>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) attaches: Mutex<Vec<(Attach, OwnedFd)>>,
    pub(crate) health: Mutex<Option<Health>>,
    /// The task that probes it.
    probes: Mutex<Option<AbortHandle>>,
    pub(crate) restarts: Mutex<restart::Restarts>,
    pub(crate) execs: Mutex<Vec<String>>,
    /// Mounts that the next start takes along beside those of the record.
    pub(crate) trees: Mutex<Vec<start::hidden::Tree>>,
    /// Its record has been removed from the database; changes under the record's lock.
    gone: AtomicBool,
    /// How many restarts by a user are between their stop and their start.
    restarting: watch::Sender<usize>,
    /// An image is being made of it, and nothing in it moves.
    pub(crate) frozen: AtomicBool,
    /// How many starts are under way, those that wait for `operation` too.
    starts: watch::Sender<usize>,
    /// How many wait to hear from a monitor that an earlier daemon left, and that is silent.
    pub(crate) unclear: watch::Sender<usize>,
}

/// What a running container has.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) link: Arc<Link>,
    pub(crate) run: Arc<Run>,
}

/// How far a container has come, for those who wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// It has a process, or is about to have one again by its restart policy.
    pub(crate) active: bool,
    /// How often it has ended since the engine knows it.
    pub(crate) ends: u64,
    /// The same, with an end that its record shows, but that is not told yet.
    pub(crate) noted: u64,
    /// Exit status of the last end.
    pub(crate) code: i64,
    /// Why the last start failed; empty when it did not.
    pub(crate) error: String,
    /// It has been removed.
    pub(crate) removed: bool,
    /// How often it could not be removed.
    pub(crate) failed_removals: u64,
    /// Why it could not be the last time.
    pub(crate) unremoved: String,
}

/// Somebody who is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Container {
    pub(crate) fn new(record: Record) -> Self {
        let progress = Progress {
            active: record.state.status.is_active(),
            code: i64::from(record.state.exit_code),
            error: record.state.error.clone(),
            ..Progress::default()
        };
        Self {
            id: record.id.clone(),
            operation: Arc::default(),
            record: Mutex::new(record),
            live: Mutex::new(None),
            progress: watch::Sender::new(progress),
            attaches: Mutex::new(Vec::new()),
            health: Mutex::new(None),
            probes: Mutex::new(None),
            restarts: Mutex::new(restart::Restarts::default()),
            execs: Mutex::new(Vec::new()),
            trees: Mutex::new(Vec::new()),
            gone: AtomicBool::new(false),
            restarting: watch::Sender::new(0),
            frozen: AtomicBool::new(false),
            starts: watch::Sender::new(0),
            unclear: watch::Sender::new(0),
        }
    }

    /// Waits for a start that is under way: with Docker, whoever asks for something meanwhile has his
    /// answer from the container that runs.
    pub(crate) async fn settled(&self) {
        if !matches!(self.record().state.status, Status::Running | Status::Paused) {
            let mut starts = self.starts.subscribe();
            // The sender lives in the container.
            drop(starts.wait_for(|under_way| *under_way == 0).await);
        }
    }

    /// Waits until it is known what an earlier daemon has left of it: its monitor may be making a
    /// machine, and two of them are not to have one disk.
    ///
    /// # Errors
    /// The monitor stays silent.
    pub(crate) async fn known(&self) -> Result<(), Error> {
        if matches!(self.record().state.status, Status::Running | Status::Paused) {
            return Ok(());
        }
        let mut unclear = self.unclear.subscribe();
        let known = unclear.wait_for(|waiting| *waiting == 0);
        match tokio::time::timeout(SILENT, known).await {
            // The sender lives in the container.
            Ok(_) => Ok(()),
            Err(_) => Err(Error::system(format!(
                "an earlier daemon has left a monitor of container {} that does not answer",
                self.id
            ))),
        }
    }

    /// Says, until what comes back is dropped, that it is being started.
    pub(crate) fn being_started(&self) -> Counted<'_> {
        Counted::new(&self.starts)
    }

    /// Replaces the task that probes it; the old one ends, and its probe with it.
    pub(crate) fn set_probes(&self, task: Option<AbortHandle>) {
        if let Some(old) = std::mem::replace(&mut *crate::lock(&self.probes), task) {
            old.abort();
        }
    }

    /// For who has waited for `operation` meanwhile.
    ///
    /// # Errors
    /// Not found: it has been removed.
    pub(crate) fn still_there(&self) -> Result<(), Error> {
        if self.is_gone() { Err(table::unknown(self.id.as_str())) } else { Ok(()) }
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    fn set_gone(&self, gone: bool) {
        self.gone.store(gone, Ordering::SeqCst);
    }

    /// Says, until what comes back is dropped, that the next end of this container is a part of
    /// a restart.
    pub(crate) fn restarting(&self) -> Counted<'_> {
        Counted::new(&self.restarting)
    }

    /// Whether it is removed when it ends.
    pub(crate) fn removes_itself(&self) -> bool {
        self.record().host.auto_remove && *self.restarting.borrow() == 0
    }

    /// What is remembered; never held across an await.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        crate::lock(&self.record)
    }

    /// The connection to the monitor, while there is one.
    pub(crate) fn live(&self) -> Option<Live> {
        crate::lock(&self.live).clone()
    }

    pub(crate) fn set_live(&self, live: Option<Live>) {
        *crate::lock(&self.live) = live;
    }

    /// Asks the monitor of a container that must be running.
    ///
    /// # Errors
    /// The monitor's; [`types::ErrorKind::Conflict`] in Docker's words when it does not run, or
    /// has just ended.
    pub(crate) async fn ask(
        &self,
        request: Request,
        descriptor: Option<OwnedFd>,
    ) -> Result<Reply, Error> {
        let answer = self.running()?.link.ask(request, descriptor).await;
        answer.map_err(|error| self.unless_gone(error))
    }

    /// An error of the monitor, in Docker's words where that has gone.
    fn unless_gone(&self, error: Error) -> Error {
        if error == crate::link::gone() { self.not_running() } else { error }
    }

    fn not_running(&self) -> Error {
        Error::conflict(format!("container {} is not running", self.id))
    }

    /// The connection to the monitor of a container that must be running.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] in Docker's words when it is not.
    pub(crate) fn running(&self) -> Result<Live, Error> {
        let active = self.record().state.pid != 0;
        match self.live() {
            Some(live) if active => Ok(live),
            _ => Err(self.not_running()),
        }
    }
}
