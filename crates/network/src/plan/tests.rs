use super::*;
use crate::config::Pool;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn cidr(s: &str) -> Cidr {
    s.parse().unwrap()
}

fn named(name: &str) -> NetworkSpec {
    NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkSpec {
    let subnets = vec![SubnetSpec { subnet: Some(cidr(subnet)), ..SubnetSpec::default() }];
    NetworkSpec { subnets, ..named(name) }
}

fn plan(spec: &NetworkSpec, networks: &[&Network], routed: &[Cidr]) -> Result<Network> {
    let config = Config::default();
    network(spec, &Given { config: &config, networks, routed }, ID.to_owned(), 7)
}

#[test]
fn a_network_without_wishes_gets_dockers_defaults() {
    let n = plan(&named("web"), &[], &[cidr("172.17.0.0/16")]).unwrap();
    assert_eq!(n.bridge, "br-0123456789ab");
    assert_eq!(n.subnets[0].subnet, cidr("172.18.0.0/16"));
    assert_eq!(n.subnets[0].gateway.to_string(), "172.18.0.1");
    assert_eq!((n.mtu, n.ipv6, n.created), (1500, false, 7));
    let other = plan(&named("db"), &[&Network { bridge: "x".to_owned(), ..n }], &[]).unwrap();
    assert_eq!(other.subnets[0].subnet, cidr("172.17.0.0/16"));
}

#[test]
fn names_bridges_and_subnets_are_taken_once() {
    let web = plan(&with_subnet("web", "10.1.0.0/16"), &[], &[]).unwrap();
    assert!(matches!(plan(&named("web"), &[&web], &[]), Err(Error::NameTaken(_))));
    assert!(matches!(plan(&named("db"), &[&web], &[]), Err(Error::BridgeTaken { .. })));
    let moved = Network { bridge: "x".to_owned(), ..web };
    let e = plan(&with_subnet("db", "10.1.2.0/24"), &[&moved], &[]).unwrap_err();
    assert!(e.to_string().contains("Pool overlaps with other one on this address space"), "{e}");
    assert!(plan(&named("with blanks"), &[], &[]).is_ok());
    for bad in ["", " ", " a", "a/b", "a\nb"] {
        assert!(matches!(plan(&named(bad), &[], &[]), Err(Error::InvalidName(_))), "{bad}");
    }
}

#[test]
fn parts_of_a_subnet_have_to_fit() {
    let spec = |f: fn(&mut SubnetSpec)| {
        let mut spec = with_subnet("web", "10.1.0.0/16");
        f(&mut spec.subnets[0]);
        plan(&spec, &[], &[])
    };
    assert!(spec(|s| s.range = Some(cidr("10.2.0.0/24"))).is_err());
    assert!(spec(|s| s.gateway = Some("10.2.0.1".parse().unwrap())).is_err());
    assert!(spec(|s| s.aux = [("a".to_owned(), "10.2.0.1".parse().unwrap())].into()).is_err());
    assert!(spec(|s| s.subnet = Some(cidr("10.1.0.1/32"))).is_err());
    let good = spec(|s| {
        s.range = Some(cidr("10.1.5.0/24"));
        s.gateway = Some("10.1.255.254".parse().unwrap());
    })
    .unwrap();
    assert_eq!(good.subnets[0].gateway.to_string(), "10.1.255.254");
    let mut twice = with_subnet("web", "10.1.0.0/16");
    twice.subnets.extend(with_subnet("", "10.2.0.0/16").subnets);
    assert!(matches!(plan(&twice, &[], &[]), Err(Error::SeveralSubnets)));
}

#[test]
fn ipv6_comes_from_a_subnet_or_a_pool() {
    let mut spec = with_subnet("six", "fd00:5::/64");
    let n = plan(&spec, &[], &[]).unwrap();
    assert!(n.ipv6 && n.subnets.len() == 2, "{n:?}");
    assert_eq!(n.subnet(false).unwrap().gateway.to_string(), "fd00:5::1");
    spec = NetworkSpec { ipv6: true, ..named("six") };
    assert!(matches!(plan(&spec, &[], &[]), Err(Error::PoolsExhausted)));
    let pool = Pool { base: cidr("fd77::/48"), size: 64 };
    let config = Config { pools: vec![pool, Config::default().pools[0]], ..Config::default() };
    let given = Given { config: &config, networks: &[], routed: &[] };
    let n = network(&spec, &given, ID.to_owned(), 0).unwrap();
    assert_eq!(n.subnet(false).unwrap().subnet, cidr("fd77::/64"));
    // And alone.
    let n = network(&NetworkSpec { ipv4: false, ..spec }, &given, ID.to_owned(), 0).unwrap();
    assert!(!n.ipv4 && n.ipv6 && n.subnet(true).is_none(), "{n:?}");
    let none = NetworkSpec { ipv4: false, ..named("none-of-both") };
    assert!(matches!(network(&none, &given, ID.to_owned(), 0), Err(Error::NoFamily)));
}

#[test]
fn the_daemons_own_pool_of_ipv6_follows_from_its_id() {
    let pool = crate::config::unique_local_pool("some-id");
    assert_eq!(pool, crate::config::unique_local_pool("some-id"));
    assert_ne!(pool, crate::config::unique_local_pool("another-id"));
    assert!(cidr("fd00::/8").covers(&pool.base) && pool.base.prefix() == 48, "{pool:?}");
    assert_eq!(pool.base, pool.base.network());
}

#[test]
fn stacked_networks_have_a_parent_and_share_it_or_not() {
    let of = |name: &str, pairs: &[(&str, &str)]| NetworkSpec {
        driver: "macvlan".to_owned(),
        options: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..named(name)
    };
    let n = plan(&of("m", &[("parent", "eth9")]), &[], &[]).unwrap();
    assert_eq!((n.parent.as_str(), n.bridge.as_str(), n.mtu), ("eth9", "", 0));
    assert!(!n.has_blank_parent() && !n.is_closed());
    assert!(plan(&of("n", &[("parent", "eth9")]), &[&n], &[]).is_ok());
    let alone = of("n", &[("parent", "eth9"), ("macvlan_mode", "passthru")]);
    assert!(matches!(plan(&alone, &[&n], &[]), Err(Error::ParentTaken { .. })));
    let blank = plan(&of("n", &[]), &[&n], &[]).unwrap();
    assert_eq!(blank.parent, "dm-0123456789ab");
    assert!(blank.has_blank_parent() && blank.is_closed());
    let mut several = of("n", &[("parent", "eth9")]);
    several.subnets = with_subnet("", "10.1.0.0/24").subnets;
    several.subnets.extend(with_subnet("", "10.2.0.0/24").subnets);
    assert_eq!(plan(&several, &[], &[]).unwrap().subnets.len(), 2);
    let none = NetworkSpec { ipam_driver: "null".to_owned(), ..of("n", &[("parent", "eth9")]) };
    assert!(plan(&none, &[], &[]).unwrap().subnets.is_empty());
    let bridge = NetworkSpec { ipam_driver: "null".to_owned(), ..named("b") };
    assert!(matches!(plan(&bridge, &[], &[]), Err(Error::NoPool)));
    let dhcp = NetworkSpec { ipam_driver: "dhcp".to_owned(), ..named("b") };
    assert!(matches!(plan(&dhcp, &[], &[]), Err(Error::UnknownIpam(_))));
}

#[test]
fn configurations_are_kept_and_taken_over() {
    let config = NetworkSpec {
        config_only: true,
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..with_subnet("c", "10.20.0.0/16")
    };
    let config = plan(&config, &[], &[]).unwrap();
    assert!(config.subnets.is_empty() && config.asked.len() == 1, "{config:?}");
    let from = |name: &str| NetworkSpec { config_from: "c".to_owned(), ..named(name) };
    let n = plan(&from("n"), &[&config], &[]).unwrap();
    assert_eq!(n.subnets[0].subnet, cidr("10.20.0.0/16"));
    assert_eq!((n.labels, n.config_from.as_str()), (config.labels.clone(), "c"));
    assert!(matches!(plan(&from("n"), &[], &[]), Err(Error::NoConfig(_))));
    let more = NetworkSpec { ipv6: true, ..from("n") };
    assert!(matches!(plan(&more, &[&config], &[]), Err(Error::ConfigAndMore)));
    let both = NetworkSpec { config_only: true, ..from("n") };
    assert!(matches!(plan(&both, &[&config], &[]), Err(Error::ConfigOfConfig)));
    let open = NetworkSpec { config_only: true, attachable: true, ..named("n") };
    assert!(matches!(plan(&open, &[], &[]), Err(Error::ConfigOperator)));
}

#[test]
fn drivers_are_checked() {
    let of = |driver: &str| NetworkSpec { driver: driver.to_owned(), ..named("n") };
    assert!(plan(&of("bridge"), &[], &[]).is_ok());
    assert!(matches!(plan(&of("host"), &[], &[]), Err(Error::OnlyOne("host"))));
    assert!(matches!(plan(&named("default"), &[], &[]), Err(Error::PredefinedName(_))));
    assert!(matches!(plan(&of("overlay"), &[], &[]), Err(Error::UnknownDriver(_))));
}

#[test]
fn the_default_bridge_keeps_what_it_had_while_it_can() {
    let config = Config::default();
    let plan = |config: &Config, saved: Option<&Network>, link, keep, routed: &[Cidr]| {
        let given = Given { config, networks: &[], routed };
        let n = default_bridge(&given, saved, link, keep, ID.to_owned(), 1).unwrap().unwrap();
        (n.subnets[0].subnet, n.subnets[0].gateway.to_string(), n)
    };
    let (subnet, gateway, first) = plan(&config, None, None, false, &[]);
    assert_eq!((subnet, gateway.as_str()), (cidr("172.17.0.0/16"), "172.17.0.1"));
    assert_eq!(first.options["com.docker.network.bridge.name"], "isopod0");
    // A VPN that came up since takes precedence, but not over living containers.
    let vpn = [cidr("172.17.0.0/16")];
    assert_eq!(plan(&config, Some(&first), None, false, &vpn).0, cidr("172.18.0.0/16"));
    assert_eq!(plan(&config, Some(&first), None, true, &vpn).0, cidr("172.17.0.0/16"));
    let on_link = Some(cidr("10.3.0.1/24"));
    assert_eq!(plan(&config, Some(&first), on_link, false, &[]).0, cidr("10.3.0.0/24"));
    let bip = Config { bip: Some(cidr("10.4.0.9/24")), ..Config::default() };
    let (subnet, gateway, again) = plan(&bip, Some(&first), on_link, false, &[]);
    assert_eq!((subnet, gateway.as_str()), (cidr("10.4.0.0/24"), "10.4.0.9"));
    assert_eq!((again.id, again.created), (first.id, first.created));
    let none = Config { bridge: None, ..Config::default() };
    let given = Given { config: &none, networks: &[], routed: &[] };
    assert_eq!(default_bridge(&given, None, None, false, ID.to_owned(), 1).unwrap(), None);
}
