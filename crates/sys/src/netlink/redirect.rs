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

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::transaction::{Transaction, attribute, nested, number, text};

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

/// `NFT_MSG_…`
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const IPV4: u8 = libc::AF_INET as u8;
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
        match self.put(false) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => self.put(true),
            other => other,
        }
    }

    fn put(&self, replace: bool) -> io::Result<()> {
        let socket = Socket::new(NETLINK_NETFILTER)?;
        let mut all = Transaction::begin(1);
        let table = |bytes: &mut Vec<u8>| text(bytes, 1, self.table);
        if replace {
            // Making sure that there is one to delete (NFT_MSG_DESTROYTABLE came with 6.3).
            all.message(NEW_TABLE, NLM_F_CREATE, IPV4, table);
            all.message(DELETE_TABLE, 0, IPV4, table);
        }
        all.message(NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL, IPV4, table);
        for (chain, hook) in [("output", LOCAL_OUT), ("input", LOCAL_IN)] {
            all.message(NEW_CHAIN, NLM_F_CREATE, IPV4, |bytes| {
                table(bytes);
                text(bytes, 3, chain);
                nested(bytes, 4, |bytes| {
                    number(bytes, 1, hook);
                    attribute(bytes, 2, &RAW.to_be_bytes());
                });
                number(bytes, 5, NF_ACCEPT);
                text(bytes, 7, "filter");
            });
            for (protocol, checksum, inner) in [(17, 6, self.udp), (6, 16, self.tcp)] {
                let (end, from, to) = match hook {
                    LOCAL_OUT => (DESTINATION, self.port, inner),
                    _ => (SOURCE, inner, self.port),
                };
                all.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, IPV4, |bytes| {
                    table(bytes);
                    text(bytes, 2, chain);
                    nested(bytes, 4, |bytes| {
                        self.rewrite(bytes, (protocol, checksum), end, (from, to));
                    });
                });
            }
        }
        all.run(&socket).1.map_err(|error| error.source)
    }

    /// The expressions of `ip daddr ADDRESS udp dport FROM udp dport set TO`, or of its kind; of a
    /// protocol its number and where its checksum is.
    fn rewrite(
        &self,
        bytes: &mut Vec<u8>,
        (protocol, checksum): (u8, u32),
        end: End,
        (from, to): (u16, u16),
    ) {
        load(bytes, NETWORK, end.address, 4);
        equal(bytes, &self.address.octets());
        expression(bytes, "meta", |bytes| {
            number(bytes, 1, REGISTER);
            number(bytes, 2, PROTOCOL);
        });
        equal(bytes, &[protocol]);
        load(bytes, TRANSPORT, end.port, 2);
        equal(bytes, &from.to_be_bytes());
        expression(bytes, "immediate", |bytes| {
            number(bytes, 1, REGISTER);
            nested(bytes, 2, |bytes| attribute(bytes, 1, &to.to_be_bytes()));
        });
        expression(bytes, "payload", |bytes| {
            number(bytes, 5, REGISTER);
            number(bytes, 2, TRANSPORT);
            number(bytes, 3, end.port);
            number(bytes, 4, 2);
            number(bytes, 6, CHECKSUM);
            number(bytes, 7, checksum);
        });
    }
}

fn load(bytes: &mut Vec<u8>, base: u32, offset: u32, length: u32) {
    expression(bytes, "payload", |bytes| {
        for (kind, value) in [(1, REGISTER), (2, base), (3, offset), (4, length)] {
            number(bytes, kind, value);
        }
    });
}

fn equal(bytes: &mut Vec<u8>, value: &[u8]) {
    expression(bytes, "cmp", |bytes| {
        number(bytes, 1, REGISTER);
        number(bytes, 2, 0);
        nested(bytes, 3, |bytes| attribute(bytes, 1, value));
    });
}

/// One `NFTA_LIST_ELEM`.
fn expression(bytes: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    nested(bytes, 1, |bytes| {
        text(bytes, 1, name);
        nested(bytes, 2, data);
    });
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
