//! What is taken, given back, found again and put right.

mod lab;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lab::*;
use network::{Config, HostPort, Kind, NetworkSpec, Networks, PortRequest, Protocol, Saved};

const SECOND: Duration = Duration::from_secs(1);
/// Links come and go, and `nft` reads them, under one lock that the namespaces of all tests share:
/// who takes one away holds it, at times for seconds.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn privileged_network_a_port_conflict_is_found_before_anything_starts() {
    on_a_host(|lab| {
        let mine = TcpListener::bind("0.0.0.0:8080").unwrap();
        let e = lab.try_start("bridge", "a", &[tcp(8080, 80)]).map(|_| ()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "failed to bind host port 0.0.0.0:8080/tcp: address already in use"
        );
        let absent = port(Protocol::Tcp, Some("203.0.113.9"), 8080, 80);
        let e = lab.try_start("bridge", "a", &[absent]).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("cannot assign requested address"), "{e}");
        drop(mine);
        let a = lab.start("bridge", "a", &[tcp(8080, 80)]);
        let e = lab.try_start("bridge", "b", &[tcp(8080, 80)]).map(|_| ()).unwrap_err();
        assert_eq!(e.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        // Nothing was taken for those who failed.
        assert_eq!(lab.networks.endpoints(&a.endpoint.network).len(), 1);
        // Others on the host are told, too (the standard library sets SO_REUSEADDR).
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        lab.networks.release(&a.endpoint).unwrap();
        assert!(TcpListener::bind("127.0.0.1:8080").is_err(), "the sockets are held");
        assert!(TcpStream::connect("127.0.0.1:8080").is_err(), "and refuse");
        drop(a.sockets);
        TcpListener::bind("127.0.0.1:8080").unwrap();
    });
}

#[test]
fn privileged_network_held_ports_ignore_connections_that_are_over() {
    on_a_host(|lab| {
        // A connection in TIME_WAIT on the port, on the side that closed first.
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let client = TcpStream::connect("127.0.0.1:8080").unwrap();
        drop(listener.accept().unwrap());
        drop(client);
        drop(listener);
        lab.start("bridge", "a", &[tcp(8080, 80)]);
        let udp = port(Protocol::Udp, None, 5300, 53);
        let b = lab.start("bridge", "b", &[udp]);
        assert!(UdpSocket::bind("0.0.0.0:5300").is_err());
        drop(b.sockets);
        UdpSocket::bind("0.0.0.0:5300").unwrap();
        // Ephemeral ports: each gets another.
        let any = PortRequest { host_port: HostPort::Any, ..tcp(1, 80) };
        let c = lab.start("bridge", "c", &[any, any]);
        let ports: Vec<u16> = c.endpoint.ports.iter().map(|p| p.host_port).collect();
        assert_ne!(ports[0], ports[1]);
        assert!(ports.iter().all(|p| *p >= 32768), "{ports:?}");
    });
}

#[test]
fn privileged_network_datagrams_find_the_next_container() {
    on_a_host(|lab| {
        let udp = port(Protocol::Udp, None, 5300, 53);
        // A client that goes on and on, from one port.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:5300").unwrap();
        client.set_read_timeout(Some(SECOND)).unwrap();
        let ask = || {
            let mut buffer = [0; 64];
            // The first may report that the one before was refused.
            let _ = client.send(b"?");
            client.send(b"?")?;
            client.recv(&mut buffer).map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        };
        assert!(ask().is_err());
        for name in ["first", "second"] {
            let c = lab.start("bridge", name, &[udp]);
            serve_udp(c.fd(), "0.0.0.0:53", name);
            let mut answer = String::new();
            eventually(name, SOON, || {
                answer = ask().unwrap_or_default();
                answer.starts_with(name)
            });
            lab.networks.release(&c.endpoint).unwrap();
        }
    });
}

#[test]
fn privileged_network_nothing_is_left_of_a_container() {
    on_a_host_with(Config { warm: 0, ..config() }, |lab| {
        let a = lab.start("bridge", "a", &[tcp(8080, 80)]);
        assert_eq!(veths(), [a.endpoint.host_link.as_str()]);
        assert!(output("nft list table inet isopod").contains("tcp . 8080"));
        let first = a.ip();
        lab.networks.release(&a.endpoint).unwrap();
        lab.networks.release(&a.endpoint).unwrap();
        drop(a);
        assert!(!output("nft list table inet isopod").contains("tcp . 8080"));
        eventually("the link goes with the namespace", SOON, || veths().is_empty());
        // The next one gets another address, so that nobody mistakes it for the first.
        let b = lab.start("bridge", "b", &[]);
        assert_ne!(b.ip(), first);
        // Somebody keeps the namespace of this one.
        lab.networks.release(&b.endpoint).unwrap();
        eventually("the link is removed all the same", SOON, || veths().is_empty());
        drop(b);
    });
}

