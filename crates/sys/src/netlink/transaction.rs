//! Transactions of nftables: messages one after the other, all done or none, and the attributes
//! that they are made of.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr};

use super::{Error, HEADER, NLMSG_ERROR, split, verdict};

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NLA_F_NESTED: u16 = 1 << 15;
/// `struct nfgenmsg`
const FAMILY_HEADER: usize = 4;
/// More than this needs a larger buffer than sockets usually have.
const USUAL_BUFFER: usize = 100 << 10;

/// A transaction in the making.
pub(super) struct Transaction {
    bytes: Vec<u8>,
    /// Of the first message, and of the next one.
    first: u32,
    next: u32,
    /// Where the last message begins; 0: there is none.
    last: usize,
}

impl Transaction {
    /// Without any message, to be numbered from `first` on.
    pub(super) fn begin(first: u32) -> Transaction {
        let mut new = Transaction { bytes: Vec::with_capacity(2048), first, next: first, last: 0 };
        new.mark(BEGIN);
        new
    }

    /// A message about a table of a family: its kind (`NFT_MSG_…`), further flags, attributes.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        self.last = self.bytes.len();
        self.put(NFTABLES << 8 | kind, flags, [family, 0, 0, 0], body);
    }

    /// Has it done, and waits for the outcome. Returns the number for the next message on the
    /// socket with it.
    ///
    /// [`Error::index`] counts from 1; 0 is the whole that is refused.
    pub(super) fn run(mut self, socket: &Socket) -> (u32, Result<(), Error>) {
        if self.last == 0 {
            return (self.first, Ok(()));
        }
        let last = self.acknowledged();
        self.mark(END);
        let result = send(socket, &self.bytes).and_then(|()| outcome(socket, self.first, last));
        (self.next, result)
    }

    /// Asks for an answer to the last message, whose number it returns: that comes when all is in
    /// force. (The end itself is answered only since 6.10.)
    fn acknowledged(&mut self) -> u32 {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let with = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&with.to_ne_bytes());
        }
        self.next.wrapping_sub(1)
    }

    fn mark(&mut self, kind: u16) {
        let [high, low] = NFTABLES.to_be_bytes();
        self.put(kind, 0, [libc::AF_UNSPEC as u8, 0, high, low], |_| {});
    }

    fn put(
        &mut self,
        kind: u16,
        flags: u16,
        family: [u8; FAMILY_HEADER],
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        message(&mut self.bytes, kind, flags, self.next, family, body);
        self.next = self.next.wrapping_add(1);
    }
}

/// A question about tables, on its own.
pub(super) fn question(
    kind: u16,
    number: u32,
    family: u8,
    body: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    message(&mut bytes, NFTABLES << 8 | kind, 0, number, [family, 0, 0, 0], body);
    bytes
}

fn message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    number: u32,
    family: [u8; FAMILY_HEADER],
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = bytes.len();
    bytes.extend([0; HEADER]);
    bytes.extend(family);
    body(bytes);
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    let header = &mut bytes[start..start + HEADER];
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..6].copy_from_slice(&kind.to_ne_bytes());
    header[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    header[8..12].copy_from_slice(&number.to_ne_bytes());
}

/// Sends one message, whatever its size: the kernel makes a transaction of each. More than the
/// socket's buffer holds would be `EMSGSIZE`.
pub(super) fn send(socket: &Socket, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > USUAL_BUFFER {
        rustix::net::sockopt::set_socket_send_buffer_size_force(socket, bytes.len() * 2)
            .map_err(|e| Error::local(e.into()))?;
    }
    socket.send_to(bytes, &SocketAddr::new(0, 0), 0).map(drop).map_err(Error::local)
}

/// Waits for a message.
pub(super) fn receive(socket: &Socket, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match socket.recv(&mut &mut buffer[..], 0) {
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::local(e)),
        }
    }
}

/// Reads the answers to the messages from `first` to `last`.
fn outcome(socket: &Socket, first: u32, last: u32) -> Result<(), Error> {
    let mut buffer = vec![0; 32 << 10];
    let mut failed = None;
    loop {
        let received = receive(socket, &mut buffer)?;
        let mut rest = &buffer[..received];
        while let Some((reply, next)) = split(rest)? {
            rest = next;
            let index = reply.sequence.wrapping_sub(first);
            if reply.kind != NLMSG_ERROR || index > last.wrapping_sub(first) {
                continue;
            }
            if let Err(e) = verdict(&reply, index as usize) {
                // A transaction that is refused as a whole is refused at its beginning, and then
                // nothing follows.
                let whole = index == 0;
                failed.get_or_insert(e);
                if whole && rest.is_empty() {
                    // What else may have come is not waited for.
                    while socket.recv(&mut &mut buffer[..], libc::MSG_DONTWAIT).is_ok() {}
                    return failed.map_or(Ok(()), Err);
                }
            }
            if reply.sequence == last {
                return failed.map_or(Ok(()), Err);
            }
        }
    }
}

/// A NUL-terminated text.
pub(super) fn text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    put(bytes, kind, |bytes| {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    });
}

/// A number in network order.
pub(super) fn number(bytes: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(bytes, kind, &value.to_be_bytes());
}

/// Bytes.
pub(super) fn attribute(bytes: &mut Vec<u8>, kind: u16, content: &[u8]) {
    put(bytes, kind, |bytes| bytes.extend(content));
}

/// Attributes in an attribute.
pub(super) fn nested(bytes: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    put(bytes, kind | NLA_F_NESTED, content);
}

/// An attribute: its length without the padding that follows it, its kind, its content.
fn put(bytes: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_ne_bytes());
    content(bytes);
    let length = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
