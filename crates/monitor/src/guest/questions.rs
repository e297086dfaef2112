//! Questions for names from a guest: asked again from within the container's network namespace on
//! the host, where the resolver listens at 127.0.0.11.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use proto::guest::frame::MAX_NAME;
use sys::socket::{Family, unbound};

const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);

/// So many are on their way at once; more are dropped, as a network would.
const MOST: usize = 64;

/// The resolver gives up before that.
const LIMIT: Duration = Duration::from_secs(15);

/// Set in the number of a question that came over a stream.
const STREAM: u32 = 1 << 31;

/// One question.
#[derive(Debug)]
pub(crate) struct Asking {
    socket: OwnedFd,
    stream: bool,
    /// What has yet to be sent.
    output: Vec<u8>,
    /// What has come, behind its length.
    input: Vec<u8>,
    until: Instant,
}

/// Those on their way, by the guest's numbers.
#[derive(Debug)]
pub(crate) struct Questions {
    netns: OwnedFd,
    asking: BTreeMap<u32, Asking>,
}

impl Questions {
    pub(crate) fn new(netns: OwnedFd) -> Self {
        Self { netns, asking: BTreeMap::new() }
    }

    /// Asks. What cannot be asked is not answered, which askers know how to deal with.
    pub(crate) fn ask(&mut self, number: u32, question: &[u8], now: Instant) {
        if self.asking.len() >= MOST || question.len() > MAX_NAME {
            return;
        }
        let stream = number & STREAM != 0;
        let made = sys::netns::within(self.netns.as_fd(), || unbound(Family::V4, stream));
        let Ok(Ok(socket)) = made else { return };
        let output = if stream {
            let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
            [&length.to_be_bytes(), question].concat()
        } else {
            question.to_vec()
        };
        let connected = match sys::socket::connect_to(&socket, SocketAddr::V4(RESOLVER)) {
            // A stream that is on its way.
            Err(error) if error.raw_os_error() == Some(sys::errno::EINPROGRESS) => true,
            other => other.is_ok(),
        };
        if !connected {
            return;
        }
        let until = now + LIMIT;
        let mut asking = Asking { socket, stream, output, input: Vec::new(), until };
        if stream || asking.send() {
            self.asking.insert(number, asking);
        }
    }

    /// What to wait for: the question, its socket, whether there is something to send.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>, bool)> {
        let one = |(number, asking): (&u32, &'_ Asking)| (*number, !asking.output.is_empty());
        self.asking.iter().map(move |(number, asking)| {
            let (number, write) = one((number, asking));
            (number, asking.socket.as_fd(), write)
        })
    }

    /// Goes on with a question; returns the answer when it is there.
    pub(crate) fn proceed(&mut self, number: u32) -> Option<Vec<u8>> {
        let asking = self.asking.get_mut(&number)?;
        let went = asking.send();
        match if went { asking.receive() } else { Received::Failed } {
            Received::Nothing => None,
            Received::Failed => {
                self.asking.remove(&number);
                None
            }
            Received::Answer(answer) => {
                self.asking.remove(&number);
                Some(answer)
            }
        }
    }

    /// Whether a question is on its way.
    pub(crate) fn knows(&self, number: u32) -> bool {
        self.asking.contains_key(&number)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asking.values().map(|asking| asking.until).min()
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.asking.retain(|_, asking| now < asking.until);
    }
}

enum Received {
    Nothing,
    Failed,
    Answer(Vec<u8>),
}

impl Asking {
    /// Sends what goes; false when the socket is of no use.
    fn send(&mut self) -> bool {
        while !self.output.is_empty() {
            match sys::stream::write(&self.socket, &self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn receive(&mut self) -> Received {
        let mut buffer = vec![0; MAX_NAME + 2];
        match sys::stream::read_into(&self.socket, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Ok(count @ 1..) => {
                self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.answer()
            }
            _ => Received::Failed,
        }
    }

    fn answer(&mut self) -> Received {
        if !self.stream {
            return Received::Answer(std::mem::take(&mut self.input));
        }
        let Some((length, rest)) = self.input.split_first_chunk::<2>() else {
            return Received::Nothing;
        };
        match rest.get(..usize::from(u16::from_be_bytes(*length))) {
            Some([]) => Received::Failed,
            Some(answer) => Received::Answer(answer.to_vec()),
            None => Received::Nothing,
        }
    }
}
