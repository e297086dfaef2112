//! How fast packets get to containers: beside dockerd, and beside two namespaces that a bare veth
//! pair connects. A pump of our own moves bytes over TCP, so nothing has to be inside.

use super::{Request, contestants, measure, median, memory, shown};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::netns::{Netns, inside};
use testkit::{Container, Daemon, Kind};

/// How long bytes are pumped for one figure.
const PUMPED: Duration = Duration::from_millis(150);
/// Round trips for one figure.
const TRIPS: usize = 1500;
/// Where the pump listens.
const PORT: u16 = 7000;
/// Where that is published.
const PUBLISHED: u16 = 17000;
/// Ports of the long range.
const RANGE: u16 = 10_000;

/// From where to where, and the address that is dialled.
struct Way {
    from: PathBuf,
    to: PathBuf,
    dial: SocketAddr,
}

/// The three ways of an engine, in the order of [`WAYS`].
struct Side {
    name: &'static str,
    ways: Vec<Way>,
    /// Per way and round: bytes a second, and seconds a round trip.
    figures: [Vec<(f64, f64)>; WAYS.len()],
}

const WAYS: [&str; 3] = ["container to container", "container to host", "host to published port"];

pub(super) fn run(request: &Request, binary: &Path) -> Result<()> {
    let ours = contestants::daemon(Kind::Isopod, Some(binary))?;
    let theirs = match request.wants("dockerd") {
        true => Some(contestants::daemon(Kind::Dockerd, None)?),
        false => None,
    };
    packets(request, &ours, theirs.as_ref())?;
    range(&ours)?;
    drop((ours, theirs));
    published_start(request, binary)
}

/// Throughput and latency.
fn packets(request: &Request, ours: &Daemon, theirs: Option<&Daemon>) -> Result<()> {
    let (bare, tracked) = (Bare::create()?, Bare::create()?);
    tracked.track()?;
    let mut kept = Vec::new();
    let mut sides = vec![side("isopod", ours, &mut kept)?];
    if let Some(theirs) = theirs {
        sides.push(side("dockerd", theirs, &mut kept)?);
    }
    for (name, pair) in [("bare veth pair", &bare), ("bare pair, one end tracked", &tracked)] {
        sides.push(Side { name, ways: pair.ways(), figures: Default::default() });
    }
    for round in 0..=request.runs {
        // One way after the other, the engines in turn: what a machine does besides changes from
        // second to second, and meets neighbours alike. Whoever is first is last the next time.
        for way in 0..WAYS.len() {
            let mut order: Vec<&mut Side> = sides.iter_mut().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for side in order {
                let figure = figure(&side.ways[way]).with_context(|| side.name.to_owned())?;
                // The first warms caches and neighbours.
                if round > 0 {
                    side.figures[way].push(figure);
                }
            }
        }
    }
    println!(
        "TCP, {} rounds in turn: medians, and the medians of the rounds' ratios, ours to theirs \
         (more is better):\n",
        request.runs
    );
    println!("| way | engine | throughput | ratio | round trip | ratio |");
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    for (at, way) in WAYS.iter().enumerate() {
        for side in &sides {
            let pairs = || sides[0].figures[at].iter().zip(&side.figures[at]);
            println!(
                "| {way} | {} | {:.2} Gbit/s | {:.2} | {:.1} µs | {:.2} |",
                side.name,
                middle(side.figures[at].iter().map(|figure| figure.0)) * 8.0 / 1e9,
                middle(pairs().map(|(ours, theirs)| ours.0 / theirs.0)),
                middle(side.figures[at].iter().map(|figure| figure.1)) * 1e6,
                middle(pairs().map(|(ours, theirs)| theirs.1 / ours.1)),
            );
        }
    }
    println!(
        "\nBudgets: 1.00 of dockerd and 0.95 of the bare pair, in each. A host that publishes ports, or \
         has a firewall with states, tracks connections: the last pair's other end has one rule that \
         asks for a connection's state, and nothing else.\n"
    );
    Ok(())
}

