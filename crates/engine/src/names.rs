//! The way to the resolver, the process that answers containers' questions for names: it is
//! started when it is first needed, told what there is to know, and started again when it ends.
//!
//! ```text
//!  put, watch, remove ─► known ─► connection ─► resolver
//!                          │           ▲
//!  keeper (a thread) ──────┴─ all ─────┘  connects; waits for the end; connects again
//! ```
//!
//! What is known here can be sent as a whole at any time, the sockets inside the containers
//! included: as long as the daemon has copies of them, no question is lost when a resolver ends.

pub(crate) mod connection;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use network::NameSockets;
use proto::names::{Change, Container, Descriptors};

use crate::launcher::Launcher;
use connection::Connection;

/// How long to wait before trying again when no resolver can be had.
const PAUSE: Duration = Duration::from_millis(500);

/// The way to the resolver.
#[derive(Debug)]
pub(crate) struct Names {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    launcher: Arc<Launcher>,
    /// The exec root.
    directory: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The containers that ask, by id.
    known: BTreeMap<String, Known>,
    connection: Option<Connection>,
    /// A resolver that an earlier daemon has left has been looked for.
    looked: bool,
    /// All containers that run are known: the resolver may forget others.
    settled: bool,
    keeper: bool,
}

/// A container that asks.
#[derive(Debug)]
struct Known {
    container: Container,
    /// Copies of what the resolver has; none when an earlier daemon made them.
    sockets: Option<NameSockets>,
    /// Its first process; 0 before there is one.
    pid: i32,
}

impl Names {
    pub(crate) fn new(launcher: Arc<Launcher>, directory: PathBuf) -> Self {
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { launcher, directory, state, wake: Condvar::new() }) }
    }

    /// Whether a container asks here.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.shared.lock().known.contains_key(id)
    }

    /// Tells what there is to know of a container that runs, or is about to. Without sockets those
    /// it has stay in use.
    pub(crate) fn put(&self, container: Container, sockets: Option<NameSockets>, pid: i32) {
        let mut state = self.shared.lock();
        let id = container.id.clone();
        let (sockets, pid, fresh) = match (sockets, state.known.remove(&id)) {
            (None, Some(before)) => (before.sockets, before.pid.max(pid), false),
            (sockets, _) => (sockets, pid, true),
        };
        state.known.insert(id.clone(), Known { container, sockets, pid });
        state.tell(|connection, known| match known.get_mut(&id) {
            Some(known) if fresh => connection.introduce(known),
            Some(known) => connection.put(known, false),
            None => Ok(()),
        });
        self.shared.keep(&mut state);
    }

    /// Tells a container's first process, with which its names go.
    pub(crate) fn watch(&self, id: &str, pid: i32) {
        let mut state = self.shared.lock();
        let Some(known) = state.known.get_mut(id) else { return };
        known.pid = pid;
        state.tell(|connection, _| connection.watch(id, pid));
    }

    /// A container does not run any more.
    pub(crate) fn remove(&self, id: &str) {
        let mut state = self.shared.lock();
        if state.known.remove(id).is_some() {
            let change = Change::Remove { id: id.to_owned() };
            state.tell(|connection, _| connection.say(&change, &[]));
        }
    }

    /// All containers that run are known now: a resolver of an earlier daemon may forget others.
    pub(crate) fn settle(&self) {
        let mut state = self.shared.lock();
        state.settled = true;
        let left = self.shared.directory.join(proto::names::SOCKET).exists();
        if !state.known.is_empty() || left {
            state.tell(|connection, known| connection.retain(known));
            self.shared.keep(&mut state);
        }
    }
}

impl State {
    /// Says something, if there is anybody to hear it; who comes later hears everything.
    fn tell(
        &mut self,
        say: impl FnOnce(&mut Connection, &mut BTreeMap<String, Known>) -> std::io::Result<()>,
    ) {
        let Some(connection) = &mut self.connection else { return };
        if let Err(error) = say(connection, &mut self.known) {
            tracing::error!("the resolver does not listen and is started again: {error}");
            connection.end();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        crate::lock(&self.state)
    }

    /// Sees to it that somebody keeps a resolver running.
    fn keep(self: &Arc<Self>, state: &mut State) {
        if state.keeper {
            self.wake.notify_all();
            return;
        }
        let shared = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("names".to_owned()).stack_size(256 << 10);
        match thread.spawn(move || {
            while let Some(shared) = shared.upgrade() {
                shared.keep_one();
            }
        }) {
            Ok(_) => state.keeper = true,
            Err(error) => tracing::error!("names of containers are not answered: {error}"),
        }
    }

    fn tell_all(&self, mut connection: Connection) -> std::io::Result<connection::End> {
        let mut state = self.lock();
        connection.introduce_all(&mut state.known)?;
        if state.settled {
            connection.retain(&state.known)?;
        }
        let end = connection.watch_end()?;
        state.connection = Some(connection);
        Ok(end)
    }

    /// Connects to a resolver, tells it everything, and returns when the connection has ended.
    fn keep_one(self: &Arc<Self>) {
        let mut state = self.lock();
        // Without anybody who asks, only one that is there already is worth talking to.
        let needed = !state.known.is_empty();
        let looked = std::mem::replace(&mut state.looked, true);
        // A new one that is told of some containers only would say that there are no others.
        let settled = state.settled;
        if looked && !(needed && settled) {
            drop(self.wake.wait(state).unwrap_or_else(PoisonError::into_inner));
            return;
        }
        drop(state);
        let opened = match Connection::existing(&self.directory) {
            Some(connection) => Ok(connection),
            None if needed && settled => Connection::start(&self.directory, &self.launcher),
            None => return,
        };
        match opened.and_then(|connection| self.tell_all(connection)) {
            Ok(end) => {
                end.wait();
                self.lock().connection = None;
            }
            Err(error) => {
                tracing::error!("the resolver cannot be started, and will be tried again: {error}");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl Known {
    /// The message and what goes along.
    fn message(&self, sockets: bool) -> (Change, Vec<std::os::fd::BorrowedFd<'_>>) {
        let mut container = self.container.clone();
        let mut fds = Vec::new();
        if let Some(own) = self.sockets.as_ref().filter(|_| sockets) {
            container.descriptors = Some(Descriptors {
                udp4: own.udp4.len(),
                tcp4: own.tcp4.len(),
                udp6: own.udp6.len(),
                tcp6: own.tcp6.len(),
            });
            fds.extend([own.udp.as_fd(), own.tcp.as_fd()]);
            for more in [&own.udp4, &own.tcp4, &own.udp6, &own.tcp6] {
                fds.extend(more.iter().map(AsFd::as_fd));
            }
        }
        (Change::Put(Box::new(container)), fds)
    }
}
