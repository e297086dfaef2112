//! Ports as the API writes them.

use std::net::IpAddr;

use network::{HostPort, PortRequest, Protocol};
use types::Error;
use types::container::{ContainerConfig, HostConfig};

/// Reads `80/tcp`, `53/udp` or `80` (tcp).
pub(crate) fn parse(text: &str) -> Result<(u16, Protocol), Error> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{text}\""));
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid)?;
    Ok((port, protocol.parse().map_err(|_| invalid())?))
}

/// The ports that a container wants published.
pub(crate) fn requests(
    config: &ContainerConfig,
    host: &HostConfig,
) -> Result<Vec<PortRequest>, Error> {
    let mut wanted = Vec::new();
    for (key, bindings) in &host.port_bindings {
        let (container_port, protocol) = parse(key)?;
        for binding in bindings.as_deref().unwrap_or_default() {
            wanted.push(PortRequest {
                protocol,
                container_port,
                host_ip: host_ip(&binding.host_ip)?,
                host_port: host_port(&binding.host_port)?,
            });
        }
    }
    if host.publish_all_ports {
        for key in config.exposed_ports.keys() {
            let (container_port, protocol) = parse(key)?;
            let bound = wanted
                .iter()
                .any(|port| port.container_port == container_port && port.protocol == protocol);
            if !bound {
                let host_port = HostPort::Any;
                wanted.push(PortRequest { protocol, container_port, host_ip: None, host_port });
            }
        }
    }
    Ok(wanted)
}

fn host_ip(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse();
    address.map(Some).map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

fn host_port(text: &str) -> Result<HostPort, Error> {
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
}
