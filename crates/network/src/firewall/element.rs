//! Elements of our sets and maps: as text for `nft`, and as bytes for the kernel.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use sys::netlink::{self, ElementChange, Family};

use super::ruleset::Verb;
use crate::model::Protocol;

/// A part of a key or of a value, of a type that nftables knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// `ifname`
    Link(String),
    /// `ether_addr`
    Mac([u8; 6]),
    /// `ipv4_addr` or `ipv6_addr`
    Ip(IpAddr),
    /// Sixteen bytes of a packet that have no type.
    Raw(Ipv6Addr),
    /// `inet_proto`
    Protocol(Protocol),
    /// `inet_service`
    Port(u16),
}

/// An element of a set or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) family: Family,
    pub(super) set: &'static str,
    pub(super) key: Vec<Part>,
    /// In place of the key's last part, the end of a range that begins with it.
    pub(super) until: Option<Part>,
    /// In a map: what the key leads to.
    pub(super) value: Vec<Part>,
}

/// Puts elements in or takes them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) verb: Verb,
    pub(super) element: Element,
}

impl Step {
    /// Steps that do the same to all elements.
    pub(super) fn all(verb: Verb, elements: Vec<Element>) -> Vec<Step> {
        elements.into_iter().map(|element| Step { verb, element }).collect()
    }

    fn goes_with(&self, next: &Step) -> bool {
        let set = |step: &Step| (step.verb, step.element.family, step.element.set);
        set(self) == set(next)
    }
}

/// Commands for `nft`, a line for elements of one set that follow one another.
pub(super) fn text(table: &str, steps: &[Step]) -> String {
    let mut text = String::new();
    for group in steps.chunk_by(Step::goes_with) {
        let Some(Step { verb, element }) = group.first() else { continue };
        let family = match element.family {
            Family::Inet => "inet",
            Family::Bridge => "bridge",
        };
        let all: Vec<String> = group.iter().map(|step| step.element.text(*verb)).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{} element {family} {table} {} {{ {} }}",
            verb.as_str(),
            element.set,
            all.join(", ")
        );
    }
    text
}

/// Has the kernel do it, all or nothing.
pub(super) fn run(
    kernel: &mut netlink::Elements,
    table: &str,
    steps: &[Step],
) -> Result<(), netlink::Error> {
    let groups: Vec<(&Step, Vec<netlink::Element>)> = steps
        .chunk_by(Step::goes_with)
        .filter_map(|group| {
            Some((group.first()?, group.iter().map(|step| step.element.bytes()).collect()))
        })
        .collect();
    let changes: Vec<ElementChange<'_>> = groups
        .iter()
        .map(|(first, elements)| ElementChange {
            family: first.element.family,
            table,
            set: first.element.set,
            add: first.verb == Verb::Add,
            elements,
        })
        .collect();
    kernel.run(&changes)
}

impl Element {
    fn text(&self, verb: Verb) -> String {
        let mut text = joined(&self.key);
        if let Some(until) = &self.until {
            let _ = write!(text, "-{until}");
        }
        if verb == Verb::Add && !self.value.is_empty() {
            let _ = write!(text, " : {}", joined(&self.value));
        }
        text
    }

    fn bytes(&self) -> netlink::Element {
        let end = self.until.as_ref().map(|until| {
            let before = self.key.len().saturating_sub(1);
            bytes(self.key.iter().take(before).chain([until]))
        });
        netlink::Element {
            key: bytes(&self.key),
            end,
            value: (!self.value.is_empty()).then(|| bytes(&self.value)),
        }
    }
}

fn joined(parts: &[Part]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

fn bytes<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<u8> {
    let mut all = Vec::with_capacity(40);
    for (n, part) in parts.into_iter().enumerate() {
        if n == 1 {
            // One alone has its own length; of several each takes whole registers of four bytes.
            all.resize(all.len().next_multiple_of(4), 0);
        }
        part.put(&mut all);
        if n > 0 {
            all.resize(all.len().next_multiple_of(4), 0);
        }
    }
    all
}

impl Part {
    fn put(&self, bytes: &mut Vec<u8>) {
        /// `IFNAMSIZ`
        const LINK: usize = 16;
        match self {
            Part::Link(name) => {
                let end = bytes.len() + LINK;
                bytes.extend(name.bytes().take(LINK - 1));
                bytes.resize(end, 0);
            }
            Part::Mac(mac) => bytes.extend(mac),
            Part::Ip(IpAddr::V4(ip)) => bytes.extend(ip.octets()),
            Part::Ip(IpAddr::V6(ip)) | Part::Raw(ip) => bytes.extend(ip.octets()),
            Part::Protocol(protocol) => bytes.push(protocol.number()),
            Part::Port(port) => bytes.extend(port.to_be_bytes()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Link(name) => write!(f, "\"{name}\""),
            Part::Mac(mac) => crate::model::Mac(*mac).fmt(f),
            Part::Ip(ip) => ip.fmt(f),
            Part::Raw(ip) => write!(f, "0x{:032x}", ip.to_bits()),
            Part::Protocol(protocol) => protocol.fmt(f),
            Part::Port(port) => port.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of_ports() -> Element {
        Element {
            family: Family::Inet,
            set: "run4",
            key: vec![Part::Protocol(Protocol::Udp), Part::Port(8000)],
            until: Some(Part::Port(8999)),
            value: vec![Part::Ip("172.17.0.2".parse().unwrap())],
        }
    }

    fn claim() -> Element {
        Element {
            family: Family::Bridge,
            set: "own4",
            key: vec![
                Part::Link("veth1".to_owned()),
                Part::Mac([2, 0x42, 0, 0, 0, 9]),
                Part::Raw("fd00::1".parse().unwrap()),
            ],
            until: None,
            value: vec![],
        }
    }

    #[test]
    fn steps_are_a_line_for_each_set() {
        let mut steps = Step::all(Verb::Delete, vec![claim(), run_of_ports()]);
        steps.extend(Step::all(Verb::Add, vec![run_of_ports(), run_of_ports()]));
        assert_eq!(
            text("t", &steps),
            "delete element bridge t own4 { \"veth1\" . 02:42:00:00:00:09 . \
             0xfd000000000000000000000000000001 }\n\
             delete element inet t run4 { udp . 8000-8999 }\n\
             add element inet t run4 { udp . 8000-8999 : 172.17.0.2, udp . 8000-8999 : 172.17.0.2 }\n"
        );
        assert_eq!(text("t", &[]), "");
    }

    #[test]
    fn every_part_begins_at_a_register() {
        assert_eq!(bytes(&[Part::Port(80)]), [0, 80]);
        let run = run_of_ports().bytes();
        assert_eq!(run.key, [17, 0, 0, 0, 0x1f, 0x40, 0, 0]);
        assert_eq!(run.end.unwrap(), [17, 0, 0, 0, 0x23, 0x27, 0, 0]);
        assert_eq!(run.value.unwrap(), [172, 17, 0, 2]);
        let key = claim().bytes().key;
        assert_eq!(&key[..8], b"veth1\0\0\0");
        assert_eq!(key[16..24], [2, 0x42, 0, 0, 0, 9, 0, 0]);
        assert_eq!(key.len(), 40);
    }
}
