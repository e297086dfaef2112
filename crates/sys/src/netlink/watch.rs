//! News about links and their addresses.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::address::Address;
use super::link::{self, Link};
use super::{address, split};

/// `RTNLGRP_LINK`
const LINKS: u32 = 1;
/// `RTNLGRP_IPV4_IFADDR`
const ADDRESSES4: u32 = 5;
/// `RTNLGRP_IPV6_IFADDR`
const ADDRESSES6: u32 = 9;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const AF_BRIDGE: u8 = 7;
/// Bytes for news that nobody has read yet: a link's take some 2 KiB each.
const ROOM: usize = 4 << 20;

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkNews {
    /// A link is new, or different.
    Changed(Link),
    /// A link is no more.
    Gone(Link),
    /// A link has lost an address.
    AddressGone(Address),
    /// There was more news than the socket could keep: anything may have changed.
    Lost,
}

/// A socket that hears of every change of the links of its network namespace.
pub struct LinkWatch(Socket);

impl std::fmt::Debug for LinkWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkWatch").finish_non_exhaustive()
    }
}

impl LinkWatch {
    /// Starts to listen.
    ///
    /// # Errors
    /// `EMFILE` and the like.
    pub fn open() -> io::Result<LinkWatch> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        // Best effort, as without the capability the usual size has to do.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM);
        for group in [LINKS, ADDRESSES4, ADDRESSES6] {
            socket.add_membership(group)?;
        }
        Ok(LinkWatch(socket))
    }

    /// Waits for news.
    ///
    /// # Errors
    /// What the socket says.
    pub fn wait(&mut self) -> io::Result<Vec<LinkNews>> {
        let mut buffer = vec![0; 64 << 10];
        let received = loop {
            match self.0.recv(&mut &mut buffer[..], 0) {
                Ok(n) => break n,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(vec![LinkNews::Lost]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        };
        let mut rest = &buffer[..received];
        let mut news = Vec::new();
        while let Ok(Some((reply, next))) = split(rest) {
            rest = next;
            // Bridges tell of their ports with messages of their own family: RTM_DELLINK is then
            // a port that has left, which the message about the link itself says as well.
            if reply.payload.first() == Some(&AF_BRIDGE) {
                continue;
            }
            news.extend(match reply.kind {
                RTM_NEWLINK => link::parse(RTM_NEWLINK, reply.payload).map(LinkNews::Changed),
                RTM_DELLINK => link::parse(RTM_NEWLINK, reply.payload).map(LinkNews::Gone),
                RTM_DELADDR => address::read(reply.payload).map(LinkNews::AddressGone),
                _ => None,
            });
        }
        Ok(news)
    }
}
