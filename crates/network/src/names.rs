//! Where containers ask for names: sockets inside their namespaces, for a resolver outside.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};

use sys::netlink::Redirect;
use sys::socket::{Family, unbound};

use crate::error::{Error, Result};

/// The port of DNS.
const PORT: u16 = 53;
/// The nftables table inside a container's namespace.
const TABLE: &str = "isopod_names";
/// Unused sockets of a kind that go along: as many questions can be on their way to servers that
/// are asked from within the namespace.
const UNUSED_UDP: usize = 12;
const UNUSED_TCP: usize = 3;

/// From where servers are asked that are reached from within the namespace only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// There are some with an address of IPv4.
    pub ipv4: bool,
    /// There are some with an address of IPv6.
    pub ipv6: bool,
}

/// Sockets of a network namespace, for whoever answers there.
#[derive(Debug)]
pub struct NameSockets {
    /// Gets datagrams that are sent to port 53 of the address.
    pub udp: OwnedFd,
    /// Gets connections to it.
    pub tcp: OwnedFd,
    /// Not bound: UDP over IPv4.
    pub udp4: Vec<OwnedFd>,
    /// Not bound: TCP over IPv4.
    pub tcp4: Vec<OwnedFd>,
    /// Not bound: UDP over IPv6.
    pub udp6: Vec<OwnedFd>,
    /// Not bound: TCP over IPv6.
    pub tcp6: Vec<OwnedFd>,
}

/// Makes the sockets, and has what is sent to port 53 of `address`, which is one of the loopback
/// link, led to them. The port itself stays free for the container. Done again, the new sockets
/// take the place of the old ones.
///
/// # Errors
/// What the kernel says.
pub fn name_sockets(netns: BorrowedFd<'_>, address: Ipv4Addr, asks: Asks) -> Result<NameSockets> {
    let step = |step| move |source| Error::Namespace { step, source };
    sys::netns::within(netns, || {
        let (udp, tcp) = lead(address).map_err(step("opening sockets for names"))?;
        let unused = |wanted: bool, family, stream, count| -> io::Result<Vec<OwnedFd>> {
            (0..if wanted { count } else { 0 }).map(|_| unbound(family, stream)).collect()
        };
        let sockets = || -> io::Result<NameSockets> {
            Ok(NameSockets {
                udp,
                tcp,
                udp4: unused(asks.ipv4, Family::V4, false, UNUSED_UDP)?,
                tcp4: unused(asks.ipv4, Family::V4, true, UNUSED_TCP)?,
                udp6: unused(asks.ipv6, Family::V6, false, UNUSED_UDP)?,
                tcp6: unused(asks.ipv6, Family::V6, true, UNUSED_TCP)?,
            })
        };
        sockets().map_err(step("opening sockets for name servers"))
    })
    .map_err(step("entering the network namespace"))?
}

fn lead(address: Ipv4Addr) -> io::Result<(OwnedFd, OwnedFd)> {
    let (udp, tcp) = bind(address, 0)?;
    let port = |socket: io::Result<std::net::SocketAddr>| Ok::<_, io::Error>(socket?.port());
    let redirect = Redirect {
        table: TABLE,
        address,
        port: PORT,
        udp: port(udp.local_addr())?,
        tcp: port(tcp.local_addr())?,
    };
    match redirect.apply() {
        Ok(()) => Ok((udp.into(), tcp.into())),
        // A kernel without nftables (EPROTONOSUPPORT, EOPNOTSUPP). A container that wants the port
        // on all addresses will not get it, but names work.
        Err(error) => match bind(address, PORT) {
            Ok((udp, tcp)) => Ok((udp.into(), tcp.into())),
            Err(_) => Err(error),
        },
    }
}

fn bind(address: Ipv4Addr, port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let address = SocketAddrV4::new(address, port);
    let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn privileged_sockets_are_made_and_made_again() {
        let netns = crate::warm::make_bare().unwrap();
        let address = Ipv4Addr::new(127, 0, 0, 11);
        let asks = Asks { ipv4: true, ipv6: false };
        let first = name_sockets(std::os::fd::AsFd::as_fd(&netns), address, asks).unwrap();
        assert_eq!((first.udp4.len(), first.udp6.len()), (UNUSED_UDP, 0));
        let begun = Instant::now();
        let again =
            name_sockets(std::os::fd::AsFd::as_fd(&netns), address, Asks::default()).unwrap();
        println!("made again in {:?}", begun.elapsed());
        let udp = UdpSocket::from(again.udp);
        udp.set_nonblocking(false).unwrap();
        sys::netns::within(std::os::fd::AsFd::as_fd(&netns), || {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"hello", (address, PORT)).unwrap();
        })
        .unwrap();
        let mut buffer = [0; 8];
        assert_eq!(udp.recv(&mut buffer).unwrap(), 5);
    }
}
