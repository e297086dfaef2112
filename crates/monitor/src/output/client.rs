//! One attached client: a stream socket that output is copied to and input comes from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use proto::control::Attach;
use proto::log::Stream;
use sys::poll::{Interest, Ready};

use super::flow::Flow;

/// Docker's frame head: the stream's number, three zeroes, the length in network order.
const HEAD: usize = 8;

fn head(stream: Stream, length: usize) -> [u8; HEAD] {
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    // What is read at once is far below 4 GiB.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [number, 0, 0, 0, a, b, c, d]
}

/// An attached client.
#[derive(Debug)]
pub(crate) struct Client {
    /// By which its events find it.
    pub(crate) number: u32,
    socket: OwnedFd,
    wants: Attach,
    /// With a terminal there are no frames.
    raw: bool,
    flow: Flow,
    /// What could not be sent yet, from `sent` on.
    backlog: Vec<u8>,
    sent: usize,
    /// Where in the backlog the first whole frame begins; what lies before is the rest of one.
    boundary: usize,
    /// It writes no more, or what it writes is of no interest any more.
    input_ended: bool,
    /// It reads no more.
    output_ended: bool,
}

/// What came from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// It has closed its side.
    Ended,
}

impl Client {
    pub(crate) fn new(number: u32, socket: OwnedFd, wants: Attach, raw: bool) -> Self {
        Self {
            number,
            socket,
            wants,
            raw,
            flow: Flow::Clear,
            backlog: Vec::new(),
            sent: 0,
            boundary: 0,
            input_ended: false,
            output_ended: false,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether what it writes is meant for the process.
    pub(crate) fn has_input(&self) -> bool {
        self.wants.stdin && !self.input_ended
    }

    /// What to wait for, if for anything; `stdin_free` says that the process's standard input has
    /// room. A client that has gone but whose input is still wanted is not waited for before there
    /// is room: it would be reported again and again.
    pub(crate) fn interest(&self, stdin_free: bool) -> Option<Interest> {
        let read = !self.input_ended && (!self.wants.stdin || stdin_free);
        let write = !self.output_ended && self.flow != Flow::Clear;
        if self.output_ended && !read { None } else { Some(Interest { read, write }) }
    }

    /// Whether there is nothing more to be done for it.
    pub(crate) fn is_finished(&self) -> bool {
        self.output_ended && (self.input_ended || !self.wants.stdin)
    }

    /// Whether it holds up the output of its process.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.flow, Flow::Waiting(_))
    }

    /// Bytes that wait to be sent.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.len() - self.sent
    }

    /// Whether all that it was sent is on its way.
    pub(crate) fn is_clear(&self) -> bool {
        self.output_ended || self.backlog() == 0
    }

    pub(crate) fn deadline(&self, patience: Option<Duration>) -> Option<Instant> {
        self.flow.deadline(patience)
    }

    /// Sends output. Returns how many bytes of it were dropped.
    pub(crate) fn offer(&mut self, stream: Stream, bytes: &[u8], now: Instant) -> usize {
        let wanted = match stream {
            Stream::Stdout => self.wants.stdout,
            Stream::Stderr => self.wants.stderr,
        };
        if !wanted || self.output_ended || bytes.is_empty() {
            return 0;
        }
        if self.flow == Flow::Skipping {
            return bytes.len();
        }
        let head = head(stream, bytes.len());
        let mut head = if self.raw { &[][..] } else { &head[..] };
        let mut body = bytes;
        let started = self.flow == Flow::Clear;
        while self.flow == Flow::Clear && !(head.is_empty() && body.is_empty()) {
            match sys::stream::send_now(&self.socket, head, body) {
                Ok(count) => {
                    let of_head = count.min(head.len());
                    head = &head[of_head..];
                    body = &body[count - of_head..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flow = Flow::Waiting(now);
                }
                Err(_) => {
                    self.end_output();
                    return 0;
                }
            }
        }
        if self.flow != Flow::Clear {
            self.backlog.extend_from_slice(head);
            self.backlog.extend_from_slice(body);
            let begun = self.raw || head.len() < HEAD;
            if started && begun {
                self.boundary = self.backlog.len();
            }
        }
        0
    }

    /// Sends what waits, as far as there is room.
    fn flush(&mut self, now: Instant) {
        loop {
            let rest = self.backlog.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match sys::stream::send_now(&self.socket, &[], rest) {
                Ok(count) => {
                    self.sent += count;
                    let left = self.backlog.len() - self.sent;
                    self.flow = self.flow.progressed(left, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.end_output(),
            }
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.backlog = Vec::new();
        (self.sent, self.boundary) = (0, 0);
        self.flow = Flow::Clear;
    }

    /// Drops the backlog if the patience with this client is over; returns how many bytes of
    /// output that were. The rest of a frame that has begun stays.
    pub(crate) fn expire(&mut self, patience: Option<Duration>, now: Instant) -> usize {
        if !self.flow.expired(patience, now) {
            return 0;
        }
        self.flow = Flow::Skipping;
        let keep = if self.raw {
            self.sent
        } else {
            first_boundary(&self.backlog, self.boundary, self.sent)
        };
        let dropped =
            if self.raw { self.backlog.len() - keep } else { payload(&self.backlog[keep..]) };
        self.backlog.truncate(keep);
        dropped
    }

    /// Deals with room for output; input is read through [`Client::read`].
    pub(crate) fn write_ready(&mut self, ready: Ready, now: Instant) {
        if ready.writable && !self.output_ended {
            self.flush(now);
        }
        if ready.gone {
            self.end_output();
            if !self.wants.stdin {
                self.input_ended = true;
            }
        }
    }

    /// Reads input.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>) -> Fed {
        if self.input_ended {
            return Fed::Nothing;
        }
        match sys::stream::receive_now(&self.socket, buffer) {
            Ok(0) => {}
            Ok(count) => return Fed::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fed::Nothing,
            Err(_) => self.end_output(),
        }
        self.input_ended = true;
        Fed::Ended
    }

    /// Sends nothing more.
    fn end_output(&mut self) {
        self.clear();
        self.output_ended = true;
    }

    /// Takes no more input: its process has ended.
    pub(crate) fn end_input(&mut self) {
        self.input_ended = true;
    }
}

/// The first beginning of a frame at or behind `sent`, found from a known one.
fn first_boundary(backlog: &[u8], mut boundary: usize, sent: usize) -> usize {
    while boundary < sent {
        boundary += frame_length(&backlog[boundary..]);
    }
    boundary.min(backlog.len())
}

/// Bytes of output in whole frames.
fn payload(mut frames: &[u8]) -> usize {
    let mut total = 0;
    while !frames.is_empty() {
        let length = frame_length(frames).min(frames.len());
        total += length.saturating_sub(HEAD);
        frames = &frames[length..];
    }
    total
}

fn frame_length(frame: &[u8]) -> usize {
    let length = frame.get(4..HEAD).and_then(|bytes| bytes.first_chunk());
    HEAD + length.map_or(0, |length| u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests;
