//! Questions for names: the machine's own stub at 127.0.0.11, which hands them to the monitor. The
//! resolver is on the host, in the container's network namespace there.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use proto::guest::frame::MAX_NAME;
use relay::Link;
use sys::poll::{Interest, Poll, Ready};

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);

/// Questions over UDP that wait for an answer; the oldest are forgotten, as their askers will ask
/// again.
const MOST_WAITING: usize = 256;

/// Connections over TCP.
const MOST_STREAMS: usize = 32;

/// Set in the number of a question that came over a stream, where an answer may be of any length.
pub(crate) const STREAM: u32 = 1 << 31;

/// Which socket something happened to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Udp,
    Tcp,
    Stream(u32),
}

/// The stub.
#[derive(Debug)]
pub(crate) struct Names {
    udp: UdpSocket,
    tcp: TcpListener,
    next: u32,
    waiting: VecDeque<(u32, SocketAddr)>,
    streams: BTreeMap<u32, Stream>,
}

/// A connection: one question at a time.
#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    asked: bool,
}

impl Names {
    pub(crate) fn listen() -> io::Result<Self> {
        let (udp, tcp) = (UdpSocket::bind(ADDRESS)?, TcpListener::bind(ADDRESS)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (waiting, streams) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { udp, tcp, next: 0, waiting, streams })
    }

    pub(crate) fn register<T: Copy>(&self, poll: &mut Poll<T>, token: impl Fn(Part) -> T) {
        poll.add(token(Part::Udp), &self.udp, Interest::READ);
        if self.streams.len() < MOST_STREAMS {
            poll.add(token(Part::Tcp), &self.tcp, Interest::READ);
        }
        for (number, stream) in &self.streams {
            let interest = Interest { read: !stream.asked, write: !stream.output.is_empty() };
            poll.add(token(Part::Stream(*number)), &stream.socket, interest);
        }
    }

    pub(crate) fn ready(&mut self, part: Part, ready: Ready, link: &mut Link) {
        match part {
            Part::Udp => self.receive(link),
            Part::Tcp => self.accept(),
            Part::Stream(number) => self.proceed(number, ready, link),
        }
    }

    fn number(&mut self) -> u32 {
        self.next = (self.next + 1) % STREAM;
        self.next
    }

    fn receive(&mut self, link: &mut Link) {
        let mut buffer = [0; 4096];
        while let Ok((count, from)) = self.udp.recv_from(&mut buffer) {
            let number = self.number();
            if self.waiting.len() == MOST_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back((number, from));
            link.send_name(number, buffer.get(..count).unwrap_or_default());
        }
    }

    fn accept(&mut self) {
        // Whatever goes wrong with one connection is its own affair.
        let Ok((socket, _)) = self.tcp.accept() else { return };
        if socket.set_nonblocking(true).is_ok() {
            let number = self.number() | STREAM;
            let stream = Stream { socket, input: Vec::new(), output: Vec::new(), asked: false };
            self.streams.insert(number, stream);
        }
    }

    fn proceed(&mut self, number: u32, ready: Ready, link: &mut Link) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let mut alive = true;
        if ready.writable {
            alive &= stream.write();
        }
        if ready.readable {
            alive &= stream.read();
        } else if ready.gone {
            alive = false;
        }
        if !alive {
            self.streams.remove(&number);
        } else if let Some(question) = stream.question() {
            link.send_name(number, &question);
        }
    }

    /// Hands an answer to who asked, if it still waits.
    pub(crate) fn answer(&mut self, question: u32, bytes: &[u8]) {
        if question & STREAM != 0 {
            if let Some(stream) = self.streams.get_mut(&question)
                && !stream.reply(bytes)
            {
                self.streams.remove(&question);
            }
            return;
        }
        let asked = self.waiting.iter().position(|(number, _)| *number == question);
        if let Some((_, to)) = asked.and_then(|at| self.waiting.remove(at)) {
            // An asker that has gone does not wait either.
            let _ = self.udp.send_to(bytes, to);
        }
    }
}

impl Stream {
    /// Reads what there is; false when it has ended.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 2048];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.input.len() <= MAX_NAME + 2
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Takes the next question, behind its length, when it is whole.
    fn question(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let question = rest.get(..length)?.to_vec();
        self.input.drain(..2 + length);
        self.asked = !question.is_empty();
        self.asked.then_some(question)
    }

    fn reply(&mut self, bytes: &[u8]) -> bool {
        let Ok(length) = u16::try_from(bytes.len()) else { return false };
        self.asked = false;
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output.extend_from_slice(bytes);
        self.write()
    }
}
