//! A host of its own for each test: a network namespace that plays the host, and one that plays a
//! machine outside. Nothing of the real host's network is touched, and nothing can be left there.
//!
//! ```text
//!  outside 198.51.100.2 ──veth── 198.51.100.1 host ── bridges ── containers
//! ```
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

pub(crate) mod frames;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use network::{
    Attach, Config, Endpoint, HostPort, NetworkSpec, Networks, PortRequest, Protocol, Reserved,
    Sandbox, Saved, SubnetSpec,
};

pub(crate) const HOST: &str = "198.51.100.1";
pub(crate) const OUTSIDE: &str = "198.51.100.2";
pub(crate) const HOST_V6: &str = "2001:db8::1";
pub(crate) const OUTSIDE_V6: &str = "2001:db8::2";

/// The machine outside, and the networks of the host's daemon.
pub(crate) struct Lab {
    pub networks: Arc<Networks>,
    pub outside: OwnedFd,
}

/// A running container, as far as the network is concerned.
pub(crate) struct Container {
    pub endpoint: Endpoint,
    pub netns: OwnedFd,
    pub sockets: Vec<OwnedFd>,
}

/// Runs a test on a host of its own.
pub(crate) fn on_a_host(test: impl FnOnce(&mut Lab) + Send) {
    on_a_host_with(config(), test);
}

pub(crate) fn config() -> Config {
    Config { warm: 2, ..Config::default() }
}

pub(crate) fn on_a_host_with(config: Config, test: impl FnOnce(&mut Lab) + Send) {
    sys::netns::create(|host| {
        run("ip link set lo up");
        let (outside, ()) = sys::netns::create(|_| run("ip link set lo up")).expect("a namespace");
        let mut kernel = sys::netlink::Socket::open().expect("a socket");
        let veth = sys::netlink::Veth {
            name: "eth0",
            peer: "eth0",
            peer_netns: outside.as_fd(),
            mtu: 1500,
            peer_mac: None,
        };
        kernel.run(&[sys::netlink::add_veth(&veth)]).expect("a veth pair");
        run(&format!("ip addr add {HOST}/24 dev eth0"));
        run(&format!("ip addr add {HOST_V6}/64 dev eth0 nodad"));
        run("ip link set eth0 up");
        within(outside.as_fd(), || {
            run(&format!("ip addr add {OUTSIDE}/24 dev eth0"));
            run(&format!("ip addr add {OUTSIDE_V6}/64 dev eth0 nodad"));
            run("ip link set eth0 up");
            // A neighbour that knows where the containers are.
            run(&format!("ip route add default via {HOST}"));
            run(&format!("ip -6 route add default via {HOST_V6}"));
        });
        let up = || output("ip -o link show eth0").contains("state UP");
        eventually("the wire works", PATIENCE, up);
        within(outside.as_fd(), || eventually("the wire works", PATIENCE, up));
        let networks = Networks::open(config, Saved::default()).expect("networks");
        assert_eq!(networks.warnings(), &[] as &[String]);
        let mut lab = Lab { networks, outside };
        test(&mut lab);
        lab.networks.dismantle().expect("everything can be removed");
        assert_eq!(output("nft list tables"), "");
        let _ = host;
    })
    .expect("a namespace: these tests need root");
}

impl Lab {
    /// Starts a container on a network, plugged and published.
    pub(crate) fn start(&self, network: &str, name: &str, ports: &[PortRequest]) -> Container {
        self.try_start(network, name, ports).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn try_start(
        &self,
        network: &str,
        name: &str,
        ports: &[PortRequest],
    ) -> network::Result<Container> {
        let attach = Attach {
            network: network.to_owned(),
            container: name.to_owned(),
            ports: ports.to_vec(),
            default_route: true,
            default_route6: true,
            ..Attach::default()
        };
        let Reserved { mut endpoint, sockets } = self.networks.reserve(&attach)?;
        let mut sandbox = self.networks.sandbox()?;
        let done = self
            .networks
            .plug(&mut endpoint, &mut sandbox)
            .and_then(|()| self.networks.publish(&endpoint));
        if let Err(e) = done {
            self.networks.release(&endpoint)?;
            return Err(e);
        }
        Ok(Container { endpoint, netns: Sandbox::into_fd(sandbox), sockets })
    }

    /// Makes a network.
    pub(crate) fn network(
        &self,
        name: &str,
        change: impl FnOnce(&mut NetworkSpec),
    ) -> network::Network {
        let mut spec = NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() };
        change(&mut spec);
        self.networks.create_network(&spec).unwrap_or_else(|e| panic!("network {name}: {e}"))
    }
}

