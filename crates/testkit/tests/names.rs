//! Names: what containers on user networks are called, who is asked about the rest of the world,
//! and what becomes of it when daemon or resolver die.

mod dns;
mod own;
pub(crate) mod upstream;

use std::net::IpAddr;
use std::time::Duration;

use dns::{AAAA, FAILED, FINE, MX, Manner, NO_SUCH_NAME, PTR, addresses, ask, ask_with};
use testkit::{Container, Engine, Value, eventually, json, on_both};
use upstream::Server;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A network of its own, removed at the end.
pub(crate) struct Network {
    engine: Engine,
    pub(crate) name: String,
}

impl Network {
    pub(crate) fn new(engine: &Engine, options: Value) -> Self {
        let name = testkit::unique("names");
        let mut body = options;
        body["Name"] = json!(name);
        let _ = engine.post("/networks/create", &body).expect(201);
        Self { engine: engine.clone(), name }
    }

    pub(crate) fn plain(engine: &Engine) -> Self {
        Self::new(engine, json!({}))
    }

    /// A container in it that sleeps.
    pub(crate) fn sleeper(&self, aliases: &[&str], host: Value) -> Container {
        let mut config = json!({"HostConfig": host});
        config["HostConfig"]["NetworkMode"] = json!(self.name);
        config["NetworkingConfig"] = json!({"EndpointsConfig": {&self.name: {"Aliases": aliases}}});
        self.engine.sleeper(config)
    }

    pub(crate) fn gateway(&self) -> IpAddr {
        let detail = self.engine.get(&format!("/networks/{}", self.name)).expect(200).json();
        let gateway = detail["IPAM"]["Config"][0]["Gateway"].as_str().unwrap();
        gateway.split('/').next().unwrap().parse().unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Whoever stands in it still goes with its guard; the rest is for the teardown.
        let _ = self.engine.client().attempt(
            "DELETE",
            &format!("{}/networks/{}", testkit::engine::VERSION, self.name),
            &[],
        );
    }
}

pub(crate) fn address(container: &Container, network: &Network) -> String {
    let networks = &container.inspect()["NetworkSettings"]["Networks"];
    networks[&network.name]["IPAddress"].as_str().unwrap().to_owned()
}

pub(crate) fn name(container: &Container) -> String {
    container.inspect()["Name"].as_str().unwrap().trim_start_matches('/').to_owned()
}

/// Nobody is called so. dockerd 20.10 says nothing at all where there is nobody to ask.
#[track_caller]
fn assert_unknown(engine: &Engine, asker: &Container, name: &str) {
    match dns::ask_in(&dns::namespace(asker), name, dns::A, Manner::default()) {
        Some(answer) => assert!(answer.addresses.is_empty(), "{name}: {answer:?}"),
        None => assert!(engine.is_dockerd(), "no answer about {name}"),
    }
}

