//! What dockerd does not do: daemon and resolver may be killed, and a hostile container bothers
//! nobody else.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::names::dns::{self, FAILED, FINE, Manner, addresses, ask, ask_in, namespace};
use crate::names::upstream::Server;
use crate::names::{Network, SOON, address, name};
use testkit::daemon::Options;
use testkit::{Daemon, Kind, eventually, image, json};

fn load(daemon: &Daemon) {
    let busybox = image::busybox(&["busybox:latest"]);
    let _ = daemon.engine().upload("/images/load?quiet=1", &busybox.tar).expect(200);
}

fn resolver(daemon: &Daemon) -> Option<i32> {
    daemon.process("isopod-resolver")
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn privileged_names_go_on_without_a_daemon() {
    let mut daemon = Daemon::isopod();
    load(&daemon);
    let engine = daemon.engine();
    assert_eq!(resolver(&daemon), None, "nobody needs one");
    let network = Network::plain(&engine);
    let (asker, asked) = (network.sleeper(&[], json!({})), network.sleeper(&["db"], json!({})));
    let (there, inside) = (address(&asked, &network), namespace(&asker));
    let pid = asked.inspect()["State"]["Pid"].as_i64().unwrap() as i32;
    let first = eventually("a resolver", SOON, || resolver(&daemon));
    daemon.kill();
    let answer = ask_in(&inside, "db", dns::A, Manner::default()).expect("an answer");
    assert_eq!(answer.addresses, [there.parse::<IpAddr>().unwrap()]);
    // Who ends meanwhile is not found any more.
    kill(pid);
    eventually("its name has gone", SOON, || {
        let answer = ask_in(&inside, "db", dns::A, Manner::default())?;
        answer.addresses.is_empty().then_some(())
    });
    daemon.restart();
    assert_eq!(resolver(&daemon), Some(first), "the same one goes on");
    let now = testkit::unique("after");
    let _ = engine.act(&asker.path(&format!("/rename?name={now}"))).expect(204);
    assert_eq!(addresses(&asker, &now).len(), 1);
    // The new daemon may learn of the end after its first answer.
    eventually("its end is known", SOON, || (asked.status() == "exited").then_some(()));
    asked.start();
    assert_eq!(addresses(&asker, "db"), [address(&asked, &network)]);
}

#[test]
fn privileged_a_killed_resolver_is_replaced_at_once() {
    let mut daemon = Daemon::isopod();
    load(&daemon);
    let network = Network::plain(&daemon.engine());
    let (asker, asked) = (network.sleeper(&[], json!({})), network.sleeper(&["db"], json!({})));
    let there = vec![address(&asked, &network)];
    // The daemon has copies of the sockets the first time, and has to make new ones the second.
    for again in [false, true] {
        if again {
            daemon.restart();
        }
        let before = eventually("a resolver", SOON, || resolver(&daemon));
        kill(before);
        let begun = Instant::now();
        // A question that is asked now waits for its answer.
        assert_eq!(addresses(&asker, "db"), there);
        println!("answered {:?} after the resolver was killed", begun.elapsed());
        eventually("another one", SOON, || resolver(&daemon).filter(|pid| *pid != before));
        assert_eq!(addresses(&asker, "db"), there);
    }
    assert_eq!(addresses(&asked, &name(&asker)), [address(&asker, &network)]);
    drop((asker, asked));
    drop(network);
    daemon.stop().expect("nothing left behind");
}

/// A daemon that sees this text as the host's `/etc/resolv.conf`.
fn daemon_with_servers(text: &str) -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("resolv.conf");
    std::fs::write(&conf, text).unwrap();
    let script = folder.path().join("isopod");
    let program = testkit::engine::isopod_binary();
    let lines = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {} /etc/resolv.conf && exec {} \"$@\"' sh \"$@\"\n",
        conf.display(),
        program.display()
    );
    std::fs::write(&script, lines).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = Daemon::start(Options {
        kind: Kind::Isopod,
        program: Some(script),
        arguments: Vec::new(),
        host_network: false,
    });
    (daemon.unwrap(), folder)
}

