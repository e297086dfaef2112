//! Who reaches whom, with real packets.

mod lab;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use lab::*;
use network::{Attach, Config, Protocol, Sandbox};

#[test]
fn privileged_network_containers_of_a_network_talk_and_those_of_two_do_not() {
    on_a_host(|lab| {
        lab.network("other", |_| {});
        let (a, b) = (lab.start("bridge", "a", &[]), lab.start("bridge", "b", &[]));
        let c = lab.start("other", "c", &[]);
        assert_eq!(a.endpoint.mac.to_string(), "02:42:ac:11:00:02");
        for (container, name) in [(&b, "b"), (&c, "c")] {
            serve(Some(container.fd()), "0.0.0.0:80", name);
            serve_udp(container.fd(), "0.0.0.0:53", name);
        }
        let to_b = format!("{}:80", b.ip());
        assert_eq!(ask(Some(a.fd()), &to_b).unwrap(), format!("b {}", a.ip()));
        let udp = format!("{}:53", b.ip());
        assert_eq!(ask_udp(Some(a.fd()), &udp).unwrap(), format!("b {}", a.ip()));
        assert!(silent(Some(a.fd()), &format!("{}:80", c.ip())));
        assert!(silent_udp(Some(a.fd()), &format!("{}:53", c.ip())));
        // The host reaches all of them, and they the host.
        assert_eq!(ask(None, &format!("{}:80", c.ip())).unwrap(), "c 172.18.0.1");
        serve(None, "172.17.0.1:99", "host");
        assert_eq!(ask(Some(a.fd()), "172.17.0.1:99").unwrap(), format!("host {}", a.ip()));
        // A ping may be sent without privileges, and an answer comes.
        within(a.fd(), || run("busybox ping -c1 -W1 172.17.0.3"));
    });
}

