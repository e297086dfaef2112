//! How long a container's network takes: `cargo run --release -p isopod-network --example latency`
//! (as root). It works in a network namespace of its own and leaves nothing behind.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use network::{
    Attach, Config, Endpoint, HostPort, Networks, PortRequest, Protocol, Reserved, Saved,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let result = sys::netns::create(|_| measure().map_err(|e| e.to_string()))?;
    Ok(result.1?)
}

fn measure() -> network::Result<()> {
    let start = Instant::now();
    let networks = Networks::open(Config { warm: 8, ..Config::default() }, Saved::default())?;
    println!("open                       {:>9.3} ms", ms(start.elapsed()));
    for warning in networks.warnings() {
        println!("warning: {warning}");
    }
    let mut all = Vec::new();
    for (label, ports) in [("warm", 0), ("warm, 1 port", 1)] {
        let mut times = vec![Vec::new(); 5];
        for i in 0..40 {
            while networks.warm() < 8 {
                std::thread::sleep(Duration::from_millis(1));
            }
            all.push(one(&networks, &format!("{label}{i}"), ports, &mut times)?);
        }
        print(label, &mut times);
    }
    let mut times = vec![Vec::new(); 5];
    let busy = Instant::now();
    for i in 0..100 {
        all.push(one(&networks, &format!("row{i}"), 0, &mut times)?);
    }
    print("100 in a row", &mut times);
    println!("100 in a row, each         {:>9.3} ms", ms(busy.elapsed()) / 100.0);
    let range = PortRequest { host_port: HostPort::Within(20000, 20000), ..request(80) };
    let ports = (0..10_000u16).map(|i| PortRequest {
        container_port: 20000 + i,
        host_port: HostPort::Within(20000 + i, 20000 + i),
        ..range
    });
    let start = Instant::now();
    let mut many = networks.reserve(&attach("many", ports.collect()))?;
    println!("reserve 10,000 ports       {:>9.3} ms", ms(start.elapsed()));
    let mut sandbox = networks.sandbox()?;
    networks.plug(&mut many.endpoint, &mut sandbox)?;
    let start = Instant::now();
    networks.publish(&many.endpoint)?;
    println!("publish 10,000 ports       {:>9.3} ms", ms(start.elapsed()));
    let start = Instant::now();
    for (endpoint, _) in &all {
        networks.release(endpoint)?;
    }
    println!("release, each              {:>9.3} ms", ms(start.elapsed()) / all.len() as f64);
    networks.dismantle()
}

fn request(container_port: u16) -> PortRequest {
    PortRequest {
        protocol: Protocol::Tcp,
        container_port,
        count: 1,
        host_ip: None,
        host_port: HostPort::Any,
    }
}

fn attach(name: &str, ports: Vec<PortRequest>) -> Attach {
    Attach {
        network: "bridge".to_owned(),
        container: name.to_owned(),
        ports,
        default_route: true,
        ..Attach::default()
    }
}

fn one(
    networks: &Networks,
    name: &str,
    ports: usize,
    times: &mut [Vec<Duration>],
) -> network::Result<(Endpoint, OwnedFd)> {
    let mut last = Instant::now();
    let started = last;
    let mut lap = |i: usize, times: &mut [Vec<Duration>]| {
        times[i].push(last.elapsed());
        last = Instant::now();
    };
    let Reserved { mut endpoint, .. } =
        networks.reserve(&attach(name, vec![request(80); ports]))?;
    lap(0, times);
    let mut sandbox = networks.sandbox()?;
    lap(1, times);
    networks.plug(&mut endpoint, &mut sandbox)?;
    lap(2, times);
    networks.publish(&endpoint)?;
    lap(3, times);
    times[4].push(started.elapsed());
    Ok((endpoint, sandbox.into_fd()))
}

fn print(label: &str, times: &mut [Vec<Duration>]) {
    let names = ["reserve", "sandbox", "plug", "publish", "all"];
    for (name, times) in names.iter().zip(times) {
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{label:<14} {name:<10} {:>9.3} ms, worst {:.3}", ms(median), ms(worst));
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
