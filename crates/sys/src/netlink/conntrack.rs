//! Tracked connections.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::{HEADER, address_of, answers, attribute};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of a message's type.
const CONNTRACK: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET`
const GET: u16 = 1;
/// `IPCTNL_MSG_CT_DELETE`
const DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const NLA_F_NESTED: u16 = 1 << 15;
/// `struct nfgenmsg`
const FAMILY_HEADER: usize = 4;
const ENOENT: i32 = 2;

/// Forgets the flows of a protocol (17 is UDP) that were sent to one of the ports and lead
/// elsewhere than to `now`. Who goes on sending gets a new one, by the rules of today: address
/// translation is decided once for each flow, and UDP has no end that would end one.
///
/// Returns how many there were.
///
/// # Errors
/// What the kernel says; `EPROTONOSUPPORT` without connection tracking.
pub fn forget_flows(protocol: u8, ports: &[u16], now: IpAddr) -> io::Result<usize> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    let stale = stale(&socket, protocol, ports, now)?;
    for tuple in &stale {
        let mut body = Vec::with_capacity(tuple.len() + 4);
        body.extend(u16::try_from(tuple.len() + 4).unwrap_or(u16::MAX).to_ne_bytes());
        body.extend((CTA_TUPLE_ORIG | NLA_F_NESTED).to_ne_bytes());
        body.extend(tuple);
        send(&socket, DELETE, NLM_F_ACK, family_of(now), &body)?;
        receive(&socket, |_| {}).or_else(|e| match e.raw_os_error() {
            // It ended in between.
            Some(ENOENT) => Ok(()),
            _ => Err(e),
        })?;
    }
    Ok(stale.len())
}

/// The original tuples, as attributes, of the flows in question.
fn stale(socket: &Socket, protocol: u8, ports: &[u16], now: IpAddr) -> io::Result<Vec<Vec<u8>>> {
    send(socket, GET, NLM_F_DUMP, family_of(now), &[])?;
    let mut found = Vec::new();
    receive(socket, |attributes| {
        let Some(original) = attribute(attributes, CTA_TUPLE_ORIG) else { return };
        let reply = attribute(attributes, CTA_TUPLE_REPLY).unwrap_or_default();
        let goes_there =
            destination(original).is_some_and(|(p, port)| p == protocol && ports.contains(&port));
        if goes_there && source(reply).is_some_and(|addr| addr != now) {
            found.push(original.to_vec());
        }
    })?;
    Ok(found)
}

/// Protocol and destination port of a tuple.
fn destination(tuple: &[u8]) -> Option<(u8, u16)> {
    let proto = attribute(tuple, CTA_TUPLE_PROTO)?;
    let number = *attribute(proto, CTA_PROTO_NUM)?.first()?;
    let port = attribute(proto, CTA_PROTO_DST_PORT)?;
    Some((number, u16::from_be_bytes(port.get(..2)?.try_into().ok()?)))
}

fn source(tuple: &[u8]) -> Option<IpAddr> {
    let ip = attribute(tuple, CTA_TUPLE_IP)?;
    address_of(attribute(ip, CTA_IP_V4_SRC).or_else(|| attribute(ip, CTA_IP_V6_SRC))?)
}

fn family_of(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn send(socket: &Socket, kind: u16, flags: u16, family: u8, body: &[u8]) -> io::Result<()> {
    let length = HEADER + FAMILY_HEADER + body.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend((CONNTRACK | kind).to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0, 0, 0]);
    message.extend(body);
    socket.send_to(&message, &SocketAddr::new(0, 0), 0).map(drop)
}

/// Reads the whole answer; `each` gets the attributes of every entry.
fn receive(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    answers(socket, |payload| each(payload.get(FAMILY_HEADER..).unwrap_or_default()))
}