/// The median; of none it is no number.
fn middle(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = numbers.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Two containers of an engine, one with a published port.
fn side(name: &'static str, daemon: &Daemon, kept: &mut Vec<Container>) -> Result<Side> {
    let engine = daemon.engine();
    let host = daemon.netns().context("the engine has no namespace of its own")?.path();
    let port = format!("{PORT}/tcp");
    let [a, b] = [json!({}), json!({ (port.clone()): [{"HostPort": PUBLISHED.to_string()}] })].map(
        |bindings| {
            engine.sleeper(json!({
                "ExposedPorts": { (port.clone()): {} },
                "HostConfig": {"NetworkMode": "bridge", "PortBindings": bindings},
            }))
        },
    );
    let address = |container: &Container| -> Result<(PathBuf, SocketAddr, SocketAddr)> {
        let seen = container.inspect();
        let pid = seen["State"]["Pid"].as_i64().context("no process")?;
        let settings = &seen["NetworkSettings"];
        let at = |key: &str, port| -> Result<SocketAddr> {
            let text = settings[key].as_str().map(str::to_owned).context("no address")?;
            Ok(SocketAddr::new(text.parse()?, port))
        };
        Ok((
            PathBuf::from(format!("/proc/{pid}/ns/net")),
            at("IPAddress", PORT)?,
            at("Gateway", PORT)?,
        ))
    };
    let (from, _, gateway) = address(&a)?;
    let (to, direct, _) = address(&b)?;
    kept.extend([a, b]);
    let published = SocketAddr::new(gateway.ip(), PUBLISHED);
    let ways = vec![
        Way { from: from.clone(), to: to.clone(), dial: direct },
        Way { from, to: host.clone(), dial: gateway },
        Way { from: host, to, dial: published },
    ];
    Ok(Side { name, ways, figures: Default::default() })
}

/// Two namespaces with a pair between them and nothing else.
struct Bare {
    one: Netns,
    other: Netns,
}

impl Bare {
    fn create() -> Result<Self> {
        let bare = Self { one: Netns::create(), other: Netns::create() };
        let other = bare.other.path();
        let name = other.file_name().and_then(|n| n.to_str()).context("its name")?.to_owned();
        inside(&bare.one.path(), || {
            run_ip(&format!("link add pair0 type veth peer name pair0 netns {name}"))?;
            run_ip("addr add 10.99.0.1/24 dev pair0")?;
            run_ip("link set pair0 up")
        })?;
        inside(&other, || {
            run_ip("addr add 10.99.0.2/24 dev pair0")?;
            run_ip("link set pair0 up")
        })?;
        Ok(bare)
    }

    /// Has the kernel track the connections of the other end, as any rule about states does.
    fn track(&self) -> Result<()> {
        inside(&self.other.path(), || {
            let rule = "table inet tracked { chain input { type filter hook input priority 0; \
                        ct state established,related accept; }; }";
            let output = std::process::Command::new("nft").arg(rule).output()?;
            ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        })
    }

    fn ways(&self) -> Vec<Way> {
        let dial = SocketAddr::from(([10, 99, 0, 2], PORT));
        let way = |_| Way { from: self.one.path(), to: self.other.path(), dial };
        WAYS.map(way).into()
    }
}

fn run_ip(arguments: &str) -> Result<()> {
    let output = std::process::Command::new("ip").args(arguments.split(' ')).output()?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Bytes a second, and seconds a round trip.
fn figure(way: &Way) -> Result<(f64, f64)> {
    Ok((pump(way)?, trips(way)?))
}

/// Gives the calling thread a processor that it need not share: with both ends where the kernel
/// happens to put them, and whatever else the machine does in between, a figure says little about
/// the way between them.
fn alone(end: usize) -> Result<()> {
    let processors = std::thread::available_parallelism()?.get();
    let mut set = rustix::thread::CpuSet::new();
    set.set(end % processors);
    rustix::thread::sched_setaffinity(None, &set)?;
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20)?;
    Ok(())
}

/// Sends as fast as the way takes it. A congestion control that paces (BBR) sends as fast as its
/// timers go off, by whichever way.
fn unpaced(stream: &TcpStream) -> Result<()> {
    rustix::net::sockopt::set_tcp_congestion(stream, "reno").context("no congestion control reno")
}

fn connected<T: Send>(
    way: &Way,
    serve: impl FnOnce(TcpStream) -> Result<T> + Send,
    dial: impl FnOnce(TcpStream) -> Result<()> + Send,
) -> Result<T> {
    let listener = inside(&way.to, || TcpListener::bind(("0.0.0.0", PORT)))?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (stream, _) = listener.accept()?;
            unpaced(&stream)?;
            inside(&way.to, || {
                alone(1)?;
                serve(stream)
            })
        });
        inside(&way.from, || {
            alone(0)?;
            let stream = TcpStream::connect_timeout(&way.dial, Duration::from_secs(5))?;
            stream.set_nodelay(true)?;
            unpaced(&stream)?;
            dial(stream)
        })?;
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What arrives, from the first byte to the last.
fn pump(way: &Way) -> Result<f64> {
    let took = |mut stream: TcpStream| {
        let mut buffer = vec![0; 256 << 10];
        let mut all = stream.read(&mut buffer)?;
        let began = Instant::now();
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(all as f64 / began.elapsed().as_secs_f64()),
                n => all += n,
            }
        }
    };
    connected(way, took, |mut stream| {
        let bytes = vec![0; 128 << 10];
        let end = Instant::now() + PUMPED;
        while Instant::now() < end {
            stream.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// A byte there and back.
fn trips(way: &Way) -> Result<f64> {
    let echo = |mut stream: TcpStream| {
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    };
    let mut times = Vec::with_capacity(TRIPS);
    connected(way, echo, |mut stream| {
        let mut byte = [0];
        for _ in 0..TRIPS {
            let began = Instant::now();
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            times.push(began.elapsed());
        }
        Ok(())
    })?;
    times.sort();
    Ok(median(&times).as_secs_f64())
}

/// A long range: how long it takes more than one port, and what the daemon keeps of it.
fn range(daemon: &Daemon) -> Result<()> {
    let engine = daemon.engine();
    let bindings = |count: u16| -> (Value, Value) {
        let ports = || (0..count).map(|n| 20_000 + n);
        let exposed = ports().map(|port| (format!("{port}/tcp"), json!({})));
        let bound =
            ports().map(|port| (format!("{port}/tcp"), json!([{"HostPort": port.to_string()}])));
        (Value::Object(exposed.collect()), Value::Object(bound.collect()))
    };
    let mut rows = Vec::new();
    for count in [1, RANGE, 1, RANGE] {
        let (exposed, bound) = bindings(count);
        let before = memory::resident(daemon.pid());
        let container = engine.create(json!({
            "Cmd": ["sleep", "1000"],
            "ExposedPorts": exposed,
            "HostConfig": {"NetworkMode": "bridge", "PortBindings": bound},
        }));
        let began = Instant::now();
        container.start();
        let took = began.elapsed();
        let grown = memory::resident(daemon.pid()).saturating_sub(before);
        rows.push((count, took, grown));
        container.remove();
    }
    println!("| published | start | the daemon's growth, with what the API has to show of it |");
    println!("| --- | ---: | ---: |");
    for (count, took, grown) in &rows {
        println!("| {count} ports | {} | {grown} KiB |", shown(*took));
    }
    let second =
        |wanted| rows.iter().rev().find(|row| row.0 == wanted).map_or(Duration::ZERO, |row| row.1);
    let more = second(RANGE).saturating_sub(second(1));
    let grown = rows.last().map_or(0, |row| row.2);
    let verdict = if more < Duration::from_millis(100) && grown < 1024 { "kept" } else { "missed" };
    println!("\nBudget: 100 ms more than for one port, and 1024 KiB once it is warm: {verdict}.\n");
    Ok(())
}

/// How long a container with a published port takes.
fn published_start(request: &Request, binary: &Path) -> Result<()> {
    let mut all = contestants::all(request, binary)?;
    all.retain(contestants::Contestant::is_client);
    measure(
        request,
        &all,
        "run --rm -p 18080:80 /bin/true",
        Some(Duration::from_millis(30)),
        contestants::Contestant::start_published,
    )
}
