//! A monitor's life.
//!
//! ```text
//!  Created ──start──► Running ◄──pause, resume──► Paused
//!     │                  │                           │ killed
//!     │ abandoned,       └───── the process ends ────┘
//!     │ or alone              ▼
//!     │                    Draining   output is read to its end, the log is closed
//!     │                       ▼
//!     │                    Closing    exit.json is written; slow clients get a moment;
//!     │                       ▼       cgroups go, Notice::Exited
//!     │                    Told       clients that still read get the rest
//!     ▼                       ▼
//!    End ◄────────────────────┘
//! ```

mod turn;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use oci_spec::runtime::Spec;
use proto::control::{ExitRecord, FromMonitor, Notice};
use proto::frame;
use proto::launch::Launch;
use runtime::Created;
use runtime::cgroup::{Cgroup, OomEvent};
use sys::poll::{Poll, Ready};
use sys::signal::SignalFd;
use types::{Error, Timestamp};

use crate::connection::Connection;
use crate::doubt::Doubts;
use crate::exec::{ExecProcess, PastExecs};
use crate::guest::{Asker, Spare};
use crate::launcher::Prepared;
use crate::losses::Losses;
use crate::output::{Client, Scratch};
use crate::setup::{self, Contained, Stage};
use crate::streams::Streams;
use crate::wall::Wall;
use turn::Token;

/// What is let go by a start.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A process before its execve.
    Process(Box<Created>),
    /// The same in a machine.
    Machine,
    /// A machine that has been asked to let it go.
    Starting,
}

/// Where the container stands.
#[derive(Debug)]
pub(crate) enum State {
    Created(Waiting),
    Running,
    Paused,
    Draining {
        exit_code: i32,
        at: Timestamp,
        since: Instant,
    },
    Closing {
        record: Box<ExitRecord>,
        since: Instant,
    },
    Told {
        since: Instant,
    },
    /// A machine without a container that writes its disks.
    Leaving,
    End,
}

/// One container's parent.
#[derive(Debug)]
pub(crate) struct Monitor<'p> {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    /// What execs need to know of the container.
    pub(crate) spec: Box<Spec>,
    pub(crate) wall: Wall<'p>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) state: State,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) started_at: Timestamp,
    pub(crate) streams: Streams,
    pub(crate) execs: Vec<ExecProcess>,
    pub(crate) past_execs: PastExecs,
    /// Clients of processes that have ended, who have not read everything yet.
    pub(crate) lingering: Vec<Client>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) held: Vec<OwnedFd>,
    /// Bytes dropped from streams that are no more.
    pub(crate) dropped: u64,
    pub(crate) losses: Losses,
    pub(crate) oom: Option<OomEvent>,
    pub(crate) oom_kills: u64,
    pub(crate) doubts: Doubts,
    signals: SignalFd,
    numbers: u32,
    /// The engine has asked for an end before the start.
    pub(crate) abandoned: bool,
    /// Since when nobody is connected.
    alone: Option<Instant>,
    scratch: Scratch,
    /// When memory that is held for reading is to be given back, if nothing is read until then.
    idle_at: Option<Instant>,
    /// When memory that is free is to be given back.
    trim_at: Option<Instant>,
    poll: Poll<Token>,
}

/// In a freshly forked process, which may have a machine already: makes the container and is its
/// monitor until it has ended. Returns the exit status of the process, which nobody waits for.
pub(crate) fn run(
    launch: Launch,
    fds: Vec<OwnedFd>,
    prepared: &Prepared,
    spare: Option<Spare>,
) -> i32 {
    let mut fds = fds.into_iter();
    // Without a connection there is nobody whose container it would be.
    let Some(control) = fds.next() else { return 2 };
    let mut launch = launch;
    let stage = setup::stage(&mut launch, fds, prepared, spare);
    match stage {
        Ok(stage) => match Monitor::new(launch, stage, control) {
            Some(mut monitor) => {
                monitor.live();
                0
            }
            None => 2,
        },
        Err(error) => fail(&control, error),
    }
}

/// Tells that an order cannot be followed.
pub(crate) fn refuse(fds: Vec<OwnedFd>, why: &str) -> i32 {
    fds.first().map_or(2, |control| fail(control, Error::system(why)))
}

fn fail(control: &OwnedFd, error: Error) -> i32 {
    let notice = FromMonitor::Notice(Notice::Failed(error));
    match frame::encode(&notice) {
        // Whoever is not there any more does not need to know.
        Ok(bytes) => i32::from(crate::reap::send_all(control, &bytes).is_err()),
        Err(_) => 2,
    }
}

