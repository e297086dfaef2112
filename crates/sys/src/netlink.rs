//! rtnetlink, blocking: links, addresses and routes of the network namespace that a socket was
//! opened in, and a socket that hears of changes to nftables.
//!
//! A [`Socket`] stays in the namespace of the thread that opened it, whoever uses it later. That
//! is what makes it possible to prepare a namespace once and to go on configuring it from any
//! thread without ever entering it again.

mod address;
mod conntrack;
mod elements;
mod link;
mod nftables;
mod redirect;
mod route;
mod sockets;
mod stacked;
mod transaction;
mod watch;

use std::fmt;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};

pub use address::{Address, add_address, remove_address};
pub use conntrack::forget_flows;
pub use elements::{Change as ElementChange, Element, Elements, Family};
pub use link::{
    Change, Link, Target, Veth, add_bridge, add_veth, forgetful_port, hairpin_port, isolate_port,
    known_at, link_named, links, remove_group, remove_link,
};
pub use nftables::{Notice, Watch};
pub use redirect::Redirect;
pub use route::{
    Route, add_local_route, default_over, remove_default_route, replace_default_route,
};
pub use sockets::open_ports;
pub use stacked::{
    Among, IpVlanMode, MacVlanMode, Sharing, Stacked, add_dummy, add_ifb, add_stacked, add_vlan,
    can_share,
};
pub use watch::{LinkNews, LinkWatch, RouteWatch};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// The kernel's answer to a request that it refused.
#[derive(Debug)]
pub struct Error {
    /// Which message of the batch, from 0.
    pub index: usize,
    /// The errno.
    pub source: io::Error,
    /// The kernel's own explanation (`NETLINK_EXT_ACK`), where it has one.
    pub text: Option<String>,
}

impl Error {
    /// The errno, where there is one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn local(source: io::Error) -> Error {
        Error { index: 0, source, text: None }
    }

    fn garbled() -> Error {
        Error::local(io::Error::new(io::ErrorKind::InvalidData, "garbled netlink message"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text}: {}", self.source),
            None => write!(f, "{}", self.source),
        }
    }
}

// The source is part of the text above, so it is not given a second time.
impl std::error::Error for Error {}

/// One message to the kernel, without its sequence number.
#[derive(Debug, Clone)]
pub struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

impl Request {
    fn new(message: RouteNetlinkMessage, flags: u16) -> Request {
        Request { message, flags }
    }
}

/// A blocking rtnetlink socket. Not shared: one user at a time.
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("netlink::Socket").finish_non_exhaustive()
    }
}

/// A message from the kernel.
struct Reply<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    /// Of the socket that the message answers.
    port: u32,
    payload: &'a [u8],
}

impl Socket {
    /// A socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EMFILE`, `EPERM` and the like.
    pub fn open() -> io::Result<Socket> {
        let inner = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        inner.set_ext_ack(true)?;
        // Only the header of what failed comes back, not the whole message (4.3).
        inner.set_cap_ack(true)?;
        Ok(Socket { inner, sequence: 0 })
    }

