//! Leading what is sent to a port of one address of the loopback link to other ports, within the
//! calling thread's network namespace.
//!
//! ```text
//!  client ──► 127.0.0.11:53 ──output──► 127.0.0.11:P      nobody else's port 53 is taken
//!  client ◄── 127.0.0.11:53 ◄──input─── 127.0.0.11:P
//! ```
//!
//! The ports are rewritten packet by packet instead of translated: address translation would turn
//! on connection tracking for all that the namespace sends and receives. Where it is on, it sees
//! the same ports in both directions, because the first is rewritten before it and the second
//! after it.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::{HEADER, NLMSG_ERROR, split, verdict};

/// Where to lead what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect<'a> {
    /// Name of the nftables table to keep it in; one that is there is replaced.
    pub table: &'a str,
    /// The address that is asked.
    pub address: Ipv4Addr,
    /// The port that is asked.
    pub port: u16,
    /// The port where datagrams go.
    pub udp: u16,
    /// The port where connections go.
    pub tcp: u16,
}

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES << 8;
const DELETE_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const NLA_F_NESTED: u16 = 1 << 15;
/// `NF_INET_LOCAL_IN`, `NF_INET_LOCAL_OUT`
const LOCAL_IN: u32 = 1;
const LOCAL_OUT: u32 = 3;
/// `NF_IP_PRI_RAW`: before connection tracking, which is at -200.
const RAW: i32 = -300;
const NF_ACCEPT: u32 = 1;
/// `NFT_REG_1`
const REGISTER: u32 = 1;
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `NFT_META_L4PROTO`
const PROTOCOL: u32 = 16;
/// `NFT_PAYLOAD_CSUM_INET`
const CHECKSUM: u32 = 1;
const EEXIST: i32 = 17;

/// Which end of a packet is meant: offsets in the headers of IPv4, and of UDP and TCP.
#[derive(Clone, Copy)]
struct End {
    address: u32,
    port: u32,
}

const SOURCE: End = End { address: 12, port: 0 };
const DESTINATION: End = End { address: 16, port: 2 };

impl Redirect<'_> {
    /// Puts it in force.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`; `EPROTONOSUPPORT` or `EOPNOTSUPP` without nftables in the
    /// kernel.
    pub fn apply(&self) -> io::Result<()> {
        match self.batch(false).send() {
            Err(error) if error.raw_os_error() == Some(EEXIST) => self.batch(true).send(),
            other => other,
        }
    }

    fn batch(&self, replace: bool) -> Batch {
        let mut batch = Batch::begin();
        let table = text(1, self.table);
        if replace {
            // Making sure that there is one to delete (NFT_MSG_DESTROYTABLE came with 6.3).
            batch.message(NEW_TABLE, NLM_F_CREATE, &table);
            batch.message(DELETE_TABLE, 0, &table);
        }
        batch.message(NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL, &table);
        let ports = [(17, 6, self.udp), (6, 16, self.tcp)];
        for (chain, hook) in [("output", LOCAL_OUT), ("input", LOCAL_IN)] {
            let chain_name = text(3, chain);
            let place = [number(1, hook), attribute(2, &RAW.to_be_bytes())].concat();
            let parts = [
                table.clone(),
                chain_name,
                nested(4, &place),
                number(5, NF_ACCEPT),
                text(7, "filter"),
            ];
            batch.message(NEW_CHAIN, NLM_F_CREATE, &parts.concat());
            for (protocol, checksum, inner) in ports {
                let rule = match hook {
                    LOCAL_OUT => self.rule(protocol, checksum, DESTINATION, self.port, inner),
                    _ => self.rule(protocol, checksum, SOURCE, inner, self.port),
                };
                let parts = [table.clone(), text(2, chain), nested(4, &rule)];
                batch.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, &parts.concat());
            }
        }
        batch.end();
        batch
    }

    /// The expressions of `ip daddr ADDRESS udp dport FROM udp dport set TO`, or of its kind.
    fn rule(&self, protocol: u8, checksum: u32, end: End, from: u16, to: u16) -> Vec<u8> {
        let value = [number(1, REGISTER), nested(2, &attribute(1, &to.to_be_bytes()))].concat();
        let write = [
            number(5, REGISTER),
            number(2, TRANSPORT),
            number(3, end.port),
            number(4, 2),
            number(6, CHECKSUM),
            number(7, checksum),
        ];
        [
            load(NETWORK, end.address, 4),
            equal(&self.address.octets()),
            expression("meta", &[number(1, REGISTER), number(2, PROTOCOL)].concat()),
            equal(&[protocol]),
            load(TRANSPORT, end.port, 2),
            equal(&from.to_be_bytes()),
            expression("immediate", &value),
            expression("payload", &write.concat()),
        ]
        .concat()
    }
}

