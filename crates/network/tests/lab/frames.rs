//! Frames as a container with all capabilities can send them, and what of them comes out of
//! another container's link.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::process::{Command, Stdio};

use super::{Container, within};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const NOBODY: [u8; 6] = [0xff; 6];

/// Sends what it is given, a frame in hexadecimal digits on each line.
const SEND: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line))
";

/// Prints what comes in until the mark does. It gives up after a minute.
const SNIFF: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
s.settimeout(60)
print('ready', flush=True)
mark = bytes.fromhex(sys.argv[2])
while True:
    frame, where = s.recvfrom(65535)
    if where[2] == socket.PACKET_OUTGOING:
        continue
    if mark in frame:
        break
    print(frame.hex())
print('end', flush=True)
";

/// Who a frame says that it is of.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub mac: [u8; 6],
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Sender {
    pub(crate) fn of(container: &Container) -> Sender {
        let v6 = container.endpoint.ipv6.map(|c| c.addr());
        Sender {
            mac: container.endpoint.mac.0,
            v4: match container.ip() {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            },
            v6: match v6 {
                Some(IpAddr::V6(ip)) => ip,
                _ => Ipv6Addr::UNSPECIFIED,
            },
        }
    }
}

/// An Ethernet frame to everybody, so that every port gets it.
pub(crate) fn frame(from: [u8; 6], kind: u16, content: &[u8]) -> Vec<u8> {
    [&NOBODY, &from, &kind.to_be_bytes()[..], content].concat()
}

/// "Link-layer address `sender` is `ip`", as a request for another.
pub(crate) fn arp(from: [u8; 6], sender: [u8; 6], ip: Ipv4Addr, reply: bool) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, if reply { 2 } else { 1 }];
    let content = [&head[..], &sender, &ip.octets(), &[0; 6], &[172, 31, 255, 1]].concat();
    frame(from, ARP, &content)
}

/// The same with a tag around it.
pub(crate) fn tagged(frame: &[u8], tag: u16, vlan: u16) -> Vec<u8> {
    [&frame[..12], &tag.to_be_bytes(), &vlan.to_be_bytes(), &frame[12..]].concat()
}

pub(crate) fn udp4(from: [u8; 6], source: Ipv4Addr, target: Ipv4Addr, text: &str) -> Vec<u8> {
    frame(from, IPV4, &ipv4(UDP, source, target, &datagram(text)))
}

pub(crate) fn udp6(from: [u8; 6], source: Ipv6Addr, target: Ipv6Addr, text: &str) -> Vec<u8> {
    frame(from, IPV6, &ipv6(UDP, source, target, &datagram(text)))
}

/// An ICMPv6 message of a type, with the address that it is about.
pub(crate) fn neighbour(from: [u8; 6], source: Ipv6Addr, kind: u8, about: Ipv6Addr) -> Vec<u8> {
    let message = [&[kind, 0, 0, 0, 0x20, 0, 0, 0][..], &about.octets(), &[2, 1], &from].concat();
    frame(from, IPV6, &ipv6(ICMPV6, source, ALL_NODES, &message))
}

/// The same behind a header of options, which has nothing to say.
pub(crate) fn wrapped(from: [u8; 6], source: Ipv6Addr, kind: u8, about: Ipv6Addr) -> Vec<u8> {
    const OPTIONS: u8 = 60;
    let message = [&[kind, 0, 0, 0, 0x20, 0, 0, 0][..], &about.octets(), &[2, 1], &from].concat();
    let options = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
    frame(from, IPV6, &ipv6(OPTIONS, source, ALL_NODES, &options))
}

pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn datagram(text: &str) -> Vec<u8> {
    let length = u16::try_from(8 + text.len()).unwrap();
    [&[0x30, 0x39, 0x30, 0x3a][..], &length.to_be_bytes(), &[0, 0], text.as_bytes()].concat()
}

pub(crate) fn ipv4(protocol: u8, source: Ipv4Addr, target: Ipv4Addr, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + content.len()).unwrap().to_be_bytes();
    let mut head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0].to_vec();
    head.extend(source.octets());
    head.extend(target.octets());
    let sum: u32 = head.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    let sum = !((sum & 0xffff) as u16 + (sum >> 16) as u16);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    head.extend(content);
    head
}

fn ipv6(next: u8, source: Ipv6Addr, target: Ipv6Addr, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], next, 255];
    [&head[..], &source.octets(), &target.octets(), content].concat()
}

/// Sends frames out of a namespace by `eth0`; returns which of them came out at another's, in
/// order. What is sent last, an honest datagram, says when all that came has come.
pub(crate) fn pass(from: &Container, to: &Container, frames: &[Vec<u8>]) -> Vec<bool> {
    const MARK: &str = "that was all of it";
    let (sender, receiver) = (Sender::of(from), Sender::of(to));
    let mark = udp4(sender.mac, sender.v4, receiver.v4, MARK);
    let seen = sniffed(from.fd(), to.fd(), MARK, &[frames, &[mark]].concat());
    frames.iter().map(|frame| seen.iter().any(|seen| seen == frame)).collect()
}

fn sniffed(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    mark: &str,
    frames: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let mut sniffer = within(to, || {
        Command::new("python3")
            .args(["-c", SNIFF, "eth0", &hex(mark.as_bytes())])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3")
    });
    let mut lines = BufReader::new(sniffer.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    send(from, frames);
    let seen: Vec<String> = lines.collect();
    assert!(sniffer.wait().unwrap().success());
    assert_eq!(seen.last().map(String::as_str), Some("end"), "the honest one came through");
    // What is shorter than Ethernet allows is not filled up on a virtual link.
    seen[..seen.len() - 1].iter().map(|line| bytes(line)).collect()
}

/// Sends frames out of a namespace by `eth0`.
pub(crate) fn send(from: BorrowedFd<'_>, frames: &[Vec<u8>]) {
    let mut child = within(from, || {
        Command::new("python3").args(["-c", SEND, "eth0"]).stdin(Stdio::piped()).spawn()
    })
    .expect("python3");
    let mut input = child.stdin.take().unwrap();
    for frame in frames {
        writeln!(input, "{}", hex(frame)).unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// What comes in by `eth0` of a namespace until there is something that holds the mark, that too,
/// while `meanwhile` is done.
pub(crate) fn until(netns: BorrowedFd<'_>, mark: &[u8], meanwhile: impl FnOnce()) {
    let mut sniffer = within(netns, || {
        Command::new("python3")
            .args(["-c", SNIFF, "eth0", &hex(mark)])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3")
    });
    let mut lines = BufReader::new(sniffer.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    meanwhile();
    let last = lines.last();
    assert!(sniffer.wait().unwrap().success());
    assert_eq!(last.as_deref(), Some("end"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
