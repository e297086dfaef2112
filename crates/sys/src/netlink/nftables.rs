//! News about changes to nftables.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::{HEADER, attribute, split};

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES` in the type's upper byte, `NFT_MSG_NEWGEN` in the lower.
const NEW_GENERATION: u16 = (10 << 8) | 15;
const NFTA_GEN_PROC_PID: u16 = 2;
/// `struct nfgenmsg`
const FAMILY_HEADER: usize = 4;

/// Somebody changed rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A transaction of this process was committed.
    By(u32),
    /// There were more than the socket could keep: anything may have changed.
    Lost,
}

/// A socket that hears of every committed nftables transaction of its network namespace.
pub struct Watch(Socket);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nftables::Watch")
    }
}

impl Watch {
    /// Starts to listen.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EPROTONOSUPPORT` without nftables in the kernel.
    pub fn open() -> io::Result<Watch> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(GROUP)?;
        Ok(Watch(socket))
    }

    /// Waits for the next notices: those of one datagram, possibly none.
    ///
    /// # Errors
    /// What the socket says.
    pub fn wait(&self) -> io::Result<Vec<Notice>> {
        let mut buffer = vec![0; HEADER << 12];
        let received = loop {
            match self.0.recv(&mut &mut buffer[..], 0) {
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
            if reply.kind != NEW_GENERATION {
                continue;
            }
            let attributes = reply.payload.get(FAMILY_HEADER..).unwrap_or_default();
            let pid = attribute(attributes, NFTA_GEN_PROC_PID)
                .and_then(|v| <[u8; 4]>::try_from(v).ok())
                .map_or(0, u32::from_be_bytes);
            notices.push(Notice::By(pid));
        }
        Ok(notices)
    }
}
