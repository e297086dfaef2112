//! The daemon's connection: what there is to know comes in on it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use proto::names::{Change, Container, Hello, MAX_FDS, MAX_LEN, VERSION};
use sys::stream::{Frame, FrameReader};

use crate::client::Client;
use crate::events::{Source, Wish};
use crate::serve::Resolver;
use crate::slab::Key;

/// The connection to a daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: OwnedFd,
    reader: FrameReader,
}

/// How long a daemon may take to read our first words.
const PATIENCE: Duration = Duration::from_secs(2);

impl Resolver {
    /// Takes the connection of a daemon that was started after us.
    pub(crate) fn accept_daemon(&mut self) {
        // Whatever goes wrong with it: it sees its connection closed, and tries again.
        if let Ok(socket) = sys::socket::accept(&self.listener) {
            let _ = self.welcome(socket);
        }
    }

    /// Talks to this daemon from now on: the one before, if there was any, has ended.
    pub(crate) fn welcome(&mut self, socket: OwnedFd) -> io::Result<()> {
        if let Some(before) = self.daemon.take() {
            self.events.remove(&before.socket);
        }
        let containers = self.clients.iter().filter(|(_, client)| client.listening.is_some());
        let hello = Hello {
            version: VERSION,
            pid: sys::process::getpid(),
            containers: containers.map(|(_, client)| client.id.clone()).collect(),
        };
        let bytes = proto::frame::encode(&hello).map_err(io::Error::other)?;
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let sent = sys::socket::send(&socket, rest, &[])?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        sys::stream::set_nonblocking(&socket)?;
        self.events.add(&socket, Source::Daemon, Wish::Read)?;
        self.daemon = Some(Daemon { socket, reader: FrameReader::new(MAX_LEN, MAX_FDS) });
        Ok(())
    }

    /// Does what the daemon has said by now.
    pub(crate) fn listen_to_daemon(&mut self) {
        while let Some(daemon) = &mut self.daemon {
            match daemon.reader.read(&daemon.socket) {
                Ok(Some(frame)) => self.heed(frame),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has ended, or talks nonsense; the next one says everything again.
                Ok(None) | Err(_) => {
                    self.events.remove(&daemon.socket);
                    self.daemon = None;
                }
            }
        }
    }

    fn heed(&mut self, Frame { body, fds }: Frame) {
        // A change of the future that this version does not know: the daemon knows our version,
        // and will not rely on it.
        let Ok(change) = serde_json::from_slice::<Change>(&body) else { return };
        match change {
            Change::Put(container) => self.put(&container, fds),
            Change::Watch { id } => self.watch(&id, fds),
            Change::Remove { id } => {
                if let Some(key) = self.by_id.get(&id) {
                    self.forget(*key);
                }
            }
            Change::Retain { ids } => {
                let stays = |id: &String| ids.contains(id);
                let gone: Vec<Key> =
                    self.by_id.iter().filter(|(id, _)| !stays(id)).map(|(_, key)| *key).collect();
                for key in gone {
                    self.forget(key);
                }
            }
        }
    }

    fn put(&mut self, container: &Container, fds: Vec<OwnedFd>) {
        self.zones.put(container);
        let key = match self.by_id.get(&container.id) {
            Some(key) => *key,
            None => {
                let key = self.clients.insert(Client::default());
                self.by_id.insert(container.id.clone(), key);
                key
            }
        };
        if let Some(client) = self.clients.get_mut(key) {
            client.learn(container);
        }
        let Some(counts) = container.descriptors.filter(|counts| counts.count() == fds.len())
        else {
            return;
        };
        self.disarm(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.equip(counts, fds);
        if let Some(listening) = &client.listening {
            // It cannot fail but for want of memory; the container then asks in vain.
            let _ = self.events.add(&listening.datagrams, Source::Datagrams(key), Wish::Read);
            let _ = self.events.add(&listening.connections, Source::Connections(key), Wish::Read);
        }
    }

    fn watch(&mut self, id: &str, fds: Vec<OwnedFd>) {
        let Some(key) = self.by_id.get(id).copied() else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        let before = std::mem::replace(&mut client.process, fds.into_iter().next());
        if let Some(before) = before {
            self.events.remove(&before);
        }
        if let Some(process) = &client.process {
            let _ = self.events.add(process, Source::Process(key), Wish::Read);
        }
    }
}
