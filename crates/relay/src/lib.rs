//! One end of the connection between a monitor and the agent in its virtual machine: the same for
//! both. It joins descriptors (pipes, terminals, sockets) to channels, and hands messages on.
//!
//! ```text
//!             ┌──────────── Link ────────────┐
//!  pipe ────► │ source ─┐          ┌─ source │ ◄──── pipe
//!             │         ├─ frames ─┤         │
//!  pipe ◄──── │ sink ───┘          └─── sink │ ────► pipe
//!             └──────────────────────────────┘
//! ```
//!
//! Nothing here waits: the owner polls what [`Link::register`] names, calls [`Link::ready`], and then
//! [`Link::next`] until there is nothing more: what stands behind a message is not looked at before
//! the message has been dealt with, for it may be about a channel that the message opens.
//!
//! What a link keeps is bounded: of each sink what the other side had credit for, and of what is to
//! be sent [`BACKLOG`] bytes of data. It never knows what a message means.

mod sink;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use proto::guest::frame::{self, MAX_DATA};
use proto::guest::{Channels, Decoder, Frame, Side, Violation, Way};
use serde::Serialize;
use sys::poll::{Interest, Poll, Ready};

use sink::Sink;

/// Sources are not read while so many bytes wait to be sent.
const BACKLOG: usize = 256 << 10;

/// Messages are never held back, so another side that reads nothing at all is given up at this.
const MAX_BACKLOG: usize = 64 << 20;

/// How much is read at once.
const PIECE: usize = 64 << 10;

/// Why a link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The other side has gone.
    #[error("the connection has ended")]
    Ended,
    /// The connection does not work.
    #[error("the connection does not work: {0}")]
    Io(#[from] io::Error),
    /// The other side does what it may not.
    #[error("the other side sent {0}")]
    Violation(#[from] Violation),
    /// The other side does not read.
    #[error("the other side does not read what it is sent")]
    Deaf,
}

/// Which of a link's descriptors something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The connection itself.
    Port,
    /// What is read for this channel.
    Source(u32),
    /// What is written from this channel.
    Sink(u32),
}

/// What came that is not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Vec<u8>),
    /// A question for a name or an answer.
    Name {
        /// The question's number.
        question: u32,
        /// A message of DNS.
        bytes: Vec<u8>,
    },
}

/// How a channel gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Changes when data move.
    pub moved: u64,
    /// It is for the other side to do something: whoever is at this end waits for that.
    pub theirs: bool,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Link {
    port: OwnedFd,
    /// Who we are.
    own: Side,
    decoder: Decoder,
    out: Vec<u8>,
    sent: usize,
    channels: Channels,
    sources: BTreeMap<u32, OwnedFd>,
    sinks: BTreeMap<u32, Sink>,
}

