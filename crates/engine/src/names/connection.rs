//! One connection to one resolver.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use network::{Asks, NameSockets};
use proto::frame;
use proto::launch::{Order, Resolve};
use proto::names::{ADDRESS, Change, Container, Hello, SOCKET, VERSION};
use rustix::net::Shutdown;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use sys::process::{pidfd_open, pidfd_signal};
use sys::stream::FrameReader;

use super::Known;
use crate::launcher::Launcher;
use crate::networks::network_namespace;

/// How long a resolver may take to read or to say something: it never waits for anybody.
const PATIENCE: Duration = Duration::from_secs(2);

const SIGKILL: i32 = 9;

/// A connection to a resolver that has said who it is.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    process: OwnedFd,
    /// The ids of the containers whose sockets it had when it began.
    listening: HashSet<String>,
}

/// The end of a connection, to be waited for.
#[derive(Debug)]
pub(crate) struct End(OwnedFd);

impl Connection {
    /// Connects to the resolver that is there.
    pub(super) fn existing(directory: &Path) -> Option<Self> {
        let socket = sys::stream::connect_in(directory, SOCKET).ok()?;
        match Self::greet(&socket) {
            Ok(hello) if hello.version == VERSION => Self::of(socket, hello).ok(),
            // Of another version, or it hangs: it is replaced.
            Ok(_) | Err(_) => {
                kill_peer(&socket);
                None
            }
        }
    }

    /// Has one started.
    pub(super) fn start(directory: &Path, launcher: &Launcher) -> io::Result<Self> {
        let (ours, theirs) = sys::stream::pair()?;
        let order = Order::Resolve(Resolve { directory: directory.to_owned() });
        launcher
            .order(&order, &[theirs.as_fd()])
            .map_err(|error| io::Error::other(error.message))?;
        drop(theirs);
        let hello = Self::greet(&ours)?;
        Self::of(ours, hello)
    }

    fn of(socket: OwnedFd, hello: Hello) -> io::Result<Self> {
        let process = pidfd_open(hello.pid)?;
        Ok(Self { socket, process, listening: hello.containers.into_iter().collect() })
    }

