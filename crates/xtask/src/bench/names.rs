//! Names on a user network: what they add to a start, and a crowd in which everybody looks up
//! everybody.

use super::{Request, contestants, median, memory, shown};
use anyhow::{Result, ensure};
use serde_json::json;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::{Container, Daemon, Engine, Kind};

/// How many containers stand on the network.
const CROWD: usize = 200;
const NETWORK: &str = "crowd";

pub(super) fn run(request: &Request, binary: &Path) -> Result<()> {
    let ours = contestants::daemon(Kind::Isopod, Some(binary))?;
    let mut rows = vec![one("isopod", &ours, request.runs)?];
    ours.stop().map_err(anyhow::Error::msg)?;
    if request.wants("dockerd") {
        let theirs = contestants::daemon(Kind::Dockerd, None)?;
        rows.push(one("dockerd", &theirs, request.runs)?);
        let _ = theirs.stop();
    }
    println!(
        "| engine | start on the default bridge | start on a user network | {CROWD} × {CROWD} questions | each, median | slowest | unanswered | who answers for 100, private |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for row in &rows {
        println!(
            "| {} | {} | {} | {} | {} µs | {} | {} | {} |",
            row.name,
            shown(row.bridge),
            shown(row.network),
            shown(row.all),
            row.median.as_micros(),
            shown(row.slowest),
            row.unanswered,
            row.private.map_or("(in the daemon)".to_owned(), |kib| format!("{kib} KiB")),
        );
    }
    println!("\nBudgets: 2 ms more for a start, none unanswered, 1024 KiB.");
    Ok(())
}

struct Row {
    name: &'static str,
    bridge: Duration,
    network: Duration,
    all: Duration,
    median: Duration,
    slowest: Duration,
    unanswered: usize,
    /// KiB; where a process of its own answers.
    private: Option<u64>,
}

fn one(name: &'static str, daemon: &Daemon, runs: usize) -> Result<Row> {
    let engine = daemon.engine();
    let _ = engine.post("/networks/create", &json!({"Name": NETWORK})).expect(201);
    // Warm: what is made once does not count.
    for network in ["bridge", NETWORK] {
        drop(start(&engine, network).0);
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (times, network) in times.iter_mut().zip(["bridge", NETWORK]) {
            times.push(start(&engine, network).1);
        }
    }
    let [bridge, network] = times.map(|mut times| {
        times.sort();
        median(&times)
    });
    let mut crowd: Vec<Container> = (0..CROWD / 2).map(|_| start(&engine, NETWORK).0).collect();
    std::thread::sleep(Duration::from_secs(1));
    let resolver = daemon.netns().map(testkit::netns::Netns::processes).unwrap_or_default();
    let resolver = resolver.into_iter().find(|pid| memory::is_called(*pid, "isopod-resolver"));
    let private = resolver.map(memory::private);
    crowd.extend((0..CROWD - crowd.len()).map(|_| start(&engine, NETWORK).0));
    let names: Vec<&str> = crowd.iter().map(|container| &container.id[..12]).collect();
    let namespaces: Vec<PathBuf> = crowd.iter().map(namespace).collect();
    let began = Instant::now();
    let mut took = Vec::new();
    let mut unanswered = 0;
    for namespace in &namespaces {
        for answered in testkit::netns::inside(namespace, || ask_all(&names))? {
            match answered {
                Some(time) => took.push(time),
                None => unanswered += 1,
            }
        }
    }
    let all = began.elapsed();
    took.sort();
    ensure!(!took.is_empty(), "{name} answers nobody");
    let slowest = took.last().copied().unwrap_or_default();
    Ok(Row { name, bridge, network, all, median: median(&took), slowest, unanswered, private })
}

/// A container that sleeps, and how long its start took.
fn start(engine: &Engine, network: &str) -> (Container, Duration) {
    let host = json!({"NetworkMode": network});
    let container = engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": host}));
    let began = Instant::now();
    container.start();
    (container, began.elapsed())
}

fn namespace(container: &Container) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/net", container.inspect()["State"]["Pid"]))
}

/// Asks for an address of every name; how long each took to be answered with one.
fn ask_all(names: &[&str]) -> Result<Vec<Option<Duration>>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let ask = |name: &&str| {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
        query.extend(name.bytes());
        query.extend([0, 0, 1, 0, 1]);
        let began = Instant::now();
        let mut reply = [0; 512];
        let length = socket.send(&query).and_then(|_| socket.recv(&mut reply)).ok()?;
        let found = length > query.len() && reply[3] & 0x0f == 0 && reply[7] == 1;
        found.then(|| began.elapsed())
    };
    Ok(names.iter().map(ask).collect())
}
