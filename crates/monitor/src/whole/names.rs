//! Questions for names from a machine with a system of its own: it sends them to an address that the
//! bridge of its card has, and they are asked again at the resolver.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use proto::guest::frame::MAX_NAME;
use proto::launch::NamesAt;

use crate::guest::Questions;

/// The port of DNS.
const PORT: u16 = 53;
/// Numbers of questions that came as datagrams are below this.
const NUMBERS: u32 = 1 << 31;
/// Questions that are taken in one turn.
const TURN: usize = 64;

/// Where such a machine is answered.
#[derive(Debug)]
pub(crate) struct Names {
    socket: UdpSocket,
    at: NamesAt,
    questions: Questions,
    /// Who has asked, by the number of the question.
    askers: BTreeMap<u32, SocketAddr>,
    next: u32,
}

impl Names {
    /// Listens in the machine's network namespace, in which a bridge has the address already.
    pub(super) fn open(netns: OwnedFd, at: NamesAt) -> io::Result<Self> {
        let bound = sys::netns::within(netns.as_fd(), || UdpSocket::bind((at.server, PORT)));
        let socket = bound??;
        socket.set_nonblocking(true)?;
        let questions = Questions::new(netns);
        Ok(Self { socket, at, questions, askers: BTreeMap::new(), next: 0 })
    }

    /// What new questions come by.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Those on their way.
    pub(super) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Takes questions that have come. The machine's own are heeded, nobody else's.
    pub(super) fn listen(&mut self, now: Instant) {
        let mut buffer = [0; MAX_NAME];
        for _ in 0..TURN {
            // WouldBlock, or what an earlier answer met on its way.
            let Ok((length, asker)) = self.socket.recv_from(&mut buffer) else { return };
            if asker.ip() != self.at.guest {
                continue;
            }
            let number = self.next;
            self.next = (self.next + 1) % NUMBERS;
            self.questions.ask(number, buffer.get(..length).unwrap_or_default(), now);
            if self.questions.knows(number) {
                self.askers.insert(number, asker);
            }
        }
    }

    /// Goes on with a question.
    pub(super) fn proceed(&mut self, number: u32) {
        let answer = self.questions.proceed(number);
        if let (Some(answer), Some(asker)) = (answer, self.askers.get(&number)) {
            // One that is lost is asked again.
            let _ = self.socket.send_to(&answer, asker);
        }
        self.forget();
    }

    /// Gives up what takes too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.questions.expire(now);
        self.forget();
    }

    fn forget(&mut self) {
        let questions = &self.questions;
        self.askers.retain(|number, _| questions.knows(*number));
    }
}
