//! Ports as the API writes them.

use std::collections::HashSet;
use std::net::IpAddr;

use network::{HostPort, PortRequest, Protocol};
use types::Error;
use types::network::PortMap;

use crate::record::Record;

/// Reads `80/tcp`, `53/udp` or `80` (tcp).
pub(crate) fn parse(text: &str) -> Result<(u16, Protocol), Error> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{text}\""));
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid)?;
    Ok((port, protocol.parse().map_err(|_| invalid())?))
}

/// The ports that a container wants published.
pub(crate) fn of(record: &Record) -> Result<Vec<PortRequest>, Error> {
    let (config, host) = (&record.config, &record.host);
    let mut wanted = bindings(&host.port_bindings)?;
    wanted.extend(record.ranges_wanted()?);
    if host.publish_all_ports {
        let bound: HashSet<(u16, Protocol)> =
            wanted.iter().map(|port| (port.container_port, port.protocol)).collect();
        for key in config.exposed_ports.keys() {
            let (container_port, protocol) = parse(key)?;
            if !bound.contains(&(container_port, protocol)) {
                let host_port = HostPort::Any;
                let one =
                    PortRequest { protocol, container_port, count: 1, host_ip: None, host_port };
                wanted.push(one);
            }
        }
    }
    Ok(together(wanted))
}

/// What a map of ports asks for, port by port.
pub(crate) fn bindings(map: &PortMap) -> Result<Vec<PortRequest>, Error> {
    let mut wanted = Vec::new();
    for (key, bindings) in map {
        let (container_port, protocol) = parse(key)?;
        for binding in bindings.as_deref().unwrap_or_default() {
            wanted.push(PortRequest {
                protocol,
                container_port,
                count: 1,
                host_ip: host_ip(&binding.host_ip)?,
                host_port: host_port(&binding.host_port)?,
            });
        }
    }
    Ok(wanted)
}

/// Makes one of those that follow one another on both sides. Certain ports come first: those that
/// may be any shall not take them away.
pub(crate) fn together(mut wanted: Vec<PortRequest>) -> Vec<PortRequest> {
    wanted.sort_by_key(|port| {
        let (rank, first) = match port.host_port {
            HostPort::Within(first, last) => (u8::from(first != last), first),
            HostPort::Any => (2, 0),
        };
        (rank, port.protocol, port.host_ip, first, port.container_port)
    });
    let mut joined: Vec<PortRequest> = Vec::new();
    for port in wanted {
        match joined.last_mut() {
            Some(last) if follows(last, &port) => last.count += port.count,
            _ => joined.push(port),
        }
    }
    joined
}

fn follows(last: &PortRequest, next: &PortRequest) -> bool {
    let certain = |port: &PortRequest| match port.host_port {
        HostPort::Within(first, last) if first == last => Some(first),
        _ => None,
    };
    let Some((first, then)) = certain(last).zip(certain(next)) else { return false };
    (last.protocol, last.host_ip) == (next.protocol, next.host_ip)
        && first.checked_add(last.count) == Some(then)
        && last.container_port.checked_add(last.count) == Some(next.container_port)
}

pub(crate) fn host_ip(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse();
    address.map(Some).map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

pub(crate) fn host_port(text: &str) -> Result<HostPort, Error> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{text}\""));
    if text.is_empty() {
        return Ok(HostPort::Any);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.parse().map_err(|_| invalid())?, to.parse().map_err(|_| invalid())?);
    match (from, to) {
        (0, 0) => Ok(HostPort::Any),
        (0, _) => Err(invalid()),
        _ if from > to => Err(invalid()),
        _ => Ok(HostPort::Within(from, to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        assert_eq!(parse("80"), Ok((80, Protocol::Tcp)));
        assert_eq!(parse("53/udp"), Ok((53, Protocol::Udp)));
        for bad in ["", "0", "x/tcp", "80/xtp", "65536", "-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(host_port("8000-8010"), Ok(HostPort::Within(8000, 8010)));
        assert_eq!(host_port("0"), Ok(HostPort::Any));
        assert!(host_port("9-8").is_err());
    }

    #[test]
    fn a_range_is_one_wish() {
        let binding =
            |host_port: String| types::network::PortBinding { host_ip: String::new(), host_port };
        let mut map = PortMap::new();
        for port in 9..=11u16 {
            let list = vec![binding((port + 8000).to_string()), binding(String::new())];
            map.insert(format!("{port}/tcp"), Some(list));
        }
        let wanted = together(bindings(&map).expect("they are read"));
        let all: Vec<_> = wanted.iter().map(|w| (w.container_port, w.count, w.host_port)).collect();
        assert_eq!(
            all,
            [
                (9, 3, HostPort::Within(8009, 8009)),
                (9, 1, HostPort::Any),
                (10, 1, HostPort::Any),
                (11, 1, HostPort::Any),
            ]
        );
    }
}
