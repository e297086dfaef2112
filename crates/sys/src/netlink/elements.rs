//! Elements of nftables' sets and maps, put in and taken out in one transaction.
//!
//! Starting `nft` costs 3 ms, this a tenth of one. What tables, chains and sets there are is left
//! to `nft`; here everything is bytes, laid out as the set's type says: a key of several parts has
//! them one after the other, each padded to four bytes; one alone is not padded.

use std::io;

use netlink_packet_core::NLM_F_CREATE;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::transaction::{self, Transaction, attribute, nested, text};
use super::{Error, NLMSG_ERROR, split, verdict};

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
        let mut transaction = Transaction::begin(self.sequence.wrapping_add(1));
        for change in changes {
            put(&mut transaction, change);
        }
        let (next, result) = transaction.run(&self.socket);
        self.sequence = next.wrapping_sub(1);
        result
    }

    /// Whether there is a table of that name.
    ///
    /// # Errors
    /// What the kernel says, other than that there is none.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let question = transaction::question(GET_TABLE, self.sequence, family.number(), |bytes| {
            text(bytes, NFTA_TABLE_NAME, table);
        });
        transaction::send(&self.socket, &question)?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            let received = transaction::receive(&self.socket, &mut buffer)?;
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
}

fn put(transaction: &mut Transaction, change: &Change<'_>) {
    let (kind, flags) =
        if change.add { (NEW_ELEMENTS, NLM_F_CREATE) } else { (DELETE_ELEMENTS, 0) };
    let mut rest = change.elements;
    while !rest.is_empty() {
        transaction.message(kind, flags, change.family.number(), |bytes| {
            text(bytes, NFTA_SET_ELEM_LIST_TABLE, change.table);
            text(bytes, NFTA_SET_ELEM_LIST_SET, change.set);
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

#[cfg(test)]
mod tests;
