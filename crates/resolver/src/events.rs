//! Waiting for hundreds of descriptors, each with what it is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::slab::Key;

/// What something has happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Where daemons connect.
    Listener,
    /// The daemon's connection.
    Daemon,
    /// Datagrams of a container.
    Datagrams(Key),
    /// Connections of a container.
    Connections(Key),
    /// A container's process has ended.
    Process(Key),
    /// A connection from a container.
    Stream(Key),
    /// A question on its way to a name server.
    Flight(Key),
}

impl Source {
    fn pack(self) -> u64 {
        let (kind, bits) = match self {
            Source::Listener => (0, 0),
            Source::Daemon => (1, 0),
            Source::Datagrams(key) => (2, key.pack()),
            Source::Connections(key) => (3, key.pack()),
            Source::Process(key) => (4, key.pack()),
            Source::Stream(key) => (5, key.pack()),
            Source::Flight(key) => (6, key.pack()),
        };
        kind << 56 | bits
    }

    fn unpack(bits: u64) -> Self {
        let key = Key::unpack(bits);
        match bits >> 56 {
            0 => Source::Listener,
            1 => Source::Daemon,
            2 => Source::Datagrams(key),
            3 => Source::Connections(key),
            4 => Source::Process(key),
            5 => Source::Stream(key),
            _ => Source::Flight(key),
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Read,
    Write,
    /// Only that it breaks, which is always told.
    Nothing,
}

impl Wish {
    fn flags(self) -> EventFlags {
        match self {
            Wish::Read => EventFlags::IN,
            Wish::Write => EventFlags::OUT,
            Wish::Nothing => EventFlags::empty(),
        }
    }
}

/// Everything that is waited for.
///
/// Who closes a descriptor takes it out first: of sockets that came from the daemon it has copies,
/// and as long as there is one the kernel would go on telling about it.
#[derive(Debug)]
pub(crate) struct Events {
    epoll: OwnedFd,
}

/// How many things are told at once.
const TURN: usize = 64;

impl Events {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(crate) fn add(&self, fd: impl AsFd, source: Source, wish: Wish) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(source.pack()), wish.flags())?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, source: Source, wish: Wish) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(source.pack()), wish.flags())?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // ENOENT: it was not waited for.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something happens or the time is over.
    pub(crate) fn wait(&self, limit: Option<Duration>, out: &mut Vec<Source>) -> io::Result<()> {
        let limit = limit.and_then(|limit| rustix::time::Timespec::try_from(limit).ok());
        let mut events: Vec<Event> = Vec::with_capacity(TURN);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), limit.as_ref())
        {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        out.extend(events.iter().map(|event| {
            // The record is packed on some machines: no reference to a field can be taken.
            let data = event.data;
            Source::unpack(data.u64())
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_comes_back_as_it_was() {
        let mut slab = crate::slab::Slab::default();
        slab.insert(());
        let key = slab.insert(());
        for source in [Source::Listener, Source::Daemon, Source::Stream(key), Source::Flight(key)] {
            assert_eq!(Source::unpack(source.pack()), source);
        }
    }

    #[test]
    fn what_happens_is_told() {
        let events = Events::new().expect("epoll");
        let (reader, writer) = sys::stream::pipe().expect("a pipe");
        events.add(&reader, Source::Daemon, Wish::Read).expect("added");
        let mut told = Vec::new();
        events.wait(Some(Duration::ZERO), &mut told).expect("waits");
        assert!(told.is_empty());
        sys::stream::write(&writer, b"x").expect("written");
        events.wait(None, &mut told).expect("waits");
        assert_eq!(told, [Source::Daemon]);
    }
}