#[test]
fn privileged_the_hosts_servers_are_asked_as_the_host_asks() {
    let text = "nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.53\nsearch lab.example\noptions edns0\n";
    let (daemon, _folder) = daemon_with_servers(text);
    load(&daemon);
    let engine = daemon.engine();
    // The first is not there, the second is silent about some things, the third always works.
    let second = Server::start(engine.netns.as_deref(), [127, 0, 0, 3].into(), [192, 0, 2, 3]);
    let third = Server::start(engine.netns.as_deref(), [127, 0, 0, 53].into(), [192, 0, 2, 53]);
    let network = Network::plain(&engine);
    let asker = network.sleeper(&[], json!({}));
    assert_eq!(addresses(&asker, "www.example"), ["192.0.2.3"]);
    let forged = addresses(&asker, "forged.example");
    assert_eq!(forged, ["192.0.2.3"], "an answer is known by its id and question");
    assert_eq!(ask(&asker, "failing.example", dns::A).code, FAILED);
    assert!(!third.asked_for("failing.example").is_empty(), "the next one is asked, too");
    // Ports and ids are new for every question.
    for _ in 0..12 {
        assert_eq!(addresses(&asker, "random.example").len(), 1);
    }
    let asked = second.asked_for("random.example");
    let ports: std::collections::BTreeSet<u16> =
        asked.iter().map(|(from, _)| from.port()).collect();
    let ids: std::collections::BTreeSet<u16> = asked.iter().map(|(_, id)| *id).collect();
    assert!(ports.len() >= 8 && ids.len() >= 8, "{asked:?}");
    let answer = ask(&asker, "silent.example", dns::A);
    assert_eq!(answer.code, FAILED, "nobody knows");
    let text = asker.sh("cat /etc/resolv.conf");
    assert_eq!(
        text,
        "nameserver 127.0.0.11\nsearch lab.example\noptions edns0 ndots:0\n".trim_end()
    );
    drop((second, third));
}

#[test]
fn privileged_a_hostile_container_harms_nobody() {
    let daemon = Daemon::isopod();
    load(&daemon);
    let engine = daemon.engine();
    let network = Network::plain(&engine);
    let (hostile, good) = (network.sleeper(&[], json!({})), network.sleeper(&["good"], json!({})));
    let before = eventually("a resolver", SOON, || resolver(&daemon));
    let inside = namespace(&hostile);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let late = std::thread::scope(|scope| {
        let flood = scope.spawn(|| testkit::netns::inside(&inside, || be_hostile(&stop)));
        let mut late = 0;
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(addresses(&good, "good").len(), 1);
            late += u32::from(begun.elapsed() > Duration::from_secs(5));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        flood.join().unwrap();
        late
    });
    // A busy machine delays one or another; a flood that comes first would delay them all.
    assert!(late < 10, "{late} of 20 answers were late");
    assert_eq!(resolver(&daemon), Some(before), "it has lived through it");
    assert_eq!(ask(&hostile, "good", dns::A).code, FINE);
    let private = private_kib(before);
    assert!(private < 8 << 10, "{private} KiB");
}

/// Garbage, floods, connections that say nothing or too much, until told to stop.
fn be_hostile(stop: &std::sync::atomic::AtomicBool) {
    let server = "127.0.0.11:53";
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut streams = Vec::new();
    let mut seed: u32 = 1;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        for _ in 0..200 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut bytes: Vec<u8> = seed.to_be_bytes().repeat(seed as usize % 100 + 1);
            if seed.is_multiple_of(3) && bytes.len() > 12 {
                bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            }
            let _ = socket.send(&bytes);
            let _ = socket.send(&dns::query("flood.of.questions", dns::A, Some(65535)));
        }
        // Neither answers are read nor connections closed.
        if let Ok(mut stream) = TcpStream::connect(server) {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let _ = match streams.len() % 3 {
                0 => stream.write_all(&[0xff, 0xff, 1, 2, 3]),
                1 => stream.write_all(&[0]),
                _ => {
                    let query = dns::query("good", dns::A, None);
                    let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
                    stream.write_all(&framed.repeat(50))
                }
            };
            let _ = stream.read(&mut [0; 1]);
            streams.push(stream);
        }
        if streams.len() > 200 {
            streams.clear();
        }
    }
}

/// The memory that is a process's own.
fn private_kib(pid: i32) -> u64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}
