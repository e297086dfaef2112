//! One control connection: requests come in, replies and notices go out, neither waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use proto::control::{Envelope, FromMonitor, Request};
use proto::frame;
use sys::stream::FrameReader;
use types::Error;

/// Descriptors that one request may bring: a stream.
const MAX_FDS: usize = 4;

/// An engine that leaves so many bytes of replies and notices unread is cut off.
const MAX_BACKLOG: usize = 8 << 20;

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    /// `None`: an engine that is newer than this monitor asks for something it has not learnt.
    pub(crate) request: Option<Request>,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// The part of an envelope that all versions have.
#[derive(serde::Deserialize)]
struct Numbered {
    number: u64,
}

fn understand(body: &[u8]) -> Option<(u64, Option<Request>)> {
    match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => Some((envelope.number, Some(envelope.request))),
        Err(_) => {
            let numbered: Numbered = serde_json::from_slice(body).ok()?;
            Some((numbered.number, None))
        }
    }
}

/// A control connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// By which its events find it.
    pub(crate) number: u32,
    socket: OwnedFd,
    reader: FrameReader,
    backlog: Vec<u8>,
    sent: usize,
    broken: bool,
}

impl Connection {
    /// Takes a stream socket.
    pub(crate) fn new(number: u32, socket: OwnedFd) -> io::Result<Self> {
        sys::stream::set_nonblocking(&socket)?;
        let reader = FrameReader::new(frame::MAX_LEN, MAX_FDS);
        Ok(Self { number, socket, reader, backlog: Vec::new(), sent: 0, broken: false })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something still waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.broken && self.sent < self.backlog.len()
    }

    /// Whether the other side has gone, or talks nonsense.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes the next request, if a whole one has come.
    pub(crate) fn request(&mut self) -> Option<Asked> {
        if self.broken {
            return None;
        }
        match self.reader.read(&self.socket) {
            Ok(Some(frame)) => match understand(&frame.body) {
                Some((number, request)) => {
                    let descriptor = frame.fds.into_iter().next();
                    return Some(Asked { number, request, descriptor });
                }
                None => self.broken = true,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.broken = true,
        }
        None
    }

    /// Sends a reply or a notice, now or later.
    pub(crate) fn tell(&mut self, message: &FromMonitor) {
        let Some(bytes) = encoded(message) else { return };
        self.backlog.extend_from_slice(&bytes);
        self.flush();
        if self.backlog.len() - self.sent > MAX_BACKLOG {
            self.broken = true;
        }
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while self.is_waiting() {
            let rest = self.backlog.get(self.sent..).unwrap_or_default();
            match sys::stream::send_now(&self.socket, &[], rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
        self.backlog = Vec::new();
        self.sent = 0;
    }
}

/// A message as it is sent. Of what we say ourselves nothing comes near the limit; what a guest has said
/// may be far longer in our words, and whoever asked is told so.
fn encoded(message: &FromMonitor) -> Option<Vec<u8>> {
    let too_long = match frame::encode(message) {
        Ok(bytes) if bytes.len() <= MAX_BACKLOG => return Some(bytes),
        Ok(bytes) => format!("an answer of {} bytes is too long", bytes.len()),
        Err(error) => error.to_string(),
    };
    let FromMonitor::Reply { number, .. } = message else { return None };
    let result = Err(Error::system(too_long));
    frame::encode(&FromMonitor::Reply { number: *number, result }).ok()
}

#[cfg(test)]
mod tests {
    use proto::control::Reply;

    use super::*;

    #[test]
    fn an_answer_that_is_too_long_is_an_error() {
        for length in [MAX_BACKLOG, frame::MAX_LEN] {
            let result = Ok(Reply::Warnings(vec!["x".repeat(length)]));
            let bytes = encoded(&FromMonitor::Reply { number: 7, result }).expect("an answer");
            let mut decoder = frame::Decoder::default();
            decoder.push(&bytes);
            let heard = decoder.message::<FromMonitor>().expect("can be read");
            assert!(matches!(heard, Some(FromMonitor::Reply { number: 7, result: Err(_) })));
        }
    }

    #[test]
    fn a_request_of_a_later_version_is_known_by_its_number() {
        assert!(matches!(
            understand(br#"{"number":3,"request":"hello"}"#),
            Some((3, Some(Request::Hello)))
        ));
        assert!(matches!(
            understand(br#"{"number":4,"request":{"checkpoint":{"to":"x"}},"trace":"y"}"#),
            Some((4, None))
        ));
        assert!(understand(b"{}").is_none());
    }
}
