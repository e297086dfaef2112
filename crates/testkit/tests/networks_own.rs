//! Networks beyond what dockerd 20.10 has, or does on this kernel: macvlan and ipvlan, IPv6 alone,
//! several networks at once, repair, many networks, and a daemon that is killed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::{Container, Daemon, Engine, Response, Value, eventually, image, json};

const SOON: Duration = Duration::from_secs(30);

/// Multiple endpoints, priorities and the like came after the version that the suite speaks.
const VERSION: &str = "/v1.48";

fn prepared(arguments: &[&str]) -> Daemon {
    let daemon = Daemon::isopod_with(arguments);
    let tar = image::busybox(&["busybox:latest"]).tar;
    let _ = daemon.engine().upload("/images/load?quiet=1", &tar).expect(200);
    daemon
}

fn post(engine: &Engine, path: &str, body: &Value) -> Response {
    let headers = [("Content-Type", "application/json")];
    let path = format!("{VERSION}{path}");
    engine.client().request("POST", &path, &headers, body.to_string().as_bytes())
}

fn get(engine: &Engine, path: &str) -> Value {
    engine.client().request("GET", &format!("{VERSION}{path}"), &[], &[]).expect(200).json()
}

fn network(engine: &Engine, name: &str, mut body: Value) -> Value {
    body["Name"] = json!(name);
    let _ = post(engine, "/networks/create", &body).expect(201);
    get(engine, &format!("/networks/{name}"))
}

fn refused(engine: &Engine, mut body: Value) -> (u16, String) {
    body["Name"] = json!(testkit::unique("bad"));
    let answer = post(engine, "/networks/create", &body);
    (answer.status, answer.message())
}

fn subnet(subnet: &str) -> Value {
    json!({"IPAM": {"Config": [{"Subnet": subnet}]}})
}

fn create(engine: &Engine, networks: Value) -> Container {
    let name = testkit::unique("n");
    let first = networks.as_object().unwrap().keys().next().unwrap().clone();
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL", "HostConfig": {"NetworkMode": first}, "NetworkingConfig": {"EndpointsConfig": networks}});
    let answer = post(engine, &format!("/containers/create?name={name}"), &body).expect(201);
    Container::new(engine, answer.json()["Id"].as_str().unwrap().to_owned(), &name)
}

fn started(engine: &Engine, networks: Value) -> Container {
    let container = create(engine, networks);
    container.start();
    container
}

fn place(container: &Container, network: &str) -> Value {
    container.inspect()["NetworkSettings"]["Networks"][network].clone()
}

fn address(container: &Container, network: &str) -> String {
    place(container, network)["IPAddress"].as_str().unwrap().to_owned()
}

fn reaches(from: &Container, to: &str) -> bool {
    from.exec(&["ping", "-c", "1", "-W", "1", to]).code == 0
}

