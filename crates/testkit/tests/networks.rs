//! Networks that users make: what they are made of, who stands in them, and how that changes while
//! containers run.

use std::time::Duration;
use testkit::engine::filters;
use testkit::{Container, Engine, Response, Value, eventually, json, on_both};

const SOON: Duration = Duration::from_secs(30);

/// A network that goes with the test.
struct Net<'a> {
    engine: &'a Engine,
    name: String,
}

impl Net<'_> {
    fn inspect(&self) -> Value {
        self.engine.get(&format!("/networks/{}", self.name)).expect(200).json()
    }

    fn connect(&self, container: &str, settings: Value) -> Response {
        let body = json!({"Container": container, "EndpointConfig": settings});
        self.engine.post(&format!("/networks/{}/connect", self.name), &body)
    }

    fn disconnect(&self, container: &str) -> Response {
        let body = json!({"Container": container});
        self.engine.post(&format!("/networks/{}/disconnect", self.name), &body)
    }
}

impl Drop for Net<'_> {
    fn drop(&mut self) {
        let _ = self.engine.delete(&format!("/networks/{}", self.name));
    }
}

fn try_create(engine: &Engine, name: &str, mut body: Value) -> Response {
    body["Name"] = json!(name);
    engine.post("/networks/create", &body)
}

fn net(engine: &Engine, body: Value) -> Net<'_> {
    let name = testkit::unique("net");
    let _ = try_create(engine, &name, body).expect(201);
    Net { engine, name }
}

fn subnet(subnet: &str) -> Value {
    json!({"IPAM": {"Config": [{"Subnet": subnet}]}})
}

fn on(network: &Net<'_>) -> Value {
    json!({"HostConfig": {"NetworkMode": network.name}})
}

/// What a container got of a network.
fn place(container: &Container, network: &Net<'_>) -> Value {
    container.inspect()["NetworkSettings"]["Networks"][&network.name].clone()
}

fn links(container: &Container) -> Vec<String> {
    container.sh("ls /sys/class/net").split_whitespace().map(str::to_owned).collect()
}

