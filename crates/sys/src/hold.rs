//! Sockets that keep a port of the host taken while nobody listens on it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{self, AddressFamily, Shutdown, SocketFlags, SocketType, ipproto, sockopt};

/// What the port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Takes a port. Nothing is received on it: a connection to it is refused. Other programs that
/// try to bind it are told `EADDRINUSE`, also if they set `SO_REUSEADDR`.
///
/// # Errors
/// `EADDRINUSE`, `EADDRNOTAVAIL` when the address is none of the host's, `EPROTONOSUPPORT` and
/// `ESOCKTNOSUPPORT` when the kernel lacks the protocol or the family.
pub fn hold_port(transport: Transport, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match transport {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
        Transport::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
    if address.is_ipv6() {
        // Otherwise [::] would take the port of IPv4 too.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if transport == Transport::Udp {
        // Datagrams that come before the rules do must not pile up unread.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
        net::bind(&socket, &address)?;
        return Ok(socket);
    }
    // With SO_REUSEADDR connections in TIME_WAIT do not count as users of the port. It would also
    // let others in, who may set it too; becoming a listener for a moment makes the kernel forget
    // that the port was opened for sharing (inet_csk_update_fastreuse), and find out whether
    // somebody else listens. Shut down, the socket keeps the port and answers with a reset.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, 0)?;
    net::shutdown(&socket, Shutdown::Both)?;
    sockopt::set_socket_reuseaddr(&socket, false)?;
    Ok(socket)
}