/// Runs `ip` where the engine's host network is.
fn ip(engine: &Engine, arguments: &str) -> String {
    let output =
        engine.on_its_network(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A link that packets pass on, and its other end.
fn cable(engine: &Engine, name: &str) {
    ip(engine, &format!("link add {name} type veth peer name {name}p"));
    ip(engine, &format!("link set {name} up"));
    ip(engine, &format!("link set {name}p up"));
}

fn bridge_of(network: &Value) -> String {
    format!("br-{}", &network["Id"].as_str().unwrap()[..12])
}

#[test]
fn privileged_macvlan_stands_on_a_link_of_the_host() {
    let daemon = prepared(&[]);
    let engine = daemon.engine();
    cable(&engine, "lan0");
    ip(&engine, "addr add 10.80.0.1/24 dev lan0p");
    let of = |mode: &str, subnet: &str| json!({"Driver": "macvlan", "Options": {"parent": "lan0", "macvlan_mode": mode}, "IPAM": {"Config": [{"Subnet": subnet}]}});
    let seen = network(&engine, "mv", of("bridge", "10.80.0.0/24"));
    assert_eq!((&seen["Driver"], &seen["Options"]["parent"]), (&json!("macvlan"), &json!("lan0")));
    let a = started(&engine, json!({"mv": {}}));
    let b = started(&engine, json!({"mv": {"IPAMConfig": {"IPv4Address": "10.80.0.50"}}}));
    assert_eq!(address(&b, "mv"), "10.80.0.50");
    eventually("neighbours", SOON, || reaches(&a, "10.80.0.50").then_some(()));
    eventually("the other end of the cable", SOON, || reaches(&a, "10.80.0.1").then_some(()));
    let inside = a.sh("cat /sys/class/net/eth0/address; ip route");
    assert!(inside.starts_with(place(&a, "mv")["MacAddress"].as_str().unwrap()), "{inside}");
    assert!(inside.contains("default via 10.80.0.1 dev eth0"), "{inside}");
    // Fixed addresses come back, also at once.
    for _ in 0..3 {
        let _ = engine.act(&b.path("/restart?t=0")).expect(204);
        assert_eq!(address(&b, "mv"), "10.80.0.50");
    }
    // A private network's containers reach the cable's end and not each other.
    network(&engine, "pv", of("private", "10.80.1.0/24"));
    ip(&engine, "addr add 10.80.1.1/24 dev lan0p");
    let c = started(&engine, json!({"pv": {}}));
    let d = started(&engine, json!({"pv": {}}));
    eventually("the other end of the cable", SOON, || reaches(&c, "10.80.1.1").then_some(()));
    assert!(!reaches(&c, &address(&d, "pv")));
    network(&engine, "vepa", of("vepa", "10.80.2.0/24"));
    let e = started(&engine, json!({"vepa": {}}));
    assert_eq!(e.sh("ls /sys/class/net"), "eth0\nlo");
    // In and out while it runs, beside a bridge.
    let plain = network(&engine, "plain", subnet("10.81.0.0/24"));
    let f = started(&engine, json!({"plain": {}}));
    let body = json!({"Container": f.id});
    let _ = post(&engine, "/networks/mv/connect", &body).expect(200);
    eventually("a neighbour", SOON, || reaches(&f, "10.80.0.50").then_some(()));
    let _ = post(&engine, "/networks/mv/disconnect", &body).expect(200);
    assert_eq!(f.sh("ls /sys/class/net"), "eth0\nlo");
    assert_eq!(get(&engine, "/networks/mv")["Containers"].as_object().unwrap().len(), 2);
    // The container whose namespace is still in use elsewhere takes its address along.
    let g = engine.sleeper(json!({"HostConfig": {"NetworkMode": format!("container:{}", b.id)}}));
    b.kill("KILL");
    b.wait();
    eventually("the link is gone", SOON, || (g.sh("ls /sys/class/net") == "lo").then_some(()));
    b.start();
    assert_eq!(address(&b, "mv"), "10.80.0.50");
    assert!(plain["Id"].is_string());
    for container in [a, b, c, d, e, f, g] {
        container.remove();
    }
    for name in ["mv", "pv", "vepa", "plain"] {
        let _ = engine.delete(&format!("/networks/{name}")).expect(204);
    }
    daemon.stop().unwrap();
}

#[test]
fn privileged_macvlan_and_ipvlan_that_cannot_be() {
    let daemon = prepared(&[]);
    let engine = daemon.engine();
    cable(&engine, "lan1");
    let with = |driver: &str, options: Value| {
        refused(&engine, json!({"Driver": driver, "Options": options}))
    };
    for (answer, text) in [
        (
            with("macvlan", json!({"parent": "lan1", "macvlan_mode": "silly"})),
            "requested macvlan mode 'silly' is not valid, 'bridge' mode is the macvlan driver default",
        ),
        (
            with("ipvlan", json!({"parent": "lan1", "ipvlan_mode": "silly"})),
            "requested ipvlan mode 'silly' is not valid, 'l2' mode is the ipvlan driver default",
        ),
        (
            with("macvlan", json!({"parent": "lo"})),
            "loopback interface is not a valid macvlan parent link",
        ),
        (
            with("macvlan", json!({"parent": "nothere"})),
            "invalid subinterface vlan name nothere, example formatting is eth0.10",
        ),
        (
            with("macvlan", json!({"parent": "nothere.10"})),
            "parent interface was not found: nothere",
        ),
    ] {
        assert_eq!(answer.0, 400, "{answer:?}");
        assert!(answer.1.contains(text), "{answer:?}");
    }
    // Passthru has its parent for itself, and one container.
    network(
        &engine,
        "alone",
        json!({"Driver": "macvlan", "Options": {"parent": "lan1", "macvlan_mode": "passthru"}}),
    );
    let second = with("macvlan", json!({"parent": "lan1"}));
    assert_eq!(second.0, 403, "{second:?}");
    assert!(second.1.contains("already using parent interface lan1"), "{second:?}");
    let a = started(&engine, json!({"alone": {}}));
    let b = create(&engine, json!({"alone": {}}));
    let answer = engine.act(&b.path("/start"));
    assert!(answer.status >= 400 && answer.message().contains("lan1"), "{}", answer.text());
    assert_eq!(get(&engine, "/networks/alone")["Containers"].as_object().unwrap().len(), 1);
    a.remove();
    b.start();
    b.remove();
    // What the kernel has decides about the rest.
    let makes = |kind: &str| {
        engine.on_its_network(|| {
            let made = Command::new("ip")
                .args(["link", "add", "probe0", "link", "lan1p"])
                .args(kind.split(' '))
                .output()
                .unwrap();
            let _ = Command::new("ip").args(["link", "del", "probe0"]).output().unwrap();
            made.status.success()
        })
    };
    let ipvlan = json!({"Driver": "ipvlan", "Options": {"parent": "lan1p", "ipvlan_mode": "l3"}});
    if makes("type ipvlan mode l3") {
        network(&engine, "iv", ipvlan);
        let c = started(&engine, json!({"iv": {}}));
        assert!(c.sh("ip route").contains("default dev eth0"));
        c.remove();
    } else {
        let (status, text) = refused(&engine, ipvlan);
        assert_eq!(status, 500);
        assert_eq!(
            text,
            "this host's kernel has no ipvlan links: it needs one with CONFIG_IPVLAN, or the module ipvlan"
        );
    }
    let vlan = json!({"Driver": "macvlan", "Options": {"parent": "lan1p.20"}});
    if makes("type vlan id 20") {
        network(&engine, "vlan", vlan);
        assert!(ip(&engine, "-d link show lan1p.20").contains("id 20"));
        let _ = engine.delete("/networks/vlan").expect(204);
        assert!(!ip(&engine, "link").contains("lan1p.20"), "it was made for the network");
    } else {
        let (status, text) = refused(&engine, vlan);
        assert_eq!(status, 500);
        assert!(
            text.contains("failed to create lan1p.20 vlan link: operation not supported"),
            "{text}"
        );
    }
    // Nothing of what was refused is left.
    let list = get(&engine, "/networks");
    assert!(
        !list
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["Name"].as_str().unwrap().starts_with("bad")),
        "{list}"
    );
    let _ = engine.delete("/networks/alone").expect(204);
    daemon.stop().unwrap();
}

#[test]
fn privileged_macvlan_without_a_parent_leads_nowhere() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let seen = network(
        &engine,
        "closed",
        json!({"Driver": "macvlan", "Internal": true, "IPAM": {"Config": [{"Subnet": "10.82.0.0/24"}]}}),
    );
    let parent = format!("dm-{}", &seen["Id"].as_str().unwrap()[..12]);
    assert!(ip(&engine, "link").contains(&parent));
    let a = started(&engine, json!({"closed": {}}));
    let b = started(&engine, json!({"closed": {}}));
    eventually("neighbours", SOON, || reaches(&a, &address(&b, "closed")).then_some(()));
    assert!(!a.sh("ip route").contains("default"));
    // The daemon after it knows their links.
    daemon.restart();
    let engine = daemon.engine();
    assert!(reaches(&a, &address(&b, "closed")));
    let _ = post(&engine, "/networks/closed/disconnect", &json!({"Container": a.id})).expect(200);
    assert_eq!(a.sh("ls /sys/class/net"), "lo");
    a.remove();
    b.remove();
    let _ = engine.delete("/networks/closed").expect(204);
    assert!(!ip(&engine, "link").contains(&parent), "it was made for the network");
    daemon.stop().unwrap();
}

