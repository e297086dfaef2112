//! A connection from a container: queries come in, each with its length in front, and are answered
//! one after another.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::events::Wish;
use crate::slab::Key;
use crate::wire::MAX_QUERY;

/// How long a connection may be quiet.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much is read at once.
const STEP: usize = 512;

/// A connection from a container.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) client: Key,
    pub(crate) socket: OwnedFd,
    /// What it waits for now.
    pub(crate) wish: Wish,
    pub(crate) deadline: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// A name server has its question: nothing more is read until it has been answered, so that a
    /// client that does not read cannot make us keep its answers.
    busy: bool,
}

/// What is to be done with a connection next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for this.
    Wait(Wish),
    /// Answer this query.
    Query(Vec<u8>),
    /// Close it.
    Close,
}

impl Stream {
    pub(crate) fn new(client: Key, socket: OwnedFd) -> Self {
        Self {
            client,
            socket,
            wish: Wish::Read,
            deadline: Instant::now() + PATIENCE,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            busy: false,
        }
    }

    /// A name server is asked.
    pub(crate) fn wait_for_answer(&mut self) {
        self.busy = true;
        // The flight has its own limits.
        self.deadline = Instant::now() + PATIENCE * 2;
    }

    /// Takes a reply to be sent.
    pub(crate) fn reply(&mut self, reply: &[u8]) {
        self.busy = false;
        self.deadline = Instant::now() + PATIENCE;
        let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
        self.output.extend(length.to_be_bytes());
        self.output.extend_from_slice(&reply[..usize::from(length)]);
    }

    /// Goes on as far as it goes without waiting.
    pub(crate) fn go_on(&mut self) -> Step {
        match self.turn() {
            Ok(step) => step,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Step::Wait(if self.output.is_empty() { Wish::Read } else { Wish::Write })
            }
            Err(_) => Step::Close,
        }
    }

    fn turn(&mut self) -> io::Result<Step> {
        while self.written < self.output.len() {
            self.written += sys::stream::send_now(&self.socket, &[], &self.output[self.written..])?;
        }
        (self.output, self.written) = (Vec::new(), 0);
        if self.busy {
            return Ok(Step::Wait(Wish::Nothing));
        }
        loop {
            if let Some((length, rest)) = self.input.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*length));
                if length > MAX_QUERY {
                    return Ok(Step::Close);
                }
                if let Some(query) = rest.get(..length) {
                    let query = query.to_vec();
                    self.input.drain(..2 + length);
                    return Ok(Step::Query(query));
                }
            }
            let mut piece = Vec::with_capacity(STEP);
            if sys::stream::receive_now(&self.socket, &mut piece)? == 0 {
                return Ok(Step::Close);
            }
            self.input.extend_from_slice(&piece);
        }
    }
}