impl Link {
    /// Over this descriptor, which becomes non-blocking; `other` is who is at its other end.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn new(port: OwnedFd, other: Side) -> io::Result<Self> {
        sys::stream::set_nonblocking(&port)?;
        Ok(Self {
            port,
            own: other.other(),
            decoder: Decoder::new(other),
            out: Vec::new(),
            sent: 0,
            channels: Channels::default(),
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
        })
    }

    /// Takes bytes that were read from the connection before this had it.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When it is longer than the other side takes; then nothing is sent.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<(), proto::frame::FrameError> {
        frame::message(&mut self.out, self.own, message)
    }

    /// Sends a question for a name, or an answer.
    pub fn send_name(&mut self, question: u32, bytes: &[u8]) {
        frame::name(&mut self.out, question, bytes);
    }

    /// Sends what is read from a descriptor, to its end.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn draw(&mut self, channel: u32, source: OwnedFd) -> io::Result<()> {
        sys::stream::set_nonblocking(&source)?;
        self.channels.open(channel, Way::Out);
        self.sources.insert(channel, source);
        Ok(())
    }

    /// Writes what comes to a descriptor, which is closed after the end. SIGPIPE must be ignored.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn pour(&mut self, channel: u32, sink: OwnedFd) -> io::Result<()> {
        sys::stream::set_nonblocking(&sink)?;
        self.channels.open(channel, Way::In);
        self.sinks.insert(channel, Sink::new(sink));
        Ok(())
    }

    /// Gives up a channel of which the other side did not hear, or makes nothing.
    pub fn forget(&mut self, channel: u32) {
        self.channels.forget(channel);
        self.sources.remove(&channel);
        self.sinks.remove(&channel);
    }

    /// Whether a channel has not ended, or its last bytes have not been written.
    pub fn is_open(&self, channel: u32) -> bool {
        self.channels.is_open(channel)
            || self.sinks.contains_key(&channel)
            || self.sources.contains_key(&channel)
    }

    /// How a channel gets on.
    pub fn progress(&self, channel: u32) -> Progress {
        let theirs = match (self.sinks.get(&channel), self.sources.get(&channel)) {
            (Some(sink), _) => sink.is_clear(),
            (None, Some(_)) => self.channels.sendable(channel) == 0 || !self.is_clear(),
            (None, None) => true,
        };
        Progress { moved: self.channels.moved(channel), theirs }
    }

    /// Whether everything has been sent.
    pub fn is_clear(&self) -> bool {
        self.sent == self.out.len()
    }

    /// Whether nothing is on its way: no channel is open and everything has been sent.
    pub fn is_idle(&self) -> bool {
        self.is_clear() && self.sources.is_empty() && self.sinks.is_empty()
    }

    /// Names everything to wait for.
    pub fn register<T: Copy>(&self, poll: &mut Poll<T>, token: impl Fn(Part) -> T) {
        poll.add(token(Part::Port), &self.port, Interest { read: true, write: !self.is_clear() });
        if self.out.len() - self.sent < BACKLOG {
            for (channel, source) in &self.sources {
                if self.channels.sendable(*channel) > 0 {
                    poll.add(token(Part::Source(*channel)), source, Interest::READ);
                }
            }
        }
        for (channel, sink) in &self.sinks {
            if let Some(interest) = sink.interest() {
                poll.add(token(Part::Sink(*channel)), sink.fd(), interest);
            }
        }
    }

    /// Deals with something that has happened.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub fn ready(&mut self, part: Part, ready: Ready) -> Result<(), Broken> {
        match part {
            Part::Port => {
                if ready.readable || ready.gone {
                    self.read_port()?;
                }
            }
            Part::Source(channel) => self.read_source(channel),
            Part::Sink(channel) => self.write_sink(channel),
        }
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// As [`Link::ready`].
    pub fn flush(&mut self) -> Result<(), Broken> {
        while !self.is_clear() {
            let rest = self.out.get(self.sent..).unwrap_or_default();
            match sys::stream::write(&self.port, rest) {
                Ok(0) => return Err(Broken::Ended),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waiting = self.out.len() - self.sent;
                    if waiting > MAX_BACKLOG {
                        return Err(Broken::Deaf);
                    }
                    // What has gone is let go of in steps that are worth the copying.
                    if self.sent >= BACKLOG {
                        self.out.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(Broken::Ended);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.out.shrink_to(PIECE);
        self.sent = 0;
        Ok(())
    }

    fn read_port(&mut self) -> Result<(), Broken> {
        let mut buffer = Vec::with_capacity(PIECE);
        match sys::stream::read(&self.port, &mut buffer) {
            Ok(0) => Err(Broken::Ended),
            Ok(_) => {
                self.feed(&buffer);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Broken::Ended),
            Err(error) => Err(error.into()),
        }
    }

    /// Deals with the frames that have come, up to the next that is for the owner. To be called
    /// until there is none.
    ///
    /// # Errors
    /// As [`Link::ready`].
    #[allow(clippy::should_implement_trait, reason = "an iterator would borrow the link")]
    pub fn next(&mut self) -> Result<Option<Event>, Broken> {
        while let Some(frame) = self.decoder.next()? {
            match frame {
                Frame::Message(json) => return Ok(Some(Event::Message(json))),
                Frame::Name { question, bytes } => {
                    return Ok(Some(Event::Name { question, bytes }));
                }
                Frame::Data { channel, bytes } => {
                    if self.channels.received(channel, bytes.len())?
                        && let Some(sink) = self.sinks.get_mut(&channel)
                    {
                        sink.take(&bytes);
                        self.write_sink(channel);
                    }
                }
                Frame::Credit { channel, amount } => self.channels.credited(channel, amount)?,
                Frame::End { channel } => {
                    self.channels.ended(channel)?;
                    if let Some(sink) = self.sinks.get_mut(&channel) {
                        sink.end();
                        self.write_sink(channel);
                    }
                }
                Frame::Stop { channel } => {
                    if self.channels.stopped(channel)? {
                        self.end_source(channel);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads a source once.
    fn read_source(&mut self, channel: u32) {
        let Some(source) = self.sources.get(&channel) else { return };
        let room = self.channels.sendable(channel).min(MAX_DATA);
        if room == 0 {
            return;
        }
        let mut buffer = [0; MAX_DATA];
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        match sys::stream::read_into(source, buffer) {
            Ok(0) => self.end_source(channel),
            Ok(count) => {
                frame::data(&mut self.out, channel, buffer.get(..count).unwrap_or_default());
                self.channels.sent(channel, count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // EIO: the last holder of a terminal's slave has gone, and all was read.
            Err(_) => self.end_source(channel),
        }
    }

    fn end_source(&mut self, channel: u32) {
        self.sources.remove(&channel);
        if self.channels.finish(channel) {
            frame::end(&mut self.out, channel);
        }
    }

    fn write_sink(&mut self, channel: u32) {
        let Some(sink) = self.sinks.get_mut(&channel) else { return };
        let written = sink.flush();
        if let Some(amount) = self.channels.passed_on(channel, written.bytes) {
            frame::credit(&mut self.out, channel, amount);
        }
        if written.refused && self.channels.stop(channel) {
            frame::stop(&mut self.out, channel);
        }
        if written.refused || written.done {
            self.sinks.remove(&channel);
        }
    }
}

#[cfg(test)]
mod tests;
