//! Published and exposed ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use types::container::{Empty, Set};
use types::network::{PortBinding, PortMap};

/// What all `--publish` and `--expose` together ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ports {
    /// Every port that is published or exposed.
    pub(crate) exposed: Set,
    /// Those that are published.
    pub(crate) bindings: PortMap,
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |part: &str| {
        part.parse::<u16>().map_err(|error| {
            let reason = match error.kind() {
                std::num::IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            format!("strconv.ParseUint: parsing {part:?}: {reason}")
        })
    };
    match text.split_once('-') {
        _ if text.is_empty() => Err("empty string specified for ports".to_owned()),
        None => number(text).map(|port| port..=port),
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if to < from {
                return Err(format!("invalid range specified for port: {text}"));
            }
            Ok(from..=to)
        }
    }
}

/// Adds one `--expose`: `80`, `80-90/udp`.
pub(crate) fn expose(text: &str, ports: &mut Ports) -> Result<(), String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    let numbers = range(numbers)
        .map_err(|error| format!("invalid range format for --expose: {text}, error: {error}"))?;
    for port in numbers {
        ports.exposed.insert(format!("{port}/{}", protocol.to_lowercase()), Empty {});
    }
    Ok(())
}

/// Adds one `--publish`: `[[address:]host:]container[/protocol]`, ranges, or the long form
/// `target=…,published=…,protocol=…`.
pub(crate) fn publish(text: &str, ports: &mut Ports) -> Result<(), String> {
    let short;
    let text = if text.contains('=') {
        short = shorten(text)?;
        short.as_str()
    } else {
        text
    };
    let (address, host, container) = split(text);
    let (container, protocol) = match container.split_once('/') {
        Some((port, "")) => (port, "tcp".to_owned()),
        Some((port, protocol)) => (port, protocol.to_lowercase()),
        None => (container, "tcp".to_owned()),
    };
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    let inside = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let outside = match host {
        "" => None,
        _ => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    let width = inside.end() - inside.start();
    if let Some(outside) = &outside
        && outside.end() - outside.start() != width
        // Several host ports for one container port: the daemon takes a free one.
        && width != 0
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    for offset in 0..=width {
        let host_port = match &outside {
            None => String::new(),
            Some(outside) if width == 0 && outside.start() != outside.end() => {
                format!("{}-{}", outside.start(), outside.end())
            }
            Some(outside) => (outside.start() + offset).to_string(),
        };
        let port = format!("{}/{protocol}", inside.start() + offset);
        ports.exposed.insert(port.clone(), Empty {});
        let binding = PortBinding { host_ip: address.to_owned(), host_port };
        ports.bindings.entry(port).or_default().get_or_insert_default().push(binding);
    }
    Ok(())
}

/// Address, host port and container port; an IPv6 address stands in brackets.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((before, container)) = text.rsplit_once(':') else { return ("", "", text) };
    match before.rsplit_once(':') {
        None => ("", before, container),
        Some((address, host)) if !host.contains(']') => (address, host, container),
        Some(_) => (before, "", container),
    }
}

fn shorten(text: &str) -> Result<String, String> {
    let fields = super::words::csv(text)?;
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    let mut address = "";
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .filter(|(_, value)| !value.is_empty())
            .ok_or_else(|| format!("invalid field: {field}"))?;
        match key.to_lowercase().as_str() {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            "host_ip" | "host-ip" => address = value,
            "mode" if value == "host" || value == "ingress" => {}
            _ => {
                return Err(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                ));
            }
        }
    }
    let head = if address.is_empty() { String::new() } else { format!("{address}:") };
    Ok(format!("{head}{published}:{target}/{protocol}"))
}

/// The map of all options.
pub(crate) fn gather(published: &[String], exposed: &[String]) -> Result<Ports, String> {
    let mut ports = Ports { exposed: BTreeMap::new(), bindings: BTreeMap::new() };
    for text in published {
        publish(text, &mut ports)?;
    }
    for text in exposed {
        expose(text, &mut ports)?;
    }
    Ok(ports)
}