    /// Sends requests in one message and waits for all to be done. The kernel works through all
    /// of them in order, also after one fails.
    ///
    /// # Errors
    /// The first one that the kernel refused.
    pub fn run(&mut self, requests: &[Request]) -> Result<(), Error> {
        let Some(last) = requests.len().checked_sub(1) else { return Ok(()) };
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(requests.len() * 128);
        for (i, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            // Failures are always answered; success only of the last one, which saves wake-ups.
            let ack = if i == last { NLM_F_ACK } else { 0 };
            encode(&mut bytes, request, self.sequence, NLM_F_REQUEST | ack);
        }
        self.send(&bytes)?;
        let mut failed = None;
        let mut buffer = Vec::new();
        loop {
            let received = self.receive(&mut buffer)?;
            let mut rest = &buffer[..received];
            while let Some((reply, next)) = split(rest)? {
                rest = next;
                let index = reply.sequence.wrapping_sub(first) as usize;
                if reply.kind != NLMSG_ERROR || index > last {
                    continue;
                }
                if let Err(e) = verdict(&reply, index) {
                    failed.get_or_insert(e);
                }
                if index == last {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends one request and hands each message of the answer's body (type, payload) to `each`.
    fn query(&mut self, request: &Request, mut each: impl FnMut(u16, &[u8])) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let dump = request.flags & NLM_F_DUMP == NLM_F_DUMP;
        let mut bytes = Vec::new();
        encode(&mut bytes, request, self.sequence, NLM_F_REQUEST);
        self.send(&bytes)?;
        let mut buffer = Vec::new();
        loop {
            let received = self.receive(&mut buffer)?;
            let mut rest = &buffer[..received];
            while let Some((reply, next)) = split(rest)? {
                rest = next;
                if reply.sequence != self.sequence {
                    continue;
                }
                match reply.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return verdict(&reply, 0),
                    NLMSG_OVERRUN => return Err(Error::garbled()),
                    kind => each(kind, reply.payload),
                }
                if !dump {
                    return Ok(());
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let kernel = SocketAddr::new(0, 0);
        self.inner.send_to(bytes, &kernel, 0).map(drop).map_err(Error::local)
    }

    /// One datagram; `buffer` grows to what it needs.
    fn receive(&self, buffer: &mut Vec<u8>) -> Result<usize, Error> {
        // Dumps come in pieces of at most 32 KiB (netlink_dump), acks are far smaller.
        buffer.resize(32 << 10, 0);
        loop {
            match self.inner.recv(&mut &mut buffer[..], 0) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::local(e)),
            }
        }
    }
}

fn encode(bytes: &mut Vec<u8>, request: &Request, sequence: u32, flags: u16) {
    let mut header = NetlinkHeader::default();
    header.flags = request.flags | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request.message.clone()));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

/// Takes the first message off a datagram.
fn split(bytes: &[u8]) -> Result<Option<(Reply<'_>, &[u8])>, Error> {
    if bytes.len() < HEADER {
        return Ok(None);
    }
    let length = word(bytes, 0).ok_or_else(Error::garbled)? as usize;
    if length < HEADER || length > bytes.len() {
        return Err(Error::garbled());
    }
    let reply = Reply {
        kind: half(bytes, 4).ok_or_else(Error::garbled)?,
        flags: half(bytes, 6).ok_or_else(Error::garbled)?,
        sequence: word(bytes, 8).ok_or_else(Error::garbled)?,
        port: word(bytes, 12).ok_or_else(Error::garbled)?,
        payload: &bytes[HEADER..length],
    };
    Ok(Some((reply, &bytes[length.next_multiple_of(4).min(bytes.len())..])))
}

/// Reads the whole answer to one request; `each` gets what is behind the header of every message.
fn answers(socket: &netlink_sys::Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let received = match socket.recv(&mut &mut buffer[..], 0) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let mut rest = &buffer[..received];
        while let Some((reply, next)) = split(rest).map_err(|e| e.source)? {
            rest = next;
            match reply.kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return verdict(&reply, 0).map_err(|e| e.source),
                _ => each(reply.payload),
            }
        }
    }
}

/// What an `NLMSG_ERROR` says: an errno of 0 is an acknowledgement.
fn verdict(reply: &Reply<'_>, index: usize) -> Result<(), Error> {
    let errno = word(reply.payload, 0).ok_or_else(Error::garbled)? as i32;
    if errno == 0 {
        return Ok(());
    }
    let mut text = None;
    if reply.flags & NLM_F_ACK_TLVS != 0 {
        // The header of our own message follows, and all of it unless the answer is capped.
        let own = word(reply.payload, 4).unwrap_or(0) as usize;
        let skip = if reply.flags & NLM_F_CAPPED != 0 { HEADER } else { own };
        let attributes = reply.payload.get(4 + skip.next_multiple_of(4)..).unwrap_or_default();
        text = attribute(attributes, NLMSGERR_ATTR_MSG).map(text_of);
    }
    Err(Error { index, source: io::Error::from_raw_os_error(-errno), text })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The value of the first attribute of a kind. Only what is asked for is decoded, so that a
/// newer kernel's attributes cannot make an answer unreadable.
fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(bytes).map_while(Result::ok).find(|a| a.kind() == kind).map(|a| {
        let length = a.value_length();
        let offset = a.value().as_ptr() as usize - bytes.as_ptr() as usize;
        &bytes[offset..offset + length]
    })
}

/// A NUL-terminated string.
fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// An address as the kernel writes it: 4 or 16 bytes in network order.
fn address_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}