#[test]
fn privileged_network_published_ports_are_reached_from_everywhere() {
    on_a_host(|lab| {
        let ports = [tcp(8080, 80), port(Protocol::Udp, None, 5300, 53)];
        let web = lab.start("bridge", "web", &ports);
        let other = lab.start("bridge", "other", &[]);
        lab.network("far", |_| {});
        let far = lab.start("far", "far", &[]);
        serve(Some(web.fd()), "0.0.0.0:80", "web");
        serve_udp(web.fd(), "0.0.0.0:53", "web");

        // From the host: by loopback, its own address, the bridge's address, the container's.
        assert_eq!(ask(None, "127.0.0.1:8080").unwrap(), "web 172.17.0.1");
        assert_eq!(ask(None, "127.9.9.9:8080").unwrap(), "web 172.17.0.1");
        assert_eq!(ask(None, &format!("{HOST}:8080")).unwrap(), format!("web {HOST}"));
        assert_eq!(ask(None, "172.17.0.1:8080").unwrap(), "web 172.17.0.1");
        assert_eq!(ask(None, &format!("{}:80", web.ip())).unwrap(), "web 172.17.0.1");
        assert_eq!(ask_udp(None, "127.0.0.1:5300").unwrap(), "web 172.17.0.1");
        // From outside, with the source kept.
        let outside = Some(lab.outside.as_fd());
        assert_eq!(ask(outside, &format!("{HOST}:8080")).unwrap(), format!("web {OUTSIDE}"));
        assert_eq!(ask_udp(outside, &format!("{HOST}:5300")).unwrap(), format!("web {OUTSIDE}"));
        // But not past the published port, although the neighbour knows the way.
        assert!(silent(outside, &format!("{}:80", web.ip())));
        // From the same network, from another, and from itself, by the host's address.
        for container in [&other, &web] {
            let answer = ask(Some(container.fd()), &format!("{HOST}:8080")).unwrap();
            assert_eq!(answer, "web 172.17.0.1");
        }
        let answer = ask(Some(far.fd()), &format!("{HOST}:8080")).unwrap();
        assert_eq!(answer, format!("web {}", far.ip()));
        assert!(ask_udp(Some(other.fd()), &format!("{HOST}:5300")).is_ok());

        lab.networks.release(&web.endpoint).unwrap();
        drop(web.sockets);
        assert_eq!(ask(None, "127.0.0.1:8080").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(silent(outside, &format!("{HOST}:8080")));
    });
}

#[test]
fn privileged_network_a_range_of_ports_is_reached_port_by_port() {
    on_a_host(|lab| {
        let shifted = network::PortRequest { count: 100, ..tcp(21000, 20000) };
        let local = network::PortRequest {
            host_ip: Some("127.0.0.1".parse().unwrap()),
            ..range(22000, 100)
        };
        let a = lab.start("bridge", "a", &[range(20000, 100), shifted, local]);
        for p in [20000, 20050, 20099] {
            serve(Some(a.fd()), &format!("0.0.0.0:{p}"), &format!("a{p}"));
        }
        for p in [20000, 20050, 20099] {
            let answer = ask(None, &format!("127.0.0.1:{p}")).unwrap();
            assert_eq!(answer, format!("a{p} 172.17.0.1"));
        }
        let answer = ask(None, "127.0.0.1:21099").unwrap();
        assert_eq!(answer, "a20099 172.17.0.1", "other numbers");
        serve(Some(a.fd()), "0.0.0.0:22050", "local");
        assert_eq!(ask(None, "127.0.0.1:22050").unwrap(), "local 172.17.0.1");
        assert!(silent(None, &format!("{HOST}:22050")));
        let maps = ["run4", "runat4", "any4"];
        let listed = |map| output(&format!("nft list map inet isopod {map}"));
        assert!(listed("run4").contains("20000-20099"));
        lab.networks.release(&a.endpoint).unwrap();
        for map in maps {
            assert!(!listed(map).contains("elements"), "{}", listed(map));
        }
    });
}

#[test]
fn privileged_network_a_port_on_one_address_is_reached_there_only() {
    on_a_host(|lab| {
        let ports = [
            port(Protocol::Tcp, Some("127.0.0.1"), 8080, 80),
            port(Protocol::Tcp, Some(HOST), 8081, 80),
        ];
        let web = lab.start("bridge", "web", &ports);
        serve(Some(web.fd()), "0.0.0.0:80", "web");
        let outside = Some(lab.outside.as_fd());
        assert!(ask(None, "127.0.0.1:8080").is_ok());
        assert!(silent(None, &format!("{HOST}:8080")));
        assert!(silent(outside, &format!("{HOST}:8080")));
        assert!(ask(outside, &format!("{HOST}:8081")).is_ok());
        assert!(silent(None, "127.0.0.1:8081"));
        // The neighbour claims the host's loopback is behind it.
        within(lab.outside.as_fd(), || {
            run("ip addr del 127.0.0.1/8 dev lo");
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            run(&format!("ip route add 127.0.0.0/8 via {HOST} dev eth0"));
        });
        assert!(silent(outside, "127.0.0.1:8080"));
    });
}

#[test]
fn privileged_network_containers_reach_out_behind_the_hosts_address() {
    on_a_host(|lab| {
        let a = lab.start("bridge", "a", &[]);
        serve(Some(lab.outside.as_fd()), "0.0.0.0:80", "outside");
        let answer = ask(Some(a.fd()), &format!("{OUTSIDE}:80")).unwrap();
        assert_eq!(answer, format!("outside {HOST}"));
        let plain = lab.network("plain", |spec| {
            let off = ("com.docker.network.bridge.enable_ip_masquerade".into(), "false".into());
            spec.options = [off].into();
        });
        let b = lab.start(&plain.id[..12], "b", &[]);
        let answer = ask(Some(b.fd()), &format!("{OUTSIDE}:80")).unwrap();
        assert_eq!(answer, format!("outside {}", b.ip()));
    });
}

#[test]
fn privileged_network_an_internal_network_has_no_way_out_or_in() {
    on_a_host(|lab| {
        lab.network("inside", |spec| spec.internal = true);
        let (a, b) = (lab.start("inside", "a", &[]), lab.start("inside", "b", &[]));
        serve(Some(b.fd()), "0.0.0.0:80", "b");
        serve(Some(lab.outside.as_fd()), "0.0.0.0:80", "outside");
        assert!(ask(Some(a.fd()), &format!("{}:80", b.ip())).is_ok());
        let e = ask(Some(a.fd()), &format!("{OUTSIDE}:80")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NetworkUnreachable);
        within(a.fd(), || run("ip route add default via 172.18.0.1"));
        assert!(silent(Some(a.fd()), &format!("{OUTSIDE}:80")));
        assert!(silent(Some(lab.outside.as_fd()), &format!("{}:80", b.ip())));
        let e = lab.try_start("inside", "c", &[tcp(80, 80)]).map(|_| ()).unwrap_err();
        assert_eq!(e.to_string(), "cannot publish ports: the network is internal");
    });
}

#[test]
fn privileged_network_without_icc_containers_only_meet_at_published_ports() {
    on_a_host_with(Config { icc: false, ..config() }, |lab| {
        let (a, b) = (lab.start("bridge", "a", &[]), lab.start("bridge", "b", &[tcp(8080, 80)]));
        serve(Some(b.fd()), "0.0.0.0:80", "b");
        assert!(silent(Some(a.fd()), &format!("{}:80", b.ip())));
        within(a.fd(), || run(&format!("ip route add {} via 172.17.0.1", b.ip())));
        assert!(silent(Some(a.fd()), &format!("{}:80", b.ip())), "by way of the host");
        assert!(ask(Some(a.fd()), &format!("{HOST}:8080")).is_ok());
        assert!(ask(None, "127.0.0.1:8080").is_ok());
    });
}

#[test]
fn privileged_network_containers_can_neither_reach_nor_claim_the_hosts_loopback() {
    on_a_host(|lab| {
        let a = lab.start("bridge", "a", &[]);
        serve(None, "127.0.0.1:99", "secret");
        within(a.fd(), || {
            run("ip addr del 127.0.0.1/8 dev lo");
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            run("ip route add 127.0.0.1 via 172.17.0.1 dev eth0");
        });
        assert!(silent(Some(a.fd()), "127.0.0.1:99"));
    });
}

#[test]
fn privileged_network_an_address_of_another_network_cannot_be_claimed() {
    on_a_host(|lab| {
        let a = lab.start("bridge", "a", &[]);
        let listener = UdpSocket::bind("172.17.0.1:99").unwrap();
        within(a.fd(), || run("ip addr add 198.51.100.77/32 dev eth0"));
        let send_from = |ip: String| {
            within(a.fd(), || {
                UdpSocket::bind(format!("{ip}:0")).unwrap().send_to(b"x", "172.17.0.1:99").unwrap()
            });
        };
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        send_from(a.ip().to_string());
        listener.recv(&mut [0; 8]).expect("its own address is fine");
        listener.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        send_from("198.51.100.77".to_owned());
        assert_eq!(listener.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn privileged_network_ipv6_works_as_ipv4_does() {
    on_a_host(|lab| {
        lab.network("six", |spec| spec.subnets = vec![subnet("fd00:6::/64")]);
        let (a, b) = (lab.start("six", "a", &[]), lab.start("six", "b", &[tcp(8080, 80)]));
        serve(Some(b.fd()), "[::]:80", "b");
        let to_b = format!("[{}]:80", b.ip6());
        assert_eq!(ask(Some(a.fd()), &to_b).unwrap(), format!("b {}", a.ip6()));
        let outside = Some(lab.outside.as_fd());
        let published = format!("[{HOST_V6}]:8080");
        assert_eq!(ask(outside, &published).unwrap(), format!("b {OUTSIDE_V6}"));
        assert_eq!(ask(None, &published).unwrap(), format!("b {HOST_V6}"));
        assert_eq!(ask(Some(a.fd()), &published).unwrap(), "b fd00:6::1");
        assert!(silent(outside, &to_b));
        lab.network("seven", |spec| spec.subnets = vec![subnet("fd00:7::/64")]);
        let c = lab.start("seven", "c", &[]);
        assert!(silent(Some(c.fd()), &to_b), "from another network");
        within(c.fd(), || run("ip -6 route add fd00:6::/64 via fd00:7::1"));
        assert!(silent(Some(c.fd()), &to_b), "by any way");
        let answer = ask(Some(c.fd()), &published).unwrap();
        assert_eq!(answer, format!("b {}", c.ip6()));
        serve(outside, "[::]:81", "outside");
        let answer = ask(Some(a.fd()), &format!("[{OUTSIDE_V6}]:81")).unwrap();
        assert_eq!(answer, format!("outside {HOST_V6}"));
        // IPv4 of the same container, too: on a socket of both families it looks so.
        let answer = ask(outside, &format!("{HOST}:8080")).unwrap();
        assert_eq!(answer, format!("b ::ffff:{OUTSIDE}"));
    });
}

#[test]
fn privileged_network_a_container_can_be_on_several_networks_and_leave_them() {
    on_a_host(|lab| {
        lab.network("one", |spec| spec.subnets = vec![subnet("10.1.0.0/24")]);
        lab.network("two", |spec| {
            spec.subnets = vec![subnet("10.2.0.0/24")];
            spec.options = [("com.docker.network.driver.mtu".into(), "1400".into())].into();
        });
        let peer = lab.start("two", "peer", &[]);
        serve(Some(peer.fd()), "0.0.0.0:80", "peer");
        serve(Some(lab.outside.as_fd()), "0.0.0.0:80", "outside");
        // A namespace that somebody else made, as with user namespaces.
        let mut sandbox = lab.networks.bare_sandbox().unwrap();
        let mut endpoints = Vec::new();
        for (network, ip) in [("one", "10.1.0.9"), ("two", "10.2.0.9")] {
            let taken = endpoints.iter().map(|e: &network::Endpoint| e.interface.as_str());
            let attach = Attach {
                network: network.to_owned(),
                container: "multi".to_owned(),
                ipv4: Some(ip.parse().unwrap()),
                mac: Some("02:00:00:00:00:99".parse().unwrap()),
                interface: Some(network::next_interface(taken)),
                default_route: network == "one",
                default_route6: network == "one",
                ..Attach::default()
            };
            let mut endpoint = lab.networks.reserve(&attach).unwrap().endpoint;
            lab.networks.plug(&mut endpoint, &mut sandbox).unwrap();
            endpoints.push(endpoint);
        }
        let netns = sandbox.into_fd();
        let fd = Some(netns.as_fd());
        assert_eq!(ask(fd, &format!("{}:80", peer.ip())).unwrap(), "peer 10.2.0.9");
        assert_eq!(ask(fd, &format!("{OUTSIDE}:80")).unwrap(), format!("outside {HOST}"));
        let links = within(netns.as_fd(), || output("ip -o link"));
        assert!(links.contains("eth1@") && links.contains("mtu 1400"), "{links}");
        assert!(links.contains("02:00:00:00:00:99"), "{links}");

        lab.networks.unplug(&endpoints[0], None).unwrap();
        assert!(silent(fd, &format!("{OUTSIDE}:80")));
        let heir = network::Endpoint { default_route: true, ..endpoints[1].clone() };
        lab.networks.route_through(&heir, netns.as_fd()).unwrap();
        assert!(ask(fd, &format!("{OUTSIDE}:80")).is_ok());
        let links = within(netns.as_fd(), || output("ip -o link"));
        assert!(!links.contains("eth0"), "{links}");
        assert!(lab.networks.remove_network("two").is_err(), "two containers are on it");
        lab.networks.remove_network("one").unwrap();
    });
}

#[test]
fn privileged_network_a_link_can_have_any_name_and_size() {
    on_a_host(|lab| {
        lab.network("small", |spec| {
            spec.options = [("com.docker.network.driver.mtu".into(), "1280".into())].into();
        });
        let attach = Attach {
            network: "small".to_owned(),
            container: "a".to_owned(),
            interface: Some("lan0".to_owned()),
            default_route: true,
            default_route6: true,
            ..Attach::default()
        };
        let mut endpoint = lab.networks.reserve(&attach).unwrap().endpoint;
        let mut sandbox = lab.networks.sandbox().unwrap();
        lab.networks.plug(&mut endpoint, &mut sandbox).unwrap();
        let netns = Sandbox::into_fd(sandbox);
        let links = within(netns.as_fd(), || output("ip -o link"));
        assert!(links.contains("lan0@") && links.contains("mtu 1280"), "{links}");
        serve(None, "172.18.0.1:80", "host");
        assert!(ask(Some(netns.as_fd()), "172.18.0.1:80").is_ok());
    });
}