impl<'p> Monitor<'p> {
    fn new(launch: Launch, stage: Stage<'p>, control: OwnedFd) -> Option<Self> {
        let Stage { listener, signals, cgroup, contained, held, warnings } = stage;
        let Contained { wall, waiting, pid, pidfd, streams } = contained;
        let Launch { id, dir, spec, .. } = launch;
        let connection = match Connection::new(0, control) {
            Ok(connection) => connection,
            // Descriptors have run out.
            Err(_) => {
                match (waiting, wall) {
                    (Waiting::Process(created), _) => setup::discard(*created),
                    (_, Wall::Machine(mut guest)) => guest.switch_off(),
                    (_, Wall::Whole(mut whole)) => whole.switch_off(),
                    _ => {}
                }
                let _ = cgroup.remove();
                setup::retract(&dir);
                return None;
            }
        };
        // Without a memory controller nothing can run out.
        let oom = cgroup.oom_event().ok();
        let mut monitor = Self {
            id,
            dir,
            spec: Box::new(spec),
            wall,
            oom_kills: cgroup.oom_kills(),
            cgroup: Some(cgroup),
            state: State::Created(waiting),
            pid,
            pidfd,
            started_at: Timestamp::NEVER,
            streams,
            execs: Vec::new(),
            past_execs: PastExecs::default(),
            lingering: Vec::new(),
            connections: vec![connection],
            listener: Some(listener),
            held,
            dropped: 0,
            losses: Losses::default(),
            oom,
            doubts: Doubts::default(),
            signals,
            numbers: 0,
            abandoned: false,
            alone: None,
            scratch: Scratch::default(),
            idle_at: None,
            trim_at: None,
            poll: Poll::default(),
        };
        monitor.tell(Notice::Created { pid, warnings });
        Some(monitor)
    }

    /// A number that nothing else here has.
    pub(crate) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// Tells every connection.
    pub(crate) fn tell(&mut self, notice: Notice) {
        let message = FromMonitor::Notice(notice);
        for connection in &mut self.connections {
            connection.tell(&message);
        }
    }

    /// Takes new control connections.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        // Whatever goes wrong with one connection is its own affair.
        let Ok(socket) = sys::stream::accept(listener) else { return };
        let number = self.number();
        if let Ok(connection) = Connection::new(number, socket) {
            self.connections.push(connection);
        }
    }

    /// Reads a connection's requests and answers them.
    fn serve(&mut self, number: u32, ready: Ready, now: Instant) {
        let find = |monitor: &mut Self| {
            monitor.connections.iter().position(|connection| connection.number == number)
        };
        if ready.writable
            && let Some(at) = find(self)
        {
            self.connections[at].flush();
        }
        // Found anew for each: an answer may change the list.
        while let Some(at) = find(self) {
            let Some(asked) = self.connections[at].request() else { return };
            let asker = Asker { connection: number, number: asked.number };
            let result = match asked.request {
                Some(request) => self.answer(request, asked.descriptor, asker, now),
                None => Some(Err(Error::not_implemented(
                    "the container was started by an older version that cannot do this; \
                     restart the container",
                ))),
            };
            if let Some(result) = result {
                self.deliver((asker, result));
            }
            // An end that came while the runtime waited for a child.
            self.reap(now);
        }
    }

    /// Reaps every child that has ended.
    pub(crate) fn reap(&mut self, now: Instant) {
        while let Ok(Some(_)) = self.signals.take() {}
        // Before its start the container's process is the runtime's to wait for.
        if matches!(self.state, State::Created(Waiting::Process(_))) {
            return;
        }
        // ECHILD: there are none at all.
        while let Ok(Some((pid, exit))) = sys::process::reap_any() {
            if pid == self.pid {
                match self.wall {
                    Wall::Process { .. } => self.container_ended(exit, now),
                    Wall::Machine(_) => self.machine_ended(exit, now),
                    Wall::Whole(_) => self.whole_ended(exit, now),
                }
            } else if matches!(self.wall, Wall::Machine(_)) {
                // A helper of the machine, or the compression of a log.
                self.streams.child_ended(pid);
            } else if let Some(exec) = self.execs.iter_mut().find(|exec| exec.pid == pid) {
                exec.end(exit, now);
            } else {
                // The compression of a log, or an orphan that came to us.
                self.streams.child_ended(pid);
            }
        }
    }
}