#[test]
fn privileged_ipv6_alone_and_from_the_daemons_own_pool() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let seen = network(&engine, "six", json!({"EnableIPv4": false, "EnableIPv6": true}));
    assert_eq!((&seen["EnableIPv4"], &seen["EnableIPv6"]), (&json!(false), &json!(true)));
    let [config] = seen["IPAM"]["Config"].as_array().unwrap().as_slice() else { panic!("{seen}") };
    let first = config["Subnet"].as_str().unwrap().to_owned();
    assert!(first.starts_with("fd") && first.ends_with("/64"), "{seen}");
    let both = network(&engine, "both", json!({"EnableIPv6": true}));
    let second = both["IPAM"]["Config"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["Subnet"].as_str().unwrap())
        .find(|s| s.contains(':'))
        .unwrap()
        .to_owned();
    // Both are of one /48.
    let prefix = |subnet: &str| subnet.split(':').take(3).collect::<Vec<_>>().join(":");
    assert_eq!(prefix(&first), prefix(&second));
    let a = started(&engine, json!({"six": {}}));
    let b = started(&engine, json!({"six": {}}));
    let there = place(&b, "six");
    assert_eq!((&there["IPAddress"], &there["Gateway"]), (&json!(""), &json!("")));
    let to = there["GlobalIPv6Address"].as_str().unwrap().to_owned();
    eventually("neighbours", SOON, || reaches(&a, &to).then_some(()));
    assert!(!a.sh("ip -4 addr").contains("eth0"));
    assert!(a.sh("ip -6 route").contains("default via fd"));
    let (status, text) = refused(&engine, json!({"EnableIPv4": false}));
    assert_eq!((status, text.as_str()), (400, "IPv4 or IPv6 must be enabled"));
    daemon.restart();
    let again = network(&daemon.engine(), "third", json!({"EnableIPv6": true}));
    assert!(again.to_string().contains(&prefix(&first)), "the pool is the daemon's: {again}");
    a.remove();
    b.remove();
    daemon.stop().unwrap();
}

