//! The loop: what containers ask is answered, turn by turn.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags};

use crate::answer::{Manner, Outcome, answer, failed};
use crate::client::Client;
use crate::daemon::Daemon;
use crate::events::{Events, Source, Wish};
use crate::flight::{Flight, Origin};
use crate::random::Random;
use crate::slab::{Key, Slab};
use crate::stream::{Step, Stream};
use crate::wire::{MAX_QUERY, Query};
use crate::zones::Zones;

/// Questions of one source that are answered before others have their turn.
const TURN: usize = 32;
/// Connections that a container may have; the oldest goes when there is one more.
const STREAMS: usize = 16;
/// Room for the longest answer of a server.
const ROOM: usize = 64 << 10;

/// The state of the resolver.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) events: Events,
    pub(crate) listener: OwnedFd,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) zones: Zones,
    pub(crate) clients: Slab<Client>,
    pub(crate) by_id: HashMap<String, Key>,
    pub(crate) streams: Slab<Stream>,
    pub(crate) flights: Slab<Flight>,
    pub(crate) random: Random,
    pub(crate) buffer: Vec<u8>,
    /// Connections that have more to say than one turn allows.
    again: Vec<Key>,
}

impl Resolver {
    /// Listens for daemons; the first one is there already.
    pub(crate) fn new(listener: OwnedFd, daemon: OwnedFd) -> io::Result<Self> {
        let events = Events::new()?;
        events.add(&listener, Source::Listener, Wish::Read)?;
        let mut resolver = Self {
            events,
            listener,
            daemon: None,
            zones: Zones::default(),
            clients: Slab::default(),
            by_id: HashMap::new(),
            streams: Slab::default(),
            flights: Slab::default(),
            random: Random::default(),
            buffer: Vec::with_capacity(ROOM),
            again: Vec::new(),
        };
        resolver.welcome(daemon)?;
        Ok(resolver)
    }

