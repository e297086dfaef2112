//! What a client asks a network to be, in the engine's terms.

use std::collections::BTreeMap;
use std::net::IpAddr;

use docker_api::network::{IpamConfig, NetworkCreateBody};
use engine::{Cidr, NetworkSpec, SubnetSpec};
use types::Error;

/// Refuses what needs a swarm, and translates the rest.
pub(super) fn spec(body: NetworkCreateBody) -> Result<NetworkSpec, Error> {
    if body.ingress {
        return Err(Error::forbidden("Ingress network can only be global scope network"));
    }
    if matches!(body.scope.as_str(), "swarm" | "global") {
        return Err(Error::forbidden(
            "cannot create a swarm scoped network when swarm is not active",
        ));
    }
    if body.driver == "overlay" {
        return Err(Error::unavailable(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
             to connect this node to swarm and try again.",
        ));
    }
    let ipam = body.ipam.unwrap_or_default();
    let mut wrong = Vec::new();
    let mut subnets = Vec::new();
    for config in ipam.config {
        let (subnet, complaints) = subnet(config);
        wrong.extend(complaints);
        subnets.extend(subnet);
    }
    if !wrong.is_empty() {
        return Err(Error::invalid(format!("invalid network config:\n{}", joined(&wrong))));
    }
    Ok(NetworkSpec {
        name: body.name,
        driver: body.driver,
        internal: body.internal,
        attachable: body.attachable,
        ipv4: body.enable_ipv4.unwrap_or(true),
        ipv6: body.enable_ipv6.unwrap_or(false),
        subnets,
        options: body.options,
        ipam_driver: ipam.driver,
        ipam_options: ipam.options.unwrap_or_default(),
        labels: body.labels,
        config_only: body.config_only,
        config_from: body.config_from.map(|from| from.network).unwrap_or_default(),
    })
}

/// Several complaints become a list, one stands alone.
fn joined(complaints: &[String]) -> String {
    match complaints {
        [one] => one.clone(),
        several => format!("* {}", several.join("\n* ")),
    }
}

/// One subnet with its parts, or what is wrong with it, in Docker's words. Nothing at all is no
/// subnet.
fn subnet(config: IpamConfig) -> (Option<SubnetSpec>, Vec<String>) {
    let mut aux: BTreeMap<String, String> = config.auxiliary_addresses;
    aux.retain(|_, address| !address.is_empty());
    if config.subnet.is_empty() {
        let parts = [&config.ip_range, &config.gateway];
        return match parts.iter().all(|part| part.is_empty()) && aux.is_empty() {
            true => (None, Vec::new()),
            false => (None, vec!["invalid subnet : invalid CIDR block notation".to_owned()]),
        };
    }
    let Ok(subnet) = config.subnet.parse::<Cidr>() else {
        let text = format!("invalid subnet {}: invalid CIDR block notation", config.subnet);
        return (None, vec![text]);
    };
    let mut wrong = Vec::new();
    if subnet.network() != subnet {
        wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.network()));
    }
    let mut spec = SubnetSpec { subnet: Some(subnet), ..SubnetSpec::default() };
    match range(&config.ip_range, subnet) {
        Ok(range) => spec.range = range,
        Err(why) => wrong.push(format!("invalid ip-range {}: {why}", config.ip_range)),
    }
    match address(&config.gateway, subnet) {
        Ok(gateway) => spec.gateway = gateway,
        Err(why) => wrong.push(format!("invalid gateway {}: {why}", config.gateway)),
    }
    for (name, text) in aux {
        match address(&text, subnet) {
            Ok(found) => spec.aux.extend(found.map(|found| (name, found))),
            Err(why) => wrong.push(format!("invalid auxiliary address {name}: {why}")),
        }
    }
    (Some(spec), wrong)
}

