//! News about links, their addresses and routes.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::address::Address;
use super::link::{self, Link};
use super::{address, route, split};

/// `RTNLGRP_LINK`
const LINKS: u32 = 1;
/// `RTNLGRP_IPV4_IFADDR`
const ADDRESSES4: u32 = 5;
/// `RTNLGRP_IPV6_IFADDR`
const ADDRESSES6: u32 = 9;
/// `RTNLGRP_IPV4_ROUTE`
const ROUTES4: u32 = 7;
/// `RTNLGRP_IPV6_ROUTE`
const ROUTES6: u32 = 11;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
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

/// A socket that hears of every change of the routes and addresses of its network namespace, and
/// is asked now and then which links they were of.
///
/// IPv4 routes that go because their link goes down are not told of.
pub struct RouteWatch(Socket);

impl std::fmt::Debug for RouteWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteWatch").finish_non_exhaustive()
    }
}

impl RouteWatch {
    /// Starts to listen.
    ///
    /// # Errors
    /// `EMFILE` and the like.
    pub fn open() -> io::Result<RouteWatch> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        for group in [ADDRESSES4, ADDRESSES6, ROUTES4, ROUTES6] {
            socket.add_membership(group)?;
        }
        Ok(RouteWatch(socket))
    }

    /// Hands the link of every change since the last time to `each`; `None` is one that concerns
    /// several links or none, or more changes than could be kept.
    ///
    /// # Errors
    /// What the socket says.
    pub fn news(&mut self, mut each: impl FnMut(Option<u32>)) -> io::Result<()> {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let received = match self.0.recv(&mut &mut buffer[..], 0) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    each(None);
                    continue;
                }
                Err(e) => return Err(e),
            };
            let mut rest = &buffer[..received];
            while let Ok(Some((reply, next))) = split(rest) {
                rest = next;
                each(match reply.kind {
                    RTM_NEWADDR | RTM_DELADDR => super::word(reply.payload, 4),
                    _ => route::link_of(reply.payload),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Change, Socket as Kernel, Target, add_address, add_bridge, link_named, remove_address,
    };
    use super::*;

    #[test]
    fn privileged_routes_are_told_of_with_their_links() {
        let work = || {
            let mut kernel = Kernel::open().expect("a socket");
            kernel.run(&[add_bridge("one", None)]).expect("a link");
            let link = link_named(&mut kernel, "one").expect("an answer").expect("a link").index;
            let mut watch = RouteWatch::open().expect("a socket");
            let heard = |watch: &mut RouteWatch| {
                let mut links = Vec::new();
                watch.news(|link| links.push(link)).expect("news");
                links.dedup();
                links
            };
            assert_eq!(heard(&mut watch), []);
            let address = Address { link, addr: [10, 9, 8, 7].into(), prefix: 24 };
            let up = Change::of(Target::Index(link)).no_link_local().up(true).request();
            kernel.run(&[up, add_address(address)]).expect("an address");
            assert_eq!(heard(&mut watch), [Some(link)]);
            assert_eq!(heard(&mut watch), []);
            kernel.run(&[remove_address(address)]).expect("removed");
            assert_eq!(heard(&mut watch), [Some(link)]);
        };
        crate::netns::create(|_| work()).expect("a namespace");
    }
}
