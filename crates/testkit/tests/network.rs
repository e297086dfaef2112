//! Networks as far as they go: none, host, another container's, and the default bridge with
//! published ports.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use testkit::engine::filters;
use testkit::{Engine, eventually, json, on_both};

const SOON: Duration = Duration::from_secs(10);

/// What a TCP server answers, asked from the engine's host.
fn ask(engine: &Engine, address: &str) -> Option<String> {
    engine.on_its_network(|| {
        let address = address.parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    })
}

fn web(engine: &Engine, mut config: testkit::Value) -> testkit::Container {
    config["Cmd"] = json!([
        "sh",
        "-c",
        "mkdir /www; echo hello from inside > /www/index.html; exec httpd -f -p 80 -h /www"
    ]);
    let container = engine.create(config);
    container.start();
    container
}

on_both! {
    fn privileged_no_network(engine) {
        assert_eq!(engine.sh("ls /sys/class/net; ip -4 addr | grep -c 127.0.0.1", json!({"HostConfig": {"NetworkMode": "none"}})), "lo\n1\n");
    }

    fn privileged_the_bridge(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"NetworkMode": "default"}}));
        let settings = container.inspect()["NetworkSettings"].clone();
        let endpoint = settings["Networks"]["bridge"].clone();
        let address = endpoint["IPAddress"].as_str().unwrap().to_owned();
        let gateway = endpoint["Gateway"].as_str().unwrap().to_owned();
        assert!(address.starts_with("172.17."), "{endpoint}");
        assert_eq!(endpoint["IPPrefixLen"], 16);
        assert_eq!(settings["IPAddress"], endpoint["IPAddress"]);
        assert_eq!(endpoint["EndpointID"].as_str().unwrap().len(), 64);
        assert_eq!(endpoint["NetworkID"].as_str().unwrap().len(), 64);
        let seen = container.sh("ip -4 -o addr show eth0; ip route; cat /sys/class/net/eth0/address; cat /sys/class/net/eth0/mtu; tail -1 /etc/hosts");
        assert!(seen.contains(&format!("inet {address}/16")), "{seen}");
        assert!(seen.contains(&format!("default via {gateway} dev eth0")), "{seen}");
        assert!(seen.contains(endpoint["MacAddress"].as_str().unwrap()), "{seen}");
        assert!(seen.contains("\n1500\n"), "{seen}");
        assert!(seen.ends_with(&format!("{address}\t{}", &container.id[..12])), "{seen}");
        let _ = container.sh(&format!("ping -c 1 -W 2 {gateway}"));
        let other = engine.sleeper(json!({"HostConfig": {"NetworkMode": "bridge"}}));
        let there = other.inspect()["NetworkSettings"]["IPAddress"].as_str().unwrap().to_owned();
        assert_ne!(address, there);
        let _ = container.sh(&format!("ping -c 1 -W 2 {there}"));
        container.stop(1);
        assert_eq!(container.inspect()["NetworkSettings"]["IPAddress"], "");
    }

    fn privileged_a_mac_address_and_an_interface_that_goes(engine) {
        let container = engine.sleeper(json!({"MacAddress": "02:42:ac:11:00:99", "HostConfig": {"NetworkMode": "bridge"}}));
        assert_eq!(container.sh("cat /sys/class/net/eth0/address"), "02:42:ac:11:00:99");
        let index = container.sh("cat /sys/class/net/eth0/iflink");
        let exists = || engine.on_its_network(|| {
            let output = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with(&format!("{index}: ")))
        });
        assert!(exists());
        container.remove();
        eventually("the interface is gone", SOON, || (!exists()).then_some(()));
    }

    fn privileged_a_published_port(engine) {
        let container = web(engine, json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}, {"HostPort": "18081"}]}}}));
        for address in ["127.0.0.1:18080", "127.0.0.1:18081"] {
            let answer = eventually(address, SOON, || ask(engine, address));
            assert!(answer.contains("hello from inside"), "{address}: {answer}");
        }
        let gateway = container.inspect()["NetworkSettings"]["Gateway"].as_str().unwrap().to_owned();
        assert!(ask(engine, &format!("{gateway}:18081")).unwrap().contains("hello"));
        assert!(ask(engine, &format!("{gateway}:18080")).is_none(), "bound to loopback only");
        let ports = container.inspect()["NetworkSettings"]["Ports"]["80/tcp"].clone();
        assert!(ports.as_array().unwrap().contains(&json!({"HostIp": "127.0.0.1", "HostPort": "18080"})), "{ports}");
        // From another container, to the host's address.
        let seen = engine.sh(&format!("wget -qO- http://{gateway}:18081/"), json!({"HostConfig": {"NetworkMode": "bridge"}}));
        assert_eq!(seen, "hello from inside\n");
        let direct = container.inspect()["NetworkSettings"]["IPAddress"].as_str().unwrap().to_owned();
        assert!(ask(engine, &format!("{direct}:80")).unwrap().contains("hello"));
        let listed = engine.get(&format!("/containers/json?{}", filters(&json!({"id": [container.id]})))).json();
        assert!(listed[0]["Ports"].as_array().unwrap().contains(&json!({"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 18080, "Type": "tcp"})), "{listed}");
        container.stop(1);
        assert!(ask(engine, "127.0.0.1:18080").is_none());
        container.start();
        eventually("it answers again", SOON, || ask(engine, "127.0.0.1:18080"));
    }

    fn privileged_a_port_is_chosen(engine) {
        let container = web(engine, json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "bridge", "PublishAllPorts": true}}));
        let ports = container.inspect()["NetworkSettings"]["Ports"]["80/tcp"].clone();
        let port = ports[0]["HostPort"].as_str().unwrap().to_owned();
        assert!(port.parse::<u16>().unwrap() >= 32768, "{ports}");
        eventually("it answers", SOON, || ask(engine, &format!("127.0.0.1:{port}")));
    }

    fn privileged_a_port_is_taken_once(engine) {
        let host = json!({"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "18090"}]}});
        let _first = web(engine, json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": host}));
        let second = engine.create(json!({"Cmd": ["sleep", "10"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": host}));
        let answer = engine.act(&second.path("/start"));
        assert!(answer.status >= 400, "{}", answer.status);
        assert!(answer.message().contains("port is already allocated"), "{}", answer.text());
        assert!(answer.message().contains("18090"), "{}", answer.text());
        assert_eq!(second.status(), "created");
        for bindings in [json!({"80/tcp": [{"HostPort": "x"}]}), json!({"x/tcp": [{"HostPort": "1"}]}), json!({"80/xyz": [{"HostPort": "1"}]}), json!({"80/tcp": [{"HostPort": "99999"}]})] {
            let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": {"PortBindings": bindings}}));
            if engine.is_dockerd() && answer.status == 201 {
                let id = answer.json()["Id"].as_str().unwrap().to_owned();
                let _ = engine.delete(&format!("/containers/{id}")).ok();
            } else {
                assert!(answer.status == 400 || engine.is_dockerd(), "{bindings}: {} {}", answer.status, answer.text());
            }
        }
    }

    fn privileged_udp_ports(engine) {
        let server = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 5353))\nwhile True:\n    data, peer = s.recvfrom(99)\n    s.sendto(data, peer)\n";
        let binds = ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"];
        let container = engine.create(json!({"Cmd": ["/usr/bin/python3", "-c", server], "ExposedPorts": {"5353/udp": {}}, "HostConfig": {"Binds": binds, "NetworkMode": "bridge", "PortBindings": {"5353/udp": [{"HostIp": "127.0.0.1", "HostPort": "15353"}]}}}));
        container.start();
        let answer = eventually("an echo", SOON, || engine.on_its_network(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
            socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
            socket.send_to(b"ping", "127.0.0.1:15353").ok()?;
            let mut buffer = [0; 16];
            let count = socket.recv(&mut buffer).ok()?;
            Some(buffer[..count].to_vec())
        }));
        assert_eq!(answer, b"ping");
    }

    fn privileged_the_network_of_another_container(engine) {
        let server = web(engine, json!({"HostConfig": {"NetworkMode": "bridge"}}));
        let seen = engine.sh("for i in $(seq 100); do wget -qO- http://127.0.0.1/ && break; sleep 0.3; done", json!({"HostConfig": {"NetworkMode": format!("container:{}", server.id)}}));
        assert_eq!(seen, "hello from inside\n");
        for host in [json!({"NetworkMode": format!("container:{}", server.id), "PortBindings": {"80/tcp": [{"HostPort": "1"}]}}), json!({"NetworkMode": format!("container:{}", server.id), "Dns": ["1.1.1.1"]})] {
            let answer = engine.post("/containers/create", &json!({"Image": "busybox", "HostConfig": host}));
            assert_eq!(answer.status, 400, "{host}: {}", answer.text());
            assert!(answer.message().contains("onflicting options"), "{}", answer.text());
        }
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "Hostname": "h", "HostConfig": {"NetworkMode": format!("container:{}", server.id)}}));
        assert_eq!(answer.status, 400, "{}", answer.text());
    }

    fn privileged_the_network_of_the_host(engine) {
        let seen = engine.sh("ls /sys/class/net; hostname", json!({"HostConfig": {"NetworkMode": "host"}}));
        assert!(seen.contains("lo\n"), "{seen}");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert!(seen.ends_with(&host), "{seen}");
    }

    fn privileged_an_unknown_network(engine) {
        let answer = engine.post("/containers/create", &json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "nothing-like-it"}}));
        if answer.status == 201 {
            let id = answer.json()["Id"].as_str().unwrap().to_owned();
            let started = engine.act(&format!("/containers/{id}/start"));
            assert_eq!(started.status, 404, "{}", started.text());
            assert!(started.message().contains("nothing-like-it"), "{}", started.text());
            let _ = engine.delete(&format!("/containers/{id}")).ok();
        } else {
            assert_eq!(answer.status, 404, "{}", answer.text());
        }
    }

    fn privileged_networks_are_listed(engine) {
        // Others make networks of their own meanwhile.
        let builtin = filters(&json!({"type": ["builtin"]}));
        let answer = engine.get(&format!("/networks?{builtin}")).expect(200).json();
        testkit::shape::check("GET /networks", &answer, &["[0].Containers", "[1].Containers", "[2].Containers"]);
        let mut names: Vec<&str> = answer.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["bridge", "host", "none"]);
        let bridge = engine.get("/networks/bridge").expect(200).json();
        assert_eq!(bridge["Driver"], "bridge");
        assert_eq!(bridge["IPAM"]["Config"][0]["Subnet"], "172.17.0.0/16");
        assert_eq!(engine.get("/networks/nothing").status, 404);
    }
}