#[test]
fn privileged_several_networks_at_once() {
    let daemon = prepared(&[]);
    let engine = daemon.engine();
    network(
        &engine,
        "a-closed",
        json!({"Internal": true, "IPAM": {"Config": [{"Subnet": "10.83.0.0/24"}]}}),
    );
    network(&engine, "b-first", subnet("10.83.1.0/24"));
    network(
        &engine,
        "c-second",
        json!({"EnableIPv6": true, "IPAM": {"Config": [{"Subnet": "10.83.2.0/24"}, {"Subnet": "fd00:83::/64"}]}}),
    );
    let options = json!({"com.docker.network.endpoint.ifname": "lan7", "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.rp_filter=2"});
    let container = started(
        &engine,
        json!({
            "a-closed": {"IPAMConfig": {"IPv4Address": "10.83.0.9", "LinkLocalIPs": ["169.254.34.68"]}},
            "b-first": {"MacAddress": "02:42:00:00:83:01", "DriverOpts": options},
            "c-second": {},
        }),
    );
    // Each family by the first network that leads out.
    let routes = || container.sh("ip route; ip -6 route");
    assert!(routes().contains("default via 10.83.1.1 dev lan7"), "{}", routes());
    assert!(routes().contains("default via fd00:83::1 dev eth1"), "{}", routes());
    assert_eq!(container.sh("cat /sys/class/net/lan7/address /proc/sys/net/ipv4/conf/lan7/log_martians /proc/sys/net/ipv4/conf/lan7/rp_filter"), "02:42:00:00:83:01\n1\n2");
    let addresses = container.sh("ip -4 addr show eth0");
    assert!(
        addresses.contains("10.83.0.9/24") && addresses.contains("169.254.34.68/16"),
        "{addresses}"
    );
    assert_eq!(place(&container, "b-first")["MacAddress"], "02:42:00:00:83:01");
    // A higher priority takes the way over, and gives it back.
    network(&engine, "z-preferred", subnet("10.83.3.0/24"));
    let body = json!({"Container": container.id, "EndpointConfig": {"GwPriority": 7}});
    let _ = post(&engine, "/networks/z-preferred/connect", &body).expect(200);
    assert!(routes().contains("default via 10.83.3.1"), "{}", routes());
    assert_eq!(routes().matches("default via 10.").count(), 1, "{}", routes());
    let _ = engine.act(&container.path("/restart?t=0")).expect(204);
    assert!(routes().contains("default via 10.83.3.1 dev eth0"), "{}", routes());
    let _ = post(&engine, "/networks/z-preferred/disconnect", &body).expect(200);
    assert!(routes().contains("default via 10.83.1.1 dev lan7"), "{}", routes());
    for (options, text) in [
        (json!({"com.docker.network.endpoint.ifname": "a/b"}), "invalid interface name"),
        (json!({"com.docker.network.endpoint.ifname": "lan7"}), "lan7"),
        (
            json!({"com.docker.network.endpoint.sysctls": "kernel.panic=1"}),
            "invalid endpoint sysctl",
        ),
    ] {
        let body = json!({"Container": container.id, "EndpointConfig": {"DriverOpts": options}});
        let answer = post(&engine, "/networks/z-preferred/connect", &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().contains(text), "{}", answer.text());
    }
    assert_eq!(get(&engine, "/networks/z-preferred")["Containers"], json!({}));
    container.remove();
    daemon.stop().unwrap();
}

