//! Published ports that follow one another, kept as one entry.
//!
//! Docker writes every port of a range by itself, twice: as exposed, and with the port of the host.
//! Ten thousand of them are two megabytes of small texts, copied at every step of a start and
//! written to the disk each time. A record has them as ranges; who shows or changes the
//! configuration spreads them out.

use network::{HostPort, PortRequest, Protocol};
use serde::{Deserialize, Serialize};
use types::Error;
use types::container::Empty;
use types::network::PortBinding;

use crate::ports;
use crate::record::Record;

/// Fewer are left as they are.
const LONG: usize = 16;

/// Exposed ports that are published at ports of the host, each at the one that follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortRange {
    /// `tcp`, `udp` or `sctp`.
    protocol: String,
    /// The container's first port.
    container: u16,
    /// Address of the host, as it was asked for.
    host_ip: String,
    /// The host's first port.
    host: u16,
    /// How many.
    count: u16,
}

/// A port that may be part of a range, in the order in which ranges are looked for.
type Single = (Protocol, String, u16, u16);

impl PortRange {
    fn each(&self) -> impl Iterator<Item = (u16, u16)> {
        (0..self.count).map(|n| (self.container.saturating_add(n), self.host.saturating_add(n)))
    }
}

impl Record {
    /// Keeps long ranges as such.
    pub(crate) fn fold(&mut self) {
        let mut singles: Vec<Single> = Vec::new();
        for (key, bindings) in &self.host.port_bindings {
            let Some([binding]) = bindings.as_deref() else { continue };
            singles.extend(
                single(key, binding).filter(|_| self.config.exposed_ports.contains_key(key)),
            );
        }
        singles.sort();
        let follows = |one: &Single, next: &Single| {
            (&one.0, &one.1) == (&next.0, &next.1)
                && one.2.checked_add(1) == Some(next.2)
                && one.3.checked_add(1) == Some(next.3)
        };
        for run in singles.chunk_by(follows).filter(|run| run.len() >= LONG) {
            let Some((protocol, host_ip, host, container)) = run.first() else { continue };
            for (protocol, _, _, container) in run {
                let key = format!("{container}/{protocol}");
                self.host.port_bindings.remove(&key);
                self.config.exposed_ports.remove(&key);
            }
            self.ranges.push(PortRange {
                protocol: protocol.to_string(),
                container: *container,
                host_ip: host_ip.clone(),
                host: *host,
                // There are no more ports than that.
                count: u16::try_from(run.len()).unwrap_or(u16::MAX),
            });
        }
    }

    /// Puts every port where Docker has it.
    pub(crate) fn unfold(&mut self) {
        for range in std::mem::take(&mut self.ranges) {
            for (container, host) in range.each() {
                let key = format!("{container}/{}", range.protocol);
                self.config.exposed_ports.insert(key.clone(), Empty {});
                let binding =
                    PortBinding { host_ip: range.host_ip.clone(), host_port: host.to_string() };
                self.host.port_bindings.insert(key, Some(vec![binding]));
            }
        }
    }

    /// The exposed ports, those of ranges too.
    pub(crate) fn exposed(&self) -> impl Iterator<Item = (u16, Protocol)> {
        let single = self.config.exposed_ports.keys().filter_map(|key| ports::parse(key).ok());
        let ranges =
            self.ranges.iter().filter_map(|range| Some((range, range.protocol.parse().ok()?)));
        single.chain(ranges.flat_map(|(range, protocol)| {
            range.each().map(move |(container, _)| (container, protocol))
        }))
    }

    /// What the ranges ask for.
    pub(crate) fn ranges_wanted(&self) -> Result<Vec<PortRequest>, Error> {
        let wanted = |range: &PortRange| {
            let protocol = range.protocol.parse();
            Ok(PortRequest {
                protocol: protocol.map_err(|_| Error::invalid("an unknown protocol"))?,
                container_port: range.container,
                count: range.count,
                host_ip: ports::host_ip(&range.host_ip)?,
                host_port: HostPort::Within(range.host, range.host),
            })
        };
        self.ranges.iter().map(wanted).collect()
    }
}

/// A port that is published at one certain port, written as it is written here.
fn single(key: &str, binding: &PortBinding) -> Option<Single> {
    let (container, protocol) = ports::parse(key).ok()?;
    let host: u16 = binding.host_port.parse().ok().filter(|port| *port > 0)?;
    let plain = format!("{container}/{protocol}") == key && host.to_string() == binding.host_port;
    plain.then(|| (protocol, binding.host_ip.clone(), host, container))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(ports: &[(&str, &str, &str)]) -> Record {
        let mut exposed = BTreeMap::new();
        let mut bindings: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for (key, ip, port) in ports {
            exposed.insert((*key).to_owned(), serde_json::json!({}));
            let binding = serde_json::json!({"HostIp": ip, "HostPort": port});
            bindings.entry((*key).to_owned()).or_default().push(binding);
        }
        let json = serde_json::json!({
            "id": "a".repeat(64), "name": "n", "created": types::Timestamp::now(), "image": "",
            "config": {"ExposedPorts": exposed}, "host": {"PortBindings": bindings},
            "mounts": [], "networks": {}, "state": types::state::State::default(),
            "restart_count": 0, "stopped_by_user": false,
        });
        serde_json::from_value(json).expect("a record")
    }

    #[test]
    fn a_long_range_is_one_entry_and_nothing_is_lost() {
        let texts: Vec<(String, String)> =
            (0..40).map(|n| (format!("{}/udp", 9000 + n), format!("{}", 8000 + n))).collect();
        let mut ports: Vec<(&str, &str, &str)> =
            texts.iter().map(|(key, port)| (key.as_str(), "127.0.0.1", port.as_str())).collect();
        // A gap, a twin, a port that may be any, and one that is written in another way.
        ports[20].2 = "";
        ports.push(("9030/udp", "", "70"));
        ports.push(("53/tcp", "", "053"));
        ports.push(("80", "", "80"));
        let whole = record(&ports);
        let mut folded = whole.clone();
        folded.fold();
        assert_eq!(folded.ranges.len(), 1);
        assert_eq!(folded.ranges[0].count, 20);
        assert_eq!(folded.host.port_bindings.len(), whole.host.port_bindings.len() - 20);
        let mut ways: Vec<_> = whole.exposed().collect();
        let mut same: Vec<_> = folded.exposed().collect();
        ways.sort();
        same.sort();
        assert_eq!(ways, same);
        let wanted = |record: &Record| ports::of(record).expect("valid");
        assert_eq!(wanted(&folded), wanted(&whole));
        folded.unfold();
        assert_eq!(folded.host.port_bindings, whole.host.port_bindings);
        assert_eq!(folded.config.exposed_ports, whole.config.exposed_ports);
    }
}