fn load(base: u32, offset: u32, length: u32) -> Vec<u8> {
    let parts = [number(1, REGISTER), number(2, base), number(3, offset), number(4, length)];
    expression("payload", &parts.concat())
}

fn equal(value: &[u8]) -> Vec<u8> {
    let parts = [number(1, REGISTER), number(2, 0), nested(3, &attribute(1, value))];
    expression("cmp", &parts.concat())
}

/// One `NFTA_LIST_ELEM`.
fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)].concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, value)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// A transaction of nftables: it is done as a whole or not at all.
struct Batch {
    bytes: Vec<u8>,
    /// Messages so far; the number of each is its sequence number.
    count: u32,
    /// Where the last one begins.
    last: usize,
}

impl Batch {
    fn begin() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(2048), count: 0, last: 0 };
        batch.append(BATCH_BEGIN, 0, [0, 0], NFTABLES, &[]);
        batch
    }

    /// Has the last message acknowledged, which happens when all are in force. (The end itself is
    /// only since 6.10.)
    fn end(&mut self) {
        if let Some(flags) = self.bytes[self.last..].get_mut(6..8) {
            let with = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&with.to_ne_bytes());
        }
        self.append(BATCH_END, 0, [0, 0], NFTABLES, &[]);
    }

    /// A message about tables of IPv4.
    fn message(&mut self, kind: u16, flags: u16, body: &[u8]) {
        self.append(kind, flags, [libc::AF_INET as u8, 0], 0, body);
    }

    fn append(&mut self, kind: u16, flags: u16, family: [u8; 2], resource: u16, body: &[u8]) {
        let length = u32::try_from(HEADER + 4 + body.len()).unwrap_or(u32::MAX);
        self.count += 1;
        self.last = self.bytes.len();
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(family);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend_from_slice(body);
    }

    /// Sends it and waits for the outcome: an acknowledgement when all is well, else what is wrong
    /// with the first message that is.
    fn send(&self) -> io::Result<()> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        socket.send_to(&self.bytes, &SocketAddr::new(0, 0), 0)?;
        let mut buffer = vec![0; 8 << 10];
        loop {
            let received = match socket.recv(&mut &mut buffer[..], 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            let mut rest = &buffer[..received];
            while let Some((reply, next)) = split(rest).map_err(|error| error.source)? {
                rest = next;
                if reply.kind != NLMSG_ERROR {
                    continue;
                }
                verdict(&reply, 0).map_err(|error| error.source)?;
                if reply.sequence == self.count - 1 {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn privileged_port_53_leads_elsewhere_and_stays_free() {
        let work = || -> io::Result<()> {
            let mut netlink = crate::netlink::Socket::open()?;
            let up = crate::netlink::Change::of(crate::netlink::Target::Name("lo")).up(true);
            netlink.run(&[up.request()]).map_err(|error| error.source)?;
            let address = Ipv4Addr::new(127, 0, 0, 11);
            // Twice: the second takes the place of the first.
            for _ in 0..2 {
                let udp = UdpSocket::bind((address, 0))?;
                let tcp = TcpListener::bind((address, 0))?;
                let redirect = Redirect {
                    table: "names",
                    address,
                    port: 53,
                    udp: udp.local_addr()?.port(),
                    tcp: tcp.local_addr()?.port(),
                };
                redirect.apply()?;
                let _others = UdpSocket::bind("0.0.0.0:53")?;
                let client = UdpSocket::bind("127.0.0.1:0")?;
                client.connect((address, 53))?;
                client.send(b"ask")?;
                let mut buffer = [0; 16];
                let (length, peer) = udp.recv_from(&mut buffer)?;
                assert_eq!((&buffer[..length], peer), (&b"ask"[..], client.local_addr()?));
                udp.send_to(b"told", peer)?;
                let length = client.recv(&mut buffer)?;
                assert_eq!(&buffer[..length], b"told");
                let mut stream = TcpStream::connect((address, 53))?;
                let (mut served, _) = tcp.accept()?;
                io::Write::write_all(&mut stream, &[7; 1000])?;
                drop(stream);
                let mut all = Vec::new();
                io::Read::read_to_end(&mut served, &mut all)?;
                assert_eq!(all.len(), 1000);
            }
            Ok(())
        };
        crate::netns::create(|_| work()).expect("a namespace").1.expect("redirected");
    }
}