/// Docker's CLI names the default network, which is none then.
#[test]
fn privileged_without_a_bridge_containers_have_no_network() {
    let daemon = prepared(&["--bridge", "none"]);
    let engine = daemon.engine();
    let output = engine.docker(&["run", "--rm", "busybox", "ls", "/sys/class/net"]);
    assert_eq!((output.stdout.as_str(), output.code), ("lo\n", 0), "{output:?}");
    daemon.stop().unwrap();
}

#[test]
fn privileged_pools_keep_away_from_what_the_host_reaches() {
    let daemon = prepared(&["--default-address-pool", "base=10.84.0.0/22,size=24"]);
    let engine = daemon.engine();
    // The default bridge has the first block. A VPN's route in a table of its own, and an address
    // without a route, have the next two.
    cable(&engine, "vpn0");
    ip(&engine, "route add 10.84.1.0/24 dev vpn0 table 77");
    ip(&engine, "addr add 10.84.2.7/24 dev vpn0 noprefixroute");
    let seen = network(&engine, "n", json!({}));
    assert_eq!(seen["IPAM"]["Config"][0]["Subnet"], "10.84.3.0/24");
    let (status, text) = refused(&engine, json!({}));
    assert_eq!(status, 500, "{text}");
    assert!(text.contains("all predefined address pools have been fully subnetted"), "{text}");
    ip(&engine, "route del 10.84.1.0/24 dev vpn0 table 77");
    assert_eq!(network(&engine, "m", json!({}))["IPAM"]["Config"][0]["Subnet"], "10.84.1.0/24");
    daemon.stop().unwrap();
}

#[test]
fn privileged_what_others_do_to_bridges_is_undone() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let seen = network(&engine, "n", subnet("10.85.0.0/24"));
    let bridge = bridge_of(&seen);
    let a = started(&engine, json!({"n": {}}));
    let b = started(&engine, json!({"n": {}}));
    let works = || reaches(&a, "10.85.0.1") && reaches(&a, &address(&b, "n"));
    eventually("at first", SOON, || works().then_some(()));
    let port = || {
        let text = ip(&engine, &format!("-o link show master {bridge}"));
        text.split([' ', '@']).nth(1).map(str::to_owned)
    };
    let veth = port().unwrap();
    for damage in [
        format!("link del {bridge}"),
        format!("link set {bridge} down"),
        format!("addr del 10.85.0.1/24 dev {bridge}"),
        format!("link set {veth} nomaster"),
        format!("link del {veth}"),
    ] {
        ip(&engine, &damage);
        let began = Instant::now();
        eventually(&damage, SOON, || {
            // Without the link they fail.
            let there = engine.on_its_network(|| {
                let show = |arguments: &str| {
                    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
                    String::from_utf8(output.stdout).unwrap()
                };
                let address = show(&format!("-4 -o addr show dev {bridge} up"));
                let ports = show(&format!("-o link show master {bridge}"));
                address.contains("10.85.0.1/24") && ports.lines().count() == 2
            });
            there.then_some(())
        });
        println!("{damage}: undone after {:?}", began.elapsed());
        eventually(&damage, SOON, || works().then_some(()));
    }
    // Without a daemon it has to wait for the next one.
    daemon.kill();
    ip(&engine, &format!("link del {bridge}"));
    daemon.restart();
    eventually("after the daemon's start", SOON, || works().then_some(()));
    let veth = port().unwrap();
    daemon.kill();
    ip(&engine, &format!("link del {veth}"));
    daemon.restart();
    eventually("with another link", SOON, || works().then_some(()));
    // Its own removal is no damage.
    a.remove();
    b.remove();
    // A daemon that ends before its links have gone leaves rules about them, until the next one.
    let rules = || {
        let list = || Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        String::from_utf8(engine.on_its_network(list).stdout).unwrap()
    };
    daemon.kill();
    daemon.restart();
    assert!(!rules().contains("\"veth"), "{}", rules());
    let _ = engine.delete("/networks/n").expect(204);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!ip(&engine, "link").contains(&bridge));
    daemon.stop().unwrap();
}

