//! Published ports through the API: ranges, conflicts, changes of a container that runs, and what
//! becomes of them when somebody is killed or somebody flushes the rules. And that a container's
//! own root cannot take its neighbour's place.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::daemon::Options;
use testkit::engine::isopod_binary;
use testkit::{Container, Daemon, Engine, Value, eventually, image, json, on_both};

const SOON: Duration = Duration::from_secs(30);

/// Listens on ports of both protocols and tells who asks.
const SERVER: &str = "
import socket, sys, threading
def tcp(port):
    s = socket.create_server(('', port))
    while True:
        c, peer = s.accept()
        c.sendall(('%d %s' % (port, peer[0])).encode())
        c.close()
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('', port))
    while True:
        data, peer = s.recvfrom(99)
        s.sendto(('%d %s' % (port, peer[0])).encode(), peer)
for port in map(int, sys.argv[1:]):
    for kind in (tcp, udp):
        threading.Thread(target=kind, args=(port,)).start()
";

fn server(engine: &Engine, listen: &[u16], bindings: &Value) -> Container {
    let mut command = vec!["/usr/bin/python3".to_owned(), "-c".to_owned(), SERVER.to_owned()];
    command.extend(listen.iter().map(u16::to_string));
    let keys = bindings.as_object().into_iter().flatten().map(|(key, _)| key.clone());
    let exposed: BTreeMap<String, Value> = keys.map(|key| (key, json!({}))).collect();
    let container = engine.create(json!({
        "Image": "busybox",
        "Cmd": command,
        "ExposedPorts": exposed,
        "HostConfig": {
            "Binds": ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"],
            "NetworkMode": "bridge",
            "PortBindings": bindings,
        },
    }));
    container.start();
    container
}

/// What a TCP server says, asked from the engine's host.
fn ask(engine: &Engine, address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    engine.on_its_network(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    })
}

/// And what a UDP server says; it has to answer from where it was asked.
fn ask_udp(engine: &Engine, address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    engine.on_its_network(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.send_to(b"?", address).ok()?;
        let mut buffer = [0; 99];
        let (count, from) = socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, address);
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    })
}

fn soon(engine: &Engine, address: &str) -> String {
    eventually(address, SOON, || ask(engine, address))
}

fn gateway(container: &Container) -> String {
    container.inspect()["NetworkSettings"]["Gateway"].as_str().unwrap().to_owned()
}

fn address(container: &Container) -> String {
    container.inspect()["NetworkSettings"]["IPAddress"].as_str().unwrap().to_owned()
}

/// `nc` without a server of its own: connects, prints what it is told.
fn told(engine: &Engine, by: &str) -> String {
    let (host, port) = by.rsplit_once(':').unwrap();
    engine.sh(
        &format!("nc -w 5 {host} {port} </dev/null"),
        json!({"HostConfig": {"NetworkMode": "bridge"}}),
    )
}

