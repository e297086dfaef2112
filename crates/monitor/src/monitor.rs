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

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;
use proto::control::{ExitRecord, FromMonitor, Notice};
use proto::frame;
use proto::launch::Launch;
use runtime::Created;
use runtime::cgroup::{Cgroup, OomEvent};
use sys::poll::{Interest, Poll, Ready};
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
use crate::streams::{Part, Streams};
use crate::wall::Wall;

/// A created container that nobody starts while nobody is connected is given up after this.
const ALONE: Duration = Duration::from_secs(30);

/// Memory for reading output is given back when nothing was read for so long.
const IDLE: Duration = Duration::from_secs(1);

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

/// What something has happened to.
#[derive(Clone, Copy, Debug)]
enum Token {
    Signal,
    Listener,
    Oom,
    Connection(u32),
    Guest(relay::Part),
    Question(u32),
    Console,
    Notices,
    Container(Part),
    Exec(u32, Part),
    Lingering(u32),
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

    /// Waits and acts until the end.
    fn live(&mut self) {
        let mut ready = Vec::new();
        self.trim_soon(Instant::now());
        loop {
            self.advance(Instant::now());
            if matches!(self.state, State::End) {
                return;
            }
            let mut poll = std::mem::take(&mut self.poll);
            self.flush_guest();
            poll.clear();
            self.register(&mut poll);
            let limit =
                self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // ENOMEM is all that can come; then turns are made blindly, but not in a rush.
            if poll.wait(limit, &mut ready).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
            self.poll = poll;
            let now = Instant::now();
            for (token, what) in ready.drain(..) {
                self.happen(token, what, now);
            }
        }
    }

    /// Names everything to wait for.
    fn register(&self, poll: &mut Poll<Token>) {
        poll.add(Token::Signal, &self.signals, Interest::READ);
        if let Some(listener) = &self.listener {
            poll.add(Token::Listener, listener, Interest::READ);
        }
        if let Some(oom) = &self.oom {
            poll.add(Token::Oom, oom, Interest::READ);
        }
        if let Wall::Machine(guest) = &self.wall {
            guest.register(poll, Token::Guest, Token::Question, Token::Console);
        }
        if let Wall::Whole(whole) = &self.wall {
            whole.register(poll, Token::Notices, Token::Question);
        }
        for connection in &self.connections {
            let interest = Interest { read: true, write: connection.is_waiting() };
            poll.add(Token::Connection(connection.number), connection.fd(), interest);
        }
        self.streams.register(poll, Token::Container);
        for exec in &self.execs {
            exec.streams.register(poll, |part| Token::Exec(exec.number, part));
        }
        for client in &self.lingering {
            if let Some(interest) = client.interest(false) {
                poll.add(Token::Lingering(client.number), client.fd(), interest);
            }
        }
    }

    /// When to look again although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let execs = self.execs.iter();
        let drains = execs.clone().filter_map(|exec| exec.drain(now).ok().flatten());
        let clients = execs.filter_map(|exec| exec.streams.deadline());
        let alone = match self.state {
            State::Created(_) => self.alone.map(|since| since + ALONE),
            _ => None,
        };
        drains
            .chain(clients)
            .chain(self.streams.deadline())
            .chain(alone)
            .chain(self.idle_at)
            .chain(self.trim_at)
            .chain(self.doubts.deadline())
            .chain(self.guest_deadline())
            .chain(self.losses_deadline())
            .chain(self.end_deadline(now))
            .min()
    }

    /// Does what time or the state of things asks for.
    fn advance(&mut self, now: Instant) {
        self.connections.retain(|connection| !connection.is_broken());
        self.alone = if self.connections.is_empty() { self.alone.or(Some(now)) } else { None };
        self.resolve_doubts(now);
        self.expire_guest(now);
        self.streams.expire(now);
        for exec in &mut self.execs {
            exec.streams.expire(now);
        }
        self.lingering.retain(|client| !client.is_clear());
        self.end_execs(now);
        self.tell_losses(now);
        self.proceed_to_end(now);
        let given_up = self.abandoned || self.alone.is_some_and(|since| now >= since + ALONE);
        if given_up && matches!(self.state, State::Created(_)) {
            self.abandon();
        }
        if self.idle_at.take_if(|at| now >= *at).is_some() {
            self.scratch.release();
            self.streams.release();
            self.trim_at = Some(now);
        }
        if self.trim_at.take_if(|at| now >= *at).is_some() {
            sys::memory::trim();
            sys::memory::trim_stack();
        }
    }

    fn happen(&mut self, token: Token, ready: Ready, now: Instant) {
        match token {
            Token::Signal => self.reap(now),
            Token::Listener => self.accept(),
            Token::Oom => {
                if let Some(oom) = &self.oom {
                    oom.drain();
                }
                self.look_for_oom(now, 0);
            }
            Token::Connection(number) => self.serve(number, ready, now),
            Token::Guest(part) => self.guest_ready(part, ready, now),
            Token::Question(number) => self.question_ready(number),
            Token::Console => {
                if let Wall::Machine(guest) = &mut self.wall {
                    guest.listen();
                }
            }
            Token::Notices => {
                if let Wall::Whole(whole) = &mut self.wall {
                    whole.listen(now);
                }
            }
            Token::Container(part) => {
                self.streams.ready(part, ready, &mut self.scratch, now);
            }
            Token::Exec(number, part) => {
                let exec = self.execs.iter_mut().find(|exec| exec.number == number);
                if let Some(exec) = exec {
                    exec.streams.ready(part, ready, &mut self.scratch, now);
                }
            }
            Token::Lingering(number) => {
                for client in self.lingering.iter_mut().filter(|c| c.number == number) {
                    client.write_ready(ready, now);
                }
            }
        }
        if self.scratch.is_held() {
            self.idle_at = Some(now + IDLE);
        }
    }

    /// Has memory that is free now given back soon.
    pub(crate) fn trim_soon(&mut self, now: Instant) {
        self.trim_at.get_or_insert(now + IDLE);
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