#[test]
fn privileged_alone_hundreds_of_networks() {
    const MANY: usize = 300;
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    let began = Instant::now();
    for number in 0..MANY {
        let _ =
            post(&engine, "/networks/create", &json!({"Name": format!("m{number}")})).expect(201);
    }
    let made = began.elapsed();
    let list = get(&engine, "/networks");
    let subnets: BTreeSet<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["IPAM"]["Config"][0]["Subnet"].as_str())
        .collect();
    assert_eq!(subnets.len(), MANY + 1, "each has its own, the default bridge as well");
    let first = format!("m{}", MANY - 1);
    let container = started(&engine, json!({&first: {}}));
    let gateway = place(&container, &first)["Gateway"].as_str().unwrap().to_owned();
    eventually("its gateway", SOON, || reaches(&container, &gateway).then_some(()));
    let began = Instant::now();
    daemon.restart();
    let again = began.elapsed();
    let engine = daemon.engine();
    assert_eq!(get(&engine, "/networks").as_array().unwrap().len(), MANY + 3);
    assert!(reaches(&container, &gateway));
    println!("{MANY} networks in {made:?}, daemon again in {again:?}");
    // A third of a second each would be a minute and a half; quadratic growth is far beyond.
    assert!(made < Duration::from_secs(90), "{made:?}");
    assert!(again < Duration::from_secs(30), "{again:?}");
    // As after a restart of the machine: most bridges are made while the daemon answers already.
    daemon.kill();
    let bridges: Vec<String> = ip(&engine, "-o link show type bridge")
        .lines()
        .filter_map(|line| Some(line.split(": ").nth(1)?.to_owned()))
        .collect();
    for bridge in bridges.iter().filter(|name| name.starts_with("br-")) {
        ip(&engine, &format!("link del {bridge}"));
    }
    daemon.restart();
    let engine = daemon.engine();
    eventually("its gateway", SOON, || reaches(&container, &gateway).then_some(()));
    eventually("all bridges", Duration::from_secs(90), || {
        let there = ip(&engine, "-o link show type bridge up").matches(": br-").count();
        (there == MANY).then_some(())
    });
    container.remove();
    let pruned = engine.act("/networks/prune").expect(200).json();
    assert_eq!(pruned["NetworksDeleted"].as_array().unwrap().len(), MANY);
    assert_eq!(ip(&engine, "-o link show type bridge").matches(": br-").count(), 0);
    daemon.restart();
    let engine = daemon.engine();
    assert_eq!(get(&engine, "/networks").as_array().unwrap().len(), 3);
    daemon.stop().unwrap();
}

#[test]
fn privileged_a_full_bridge_says_so() {
    let daemon = prepared(&[]);
    let engine = daemon.engine();
    let bridge = bridge_of(&network(
        &engine,
        "full",
        json!({"IPAM": {"Config": [{"Subnet": "10.86.0.0/16"}]}}),
    ));
    // Taps are the cheapest ports.
    let mut batch = String::new();
    for number in 0..1023 {
        batch.push_str(&format!(
            "tuntap add t{number} mode tap\nlink set t{number} master {bridge}\n"
        ));
    }
    let file = daemon.folder().join("batch");
    std::fs::write(&file, batch).unwrap();
    ip(&engine, &format!("-batch {}", file.display()));
    let container = create(&engine, json!({"full": {}}));
    let answer = engine.act(&container.path("/start"));
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(
        answer
            .message()
            .contains("network full is full: a bridge of the Linux kernel has 1023 ports"),
        "{}",
        answer.text()
    );
    ip(&engine, "link del t7");
    container.start();
    container.remove();
    daemon.stop().unwrap();
}