on_both! {
    fn privileged_ports_in_a_row(engine) {
        let mut bindings = BTreeMap::new();
        for n in 0..20u16 {
            bindings.insert(format!("{}/tcp", 19000 + n), json!([{"HostPort": (19000 + n).to_string()}]));
        }
        bindings.insert("19000/udp".to_owned(), json!([{"HostPort": "19100"}]));
        let container = server(engine, &[19000, 19019], &json!(bindings));
        let host = gateway(&container);
        assert!(soon(engine, &format!("{host}:19000")).starts_with("19000 "));
        assert!(soon(engine, &format!("{host}:19019")).starts_with("19019 "));
        let answer = eventually("udp", SOON, || ask_udp(engine, &format!("{host}:19100")));
        assert!(answer.starts_with("19000 "), "{answer}");
        // From another container and from itself, by the host's address; the former's is not kept
        // where it is on the same network, or the answer would take another way.
        assert!(told(engine, &format!("{host}:19000")).starts_with("19000 "));
        assert!(container.sh(&format!("nc -w 5 {host} 19019 </dev/null")).starts_with("19019 "));
        let seen = container.inspect()["NetworkSettings"]["Ports"].clone();
        assert_eq!(seen.as_object().unwrap().len(), 21, "{seen}");
        assert_eq!(seen["19007/tcp"][0]["HostPort"], "19007");
        // Another cannot have a part of it, nor any other program.
        let part = json!({"80/tcp": [{"HostPort": "19010"}]});
        let other = engine.create(json!({"Image": "busybox", "Cmd": ["sleep", "9"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PortBindings": part}}));
        let answer = engine.act(&other.path("/start"));
        assert!(answer.message().contains("port is already allocated"), "{}", answer.text());
        assert!(engine.on_its_network(|| TcpListener::bind("0.0.0.0:19010")).is_err());
        container.stop(0);
        other.remove();
        let third = engine.create(json!({"Image": "busybox", "Cmd": ["sleep", "9"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PortBindings": part}}));
        third.start();
    }

    fn privileged_a_port_that_a_program_of_the_host_has(engine) {
        let _mine = engine.on_its_network(|| TcpListener::bind("0.0.0.0:19200")).unwrap();
        let bindings = json!({"80/tcp": [{"HostPort": "19200"}]});
        let container = engine.create(json!({"Image": "busybox", "Cmd": ["sleep", "9"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PortBindings": bindings}}));
        let answer = engine.act(&container.path("/start"));
        assert_eq!(answer.status, 500, "{}", answer.text());
        for part in [
            "driver failed programming external connectivity on endpoint",
            "19200",
            "address already in use",
        ] {
            assert!(answer.message().contains(part), "{}", answer.text());
        }
        assert_eq!(container.status(), "created");
        assert_eq!(container.inspect()["State"]["Pid"], 0);
    }
}

fn prepared() -> Daemon {
    loaded(Daemon::isopod())
}

fn loaded(daemon: Daemon) -> Daemon {
    let _ = daemon
        .engine()
        .upload("/images/load?quiet=1", &image::busybox(&["busybox:latest"]).tar)
        .expect(200);
    daemon
}

fn update(engine: &Engine, container: &Container, body: &Value) -> testkit::Response {
    engine.post(&container.path("/update"), body)
}

#[test]
fn privileged_ports_of_a_container_that_runs_are_changed() {
    let mut daemon = prepared();
    let engine = daemon.engine();
    let container = server(&engine, &[80, 81], &json!({"80/tcp": [{"HostPort": "19300"}]}));
    let pid = container.inspect()["State"]["Pid"].clone();
    soon(&engine, "127.0.0.1:19300");
    let bound = |address: &str| engine.on_its_network(|| TcpListener::bind(address)).is_err();

    // One more, and another protocol; what is there already stays as it is.
    let add = json!({"80/tcp": [{"HostPort": "19300"}, {"HostIp": "127.0.0.1", "HostPort": "19301"}], "81/udp": [{"HostPort": "19302"}]});
    let _ = update(&engine, &container, &json!({"PublishAdd": add})).expect(200);
    assert!(soon(&engine, "127.0.0.1:19301").starts_with("80 "));
    assert!(ask(&engine, "127.0.0.1:19300").is_some());
    assert!(eventually("udp", SOON, || ask_udp(&engine, "127.0.0.1:19302")).starts_with("81 "));
    assert!(bound("127.0.0.1:19301"), "the monitor holds it");
    let seen = container.inspect();
    assert_eq!(
        seen["NetworkSettings"]["Ports"]["81/udp"],
        json!([{"HostIp": "0.0.0.0", "HostPort": "19302"}])
    );
    assert_eq!(seen["HostConfig"]["PortBindings"]["80/tcp"].as_array().unwrap().len(), 2);
    assert_eq!(seen["State"]["Pid"], pid, "it is the same process");

    // A port goes elsewhere in one step.
    let moved = json!({"PublishRemove": {"80/tcp": [{"HostPort": "19300"}]}, "PublishAdd": {"81/tcp": [{"HostPort": "19300"}]}});
    let _ = update(&engine, &container, &moved).expect(200);
    assert!(soon(&engine, "127.0.0.1:19300").starts_with("81 "));
    assert!(bound("127.0.0.1:19300"));

    // The daemon dies; what was changed stays.
    daemon.kill();
    assert!(ask(&engine, "127.0.0.1:19301").is_some());
    assert!(bound("127.0.0.1:19301"));
    daemon.restart();
    let engine = daemon.engine();
    assert!(ask(&engine, "127.0.0.1:19301").is_some());
    let _ = update(&engine, &container, &json!({"PublishRemove": {"80/tcp": null}})).expect(200);
    assert!(ask(&engine, "127.0.0.1:19301").is_none());
    let free = || engine.on_its_network(|| TcpListener::bind("127.0.0.1:19301")).ok();
    drop(eventually("nobody holds it", SOON, free));
    let again = update(&engine, &container, &json!({"PublishRemove": {"80/tcp": null}}));
    assert_eq!(again.status, 409, "{}", again.text());
    assert!(again.message().contains("port 80/tcp is not published"), "{}", again.text());

    // The next start has what was left.
    container.stop(0);
    assert!(!bound("127.0.0.1:19300"));
    let _ = update(&engine, &container, &json!({"PublishAdd": {"80/tcp": [{"HostPort": ""}]}}))
        .expect(200);
    container.start();
    assert!(soon(&engine, "127.0.0.1:19300").starts_with("81 "));
    let chosen = container.inspect()["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(soon(&engine, &format!("127.0.0.1:{chosen}")).starts_with("80 "));
    let _ =
        update(&engine, &container, &json!({"PublishRemove": {"80/tcp": [{"HostPort": chosen}]}}))
            .expect(200);
    assert!(ask(&engine, &format!("127.0.0.1:{chosen}")).is_none());
    assert!(container.inspect()["HostConfig"]["PortBindings"]["80/tcp"].is_null());
}

#[test]
fn privileged_ports_follow_the_default_route() {
    let mut daemon = prepared();
    let engine = daemon.engine();
    let bound = |port: u16| engine.on_its_network(|| TcpListener::bind(("0.0.0.0", port))).is_err();
    let newest = |path: &str, body: Value| {
        let headers = [("Content-Type", "application/json")];
        let body = body.to_string();
        let path = format!("/v1.48{path}");
        let _ = engine.client().request("POST", &path, &headers, body.as_bytes()).expect(200);
    };
    for (name, subnet) in [("one", "10.87.1.0/24"), ("two", "10.87.2.0/24")] {
        let body = json!({"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}});
        let _ = engine.post("/networks/create", &body).expect(201);
    }
    let closed = json!({"Name": "closed", "Internal": true});
    let _ = engine.post("/networks/create", &closed).expect(201);
    let container = server(&engine, &[80], &json!({"80/tcp": [{"HostPort": "19500"}]}));
    let by = |gateway: &str| {
        // What comes from the host's loopback comes from the gateway of the network it comes by.
        let wanted = format!("80 {gateway}");
        eventually(&wanted, SOON, || {
            ask(&engine, "127.0.0.1:19500").filter(|told| *told == wanted)
        });
    };
    let first = gateway(&container);
    by(&first);
    newest("/networks/one/connect", json!({"Container": container.id}));
    by(&first);
    newest(
        "/networks/two/connect",
        json!({"Container": container.id, "EndpointConfig": {"GwPriority": 9}}),
    );
    by("10.87.2.1");
    assert!(bound(19500));
    // A daemon that starts anew knows where they are.
    daemon.kill();
    daemon.restart();
    by("10.87.2.1");
    newest("/networks/two/disconnect", json!({"Container": container.id}));
    by(&first);
    newest("/networks/bridge/disconnect", json!({"Container": container.id}));
    by("10.87.1.1");
    let seen = container.inspect();
    assert_eq!(seen["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "19500");
    // By a network that leads nowhere nothing leads in.
    newest("/networks/closed/connect", json!({"Container": container.id}));
    newest("/networks/one/disconnect", json!({"Container": container.id}));
    assert_eq!(ask(&engine, "127.0.0.1:19500"), None);
    assert!(!bound(19500), "nobody holds it");
    newest("/networks/two/connect", json!({"Container": container.id}));
    by("10.87.2.1");
    assert!(bound(19500));
    // What somebody else has taken meanwhile is not published, and then nobody joins.
    newest("/networks/two/disconnect", json!({"Container": container.id}));
    let _theirs = engine.on_its_network(|| TcpListener::bind("0.0.0.0:19500")).unwrap();
    let answer = engine.post("/networks/one/connect", &json!({"Container": container.id}));
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.message().contains("address already in use"), "{}", answer.text());
    assert!(container.inspect()["NetworkSettings"]["Networks"]["one"].is_null());
}

#[test]
fn privileged_changes_of_ports_that_cannot_be_change_nothing() {
    let daemon = prepared();
    let engine = daemon.engine();
    let container = server(&engine, &[80], &json!({"80/tcp": [{"HostPort": "19400"}]}));
    let other = server(&engine, &[80], &json!({"80/tcp": [{"HostPort": "19401"}]}));
    soon(&engine, "127.0.0.1:19400");
    let _mine = engine.on_its_network(|| TcpListener::bind("0.0.0.0:19402")).unwrap();
    for (port, why) in [("19401", "port is already allocated"), ("19402", "address already in use")]
    {
        let add = json!({"PublishAdd": {"80/tcp": [{"HostPort": "19409"}, {"HostPort": port}]}, "PublishRemove": {"80/tcp": [{"HostPort": "19400"}]}});
        let answer = update(&engine, &container, &add);
        assert!(answer.status >= 400 && answer.message().contains(why), "{}", answer.text());
        assert!(ask(&engine, "127.0.0.1:19400").is_some(), "it is as it was");
        assert!(engine.on_its_network(|| TcpListener::bind("0.0.0.0:19409")).is_ok());
        assert_eq!(
            container.inspect()["HostConfig"]["PortBindings"],
            json!({"80/tcp": [{"HostIp": "", "HostPort": "19400"}]})
        );
    }
    for body in [
        json!({"PublishAdd": {"80/xyz": [{"HostPort": "1"}]}}),
        json!({"PublishAdd": {"80/tcp": [{"HostPort": "x"}]}}),
        json!({"PublishRemove": {"x": null}}),
    ] {
        assert_eq!(update(&engine, &container, &body).status, 400, "{body}");
    }
    let host = engine.sleeper(json!({"Image": "busybox", "HostConfig": {"NetworkMode": "host"}}));
    let answer =
        update(&engine, &host, &json!({"PublishAdd": {"80/tcp": [{"HostPort": "19403"}]}}));
    assert_eq!(answer.status, 400, "{}", answer.text());
    // And by the command line.
    let id = container.id.as_str();
    let _ =
        engine.isopod_cli(&["update", "--publish", "127.0.0.1:19404-19405:80-81", id]).success();
    assert!(soon(&engine, "127.0.0.1:19404").starts_with("80 "));
    let _ = engine
        .isopod_cli(&["update", "--publish-rm", "19404:80", "--publish-rm", "81", id])
        .success();
    assert!(ask(&engine, "127.0.0.1:19404").is_none());
    assert!(ask(&engine, "127.0.0.1:19400").is_some());
    let missing = engine.isopod_cli(&["update", "--publish-rm", "82", id]);
    assert!(missing.code != 0 && missing.stderr.contains("is not published"), "{missing:?}");
    drop(other);
}

/// Whoever dies without a word, its port is free and nobody is led astray.
#[test]
fn privileged_a_killed_monitor_leaves_no_port() {
    let daemon = prepared();
    let engine = daemon.engine();
    let container = server(&engine, &[80], &json!({"80/tcp": [{"HostPort": "19500"}]}));
    soon(&engine, "127.0.0.1:19500");
    let pid = container.inspect()["State"]["Pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_owned();
    assert!(Command::new("kill").args(["-9", &parent]).status().unwrap().success());
    let free = || engine.on_its_network(|| TcpListener::bind("0.0.0.0:19500")).ok();
    let mine = eventually("the port is free", SOON, free);
    let rules = || {
        engine.on_its_network(|| {
            let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    };
    eventually("the rules are gone", SOON, || (!rules().contains("19500")).then_some(()));
    // A program of the host that takes it is reached by it.
    std::thread::scope(|scope| {
        scope.spawn(|| mine.accept().unwrap().0.write_all(b"host").unwrap());
        assert_eq!(ask(&engine, "127.0.0.1:19500").as_deref(), Some("host"));
    });
}

#[test]
fn privileged_ports_come_back_after_a_flush_amid_starts_and_while_the_daemon_is_dead() {
    let mut daemon = prepared();
    let engine = daemon.engine();
    let container = server(&engine, &[80], &json!({"80/tcp": [{"HostPort": "19600"}]}));
    soon(&engine, "127.0.0.1:19600");
    let flush = |engine: &Engine| {
        let flushed =
            engine.on_its_network(|| Command::new("nft").args(["flush", "ruleset"]).status());
        assert!(flushed.unwrap().success());
    };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..3u16 {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let ports = json!({"80/tcp": [{"HostPort": (19610 + worker).to_string()}]});
                while !stop.load(Ordering::Relaxed) {
                    let output = engine.run(json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "bridge", "PortBindings": ports}}));
                    assert_eq!(output.code, 0, "{output:?}");
                }
            });
        }
        for _ in 0..10 {
            flush(&engine);
            soon(&engine, "127.0.0.1:19600");
        }
        stop.store(true, Ordering::Relaxed);
    });
    daemon.kill();
    assert!(ask(&engine, "127.0.0.1:19600").is_some(), "nobody needs the daemon for that");
    flush(&engine);
    assert!(ask(&engine, "127.0.0.1:19600").is_none());
    daemon.restart();
    let engine = daemon.engine();
    soon(&engine, "127.0.0.1:19600");
    drop(container);
}

/// A host with iptables and without `nft`: containers run, and whoever wants a port is told what
/// to install.
#[test]
fn privileged_without_nft_it_is_said_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("isopod");
    let script = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs none /usr/sbin && \
         ln -s /bin/true /usr/sbin/iptables && exec {} \"$@\"' isopod \"$@\"\n",
        isopod_binary().display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let options = Options {
        kind: testkit::Kind::Isopod,
        program: Some(program),
        arguments: Vec::new(),
        host_network: false,
    };
    let daemon = loaded(Daemon::start(options).unwrap());
    let engine = daemon.engine();
    let plain =
        engine.sleeper(json!({"Image": "busybox", "HostConfig": {"NetworkMode": "bridge"}}));
    assert_eq!(plain.status(), "running");
    let ports = json!({"80/tcp": [{"HostPort": "19700"}]});
    let container = engine.create(json!({"Image": "busybox", "Cmd": ["sleep", "9"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PortBindings": ports}}));
    let answer = engine.act(&container.path("/start"));
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.message().contains("apt-get install nftables"), "{}", answer.text());
    assert_eq!(container.status(), "created");
    assert!(engine.on_its_network(|| TcpListener::bind("0.0.0.0:19700")).is_ok());
}

/// Its own root inside has every tool, and no effect outside.
#[test]
fn privileged_a_privileged_container_cannot_take_its_neighbours_place() {
    let host = json!({"NetworkMode": "bridge", "CapAdd": ["NET_ADMIN", "NET_RAW"]});
    takes_no_place(&prepared(), &host);
}

/// Nor has a guest, whose kernel may send what it likes.
#[test]
fn privileged_a_guest_cannot_take_its_neighbours_place() {
    let daemon = crate::vm::daemon();
    let host =
        json!({"NetworkMode": "bridge", "CapAdd": ["NET_ADMIN", "NET_RAW"], "Isolation": "vm"});
    takes_no_place(&daemon, &host);
    daemon.stop().unwrap();
}

fn takes_no_place(daemon: &Daemon, host: &Value) {
    let engine = daemon.engine();
    let [victim, peer] = [(); 2].map(|()| {
        engine.sleeper(json!({"Image": "busybox", "HostConfig": {"NetworkMode": "bridge"}}))
    });
    let attacker = engine.sleeper(json!({"Image": "busybox", "HostConfig": host}));
    let (victims, peers) = (address(&victim), address(&peer));
    let reached =
        |from: &Container, to: &str| from.exec(&["ping", "-c", "1", "-W", "2", to]).code == 0;
    eventually("everybody is there", SOON, || reached(&attacker, &peers).then_some(()));
    assert!(reached(&peer, &victims));
    let mac = peer.sh(&format!("ip neigh show {victims}"));
    // The neighbour's address, and telling everybody.
    let _ = attacker.sh(&format!("ip addr add {victims}/16 dev eth0"));
    let _ = attacker.exec(&["arping", "-U", "-c", "3", "-I", "eth0", &victims]);
    let _ = attacker.exec(&["ping", "-c", "1", "-W", "1", "-I", &victims, &peers]);
    assert_eq!(
        peer.sh(&format!("ip neigh show {victims} | cut -d' ' -f1-5")),
        mac.split(' ').take(5).collect::<Vec<_>>().join(" ")
    );
    assert!(reached(&peer, &victims));
    assert_ne!(attacker.exec(&["ping", "-c", "1", "-W", "1", "-I", &victims, &peers]).code, 0);
    // The neighbour's MAC.
    let _ = attacker.sh(&format!("ip addr del {victims}/16 dev eth0"));
    assert!(reached(&attacker, &peers));
    let victims_mac = victim.sh("cat /sys/class/net/eth0/address");
    let _ = attacker.sh(&format!("ip link set eth0 address {victims_mac}"));
    assert!(!reached(&attacker, &peers));
    assert!(reached(&peer, &victims));
}
