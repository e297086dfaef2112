//! News about changes to nftables.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::{attribute, split, text_of};

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const NFTABLES: u16 = 10;
/// `NFT_MSG_NEWGEN`, in the lower byte: the end of a transaction.
const NEW_GENERATION: u16 = 15;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, …: 1 in all of them.
const NFTA_TABLE: u16 = 1;
/// `struct nfgenmsg`
const FAMILY_HEADER: usize = 4;

/// Bytes of notices that may wait.
const BUFFER: usize = 8 << 20;

/// Somebody changed a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A transaction that came through the netlink socket of this number touched it. A process
    /// that has one such socket, as `nft` does, gives it its own id, as itself sees that.
    By(u32),
    /// There were more notices than the socket could keep: anything may have changed.
    Lost,
}

/// A socket that hears of every committed nftables transaction of its network namespace and
/// tells which ones touched a table of a name, of whatever family.
pub struct Watch {
    socket: Socket,
    table: String,
    /// The transaction whose messages are coming in touches the table.
    touched: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("nftables::Watch").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Watch {
    /// Starts to listen.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EPROTONOSUPPORT` without nftables in the kernel.
    pub fn open(table: &str) -> io::Result<Watch> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        // Of a large change every element is told. What does not fit is lost, and then more work
        // is to be done than to read it. Memory is only used by what waits.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        socket.add_membership(GROUP)?;
        Ok(Watch { socket, table: table.to_owned(), touched: false })
    }

    /// Waits for news, of whatever table: the notices may be none.
    ///
    /// # Errors
    /// What the socket says.
    pub fn wait(&mut self) -> io::Result<Vec<Notice>> {
        let mut buffer = vec![0; 64 << 10];
        let received = loop {
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Ok(n) => break n,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(vec![Notice::Lost]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        };
        let mut rest = &buffer[..received];
        let mut notices = Vec::new();
        while let Ok(Some((reply, next))) = split(rest) {
            rest = next;
            if reply.kind >> 8 != NFTABLES {
                continue;
            }
            let attributes = reply.payload.get(FAMILY_HEADER..).unwrap_or_default();
            if reply.kind & 0xff != NEW_GENERATION {
                self.touched |=
                    attribute(attributes, NFTA_TABLE).is_some_and(|t| text_of(t) == self.table);
                continue;
            }
            if std::mem::take(&mut self.touched) {
                notices.push(Notice::By(reply.port));
            }
        }
        Ok(notices)
    }
}