#[test]
fn privileged_network_the_pool_makes_a_hundred_starts_at_once_and_vanishes() {
    on_a_host(|lab| {
        let lab = &*lab;
        let host = sys::netns::current().unwrap();
        let host = &host;
        let containers: Vec<Container> = thread::scope(|scope| {
            let threads: Vec<_> = (0..100u16)
                .map(|i| {
                    scope.spawn(move || {
                        sys::netns::within(host.as_fd(), || {
                            lab.start("bridge", &format!("c{i}"), &[tcp(9000 + i, 80)])
                        })
                        .unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut ips: Vec<_> = containers.iter().map(Container::ip).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 100);
        for (i, c) in containers.iter().enumerate() {
            serve(Some(c.fd()), "0.0.0.0:80", &format!("c{i}"));
            let at = c.endpoint.ports[0].host_port;
            assert_eq!(ask(None, &format!("127.0.0.1:{at}")).unwrap(), format!("c{i} 172.17.0.1"));
        }
        eventually("the pool fills up", SOON, || lab.networks.warm() >= 2);
        for c in &containers {
            lab.networks.release(&c.endpoint).unwrap();
        }
        drop(containers);
        let ready = lab.networks.warm();
        eventually("only the pool's links are left", SOON, || {
            veths().len() <= lab.networks.warm().max(ready)
        });
    });
}

#[test]
fn privileged_network_rules_come_back_after_a_flush() {
    on_a_host(|lab| {
        let web = lab.start("bridge", "web", &[tcp(8080, 80)]);
        serve(Some(web.fd()), "0.0.0.0:80", "web");
        for command in [
            "nft flush ruleset",
            "nft flush table inet isopod",
            "nft delete element inet isopod any4 { tcp . 8080 }",
            "nft flush chain inet isopod forward",
        ] {
            let before = output("nft list table inet isopod");
            run(command);
            assert_ne!(
                Command::new("nft").args(["list", "ruleset"]).output().unwrap().stdout,
                before.as_bytes()
            );
            eventually(command, SOON, || {
                Command::new("nft")
                    .args(["list", "table", "inet", "isopod"])
                    .output()
                    .is_ok_and(|o| o.stdout == before.as_bytes())
            });
            assert!(ask(None, "127.0.0.1:8080").is_ok(), "{command}");
        }
        // Changes of others leave us alone, and ours leave others alone.
        run("nft add table inet theirs");
        run("nft delete table inet isopod");
        lab.start("bridge", "more", &[tcp(8081, 80)]);
        assert!(output("nft list tables").contains("theirs"));
        assert!(ask(None, "127.0.0.1:8080").is_ok());
        run("nft delete table inet theirs");
    });
}

#[test]
fn privileged_network_a_bridge_that_somebody_deleted_is_made_again() {
    on_a_host(|lab| {
        let a = lab.start("bridge", "a", &[tcp(8080, 80)]);
        serve(Some(a.fd()), "0.0.0.0:80", "a");
        let number = || output("ip -o link show isopod0").split(':').next().map(str::to_owned);
        let before = number();
        // It may be made anew before its deletion is over.
        run("ip link del isopod0");
        // The next start finds out.
        let b = lab.start("bridge", "b", &[]);
        assert_ne!(number(), before, "another bridge");
        assert!(ask(None, "127.0.0.1:8080").is_ok());
        run("ip link del isopod0");
        lab.networks.repair().unwrap();
        assert!(ask(Some(b.fd()), &format!("{}:80", a.ip())).is_ok());
    });
}

#[test]
fn privileged_network_a_new_daemon_finds_everything_as_it_was() {
    on_a_host(|lab| {
        let user = lab.network("user", |spec| spec.labels = [("k".into(), "v".into())].into());
        let a = lab.start("bridge", "a", &[tcp(8080, 80)]);
        let b = lab.start("user", "b", &[]);
        let gone = lab.start("bridge", "gone", &[tcp(8081, 80)]);
        serve(Some(a.fd()), "0.0.0.0:80", "a");
        let saved = Saved {
            networks: lab.networks.list(),
            endpoints: vec![a.endpoint.clone(), b.endpoint.clone()],
        };
        assert_eq!(saved.networks.len(), 4);
        // Killed: nothing is taken down. One container ends meanwhile.
        drop(gone);
        let killed = Arc::downgrade(&lab.networks);
        lab.networks = Networks::open(config(), saved.clone()).unwrap();
        // What a process would have ended at once: its thread may be looking links over.
        eventually("the killed one has ended", SOON, || killed.strong_count() == 0);
        assert_eq!(lab.networks.list(), saved.networks);
        assert_eq!(lab.networks.find("user").unwrap(), user);
        assert!(ask(None, "127.0.0.1:8080").is_ok());
        let e = lab.try_start("bridge", "c", &[tcp(8080, 80)]).map(|_| ()).unwrap_err();
        assert!(e.to_string().ends_with("port is already allocated"), "{e}");
        let c = lab.start("bridge", "c", &[tcp(8081, 80)]);
        assert_ne!(c.ip(), a.ip());
        assert_eq!(lab.networks.endpoints(&user.id), std::slice::from_ref(&b.endpoint));
        assert!(lab.networks.remove_network("user").is_err());
        lab.networks.release(&b.endpoint).unwrap();
        lab.networks.remove_network("user").unwrap();
        assert!(!output("ip -o link").contains(&user.bridge));
        assert_eq!(lab.networks.find("user").unwrap_err().kind(), Kind::NotFound);
    });
}

#[test]
fn privileged_network_two_daemons_do_not_get_in_each_others_way() {
    on_a_host(|lab| {
        let config = Config {
            bridge: Some("isopod1".to_owned()),
            table: "isopod-two".to_owned(),
            ..config()
        };
        let second = Networks::open(config, Saved::default()).unwrap();
        let theirs = second.default_bridge().unwrap();
        assert_eq!(theirs.subnets[0].subnet.to_string(), "172.18.0.0/16");
        let made = lab.network("third", |_| {});
        assert_eq!(made.subnets[0].subnet.to_string(), "172.19.0.0/16");
        let a = lab.start("bridge", "a", &[]);
        let other = Lab { networks: second, outside: lab.outside.try_clone().unwrap() };
        let b = other.start("bridge", "b", &[tcp(8080, 80)]);
        serve(Some(b.fd()), "0.0.0.0:80", "b");
        assert!(silent(Some(a.fd()), &format!("{}:80", b.ip())));
        assert!(ask(Some(a.fd()), &format!("{HOST}:8080")).is_ok());
        let e = lab.try_start("bridge", "c", &[tcp(8080, 80)]).map(|_| ()).unwrap_err();
        assert!(e.to_string().ends_with("address already in use"), "{e}");
        other.networks.dismantle().unwrap();
    });
}

#[test]
fn privileged_network_networks_are_found_made_and_refused() {
    on_a_host(|lab| {
        let names = |lab: &Lab| -> Vec<String> {
            lab.networks.list().into_iter().map(|n| n.name).collect()
        };
        assert_eq!(names(lab), ["bridge", "host", "none"]);
        let web = lab.network("web", |spec| spec.subnets = vec![subnet("10.7.0.0/16")]);
        assert_eq!(lab.networks.find(&web.id[..6]).unwrap(), web);
        let overlap = NetworkSpec {
            name: "w2".to_owned(),
            subnets: vec![subnet("10.7.1.0/24")],
            ..NetworkSpec::default()
        };
        let e = lab.networks.create_network(&overlap).unwrap_err();
        assert_eq!(e.kind(), Kind::Forbidden);
        assert_eq!(lab.networks.remove_network("bridge").unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(lab.networks.find("").unwrap_err().kind(), Kind::NotFound);
        // A link of that name that is no bridge is not ours to take.
        run("ip link add mine type veth peer name yours");
        let taken = NetworkSpec {
            name: "w3".to_owned(),
            options: [("com.docker.network.bridge.name".into(), "mine".into())].into(),
            ..NetworkSpec::default()
        };
        assert!(lab.networks.create_network(&taken).is_err());
        assert!(output("ip -o link").contains("mine"));
        // What the kernel refuses half-way leaves nothing.
        let multicast = NetworkSpec {
            name: "w4".to_owned(),
            subnets: vec![subnet("ff05::/64")],
            ..NetworkSpec::default()
        };
        let e = lab.networks.create_network(&multicast).unwrap_err();
        assert_eq!(e.kind(), Kind::Host, "{e}");
        assert_eq!(names(lab), ["bridge", "host", "none", "web"]);
        assert_eq!(output("ip -o link show type bridge").lines().count(), 2);
        assert!(lab.try_start("host", "a", &[]).is_err());
        let a = lab.start("web", "a", &[]);
        let e = lab.try_start("web", "a", &[]).map(|_| ()).unwrap_err();
        assert_eq!(e.to_string(), "endpoint of container a already exists in network web");
        lab.networks.unplug(&a.endpoint, None).unwrap();
        lab.networks.remove_network("web").unwrap();
        assert_eq!(names(lab), ["bridge", "host", "none"]);
        // A range of two addresses is used up by the third.
        let mut tiny = subnet("10.8.0.0/16");
        tiny.range = Some("10.8.3.0/31".parse().unwrap());
        lab.network("tiny", |spec| spec.subnets = vec![tiny]);
        let held = [lab.start("tiny", "a", &[]), lab.start("tiny", "b", &[])];
        assert_eq!(held[1].ip().to_string(), "10.8.3.1");
        let e = lab.try_start("tiny", "c", &[]).map(|_| ()).unwrap_err().to_string();
        assert_eq!(e, "no available IPv4 addresses on this network's address pools: tiny");
    });
}
