//! Elements of nftables' sets and maps, put in and taken out in one transaction.
//!
//! Starting `nft` costs 3 ms, this a tenth of one. What tables, chains and sets there are is left
//! to `nft`; here everything is bytes, laid out as the set's type says: a key of several parts has
//! them one after the other, each padded to four bytes; one alone is not padded.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::{Error, HEADER, NLMSG_ERROR, split, verdict};

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`
const BATCH_END: u16 = 0x11;
/// `NFT_MSG_GETTABLE`
const GET_TABLE: u16 = 1;
/// `NFT_MSG_NEWSETELEM`
const NEW_ELEMENTS: u16 = 12;
/// `NFT_MSG_DELSETELEM`
const DELETE_ELEMENTS: u16 = 14;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
/// `struct nfgenmsg`
const FAMILY_HEADER: usize = 4;
/// An attribute's length has 16 bits; a list that would be longer goes into another message.
const LIST: usize = 60_000;

/// Family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `NFPROTO_INET`
    Inet,
    /// `NFPROTO_BRIDGE`
    Bridge,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Bridge => 7,
        }
    }
}

/// An element as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// The key; of a range its first one.
    pub key: Vec<u8>,
    /// The last key of a range. In a set of ranges every element needs one.
    pub end: Option<Vec<u8>>,
    /// In a map: what the key leads to. Not needed to take it out.
    pub value: Option<Vec<u8>>,
}

/// What to do with a set's elements.
#[derive(Debug)]
pub struct Change<'a> {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: &'a str,
    /// Name of the set.
    pub set: &'a str,
    /// Put in, or take out.
    pub add: bool,
    /// The elements.
    pub elements: &'a [Element],
}

/// A socket for changes of nftables in the network namespace that it was opened in.
pub struct Elements {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl std::fmt::Debug for Elements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("nftables::Elements").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Elements {
    /// A socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` without netfilter in the kernel.
    pub fn open() -> io::Result<Elements> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        // Refusals come back without the message that was refused (4.3).
        socket.set_cap_ack(true)?;
        Ok(Elements { socket, port, sequence: 0 })
    }

    /// The number that notices about changes by this socket bear: [`super::Notice::By`].
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Has changes made, all or none. An element that is there already is fine, unless it leads
    /// elsewhere; one that is to be taken out and is not there is not.
    ///
    /// # Errors
    /// `ENOENT` when there is no such table, set or element, `EEXIST`, `EBUSY`, `EPERM`.
    pub fn run(&mut self, changes: &[Change<'_>]) -> Result<(), Error> {
        let first = self.sequence.wrapping_add(1);
        let mut batch = Batch { bytes: Vec::new(), sequence: first, last: 0 };
        batch.mark(BATCH_BEGIN);
        for change in changes {
            batch.change(change);
        }
        let Some(last) = batch.acknowledge() else { return Ok(()) };
        batch.mark(BATCH_END);
        self.sequence = batch.sequence;
        self.send(&batch.bytes)?;
        let mut buffer = vec![0; 32 << 10];
        let mut failed = None;
        loop {
            let received = self.receive(&mut buffer)?;
            let mut rest = &buffer[..received];
            while let Some((reply, next)) = split(rest)? {
                rest = next;
                let index = reply.sequence.wrapping_sub(first);
                if reply.kind != NLMSG_ERROR || index > last.wrapping_sub(first) {
                    continue;
                }
                if let Err(e) = verdict(&reply, index as usize) {
                    // A batch that is refused as a whole is refused at its beginning, and then
                    // nothing follows.
                    let whole = index == 0;
                    failed.get_or_insert(e);
                    if whole && rest.is_empty() {
                        return self.drained(failed);
                    }
                }
                if reply.sequence == last {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Whether there is a table of that name.
    ///
    /// # Errors
    /// What the kernel says, other than that there is none.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut batch = Batch { bytes: Vec::new(), sequence: self.sequence, last: 0 };
        batch.message(NFTABLES << 8 | GET_TABLE, NLM_F_REQUEST, [family.number(), 0, 0, 0], |b| {
            string(b, NFTA_TABLE_NAME, table);
        });
        self.send(&batch.bytes)?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let received = self.receive(&mut buffer)?;
            let Some((reply, _)) = split(&buffer[..received])? else { continue };
            if reply.sequence != self.sequence {
                continue;
            }
            if reply.kind != NLMSG_ERROR {
                return Ok(true);
            }
            return match verdict(&reply, 0) {
                Err(e) if e.errno() == Some(libc::ENOENT) => Ok(false),
                other => other.map(|()| true),
            };
        }
    }

    /// Reads what else may have come for a batch that was refused; none of it is waited for.
    fn drained(&self, failed: Option<Error>) -> Result<(), Error> {
        let mut buffer = vec![0; 32 << 10];
        while self.socket.recv(&mut &mut buffer[..], libc::MSG_DONTWAIT).is_ok() {}
        failed.map_or(Ok(()), Err)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        // One message, whatever its size: the kernel makes a transaction of each. More than the
        // buffer holds is EMSGSIZE.
        if bytes.len() > (100 << 10) {
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, bytes.len() * 2)
                .map_err(|e| Error::local(e.into()))?;
        }
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0).map(drop).map_err(Error::local)
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::local(e)),
            }
        }
    }
}

