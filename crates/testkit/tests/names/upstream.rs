//! A toy name server, in a network namespace of the test's choice.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::names::dns::{A, FAILED, NO_SUCH_NAME, name_at};

/// A server that answers until it is dropped.
///
/// | asked for | answers |
/// | --- | --- |
/// | `N.many.example` | N addresses, truncated in a datagram |
/// | `failing.example` | SERVFAIL |
/// | `silent.example` | nothing |
/// | `forged.example` | wrong ids and questions first, then its address |
/// | others under `example` | its address |
/// | anything else | NXDOMAIN |
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    /// Who has asked for what, and by which id.
    asked: Arc<Mutex<Vec<(SocketAddr, String, u16)>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens at port 53 of `address`, and answers names with `tells`.
    pub(crate) fn start(namespace: Option<&Path>, address: IpAddr, tells: [u8; 4]) -> Self {
        let (udp, tcp) = match namespace {
            Some(path) => testkit::netns::inside(path, || bind(address)),
            None => bind(address),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let datagrams = {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || serve_datagrams(&udp, tells, &stop, &asked))
        };
        let streams = {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || serve_streams(&tcp, tells, &stop, &asked))
        };
        Self { stop, asked, threads: vec![datagrams, streams] }
    }

    /// Who has asked for a name, and by which id.
    pub(crate) fn asked_for(&self, name: &str) -> Vec<(SocketAddr, u16)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(_, n, _)| n == name).map(|(from, _, id)| (*from, *id)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const TURN: Duration = Duration::from_millis(50);

fn bind(address: IpAddr) -> (UdpSocket, TcpListener) {
    let udp = UdpSocket::bind((address, 53)).unwrap_or_else(|error| panic!("{address}: {error}"));
    udp.set_read_timeout(Some(TURN)).unwrap();
    let tcp = TcpListener::bind((address, 53)).unwrap();
    tcp.set_nonblocking(true).unwrap();
    (udp, tcp)
}

type Asked = Mutex<Vec<(SocketAddr, String, u16)>>;

fn note(asked: &Asked, from: SocketAddr, query: &[u8]) -> String {
    let name = name_at(query, 12).0;
    asked.lock().unwrap().push((from, name.clone(), u16::from_be_bytes([query[0], query[1]])));
    name
}

fn serve_datagrams(socket: &UdpSocket, tells: [u8; 4], stop: &AtomicBool, asked: &Asked) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        let query = &buffer[..count];
        let name = note(asked, from, query);
        if name == "silent.example" {
            continue;
        }
        let good = answer(query, &name, tells, true);
        if name == "forged.example" {
            let mut forged = answer(query, &name, [6, 6, 6, 6], true);
            forged[1] ^= 1;
            let _ = socket.send_to(&forged, from);
            forged[1] ^= 1;
            forged[14] ^= 1;
            let _ = socket.send_to(&forged, from);
            let _ = socket.send_to(&[0; 3], from);
        }
        let _ = socket.send_to(&good, from);
    }
}

fn serve_streams(listener: &TcpListener, tells: [u8; 4], stop: &AtomicBool, asked: &Asked) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, from)) = listener.accept() else {
            std::thread::sleep(TURN / 5);
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            continue;
        }
        let name = note(asked, from, &query);
        if name == "silent.example" {
            continue;
        }
        let answer = answer(&query, &name, tells, false);
        let _ = stream.write_all(&(answer.len() as u16).to_be_bytes());
        // In two pieces, as the network may deliver it.
        let _ = stream.write_all(&answer[..answer.len() / 2]);
        std::thread::sleep(Duration::from_millis(5));
        let _ = stream.write_all(&answer[answer.len() / 2..]);
    }
}

fn answer(query: &[u8], name: &str, tells: [u8; 4], datagram: bool) -> Vec<u8> {
    let (_, end) = name_at(query, 12);
    let mut bytes = vec![query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&query[12..end + 4]);
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let many = name.strip_suffix(".many.example").and_then(|n| n.parse().ok());
    let count: u16 = match name {
        "failing.example" => {
            bytes[3] |= FAILED;
            0
        }
        _ if many.is_some() && datagram => {
            bytes[2] |= 2;
            0
        }
        _ if !name.ends_with(".example") => {
            bytes[3] |= NO_SUCH_NAME;
            0
        }
        _ if kind != A => 0,
        _ => many.unwrap_or(1),
    };
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    for _ in 0..count {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(tells);
    }
    bytes
}