    fn greet(socket: &OwnedFd) -> io::Result<Hello> {
        set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
        set_socket_timeout(socket, Timeout::Send, Some(PATIENCE))?;
        let frame = FrameReader::new(frame::MAX_LEN, 0).read(socket)?;
        let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_slice(&frame.body)?)
    }

    /// Tells a change.
    pub(super) fn say(&self, change: &Change, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = frame::encode(change).map_err(io::Error::other)?;
        let mut rest = bytes.as_slice();
        let mut fds = fds;
        while !rest.is_empty() {
            let sent = sys::socket::send(&self.socket, rest, fds)?;
            rest = rest.get(sent..).unwrap_or_default();
            fds = &[];
        }
        Ok(())
    }

    /// Tells what there is to know of a container, with its sockets if it has not got them yet.
    pub(super) fn put(&self, known: &Known, sockets: bool) -> io::Result<()> {
        let (change, fds) = known.message(sockets);
        self.say(&change, &fds)
    }

    /// Tells a container's process.
    pub(super) fn watch(&self, id: &str, pid: i32) -> io::Result<()> {
        // ESRCH: it has just ended, and its removal is on its way.
        let Ok(process) = pidfd_open(pid) else { return Ok(()) };
        self.say(&Change::Watch { id: id.to_owned() }, &[process.as_fd()])
    }

    /// Tells which containers there are; it forgets the others.
    pub(super) fn retain(&mut self, known: &BTreeMap<String, Known>) -> io::Result<()> {
        self.listening.retain(|id| known.contains_key(id));
        self.say(&Change::Retain { ids: known.keys().cloned().collect() }, &[])
    }

    /// Tells all of all containers: first what each is called, and only then where they ask, or
    /// one that asks meanwhile would hear that there is nobody of a name that is told after it.
    pub(super) fn introduce_all(&self, known: &mut BTreeMap<String, Known>) -> io::Result<()> {
        for known in known.values() {
            self.put(known, false)?;
        }
        known.values_mut().try_for_each(|known| self.introduce(known))
    }

    /// Tells all of a container. Where neither the resolver nor we have sockets of it, new ones are
    /// made.
    pub(super) fn introduce(&self, known: &mut Known) -> io::Result<()> {
        let there = self.listening.contains(&known.container.id);
        if !there && known.sockets.is_none() && known.pid != 0 {
            match sockets(&known.container, known.pid) {
                Ok(sockets) => known.sockets = Some(sockets),
                // Most probably it has ended.
                Err(error) => tracing::warn!("{}: {}", known.container.id, error.message),
            }
        }
        self.put(known, true)?;
        if known.pid != 0 {
            self.watch(&known.container.id, known.pid)?;
        }
        Ok(())
    }

    /// Something to wait with for the resolver's end.
    pub(super) fn watch_end(&self) -> io::Result<End> {
        set_socket_timeout(&self.socket, Timeout::Recv, None)?;
        Ok(End(self.socket.try_clone()?))
    }

    /// Ends a resolver that does not listen.
    pub(super) fn end(&self) {
        // ESRCH: it has ended by itself. ENOTCONN: as well.
        let _ = pidfd_signal(&self.process, SIGKILL);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

impl End {
    /// Returns when the connection has ended.
    pub(super) fn wait(&self) {
        let mut byte = Vec::with_capacity(1);
        // It says nothing more.
        while sys::stream::read(&self.0, &mut byte).is_ok_and(|count| count > 0) {
            byte.clear();
        }
    }
}

/// Kills who listens at the other end.
fn kill_peer(socket: &OwnedFd) {
    let peer = socket_peercred(socket).ok().map(|peer| peer.pid.as_raw_nonzero().get());
    if let Some(process) = peer.and_then(|pid| pidfd_open(pid).ok()) {
        let _ = pidfd_signal(&process, SIGKILL);
    }
}

/// Makes the sockets of a container that runs.
pub(crate) fn sockets(container: &Container, pid: i32) -> Result<NameSockets, types::Error> {
    let netns = network_namespace(pid)?;
    network::name_sockets(netns.as_fd(), ADDRESS, asks(container)).map_err(crate::from_network)
}

/// From where its servers are asked.
pub(crate) fn asks(container: &Container) -> Asks {
    let inside = |ipv4: bool| {
        let mut servers = container.servers.iter().filter(|server| server.inside);
        servers.any(|server| matches!(server.address.ip(), IpAddr::V4(_)) == ipv4)
    };
    Asks { ipv4: inside(true), ipv6: inside(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_told_before_anybody_can_ask() {
        let (socket, theirs) = sys::stream::pair().unwrap();
        let process = pidfd_open(sys::process::getpid()).unwrap();
        let connection = Connection { socket, process, listening: HashSet::new() };
        let some = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut known = BTreeMap::new();
        for id in ["asker", "db"] {
            let container = Container { id: id.to_owned(), ..Container::default() };
            let (udp4, tcp4, udp6, tcp6) = (vec![], vec![], vec![], vec![]);
            let sockets = NameSockets { udp: some(), tcp: some(), udp4, tcp4, udp6, tcp6 };
            known.insert(id.to_owned(), Known { container, sockets: Some(sockets), pid: 0 });
        }
        connection.introduce_all(&mut known).unwrap();
        drop(connection);
        let mut reader = FrameReader::new(frame::MAX_LEN, 2);
        let mut heard = Vec::new();
        while let Some(frame) = reader.read(&theirs).unwrap() {
            let Change::Put(container) = serde_json::from_slice(&frame.body).unwrap() else {
                panic!("only containers are told of");
            };
            heard.push((container.id.clone(), frame.fds.len()));
        }
        let expected = [("asker", 0), ("db", 0), ("asker", 2), ("db", 2)];
        assert_eq!(heard, expected.map(|(id, fds)| (id.to_owned(), fds)));
    }
}
