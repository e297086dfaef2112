use super::*;
use crate::answer::{Manner, Outcome, answer};
use crate::wire::{Code, code_of, tests::query_bytes};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn place(network: &str, names: &[&str], addresses: &[&str]) -> Place {
    Place {
        network: format!("{network}-id"),
        network_name: network.to_owned(),
        names: names.iter().map(ToString::to_string).collect(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        links: Vec::new(),
    }
}

fn container(id: &str, places: Vec<Place>) -> Container {
    Container { id: id.to_owned(), places, ..Container::default() }
}

/// `a` in front and back, `b` in front with IPv6, `c` in back only; `a` and `c` are `web`.
fn zones() -> Zones {
    let mut zones = Zones::default();
    zones.put(&container(
        "a",
        vec![
            place("front", &["Alpha", "web"], &["10.1.0.2"]),
            place("back", &["Alpha", "web"], &["10.2.0.2"]),
        ],
    ));
    zones.put(&container("b", vec![place("front", &["beta"], &["10.1.0.3", "fd00::3"])]));
    zones.put(&container("c", vec![place("back", &["gamma", "web"], &["10.2.0.4"])]));
    zones
}

fn addresses(list: &[&str]) -> Found {
    Found::Addresses(list.iter().map(|text| ip(text)).collect())
}

#[test]
fn everybody_sees_their_own_networks() {
    let zones = zones();
    assert_eq!(zones.find("b", "alpha", Kind::A), addresses(&["10.1.0.2"]));
    assert_eq!(zones.find("c", "alpha", Kind::A), addresses(&["10.2.0.2"]));
    assert_eq!(zones.find("b", "gamma", Kind::A), Found::Unknown);
    assert_eq!(zones.find("a", "gamma", Kind::A), addresses(&["10.2.0.4"]));
    assert_eq!(zones.find("a", "alpha", Kind::A), addresses(&["10.1.0.2"]), "itself");
    assert_eq!(zones.find("nobody", "alpha", Kind::A), Found::Unknown);
    // The first network with the name answers.
    assert_eq!(zones.find("a", "web", Kind::A), addresses(&["10.1.0.2"]));
    assert_eq!(zones.find("c", "web", Kind::A), addresses(&["10.2.0.2", "10.2.0.4"]));
}

#[test]
fn a_name_with_its_network_is_looked_for_there() {
    let zones = zones();
    assert_eq!(zones.find("a", "web.back", Kind::A), addresses(&["10.2.0.2", "10.2.0.4"]));
    assert_eq!(zones.find("b", "alpha.back", Kind::A), Found::Unknown);
    assert_eq!(zones.find("a", "back", Kind::A), Found::Unknown);
    assert_eq!(zones.find("a", ".back", Kind::A), Found::Unknown);
}

#[test]
fn a_known_name_without_such_records_has_nothing() {
    let zones = zones();
    assert_eq!(zones.find("a", "beta", Kind::AAAA), addresses(&["fd00::3"]));
    assert_eq!(zones.find("b", "alpha", Kind::AAAA), Found::Nothing);
    assert_eq!(zones.find("b", "alpha", Kind(15)), Found::Nothing);
    assert_eq!(zones.find("b", "beta", Kind::ANY), addresses(&["10.1.0.3", "fd00::3"]));
}

#[test]
fn addresses_have_names() {
    let zones = zones();
    let name = |text: &str| Found::Name(text.to_owned());
    assert_eq!(zones.find("b", "2.0.1.10.in-addr.arpa", Kind::PTR), name("Alpha.front"));
    assert_eq!(zones.find("c", "2.0.1.10.in-addr.arpa", Kind::PTR), Found::Unknown);
    assert_eq!(zones.find("a", "4.0.2.10.in-addr.arpa", Kind::PTR), name("gamma.back"));
    let digits = format!("3{}0.0.d.f.ip6.arpa", ".0".repeat(27) + ".");
    assert_eq!(zones.find("a", &digits, Kind::PTR), name("beta.front"));
    for strange in
        ["1.10.in-addr.arpa", "5.2.0.1.10.in-addr.arpa", "x.ip6.arpa", "+2.0.1.10.in-addr.arpa"]
    {
        assert_eq!(zones.find("a", strange, Kind::PTR), Found::Unknown, "{strange}");
    }
}

#[test]
fn links_are_the_askers_own() {
    let mut zones = zones();
    let mut linked = place("front", &["d"], &["10.1.0.9"]);
    linked.links = vec![("Database".into(), "beta".into()), ("alpha".into(), "beta".into())];
    linked.links.push(("gone".into(), "nobody".into()));
    zones.put(&container("d", vec![linked]));
    assert_eq!(zones.find("d", "database", Kind::A), addresses(&["10.1.0.3"]));
    assert_eq!(zones.find("d", "database.front", Kind::A), addresses(&["10.1.0.3"]));
    assert_eq!(zones.find("d", "alpha", Kind::A), addresses(&["10.1.0.3"]), "before names");
    assert_eq!(zones.find("d", "gone", Kind::A), Found::Unknown);
    assert_eq!(zones.find("a", "database", Kind::A), Found::Unknown);
}

#[test]
fn what_is_said_again_takes_the_place_of_before() {
    let mut zones = zones();
    zones.put(&container("a", vec![place("front", &["renamed"], &["10.1.0.7"])]));
    assert_eq!(zones.find("b", "alpha", Kind::A), Found::Unknown);
    assert_eq!(zones.find("b", "renamed", Kind::A), addresses(&["10.1.0.7"]));
    assert_eq!(zones.find("c", "web", Kind::A), addresses(&["10.2.0.4"]));
    assert_eq!(zones.find("b", "2.0.1.10.in-addr.arpa", Kind::PTR), Found::Unknown);
    for id in ["a", "b", "c", "a"] {
        zones.remove(id);
    }
    assert!(zones.networks.is_empty() && zones.askers.is_empty());
}

#[test]
fn hundreds_on_a_network_find_each_other() {
    let mut zones = Zones::default();
    for number in 0..200_u8 {
        let (name, address) = (format!("c{number}"), format!("10.0.0.{number}"));
        zones.put(&container(&name, vec![place("net", &[&name, "all"], &[&address])]));
    }
    for asker in 0..200 {
        for asked in 0..200 {
            let found = zones.find(&format!("c{asker}"), &format!("c{asked}"), Kind::A);
            assert_eq!(found, addresses(&[&format!("10.0.0.{asked}")]));
        }
    }
    let Found::Addresses(all) = zones.find("c0", "all", Kind::A) else {
        panic!("they are called so")
    };
    assert_eq!(all.len(), 200);
}

#[test]
fn answers_follow_from_what_is_found() {
    let zones = zones();
    let manner = Manner { datagram: true, forwards: true, keeps_short: false };
    let ask = |asker: &str, manner, name: &str, kind, turn| {
        answer(&zones, asker, manner, &query_bytes(name, kind, None), turn)
    };
    let reply = |outcome| match outcome {
        Outcome::Reply(reply) => reply,
        other => panic!("{other:?}"),
    };
    let first = |turn| {
        let reply = reply(ask("c", manner, "WEB", Kind::A, turn));
        assert_eq!(reply[7], 2);
        let at = 12 + 5 + 4 + 12;
        IpAddr::from([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]])
    };
    assert_eq!([first(0), first(1)], [ip("10.2.0.2"), ip("10.2.0.4")], "each has its turn");
    assert_eq!(ask("a", manner, "world.example", Kind::A, 0), Outcome::Forward);
    assert_eq!(ask("a", manner, "world", Kind::A, 0), Outcome::Forward);
    let nothing = reply(ask("b", manner, "alpha", Kind::AAAA, 0));
    assert_eq!((code_of(&nothing), nothing[7]), (Code::FINE, 0));
    let alone = Manner { forwards: false, ..manner };
    assert_eq!(code_of(&reply(ask("a", alone, "world.example", Kind::A, 0))), Code::FAILED);
    let short = Manner { keeps_short: true, ..manner };
    assert_eq!(code_of(&reply(ask("a", short, "world", Kind::A, 0))), Code::NO_SUCH_NAME);
    assert_eq!(ask("a", short, "world.example", Kind::A, 0), Outcome::Forward);
    assert_eq!(answer(&zones, "a", manner, &[0; 5], 0), Outcome::Silence);
    let broken = reply(answer(&zones, "a", manner, &[0; 12], 0));
    assert_eq!(code_of(&broken), Code::FORMAT);
}