pub(crate) fn subnet(text: &str) -> SubnetSpec {
    SubnetSpec { subnet: Some(text.parse().unwrap()), ..SubnetSpec::default() }
}

impl Container {
    pub(crate) fn ip(&self) -> IpAddr {
        self.endpoint.ipv4.unwrap().addr()
    }

    pub(crate) fn ip6(&self) -> IpAddr {
        self.endpoint.ipv6.unwrap().addr()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

/// A port published on the given address of the host, `None`: the default.
pub(crate) fn port(protocol: Protocol, ip: Option<&str>, host: u16, container: u16) -> PortRequest {
    PortRequest {
        protocol,
        container_port: container,
        count: 1,
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        host_port: HostPort::Within(host, host),
    }
}

pub(crate) fn tcp(host: u16, container: u16) -> PortRequest {
    port(Protocol::Tcp, None, host, container)
}

/// Ports that follow one another, with the same numbers on both sides.
pub(crate) fn range(first: u16, count: u16) -> PortRequest {
    PortRequest { count, ..tcp(first, first) }
}

/// Does something in a namespace.
pub(crate) fn within<T: Send>(netns: BorrowedFd<'_>, what: impl FnOnce() -> T + Send) -> T {
    sys::netns::within(netns, what).expect("the namespace can be entered")
}

/// A TCP server that tells each client its name and the address that it comes from.
pub(crate) fn serve(netns: Option<BorrowedFd<'_>>, at: &str, name: &str) {
    let bind = || TcpListener::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
    let listener = match netns {
        Some(netns) => within(netns, bind),
        None => bind(),
    };
    let name = name.to_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Ok(from) = client.peer_addr() else { continue };
            let _ = client.write_all(format!("{name} {}", from.ip()).as_bytes());
        }
    });
}

/// A UDP server that does the same.
pub(crate) fn serve_udp(netns: BorrowedFd<'_>, at: &str, name: &str) {
    let socket = within(netns, || UdpSocket::bind(at).unwrap());
    let name = name.to_owned();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
        }
    });
}

/// What a TCP server says.
pub(crate) fn ask(netns: Option<BorrowedFd<'_>>, to: &str) -> io::Result<String> {
    ask_for(netns, to, PATIENCE)
}

/// Whether a TCP server does not answer in good time.
pub(crate) fn silent(netns: Option<BorrowedFd<'_>>, to: &str) -> bool {
    ask_for(netns, to, HASTE).is_err()
}

/// Long enough for what must come, on a busy machine as well.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for one that comes at all.
const HASTE: Duration = Duration::from_millis(600);

fn ask_for(netns: Option<BorrowedFd<'_>>, to: &str, limit: Duration) -> io::Result<String> {
    let to: SocketAddr = to.parse().unwrap();
    let connect = move || {
        let mut stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match netns {
        Some(netns) => within(netns, connect),
        None => connect(),
    }
}

/// What a UDP server says.
pub(crate) fn ask_udp(netns: Option<BorrowedFd<'_>>, to: &str) -> io::Result<String> {
    ask_udp_for(netns, to, PATIENCE)
}

/// Whether a UDP server does not answer in good time.
pub(crate) fn silent_udp(netns: Option<BorrowedFd<'_>>, to: &str) -> bool {
    ask_udp_for(netns, to, HASTE).is_err()
}

fn ask_udp_for(netns: Option<BorrowedFd<'_>>, to: &str, limit: Duration) -> io::Result<String> {
    let to: SocketAddr = to.parse().unwrap();
    let send = move || {
        let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(from)?;
        socket.set_read_timeout(Some(limit))?;
        socket.send_to(b"?", to)?;
        let mut buffer = [0; 64];
        let (n, from) = socket.recv_from(&mut buffer)?;
        assert_eq!(from, to, "the answer comes from who was asked");
        Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
    };
    match netns {
        Some(netns) => within(netns, send),
        None => send(),
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command in the calling thread's namespace.
pub(crate) fn run(command: &str) {
    output(command);
}

/// The same, and what it prints.
pub(crate) fn output(command: &str) -> String {
    let mut words = command.split_whitespace();
    let out = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Names of the host's veth links.
pub(crate) fn veths() -> Vec<String> {
    let mut kernel = sys::netlink::Socket::open().unwrap();
    let links = sys::netlink::links(&mut kernel).unwrap();
    links.into_iter().map(|l| l.name).filter(|n| n.starts_with("veth")).collect()
}