on_both! {
    fn privileged_a_network_is_what_was_asked_for(engine) {
        let network = net(engine, json!({
            "Driver": "bridge",
            "Internal": true,
            "Attachable": true,
            "Labels": {"a": "b"},
            "Options": {"com.docker.network.driver.mtu": "1400", "some.other": "x"},
            "IPAM": {"Driver": "default", "Options": {"i": "o"}, "Config": [{"Subnet": "10.61.0.0/16", "IPRange": "10.61.5.0/24", "Gateway": "10.61.0.9", "AuxiliaryAddresses": {"printer": "10.61.5.0", "other": "10.61.5.1"}}]},
        }));
        let seen = network.inspect();
        testkit::shape::check("GET /networks/{id}", &seen, &["Containers"]);
        for (field, value) in [("Driver", "bridge"), ("Scope", "local")] {
            assert_eq!(seen[field], value, "{seen}");
        }
        for (field, value) in [("Internal", true), ("Attachable", true), ("Ingress", false), ("ConfigOnly", false), ("EnableIPv6", false)] {
            assert_eq!(seen[field], value, "{field}: {seen}");
        }
        assert_eq!(seen["IPAM"], json!({"Driver": "default", "Options": {"i": "o"}, "Config": [{"Subnet": "10.61.0.0/16", "IPRange": "10.61.5.0/24", "Gateway": "10.61.0.9", "AuxiliaryAddresses": {"printer": "10.61.5.0", "other": "10.61.5.1"}}]}));
        assert_eq!(seen["Options"]["some.other"], "x");
        assert_eq!(seen["Labels"], json!({"a": "b"}));
        assert_eq!(seen["Containers"], json!({}));
        let container = engine.sleeper(on(&network));
        let place = place(&container, &network);
        assert_eq!(place["IPAddress"], "10.61.5.2", "{place}");
        assert_eq!(place["IPPrefixLen"], 16);
        // dockerd 20.10 shows the gateway that there is no way through.
        assert!(place["Gateway"] == "" || engine.is_dockerd(), "{place}");
        let inside = container.sh("cat /sys/class/net/eth0/mtu; ip route");
        assert!(inside.starts_with("1400\n"), "{inside}");
        // And it leads a route there, to a gateway that lets nothing out.
        assert!(!inside.contains("default") || engine.is_dockerd(), "{inside}");
        let there = network.inspect()["Containers"][&container.id].clone();
        assert_eq!(there["Name"], container.name);
        assert_eq!(there["EndpointID"], place["EndpointID"]);
        assert_eq!(there["IPv4Address"], "10.61.5.2/16");
        assert_eq!(there["MacAddress"], place["MacAddress"]);
        let refused = engine.delete(&format!("/networks/{}", network.name));
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(refused.message().contains("has active endpoints"), "{}", refused.text());
        container.stop(1);
        assert_eq!(network.inspect()["Containers"], json!({}));
    }

    fn privileged_what_was_not_asked_for_is_chosen(engine) {
        let network = net(engine, json!({}));
        let seen = network.inspect();
        let chosen = seen["IPAM"]["Config"][0].clone();
        let gateway = chosen["Gateway"].as_str().unwrap().to_owned();
        assert!(chosen["Subnet"].as_str().unwrap().ends_with(".0.0/16") || chosen["Subnet"].as_str().unwrap().starts_with("192.168."), "{seen}");
        assert_eq!(seen["Options"], json!({}));
        let container = engine.sleeper(on(&network));
        assert_eq!(place(&container, &network)["Gateway"], gateway);
        let _ = container.sh(&format!("ping -c 1 -W 5 {gateway}"));
        // A subnet without a gateway has one all the same, though it is not shown.
        let bare = net(engine, subnet("10.62.0.0/24"));
        assert_eq!(bare.inspect()["IPAM"]["Config"], json!([{"Subnet": "10.62.0.0/24"}]));
        let container = engine.sleeper(on(&bare));
        assert_eq!(place(&container, &bare)["Gateway"], "10.62.0.1");
    }

    fn privileged_networks_that_cannot_be(engine) {
        let taken = net(engine, subnet("10.63.0.0/24"));
        for (body, status, text) in [
            (json!({"Driver": "no-such-driver"}), 404, "\"no-such-driver\" not found"),
            (json!({"Driver": "host"}), 403, "only one instance of \"host\" network is allowed"),
            (json!({"Driver": "null"}), 403, "only one instance of \"null\" network is allowed"),
            (json!({"IPAM": {"Driver": "dhcp"}}), 404, "plugin \"dhcp\" not found"),
            (subnet("10.63.0.0/16"), 403, "Pool overlaps with other one on this address space"),
            (json!({"IPAM": {"Config": [{"Subnet": "10.64.0.0/24"}, {"Subnet": "10.65.0.0/24"}]}}), 403, "bridge driver doesn't support multiple subnets"),
            (json!({"ConfigOnly": true, "Internal": true}), 403, "configuration network can only contain network specific fields"),
            (json!({"ConfigFrom": {"Network": "nothing"}}), 404, "configuration network \"nothing\" does not exist"),
            (json!({"Ingress": true}), 403, "Ingress network can only be global scope network"),
        ] {
            let answer = try_create(engine, &testkit::unique("bad"), body.clone());
            assert_eq!(answer.status, status, "{body}: {}", answer.text());
            assert!(answer.message().contains(text), "{body}: {}", answer.text());
        }
        // Invalid values: dockerd 20.10 answers 500, newer ones 400.
        for body in [subnet("10.64.0.0/33"), json!({"IPAM": {"Config": [{"Subnet": "10.64.0.0/24", "Gateway": "10.65.0.1"}]}}), json!({"Options": {"com.docker.network.bridge.enable_icc": "x"}}), json!({"IPAM": {"Driver": "null"}})] {
            let answer = try_create(engine, &testkit::unique("bad"), body.clone());
            let wanted = if engine.is_dockerd() { 500 } else { 400 };
            assert_eq!(answer.status, wanted, "{body}: {}", answer.text());
        }
        for name in ["bridge", "host", "none", "default"] {
            let answer = try_create(engine, name, json!({"CheckDuplicate": true}));
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert_eq!(answer.message(), format!("operation is not permitted on predefined {name} network "));
        }
        let answer = try_create(engine, &taken.name, json!({"CheckDuplicate": true}));
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert_eq!(answer.message(), format!("network with name {} already exists", taken.name));
        for name in ["bridge", "host", "none"] {
            let answer = engine.delete(&format!("/networks/{name}"));
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert_eq!(answer.message(), format!("{name} is a pre-defined network and cannot be removed"));
        }
        assert_eq!(engine.delete("/networks/no-such-network").status, 404);
    }

    fn privileged_a_configuration_and_a_network_made_from_it(engine) {
        let config = net(engine, json!({"ConfigOnly": true, "Labels": {"a": "b"}, "Options": {"com.docker.network.driver.mtu": "1300"}, "IPAM": {"Config": [{"Subnet": "10.66.0.0/24", "Gateway": "10.66.0.7"}]}}));
        let seen = config.inspect();
        assert_eq!((&seen["ConfigOnly"], &seen["Driver"]), (&json!(true), &json!("null")), "{seen}");
        {
            let network = net(engine, json!({"ConfigFrom": {"Network": config.name}}));
            let seen = network.inspect();
            assert_eq!(seen["ConfigFrom"], json!({"Network": config.name}));
            assert_eq!(seen["Labels"], json!({"a": "b"}));
            assert_eq!(seen["IPAM"]["Config"], json!([{"Subnet": "10.66.0.0/24", "Gateway": "10.66.0.7"}]));
            let container = engine.sleeper(on(&network));
            assert_eq!(place(&container, &network)["Gateway"], "10.66.0.7");
            assert_eq!(container.sh("cat /sys/class/net/eth0/mtu"), "1300");
            let more = try_create(engine, &testkit::unique("bad"), json!({"ConfigFrom": {"Network": config.name}, "Labels": {"x": "y"}}));
            assert_eq!(more.status, 403, "{}", more.text());
            let refused = engine.delete(&format!("/networks/{}", config.name));
            assert_eq!(refused.status, 403, "{}", refused.text());
            assert!(refused.message().contains("is in use"), "{}", refused.text());
            container.remove();
        }
        let container = engine.create(on(&config));
        assert!(engine.act(&container.path("/start")).status >= 400, "nobody stands in a configuration");
    }

    fn privileged_networks_are_found_by_filters(engine) {
        let label = testkit::unique("label");
        let network = net(engine, json!({"Labels": {&label: "1"}}));
        let id = network.inspect()["Id"].as_str().unwrap().to_owned();
        let found = |filter: Value| -> Vec<String> {
            let list = engine.get(&format!("/networks?{}", filters(&filter))).expect(200).json();
            list.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
        };
        let ours = std::slice::from_ref(&network.name);
        assert_eq!(found(json!({"label": [label]})), ours);
        assert_eq!(found(json!({"label": [format!("{label}=1")]})), ours);
        assert!(found(json!({"label": [format!("{label}=2")]})).is_empty());
        assert_eq!(found(json!({"name": [network.name]})), ours);
        assert_eq!(found(json!({"id": [id]})), ours);
        assert_eq!(found(json!({"driver": ["bridge"], "label": [label]})), ours);
        assert!(found(json!({"driver": ["host"], "label": [label]})).is_empty());
        assert_eq!(found(json!({"type": ["custom"], "scope": ["local"], "label": [label]})), ours);
        let builtin = found(json!({"type": ["builtin"]}));
        assert!(["bridge", "host", "none"].iter().all(|name| builtin.iter().any(|one| one == name)), "{builtin:?}");
        assert_eq!(found(json!({"dangling": ["true"], "label": [label]})), ours);
        let container = engine.sleeper(on(&network));
        // dockerd 20.10 looks for containers in lists, which have none.
        assert!(engine.is_dockerd() || found(json!({"dangling": ["true"], "label": [label]})).is_empty());
        assert!(engine.is_dockerd() || found(json!({"dangling": ["false"], "label": [label]})) == ours);
        assert!(engine.get(&format!("/networks?{}", filters(&json!({"type": ["x"]})))).status >= 400);
        assert_eq!(engine.get(&format!("/networks?{}", filters(&json!({"nope": ["x"]})))).status, 400);
        let prune = |filter: Value| engine.act(&format!("/networks/prune?{}", filters(&filter))).expect(200).json()["NetworksDeleted"].clone();
        assert_eq!(prune(json!({"label": [label]})), json!(null), "it is in use");
        container.remove();
        assert_eq!(prune(json!({"label": [format!("{label}=2")]})), json!(null));
        assert_eq!(prune(json!({"label": [label]})), json!([network.name]));
        assert_eq!(engine.get(&format!("/networks/{}", network.name)).status, 404);
    }

    fn privileged_a_running_container_joins_and_leaves(engine) {
        let (first, second) = (net(engine, subnet("10.67.0.0/24")), net(engine, subnet("10.67.1.0/24")));
        let container = engine.sleeper(on(&first));
        let peer = engine.sleeper(on(&second));
        let there = place(&peer, &second)["IPAddress"].as_str().unwrap().to_owned();
        let _ = second.connect(&container.id, json!({"IPAMConfig": {"IPv4Address": "10.67.1.77"}, "Aliases": ["also"]})).expect(200);
        assert_eq!(links(&container), ["eth0", "eth1", "lo"]);
        let got = place(&container, &second);
        assert_eq!(got["IPAddress"], "10.67.1.77", "{got}");
        assert_eq!(got["IPAMConfig"]["IPv4Address"], "10.67.1.77");
        assert!(got["Aliases"].as_array().unwrap().contains(&json!("also")), "{got}");
        assert!(container.sh("ip -4 addr show eth1").contains("10.67.1.77/24"));
        assert!(container.sh("ip route").contains("default via 10.67.0.1 dev eth0"));
        let _ = container.sh(&format!("ping -c 1 -W 5 {there}"));
        assert_eq!(second.inspect()["Containers"].as_object().unwrap().len(), 2);
        let again = second.connect(&container.id, json!({}));
        assert_eq!(again.status, 403, "{}", again.text());
        // The network that has the default route goes; the other one gets it.
        let _ = first.disconnect(&container.id).expect(200);
        assert_eq!(links(&container), ["eth1", "lo"]);
        assert!(container.sh("ip route").contains("default via 10.67.1.1 dev eth1"));
        assert!(place(&container, &first).is_null());
        // dockerd goes on counting, we take the first name that is free.
        let _ = first.connect(&container.id, json!({})).expect(200);
        assert_eq!(links(&container).len(), 3);
        let _ = first.disconnect(&container.id).expect(200);
        let gone = first.disconnect(&container.id);
        assert!(gone.status >= 400, "{}", gone.text());
        assert!(gone.message().contains("is not connected to"), "{}", gone.text());
        assert_eq!(first.inspect()["Containers"], json!({}));
        let taken = second.connect(&engine.sleeper(json!({"HostConfig": {"NetworkMode": first.name}})).id, json!({"IPAMConfig": {"IPv4Address": "10.67.1.77"}}));
        assert_eq!(taken.status, 403, "{}", taken.text());
        assert!(taken.message().contains("Address already in use"), "{}", taken.text());
    }

    fn privileged_a_stopped_container_joins_and_leaves(engine) {
        let (first, second) = (net(engine, subnet("10.68.0.0/24")), net(engine, subnet("10.68.1.0/24")));
        let container = engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": first.name}, "NetworkingConfig": {"EndpointsConfig": {&first.name: {"IPAMConfig": {"IPv4Address": "10.68.0.50"}, "Aliases": ["a"]}}}}));
        let _ = second.connect(&container.id, json!({"IPAMConfig": {"IPv4Address": "10.68.1.50"}})).expect(200);
        container.start();
        for _ in 0..2 {
            assert_eq!(place(&container, &first)["IPAddress"], "10.68.0.50");
            assert_eq!(place(&container, &second)["IPAddress"], "10.68.1.50");
            assert_eq!(links(&container), ["eth0", "eth1", "lo"]);
            let _ = engine.act(&container.path("/restart?t=1")).expect(204);
        }
        container.stop(1);
        let _ = first.disconnect(&container.id).expect(200);
        container.start();
        assert_eq!(links(&container).len(), 2);
        assert!(container.sh("ip -4 addr").contains("10.68.1.50/24"));
    }

    fn privileged_an_address_is_kept_over_a_stop(engine) {
        let network = net(engine, subnet("10.69.0.0/24"));
        let container = engine.sleeper(on(&network));
        let before = place(&container, &network);
        let _other = engine.sleeper(on(&network));
        for _ in 0..2 {
            container.stop(1);
            assert_eq!(place(&container, &network)["IPAddress"], "");
            container.start();
            let after = place(&container, &network);
            assert_eq!(after["IPAddress"], before["IPAddress"]);
            assert_eq!(after["MacAddress"], before["MacAddress"]);
        }
    }

    fn privileged_who_cannot_join(engine) {
        let network = net(engine, subnet("10.70.0.0/24"));
        let host = engine.sleeper(json!({"HostConfig": {"NetworkMode": "host"}}));
        let none = engine.sleeper(json!({"HostConfig": {"NetworkMode": "none"}}));
        let joined = engine.sleeper(json!({"HostConfig": {"NetworkMode": format!("container:{}", none.id)}}));
        for container in [&host, &none, &joined] {
            let answer = network.connect(&container.id, json!({}));
            assert!(answer.status >= 400, "{}", answer.text());
        }
        let answer = network.connect("no-such-container", json!({}));
        assert_eq!(answer.status, 404, "{}", answer.text());
        let inside = engine.sleeper(on(&network));
        let answer = engine.post("/networks/host/connect", &json!({"Container": inside.id}));
        assert!(answer.status >= 400, "{}", answer.text());
        // An address of one's own needs a network of one's own, and one of its addresses.
        for (mode, address) in [("bridge", "172.17.0.200"), (network.name.as_str(), "10.71.0.9")] {
            let settings = json!({mode: {"IPAMConfig": {"IPv4Address": address}}});
            let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": mode}, "NetworkingConfig": {"EndpointsConfig": settings}});
            let created = engine.post("/containers/create", &body);
            let status = match created.status {
                201 => {
                    let id = created.json()["Id"].as_str().unwrap().to_owned();
                    let started = engine.act(&format!("/containers/{id}/start"));
                    let _ = engine.delete(&format!("/containers/{id}?force=1")).ok();
                    started.status
                }
                other => other,
            };
            assert!(status >= 400, "{mode} {address}: {status}");
        }
    }

    fn privileged_two_networks_do_not_reach_each_other_and_internal_ones_nothing(engine) {
        let (first, second) = (net(engine, subnet("10.72.0.0/24")), net(engine, subnet("10.72.1.0/24")));
        let closed = net(engine, json!({"Internal": true, "IPAM": {"Config": [{"Subnet": "10.72.2.0/24"}]}}));
        let a = engine.sleeper(on(&first));
        let b = engine.sleeper(on(&second));
        let c = engine.sleeper(on(&closed));
        let d = engine.sleeper(on(&closed));
        let address = |container: &Container, network: &Net<'_>| place(container, network)["IPAddress"].as_str().unwrap().to_owned();
        let reaches = |from: &Container, to: &str| from.exec(&["ping", "-c", "1", "-W", "1", to]).code == 0;
        let (to_b, to_c, to_d) = (address(&b, &second), address(&c, &closed), address(&d, &closed));
        // The first packet over a new link may be lost.
        eventually("within an internal network", SOON, || reaches(&c, &to_d).then_some(()));
        assert!(!reaches(&a, &to_b), "across networks");
        assert!(!reaches(&a, &to_c), "into an internal network");
        assert!(!reaches(&c, &to_b), "out of an internal network");
    }

    fn privileged_whoever_stands_in_two_networks_reaches_both(engine) {
        let open = net(engine, subnet("10.72.3.0/24"));
        let closed = net(engine, json!({"Internal": true, "IPAM": {"Config": [{"Subnet": "10.72.4.0/24"}]}}));
        let (a, b, c) = (engine.sleeper(on(&open)), engine.sleeper(on(&open)), engine.sleeper(on(&closed)));
        let reaches = |to: &Container, network: &Net<'_>| {
            let address = place(to, network)["IPAddress"].as_str().unwrap().to_owned();
            a.exec(&["ping", "-c", "1", "-W", "1", &address]).code == 0
        };
        assert!(!reaches(&c, &closed));
        let _ = closed.connect(&a.id, json!({})).expect(200);
        for (to, network) in [(&c, &closed), (&b, &open)] {
            eventually("it reaches both", SOON, || reaches(to, network).then_some(()));
        }
        assert!(a.sh("ip route").contains("default via 10.72.3.1 dev eth0"), "the internal one leads nowhere");
    }

    fn privileged_both_families(engine) {
        let network = net(engine, json!({"EnableIPv6": true, "IPAM": {"Config": [{"Subnet": "10.73.0.0/24"}, {"Subnet": "fd00:73::/64", "Gateway": "fd00:73::9"}]}}));
        assert_eq!(network.inspect()["EnableIPv6"], true);
        let a = engine.create(json!({"Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": network.name}, "NetworkingConfig": {"EndpointsConfig": {&network.name: {"IPAMConfig": {"IPv6Address": "fd00:73::5"}}}}}));
        a.start();
        let b = engine.sleeper(on(&network));
        let got = place(&a, &network);
        assert_eq!(got["GlobalIPv6Address"], "fd00:73::5", "{got}");
        assert_eq!(got["GlobalIPv6PrefixLen"], 64);
        assert_eq!(got["IPv6Gateway"], "fd00:73::9");
        assert!(network.inspect()["Containers"][&a.id]["IPv6Address"] == "fd00:73::5/64");
        eventually("they reach each other", SOON, || {
            (b.exec(&["ping", "-c", "1", "-W", "1", "fd00:73::5"]).code == 0).then_some(())
        });
        let _ = b.sh("ping -c 1 -W 5 10.73.0.2");
        assert!(a.sh("ip -6 route").contains("default via fd00:73::9"));
    }

    fn privileged_a_mac_address_of_ones_own(engine) {
        let network = net(engine, subnet("10.74.0.0/24"));
        let container = engine.create(json!({"Cmd": ["sleep", "1000"], "MacAddress": "02:42:0a:4a:00:99", "HostConfig": {"NetworkMode": network.name}}));
        for _ in 0..2 {
            container.start();
            assert_eq!(container.sh("cat /sys/class/net/eth0/address"), "02:42:0a:4a:00:99");
            assert_eq!(place(&container, &network)["MacAddress"], "02:42:0a:4a:00:99");
            container.stop(1);
        }
    }
}
