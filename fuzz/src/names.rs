//! What a container may send to the resolver, and what a name server may answer.

use std::net::IpAddr;

use proto::names::{Container, Place};
use resolver::answer::{Manner, Outcome, answer};
use resolver::wire::{Code, Query, Record};
use resolver::zones::Zones;

/// Each is read or refused, and a reply is never longer than its asker can take.
///
/// # Panics
/// When that is not so.
pub fn name_query(bytes: &[u8]) {
    let addresses: Vec<IpAddr> = (0..40).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    let place = Place {
        network: "id".into(),
        network_name: "net".into(),
        names: vec!["web".into(), "db".into()],
        addresses: addresses.clone(),
        links: vec![("a".into(), "web".into())],
    };
    let mut zones = Zones::default();
    zones.put(&Container { id: "c".into(), places: vec![place], ..Container::default() });
    for datagram in [false, true] {
        let manner = Manner { datagram, forwards: true, keeps_short: datagram };
        if let Outcome::Reply(reply) = answer(&zones, "c", manner, bytes, 3) {
            let room = Query::read(bytes).map_or(512, |query| query.room());
            assert!(!datagram || reply.len() <= room);
        }
    }
    if let Ok(query) = Query::read(bytes) {
        let records: Vec<_> = addresses.into_iter().map(Record::Address).collect();
        let mut reply = query.reply(Code::FINE, &records, usize::MAX);
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        assert!(query.is_answered_by(&reply, id));
        query.make_own(&mut reply);
        // And as if they were the answer of somebody else.
        if query.is_answered_by(bytes, id) {
            query.make_own(&mut bytes.to_vec());
        }
    }
}

/// What to begin with.
pub mod seeds {
    /// A question for `name`, of a type, with what comes behind it.
    fn question(name: &str, kind: u16, flags: u16, extra: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(!extra.is_empty())]);
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).expect("a short label"));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(extra);
        bytes
    }

    /// Addresses, pointers, others' names, EDNS; an answer; a compressed name.
    pub fn name_query() -> Vec<Vec<u8>> {
        const ASKED: u16 = 0x0100;
        let edns = [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0];
        let mut answer = question("web", 1, 0x8180, &[]);
        answer[7] = 1;
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
        let mut looping = question("", 1, ASKED, &[]);
        looping.splice(12..13, [0xc0, 0x0c]);
        vec![
            question("web", 1, ASKED, &[]),
            question("WEB.net", 28, ASKED, &edns),
            question("a", 255, ASKED, &[]),
            question("3.0.0.10.in-addr.arpa", 12, ASKED, &[]),
            question("example.test", 1, 0, &edns),
            question(&["a".repeat(63).as_str(); 3].join("."), 16, ASKED, &[]),
            answer,
            looping,
        ]
    }
}
