//! Sockets that keep a port of the host taken while nobody listens on it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

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

impl Transport {
    /// The protocol's number.
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        }
    }
}

/// Which port a socket of [`hold_port`] keeps: number of the protocol, address.
///
/// # Errors
/// That it is no socket of such a kind.
pub fn held_port(socket: impl AsFd) -> io::Result<(u8, SocketAddr)> {
    let socket = socket.as_fd();
    let protocol = sockopt::socket_protocol(socket)?.map_or(0, |p| p.as_raw().get());
    let address = SocketAddr::try_from(net::getsockname(socket)?)?;
    Ok((u8::try_from(protocol).unwrap_or(0), address))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_known_again() {
        for transport in [Transport::Tcp, Transport::Udp] {
            // A port that nobody has: one that the kernel chooses is not kept by a shutdown.
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let wanted = free.local_addr().expect("an address");
            drop(free);
            let socket = hold_port(transport, wanted).expect("a port");
            let (protocol, address) = held_port(&socket).expect("a port");
            assert_eq!(protocol, transport.number());
            assert_eq!(address, wanted);
            assert!(hold_port(transport, address).is_err(), "it is held");
        }
        assert!(held_port(io::stdin()).is_err());
    }
}