/// What a worker does while the daemon is killed again and again.
fn churn(engine: &Engine, worker: usize, stop: &AtomicBool, done: &AtomicUsize) {
    let ask = |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        engine.client().attempt(method, &format!("{VERSION}{path}"), body.as_bytes()).ok()
    };
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let (net, name) = (format!("w{worker}-{round}"), format!("c{worker}-{round}"));
        let _ = ask("POST", "/networks/create", json!({"Name": net}));
        let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "shared"}});
        let _ = ask("POST", &format!("/containers/create?name={name}"), body);
        let _ = ask("POST", &format!("/containers/{name}/start"), json!(null));
        for _ in 0..2 {
            let _ = ask("POST", &format!("/networks/{net}/connect"), json!({"Container": name}));
            let _ = ask("POST", &format!("/networks/{net}/disconnect"), json!({"Container": name}));
        }
        let _ = ask("POST", &format!("/networks/{net}/connect"), json!({"Container": name}));
        if !round.is_multiple_of(3) {
            let _ = ask("DELETE", &format!("/containers/{name}?force=1"), json!(null));
            let _ = ask("DELETE", &format!("/networks/{net}"), json!(null));
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The addresses that each container has inside, and says that it has, by container.
fn compare(engine: &Engine) {
    let list = get(engine, "/containers/json");
    let mut on_networks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in list.as_array().unwrap() {
        let id = one["Id"].as_str().unwrap();
        let seen = get(engine, &format!("/containers/{id}/json"));
        let networks = seen["NetworkSettings"]["Networks"].as_object().unwrap().clone();
        assert!(!networks.is_empty(), "{id} has no network");
        let pid = seen["State"]["Pid"].as_i64().unwrap();
        let output = Command::new("nsenter")
            .args([
                &format!("--net=/proc/{pid}/ns/net"),
                "ip",
                "-4",
                "-o",
                "addr",
                "show",
                "scope",
                "global",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let inside: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next())
            .collect();
        let said: BTreeSet<&str> =
            networks.values().filter_map(|place| place["IPAddress"].as_str()).collect();
        assert_eq!(inside, said, "{id}: {networks:?}\n{text}");
        for (name, place) in &networks {
            on_networks
                .entry(name.clone())
                .or_default()
                .insert(place["IPAddress"].as_str().unwrap().to_owned());
        }
    }
    for one in get(engine, "/networks").as_array().unwrap() {
        let name = one["Name"].as_str().unwrap();
        let seen = get(engine, &format!("/networks/{name}"));
        let there: BTreeSet<String> = seen["Containers"]
            .as_object()
            .unwrap()
            .values()
            .map(|place| {
                place["IPv4Address"].as_str().unwrap().split('/').next().unwrap().to_owned()
            })
            .collect();
        assert_eq!(there, on_networks.remove(name).unwrap_or_default(), "network {name}");
    }
}

#[test]
fn privileged_alone_a_daemon_killed_under_network_churn_leaks_nothing() {
    let mut daemon = prepared(&[]);
    let engine = daemon.engine();
    // 29 addresses, which would soon be used up if any were lost.
    network(&engine, "shared", subnet("10.87.0.0/27"));
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (engine, stop, done) = (&engine, &stop, &done);
            scope.spawn(move || churn(engine, worker, stop, done));
        }
        let mut seed = 0x9e37_79b9_u64;
        for _ in 0..12 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            std::thread::sleep(Duration::from_millis(100 + seed % 400));
            daemon.restart();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(done.load(Ordering::Relaxed) > 0);
    daemon.restart();
    let engine = daemon.engine();
    compare(&engine);
    for one in get(&engine, "/containers/json?all=1").as_array().unwrap() {
        let _ = engine
            .delete(&format!("/containers/{}?force=1", one["Id"].as_str().unwrap()))
            .expect(204);
    }
    // Every address is there to be had.
    let all: Vec<Container> = (0..29).map(|_| started(&engine, json!({"shared": {}}))).collect();
    let addresses: BTreeSet<String> = all.iter().map(|one| address(one, "shared")).collect();
    assert_eq!(addresses.len(), 29);
    all.into_iter().for_each(Container::remove);
    let _ = engine.act("/networks/prune").expect(200);
    assert_eq!(get(&engine, "/networks").as_array().unwrap().len(), 3);
    // No bridge, and no more links than are kept ready.
    let bridges = ip(&engine, "-o link show type bridge");
    assert_eq!(bridges.matches(": br-").count(), 0, "{bridges}");
    eventually("links go", SOON, || {
        let links = ip(&engine, "-o link show type veth");
        (links.lines().filter(|line| line.contains(" master ")).count() == 0).then_some(())
    });
    daemon.stop().unwrap();
}