/// Messages one after the other, that are one transaction.
struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    /// Where the last change begins.
    last: usize,
}

impl Batch {
    fn mark(&mut self, kind: u16) {
        let [high, low] = NFTABLES.to_be_bytes();
        self.message(kind, NLM_F_REQUEST, [libc::AF_UNSPEC as u8, 0, high, low], |_| {});
    }

    fn change(&mut self, change: &Change<'_>) {
        let (kind, flags) =
            if change.add { (NEW_ELEMENTS, NLM_F_CREATE) } else { (DELETE_ELEMENTS, 0) };
        let mut rest = change.elements;
        while !rest.is_empty() {
            self.last = self.bytes.len();
            let header = [change.family.number(), 0, 0, 0];
            self.message(NFTABLES << 8 | kind, NLM_F_REQUEST | flags, header, |bytes| {
                string(bytes, NFTA_SET_ELEM_LIST_TABLE, change.table);
                string(bytes, NFTA_SET_ELEM_LIST_SET, change.set);
                nested(bytes, NFTA_SET_ELEM_LIST_ELEMENTS, |bytes| {
                    let start = bytes.len();
                    while let Some((one, others)) =
                        rest.split_first().filter(|_| bytes.len() - start < LIST)
                    {
                        element(bytes, one, change.add);
                        rest = others;
                    }
                });
            });
        }
    }

    /// Asks for an answer to the last change; its number, if there is any change.
    fn acknowledge(&mut self) -> Option<u32> {
        let flags = self.bytes.get_mut(self.last + 6..self.last + 8).filter(|_| self.last > 0)?;
        let now = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
        flags.copy_from_slice(&now.to_ne_bytes());
        Some(self.sequence.wrapping_sub(1))
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: [u8; FAMILY_HEADER],
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; HEADER]);
        self.bytes.extend(family);
        body(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        let header = &mut self.bytes[start..start + HEADER];
        header[..4].copy_from_slice(&length.to_ne_bytes());
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&flags.to_ne_bytes());
        header[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        self.sequence = self.sequence.wrapping_add(1);
    }
}

fn element(bytes: &mut Vec<u8>, element: &Element, add: bool) {
    nested(bytes, NFTA_LIST_ELEM, |bytes| {
        value(bytes, NFTA_SET_ELEM_KEY, &element.key);
        if let Some(end) = &element.end {
            value(bytes, NFTA_SET_ELEM_KEY_END, end);
        }
        if let Some(leads_to) = element.value.as_ref().filter(|_| add) {
            value(bytes, NFTA_SET_ELEM_DATA, leads_to);
        }
    });
}

fn value(bytes: &mut Vec<u8>, kind: u16, content: &[u8]) {
    nested(bytes, kind, |bytes| attribute(bytes, NFTA_DATA_VALUE, content));
}

fn string(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    attribute(bytes, kind, &[text.as_bytes(), &[0]].concat());
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, content: &[u8]) {
    put(bytes, kind, |bytes| bytes.extend(content));
}

fn nested(bytes: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
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

#[cfg(test)]
mod tests;
