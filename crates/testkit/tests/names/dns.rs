//! A DNS client and the wire format, as far as the tests need them; nothing of the engine's.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use testkit::Container;

pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const MX: u16 = 15;
pub(crate) const AAAA: u16 = 28;

/// Outcomes.
pub(crate) const FINE: u8 = 0;
pub(crate) const FAILED: u8 = 2;
pub(crate) const NO_SUCH_NAME: u8 = 3;

/// An answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) truncated: bool,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) names: Vec<String>,
    pub(crate) length: usize,
}

/// How to ask.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    pub(crate) tcp: bool,
    /// The size that is told with EDNS.
    pub(crate) size: Option<u16>,
}

/// The network namespace of a running container.
pub(crate) fn namespace(container: &Container) -> PathBuf {
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    assert_ne!(pid, 0, "it runs");
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Asks as a container would; `None`: nobody answered in time.
pub(crate) fn ask_in(
    namespace: &std::path::Path,
    name: &str,
    kind: u16,
    manner: Manner,
) -> Option<Answer> {
    let query = query(name, kind, manner.size);
    let bytes = testkit::netns::inside(namespace, || exchange(&query, manner.tcp))?;
    assert_eq!(bytes[..2], query[..2], "the id comes back");
    Some(read(&bytes))
}

/// The same of a container that must get an answer.
#[track_caller]
pub(crate) fn ask_with(container: &Container, name: &str, kind: u16, manner: Manner) -> Answer {
    let namespace = namespace(container);
    (0..4)
        .find_map(|_| ask_in(&namespace, name, kind, manner))
        .unwrap_or_else(|| panic!("nobody answers about {name}"))
}

#[track_caller]
pub(crate) fn ask(container: &Container, name: &str, kind: u16) -> Answer {
    ask_with(container, name, kind, Manner::default())
}

/// The addresses of a name, in order of their numbers.
#[track_caller]
pub(crate) fn addresses(container: &Container, name: &str) -> Vec<String> {
    let mut list = ask(container, name, A).addresses;
    list.sort();
    list.iter().map(ToString::to_string).collect()
}

fn exchange(query: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let server: SocketAddr = "127.0.0.11:53".parse().unwrap();
    let patience = Some(Duration::from_secs(8));
    let mut buffer = vec![0; 65536];
    if tcp {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(8)).ok()?;
        stream.set_read_timeout(patience).unwrap();
        let mut framed = (query.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(query);
        stream.write_all(&framed).ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        buffer.truncate(usize::from(u16::from_be_bytes(length)));
        stream.read_exact(&mut buffer).ok()?;
        return Some(buffer);
    }
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(patience).unwrap();
    socket.connect(server).ok()?;
    socket.send(query).ok()?;
    let count = socket.recv(&mut buffer).ok()?;
    buffer.truncate(count);
    Some(buffer)
}

pub(crate) fn query(name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(7);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
    let mut bytes = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())];
    bytes.extend(labels(name));
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(size) = size {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 6]);
    }
    bytes
}

pub(crate) fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name at a place, and where it ends.
pub(crate) fn name_at(bytes: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    let mut end = None;
    loop {
        let length = usize::from(bytes[at]);
        if length & 0xc0 == 0xc0 {
            end.get_or_insert(at + 2);
            at = (length & 0x3f) << 8 | usize::from(bytes[at + 1]);
            continue;
        }
        at += 1;
        if length == 0 {
            return (labels.join("."), end.unwrap_or(at));
        }
        labels.push(String::from_utf8_lossy(&bytes[at..at + length]).into_owned());
        at += length;
    }
}

fn read(bytes: &[u8]) -> Answer {
    assert!(bytes[2] & 0x80 != 0, "an answer: {bytes:?}");
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let mut answer = Answer {
        code: bytes[3] & 0x0f,
        truncated: bytes[2] & 2 != 0,
        addresses: Vec::new(),
        names: Vec::new(),
        length: bytes.len(),
    };
    let mut at = 12;
    for _ in 0..number(4) {
        at = name_at(bytes, at).1 + 4;
    }
    for _ in 0..number(6) {
        at = name_at(bytes, at).1;
        let (kind, length) = (number(at), usize::from(number(at + 8)));
        let data = &bytes[at + 10..at + 10 + length];
        match kind {
            A => answer.addresses.push(<[u8; 4]>::try_from(data).unwrap().into()),
            AAAA => answer.addresses.push(<[u8; 16]>::try_from(data).unwrap().into()),
            PTR => answer.names.push(name_at(bytes, at + 10).0),
            _ => {}
        }
        at += 10 + length;
    }
    answer
}