fn range(text: &str, subnet: Cidr) -> Result<Option<Cidr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let range: Cidr = text.parse().map_err(|_| "invalid CIDR block notation".to_owned())?;
    if range.is_v4() != subnet.is_v4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if range.prefix() < subnet.prefix() {
        return Err(format!("CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.network() {
        return Err(format!("it should be {}", range.network()));
    }
    if !subnet.covers(&range) {
        return Err(format!("parent subnet {subnet} doesn't contain ip-range"));
    }
    Ok(Some(range))
}

fn address(text: &str, subnet: Cidr) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if address.is_ipv4() != subnet.is_v4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if !subnet.contains(address) {
        return Err(format!("parent subnet {subnet} doesn't contain this address"));
    }
    Ok(Some(address))
}

fn family(subnet: Cidr) -> &'static str {
    if subnet.is_v4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::ErrorKind;

    fn read(body: &str) -> Result<NetworkSpec, Error> {
        spec(serde_json::from_str(body).expect("JSON"))
    }

    #[test]
    fn what_a_client_asks_for_is_understood() {
        let spec = read(
            r#"{"Name":"n","Driver":"bridge","EnableIPv6":true,"Internal":true,
                "IPAM":{"Driver":"default","Config":[{"Subnet":"10.9.0.0/24",
                "IPRange":"10.9.0.0/25","Gateway":"10.9.0.1",
                "AuxiliaryAddresses":{"a":"10.9.0.9","b":""}},{}]},"Options":{"o":"1"},
                "EnableIPv4":false,"ConfigFrom":{"Network":"c"}}"#,
        )
        .expect("valid");
        assert!(spec.ipv6 && spec.internal && !spec.ipv4);
        assert_eq!((spec.options["o"].as_str(), spec.config_from.as_str()), ("1", "c"));
        let [subnet] = spec.subnets.as_slice() else { panic!("one subnet: {spec:?}") };
        assert_eq!(subnet.subnet.map(|cidr| cidr.to_string()).as_deref(), Some("10.9.0.0/24"));
        assert_eq!(subnet.aux.len(), 1);
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_refused() {
        for (body, kind) in [
            (r#"{"Name":"n","Ingress":true}"#, ErrorKind::Forbidden),
            (r#"{"Name":"n","Scope":"swarm"}"#, ErrorKind::Forbidden),
            (r#"{"Name":"n","Driver":"overlay"}"#, ErrorKind::Unavailable),
            (r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"x"}]}}"#, ErrorKind::Invalid),
            (r#"{"Name":"n","IPAM":{"Config":[{"Gateway":"10.0.0.3"}]}}"#, ErrorKind::Invalid),
        ] {
            assert_eq!(read(body).expect_err("refused").kind, kind, "{body}");
        }
    }

    #[test]
    fn subnets_are_checked_in_dockers_words() {
        let refused = |config: &str| {
            let body = format!(r#"{{"Name":"n","IPAM":{{"Config":[{config}]}}}}"#);
            let text = read(&body).expect_err("refused").message;
            text.strip_prefix("invalid network config:\n").expect("the preface").to_owned()
        };
        for (config, text) in [
            (
                r#"{"Subnet":"10.9.0.0/33"}"#,
                "invalid subnet 10.9.0.0/33: invalid CIDR block notation",
            ),
            (r#"{"Subnet":"10.9.0.5/24"}"#, "invalid subnet 10.9.0.5/24: it should be 10.9.0.0/24"),
            (
                r#"{"Subnet":"10.9.0.0/24","IPRange":"10.8.0.0/25"}"#,
                "invalid ip-range 10.8.0.0/25: parent subnet 10.9.0.0/24 doesn't contain ip-range",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","IPRange":"10.9.0.0/16"}"#,
                "invalid ip-range 10.9.0.0/16: CIDR block is bigger than its parent subnet 10.9.0.0/24",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","IPRange":"fd00::/64"}"#,
                "invalid ip-range fd00::/64: parent subnet is an IPv4 block",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","Gateway":"10.8.0.1"}"#,
                "invalid gateway 10.8.0.1: parent subnet 10.9.0.0/24 doesn't contain this address",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","AuxiliaryAddresses":{"a":"x"}}"#,
                "invalid auxiliary address a: invalid address",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","Gateway":"x"},{"Subnet":"y"}"#,
                "* invalid gateway x: invalid address\n* invalid subnet y: invalid CIDR block notation",
            ),
        ] {
            assert_eq!(refused(config), text);
        }
    }
}