on_both! {
    fn privileged_containers_find_each_other(engine) {
        let network = Network::plain(engine);
        let (web, shop) = (network.sleeper(&["web"], json!({})), network.sleeper(&["db", "cache"], json!({})));
        let there = vec![address(&shop, &network)];
        let full = name(&shop);
        for called in [&full, "db", "cache", &shop.id[..12], "DB", &format!("db.{}", network.name), &format!("{full}.{}", network.name)] {
            assert_eq!(addresses(&web, called), there, "{called}");
        }
        assert_eq!(addresses(&web, &name(&web)), [address(&web, &network)], "itself");
        let over_tcp = ask_with(&web, "db", dns::A, Manner { tcp: true, size: None });
        assert_eq!((over_tcp.code, over_tcp.addresses.len()), (FINE, 1));
        let none = ask(&web, "db", AAAA);
        assert_eq!((none.code, none.addresses.len()), (FINE, 0), "no such record, but such a name");
        let reverse: Vec<&str> = there[0].split('.').rev().collect();
        let reverse = ask(&web, &format!("{}.in-addr.arpa", reverse.join(".")), PTR);
        assert_eq!(reverse.names, [format!("{full}.{}", network.name)]);
        // As a program sees it.
        let seen = web.sh("ping -c 1 -W 5 db");
        assert!(seen.contains(&there[0]), "{seen}");
        let seen = web.sh("cat /etc/resolv.conf");
        assert!(seen.contains("nameserver 127.0.0.11\n"), "{seen}");
        assert_eq!(seen.matches("nameserver").count(), 1, "{seen}");
        assert!(seen.contains("ndots:0"), "{seen}");
        shop.stop(1);
        assert_unknown(engine, &web, "db");
    }

    fn privileged_a_shared_alias_has_all_addresses(engine) {
        let network = Network::plain(engine);
        let all: Vec<_> = (0..3).map(|_| network.sleeper(&["worker"], json!({}))).collect();
        let mut expected: Vec<_> = all.iter().map(|one| address(one, &network).parse::<IpAddr>().unwrap()).collect();
        expected.sort();
        let firsts = std::cell::RefCell::new(std::collections::BTreeSet::new());
        eventually("each comes first once", SOON, || {
            let mut found = ask(&all[0], "worker", dns::A).addresses;
            firsts.borrow_mut().insert(found[0]);
            found.sort();
            assert_eq!(found, expected);
            (firsts.borrow().len() == 3).then_some(())
        });
    }

    fn privileged_names_follow_what_happens(engine) {
        let (network, other) = (Network::plain(engine), Network::plain(engine));
        let (asker, moved) = (network.sleeper(&[], json!({})), other.sleeper(&[], json!({})));
        let before = name(&moved);
        assert_unknown(engine, &asker, &before);
        let endpoint = json!({"Container": moved.id, "EndpointConfig": {"Aliases": ["mobile"]}});
        let _ = engine.post(&format!("/networks/{}/connect", network.name), &endpoint).expect(200);
        let there = vec![address(&moved, &network)];
        assert_eq!(addresses(&asker, "mobile"), there);
        assert_eq!(addresses(&asker, &before), there);
        let now = testkit::unique("renamed");
        let _ = engine.act(&moved.path(&format!("/rename?name={now}"))).expect(204);
        assert_eq!(addresses(&asker, &now), there);
        assert_unknown(engine, &asker, &before);
        let _ = engine.post(&format!("/networks/{}/disconnect", network.name), &json!({"Container": moved.id})).expect(200);
        assert_unknown(engine, &asker, &now);
    }

    fn privileged_the_world_is_asked_of_the_chosen_servers(engine) {
        let network = Network::plain(engine);
        let place = network.gateway();
        let server = Server::start(engine.netns.as_deref(), place, [192, 0, 2, 7]);
        let asker = network.sleeper(&["asker"], json!({"Dns": [place.to_string()], "DnsSearch": ["corp.example"], "DnsOptions": ["timeout:3"]}));
        for tcp in [false, true] {
            let manner = Manner { tcp, size: Some(1232) };
            let answer = ask_with(&asker, "www.example", dns::A, manner);
            assert_eq!((answer.code, answer.addresses), (FINE, vec![IpAddr::from([192, 0, 2, 7])]));
            assert_eq!(ask_with(&asker, "www.nowhere", dns::A, manner).code, NO_SUCH_NAME);
        }
        assert_eq!(ask(&asker, "www.example", MX).code, FINE);
        let cut = ask(&asker, "100.many.example", dns::A);
        assert!(cut.truncated && cut.addresses.is_empty(), "{cut:?}");
        let whole = ask_with(&asker, "100.many.example", dns::A, Manner { tcp: true, size: None });
        assert_eq!(whole.addresses.len(), 100);
        assert_eq!(ask(&asker, "failing.example", dns::A).code, FAILED);
        assert_eq!(addresses(&asker, "asker"), [address(&asker, &network)]);
        assert!(server.asked_for("asker").is_empty(), "names of ours are nobody else's business");
        let text = asker.sh("cat /etc/resolv.conf");
        assert!(text.contains("search corp.example\n"), "{text}");
        assert!(text.contains("timeout:3") && text.contains("ndots:0"), "{text}");
    }

    fn privileged_an_internal_network_asks_nobody(engine) {
        let network = Network::new(engine, json!({"Internal": true}));
        let server = Server::start(engine.netns.as_deref(), network.gateway(), [192, 0, 2, 7]);
        let asker = network.sleeper(&["asker"], json!({"Dns": [network.gateway().to_string()]}));
        assert_eq!(addresses(&asker, "asker"), [address(&asker, &network)]);
        if !engine.is_dockerd() {
            // dockerd 20.10 tries.
            assert_eq!(ask(&asker, "www.example", dns::A).code, FAILED);
            assert!(server.asked_for("www.example").is_empty());
        }
    }

    fn privileged_port_53_is_the_containers_own(engine) {
        let network = Network::plain(engine);
        let host = json!({"NetworkMode": network.name});
        let server = engine.create(json!({"Cmd": ["httpd", "-f", "-p", "53", "-h", "/etc"], "HostConfig": host}));
        server.start();
        let asker = network.sleeper(&[], json!({}));
        let there = address(&server, &network);
        let seen = eventually("it serves", SOON, || {
            let got = asker.exec(&["wget", "-qO-", &format!("http://{there}:53/hostname")]);
            (got.code == 0).then_some(got.stdout)
        });
        assert_eq!(seen.trim(), &server.id[..12]);
        for tcp in [false, true] {
            let answer = ask_with(&server, &name(&asker), dns::A, Manner { tcp, size: None });
            assert_eq!(answer.addresses.len(), 1);
        }
    }

    fn privileged_links_are_names_of_ones_own(engine) {
        let network = Network::plain(engine);
        let database = network.sleeper(&[], json!({}));
        let links = [format!("{}:storage", name(&database))];
        let linked = engine.sleeper(json!({"HostConfig": {"NetworkMode": network.name}, "NetworkingConfig": {"EndpointsConfig": {&network.name: {"Links": links}}}}));
        let there = vec![address(&database, &network)];
        assert_eq!(addresses(&linked, "storage"), there);
        assert_unknown(engine, &database, "storage");
    }

    fn privileged_the_default_bridge_has_the_hosts_servers(engine) {
        let container = engine.sleeper(json!({"HostConfig": {"NetworkMode": "bridge", "Dns": ["192.0.2.53"]}}));
        let seen = container.sh("cat /etc/resolv.conf");
        assert!(seen.contains("nameserver 192.0.2.53"), "{seen}");
        assert!(!seen.contains("127.0.0.11") && !seen.contains("ndots"), "{seen}");
        // Until it joins a network that has names.
        let network = Network::plain(engine);
        let other = network.sleeper(&["there"], json!({}));
        let _ = engine.post(&format!("/networks/{}/connect", network.name), &json!({"Container": container.id})).expect(200);
        assert_eq!(addresses(&container, "there"), [address(&other, &network)]);
        let seen = container.sh("cat /etc/resolv.conf");
        assert!(seen.contains("nameserver 127.0.0.11\n"), "{seen}");
    }
}
