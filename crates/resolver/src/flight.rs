//! One question on its way to name servers, asked of one after another.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use proto::names::Server;
use rustix::net::{RecvFlags, SendFlags};
use sys::socket::{Family, unbound};

use crate::client::Client;
use crate::slab::Key;
use crate::wire::{Code, Query, code_of};

/// How long a server may take, the first time and later: the usual client gives up after five
/// seconds.
const PATIENCE: [Duration; 3] =
    [Duration::from_millis(1500), Duration::from_millis(1500), Duration::from_millis(1800)];

/// Who has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a datagram from there.
    Datagram(SocketAddr),
    /// On a connection.
    Stream(Key),
}

/// One question on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) client: Key,
    pub(crate) origin: Origin,
    /// The query as it came.
    pub(crate) query: Vec<u8>,
    /// The numbers of the client's servers that are still to be asked.
    order: std::vec::IntoIter<usize>,
    attempt: usize,
    pub(crate) deadline: Instant,
    /// The one that is being asked.
    pub(crate) asked: Option<Asking>,
    /// What a server said that could not answer.
    pub(crate) fallback: Option<Vec<u8>>,
}

/// A question that a server has.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) number: usize,
    pub(crate) server: Server,
    pub(crate) socket: OwnedFd,
    id: u16,
    exchange: Exchange,
}

#[derive(Debug)]
enum Exchange {
    Datagram,
    Stream { out: Vec<u8>, written: usize, answer: Vec<u8> },
}

/// What became of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing yet; it waits to write (`true`) or to read.
    Waits { write: bool },
    /// This is the answer.
    Answered(Vec<u8>),
    /// This server will not answer.
    Failed,
}

/// How an attempt began.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is on its way; wait to write (`true`) or to read.
    Away { write: bool },
    /// It has to wait for an unused socket.
    NoSocket,
    /// There is nobody left to ask.
    NobodyLeft,
}

impl Flight {
    pub(crate) fn new(client: Key, origin: Origin, query: Vec<u8>, order: Vec<usize>) -> Self {
        Self {
            client,
            origin,
            query,
            order: order.into_iter(),
            attempt: 0,
            deadline: Instant::now() + PATIENCE[0],
            asked: None,
            fallback: None,
        }
    }

    fn is_stream(&self) -> bool {
        matches!(self.origin, Origin::Stream(_))
    }

    /// Asks the next server that can be asked at all.
    pub(crate) fn begin(&mut self, client: &mut Client, id: u16) -> Begun {
        loop {
            let Some(number) = self.order.clone().next() else { return Begun::NobodyLeft };
            let Some(server) = client.servers.get(number).map(|asked| asked.server) else {
                self.order.next();
                continue;
            };
            let stream = self.is_stream();
            let socket = if server.inside {
                match client.unused.of(server.address.is_ipv6(), stream).pop() {
                    Some(socket) => Ok(socket),
                    None => return Begun::NoSocket,
                }
            } else {
                let ipv6 = server.address.is_ipv6();
                unbound(if ipv6 { Family::V6 } else { Family::V4 }, stream)
            };
            self.order.next();
            let patience = PATIENCE[self.attempt.min(PATIENCE.len() - 1)];
            self.attempt += 1;
            self.deadline = Instant::now() + patience;
            let Ok(socket) = socket else { continue };
            let exchange = match start(&socket, server.address, &self.query, id, stream) {
                Ok(exchange) => exchange,
                Err(_) => {
                    give_back(client, server, stream, socket);
                    client.judge(number, server, false);
                    continue;
                }
            };
            self.asked = Some(Asking { number, server, socket, id, exchange });
            return Begun::Away { write: stream };
        }
    }

    /// Goes on, as far as it goes without waiting. `buffer` is room for an answer.
    pub(crate) fn go_on(&mut self, buffer: &mut Vec<u8>) -> Progress {
        let Some(asking) = &mut self.asked else { return Progress::Failed };
        let Ok(query) = Query::read(&self.query) else { return Progress::Failed };
        match asking.turn(&query, buffer) {
            Ok(progress) => progress,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Progress::Waits { write: asking.is_writing() }
            }
            Err(_) => Progress::Failed,
        }
    }

    /// Ends the attempt and gives its socket back where that came from.
    pub(crate) fn put_down(&mut self, client: &mut Client) {
        let stream = self.is_stream();
        if let Some(asking) = self.asked.take() {
            give_back(client, asking.server, stream, asking.socket);
        }
    }

    /// Whether somebody else may know more than this answer tells.
    pub(crate) fn is_poor(answer: &[u8]) -> bool {
        [Code::FAILED, Code::REFUSED, Code::NOT_IMPLEMENTED].contains(&code_of(answer))
    }
}

/// Sends a datagram, or begins a connection. A socket that is bound to nothing gets a port by
/// chance when it is connected, and then hears from that server only.
fn start(
    socket: &OwnedFd,
    server: SocketAddr,
    query: &[u8],
    id: u16,
    stream: bool,
) -> io::Result<Exchange> {
    match rustix::net::connect(socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut out = Vec::with_capacity(query.len() + 2);
    if stream {
        out.extend(u16::try_from(query.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    out.extend(id.to_be_bytes());
    out.extend_from_slice(query.get(2..).unwrap_or_default());
    if stream {
        return Ok(Exchange::Stream { out, written: 0, answer: Vec::new() });
    }
    rustix::net::send(socket, &out, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(Exchange::Datagram)
}

/// Makes a socket that came from the container's namespace unused again: its next question has
/// another port, and nothing that was sent to the old one is left in it.
fn give_back(client: &mut Client, server: Server, stream: bool, socket: OwnedFd) {
    if !server.inside || rustix::net::connect_unspec(&socket).is_err() {
        return;
    }
    if !stream {
        let mut scrap = [0; 16];
        while rustix::net::recv(&socket, &mut scrap[..], RecvFlags::DONTWAIT).is_ok() {}
    }
    client.unused.of(server.address.is_ipv6(), stream).push(socket);
}

impl Asking {
    fn is_writing(&self) -> bool {
        matches!(&self.exchange, Exchange::Stream { out, written, .. } if *written < out.len())
    }

    fn turn(&mut self, query: &Query<'_>, buffer: &mut Vec<u8>) -> io::Result<Progress> {
        match &mut self.exchange {
            Exchange::Datagram => loop {
                buffer.clear();
                sys::stream::receive_now(&self.socket, buffer)?;
                // What is no answer is from a stranger, or late.
                if query.is_answered_by(buffer, self.id) {
                    query.make_own(buffer);
                    return Ok(Progress::Answered(buffer.clone()));
                }
            },
            Exchange::Stream { out, written, answer } => {
                while *written < out.len() {
                    *written += sys::stream::send_now(&self.socket, &[], &out[*written..])?;
                }
                loop {
                    buffer.clear();
                    if sys::stream::receive_now(&self.socket, buffer)? == 0 {
                        return Ok(Progress::Failed);
                    }
                    answer.extend_from_slice(buffer);
                    let Some((length, rest)) = answer.split_first_chunk::<2>() else { continue };
                    let length = usize::from(u16::from_be_bytes(*length));
                    let Some(whole) = rest.get(..length) else { continue };
                    if !query.is_answered_by(whole, self.id) {
                        return Ok(Progress::Failed);
                    }
                    let mut whole = whole.to_vec();
                    query.make_own(&mut whole);
                    return Ok(Progress::Answered(whole));
                }
            }
        }
    }
}
