//! Which ports of the host sockets are open on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr as Kernel};

use super::{HEADER, address_of, answers, attribute};
use crate::hold::Transport;

/// `NETLINK_SOCK_DIAG`
const SOCK_DIAG: isize = 4;
/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `struct inet_diag_req_v2`
const REQUEST: usize = 56;
/// `struct inet_diag_msg`
const ANSWER: usize = 72;
/// `INET_DIAG_SKV6ONLY`
const V6_ONLY: u16 = 11;
/// `TCPF_LISTEN`
const LISTENING: u32 = 1 << 10;

/// Addresses and ports that TCP sockets listen on, or UDP sockets are bound to, in the calling
/// thread's network namespace. One that takes both families is in the answer twice.
///
/// # Errors
/// `ENOENT` when the kernel does not tell (`CONFIG_INET_DIAG`); `EPROTONOSUPPORT` for SCTP.
pub fn open_ports(transport: Transport) -> io::Result<Vec<SocketAddr>> {
    let (protocol, states) = match transport {
        Transport::Tcp => (libc::IPPROTO_TCP, LISTENING),
        Transport::Udp => (libc::IPPROTO_UDP, u32::MAX),
        Transport::Sctp => return Err(io::Error::from_raw_os_error(libc::EPROTONOSUPPORT)),
    };
    let socket = Socket::new(SOCK_DIAG)?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(&socket, family as u8, protocol as u8, states)?;
        answers(&socket, |payload| note(payload, &mut found))?;
    }
    Ok(found)
}

fn ask(socket: &Socket, family: u8, protocol: u8, states: u32) -> io::Result<()> {
    let length = HEADER + REQUEST;
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, protocol, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.resize(length, 0);
    socket.send_to(&message, &Kernel::new(0, 0), 0).map(drop)
}

/// `struct inet_diag_msg`: family, three more bytes, source port, destination port, source address.
fn note(payload: &[u8], found: &mut Vec<SocketAddr>) {
    let Some((&family, port)) = payload.first().zip(payload.get(4..6)) else { return };
    let port = u16::from_be_bytes([port[0], port[1]]);
    let v6 = i32::from(family) == libc::AF_INET6;
    let Some(ip) = payload.get(8..if v6 { 24 } else { 12 }).and_then(address_of) else { return };
    if port == 0 {
        return;
    }
    found.push(SocketAddr::new(ip, port));
    let only = || attribute(payload.get(ANSWER..).unwrap_or_default(), V6_ONLY) == Some(&[1]);
    if v6 && ip.is_unspecified() && !only() {
        found.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn sockets_are_found_where_they_are() {
        let local = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let both = TcpListener::bind("[::]:0").expect("a listener");
        let udp = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let tcp_ports = open_ports(Transport::Tcp).expect("an answer");
        assert!(tcp_ports.contains(&local.local_addr().expect("an address")));
        let at = both.local_addr().expect("an address");
        assert!(tcp_ports.contains(&at));
        assert!(tcp_ports.contains(&SocketAddr::new([0, 0, 0, 0].into(), at.port())));
        let udp_ports = open_ports(Transport::Udp).expect("an answer");
        assert!(udp_ports.contains(&udp.local_addr().expect("an address")));
        assert!(open_ports(Transport::Sctp).is_err());
    }
}
