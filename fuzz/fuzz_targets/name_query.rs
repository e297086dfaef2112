//! What a container may send to the resolver, and what a name server may answer: each is read or
//! refused, and a reply is never longer than its asker can take.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use proto::names::{Container, Place};
use resolver::answer::{Manner, Outcome, answer};
use resolver::wire::{Code, Query, Record};
use resolver::zones::Zones;

fuzz_target!(|bytes: &[u8]| {
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
});