    /// Works until nobody needs it any more.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut told = Vec::new();
        while self.daemon.is_some() || !self.by_id.is_empty() {
            told.clear();
            let limit = if self.again.is_empty() { self.patience() } else { Some(Duration::ZERO) };
            self.events.wait(limit, &mut told)?;
            // What the daemon has said before a question was asked is heeded in its answer.
            self.listen_to_daemon();
            for source in told.drain(..) {
                self.happened(source);
            }
            for key in std::mem::take(&mut self.again) {
                self.go_on_with(key);
            }
            self.expire();
        }
        Ok(())
    }

    fn happened(&mut self, source: Source) {
        match source {
            Source::Listener => self.accept_daemon(),
            Source::Daemon => {}
            Source::Datagrams(key) => self.take_datagrams(key),
            Source::Connections(key) => self.take_connections(key),
            Source::Process(key) => self.forget(key),
            Source::Stream(key) => self.go_on_with(key),
            Source::Flight(key) => self.go_on_flying(key),
        }
    }

    /// How long nothing can become due.
    fn patience(&self) -> Option<Duration> {
        let flights = self.flights.iter().map(|(_, flight)| flight.deadline);
        let streams = self.streams.iter().map(|(_, stream)| stream.deadline);
        let next = flights.chain(streams).min()?;
        // A little later, so that it is due then whatever the timer's grain is.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn expire(&mut self) {
        if self.flights.len() + self.streams.len() == 0 {
            return;
        }
        let now = Instant::now();
        let late = |deadline: Instant| deadline <= now;
        let flights: Vec<Key> =
            self.flights.iter().filter(|(_, f)| late(f.deadline)).map(|(key, _)| key).collect();
        for key in flights {
            self.flight_failed(key);
        }
        let streams: Vec<Key> =
            self.streams.iter().filter(|(_, s)| late(s.deadline)).map(|(key, _)| key).collect();
        for key in streams {
            self.close(key);
        }
    }

    fn take_datagrams(&mut self, key: Key) {
        let mut query = [0; MAX_QUERY + 1];
        for _ in 0..TURN {
            let Some(client) = self.clients.get(key) else { return };
            let Some(listening) = &client.listening else { return };
            let received =
                rustix::net::recvfrom(&listening.datagrams, &mut query[..], RecvFlags::DONTWAIT);
            match received {
                Ok((_, length, Some(from))) => {
                    let Ok(from) = SocketAddr::try_from(from) else { continue };
                    self.ask(key, Origin::Datagram(from), &query[..length]);
                }
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // Somebody has gone before the reply came (ECONNREFUSED), which is told once.
                Err(_) => {}
            }
        }
    }

    fn take_connections(&mut self, key: Key) {
        for _ in 0..TURN {
            let Some(client) = self.clients.get(key) else { return };
            let Some(listening) = &client.listening else { return };
            let Ok(socket) = sys::stream::accept(&listening.connections) else { return };
            let oldest = if client.streams.len() < STREAMS { None } else { client.streams.front() };
            if let Some(oldest) = oldest.copied() {
                self.close(oldest);
            }
            let stream = self.streams.insert(Stream::new(key, socket));
            if let Some(client) = self.clients.get_mut(key) {
                client.streams.push_back(stream);
            }
            let added = self
                .streams
                .get(stream)
                .map(|there| self.events.add(&there.socket, Source::Stream(stream), Wish::Read));
            if !matches!(added, Some(Ok(()))) {
                self.close(stream);
            }
        }
    }

    /// Goes on with a connection.
    pub(crate) fn go_on_with(&mut self, key: Key) {
        for _ in 0..TURN {
            let Some(stream) = self.streams.get_mut(key) else { return };
            match stream.go_on() {
                Step::Close => return self.close(key),
                Step::Query(query) => {
                    let client = stream.client;
                    self.ask(client, Origin::Stream(key), &query);
                }
                Step::Wait(wish) => {
                    if stream.wish != wish {
                        stream.wish = wish;
                        if self.events.change(&stream.socket, Source::Stream(key), wish).is_err() {
                            self.close(key);
                        }
                    }
                    return;
                }
            }
        }
        self.again.push(key);
    }

    /// Closes a connection.
    pub(crate) fn close(&mut self, key: Key) {
        if let Some(stream) = self.streams.remove(key) {
            self.events.remove(&stream.socket);
            if let Some(client) = self.clients.get_mut(stream.client) {
                client.streams.retain(|other| *other != key);
            }
        }
    }

    /// Answers a query or has it answered.
    fn ask(&mut self, key: Key, origin: Origin, bytes: &[u8]) {
        let Some(client) = self.clients.get(key) else { return };
        let manner = Manner {
            datagram: matches!(origin, Origin::Datagram(_)),
            forwards: client.forwards && !client.servers.is_empty(),
            keeps_short: client.keeps_short,
        };
        let turn = u32::from(self.random.next());
        match answer(&self.zones, &client.id, manner, bytes, turn) {
            Outcome::Silence => {
                if let Origin::Stream(stream) = origin {
                    self.close(stream);
                }
            }
            Outcome::Reply(reply) => self.reply(key, origin, &reply),
            Outcome::Forward => {
                if !self.forward(key, origin, bytes)
                    && let Ok(query) = Query::read(bytes)
                {
                    self.reply(key, origin, &failed(&query));
                }
            }
        }
    }

    /// Sends a reply. Who asked on a connection is gone on with by the caller.
    pub(crate) fn reply(&mut self, key: Key, origin: Origin, reply: &[u8]) {
        match origin {
            Origin::Stream(stream) => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.reply(reply);
                }
            }
            Origin::Datagram(to) => {
                let listening = self.clients.get(key).and_then(|client| client.listening.as_ref());
                if let Some(listening) = listening {
                    // Who does not read loses replies, as with every server.
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    let _ = rustix::net::sendto(&listening.datagrams, reply, flags, &to);
                }
            }
        }
    }

    /// Forgets a container and everything of it.
    pub(crate) fn forget(&mut self, key: Key) {
        self.disarm(key);
        if let Some(client) = self.clients.remove(key) {
            if let Some(process) = &client.process {
                self.events.remove(process.as_fd());
            }
            self.zones.remove(&client.id);
            self.by_id.remove(&client.id);
        }
    }

    /// Lets go of a container's sockets and of all that is under way for it.
    pub(crate) fn disarm(&mut self, key: Key) {
        let flights: Vec<Key> =
            self.flights.iter().filter(|(_, f)| f.client == key).map(|(key, _)| key).collect();
        for flight in flights {
            if let Some(flight) = self.flights.remove(flight)
                && let Some(asking) = &flight.asked
            {
                self.events.remove(&asking.socket);
            }
        }
        let streams = self.clients.get(key).map(|client| client.streams.clone());
        for stream in streams.unwrap_or_default() {
            self.close(stream);
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.flights = 0;
            client.waiting.clear();
            if let Some(listening) = client.listening.take() {
                self.events.remove(&listening.datagrams);
                self.events.remove(&listening.connections);
            }
        }
    }
}
