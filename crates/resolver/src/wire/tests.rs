use super::*;
use proptest::prelude::*;

/// A query as clients send it.
pub(crate) fn query_bytes(name: &str, kind: Kind, size: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())];
    bytes.extend(labels(name));
    bytes.extend(kind.0.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(size) = size {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 6]);
    }
    bytes
}

fn count(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[6], reply[7]])
}

#[test]
fn a_query_is_read() {
    let bytes = query_bytes("Web.Shop", Kind::AAAA, None);
    let query = Query::read(&bytes).expect("a query");
    assert_eq!(query.name.as_deref(), Some("web.shop"));
    assert_eq!((query.kind, query.internet, query.room()), (Kind::AAAA, true, 512));
    for (size, room) in [(0, 512), (512, 512), (1232, 1232), (65535, 65535)] {
        let bytes = query_bytes("a", Kind::A, Some(size));
        assert_eq!(Query::read(&bytes).expect("a query").room(), room);
    }
    let root = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    assert_eq!(Query::read(&root).expect("a query").name.as_deref(), Some(""));
}

#[test]
fn what_is_no_query_is_refused_or_ignored() {
    let good = query_bytes("a", Kind::A, None);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Query::read(&bytes).map(drop)
    };
    let format = Err(Unreadable::Refused(Code::FORMAT));
    assert_eq!(changed(2, 0x81), Err(Unreadable::Nonsense), "an answer");
    assert_eq!(changed(2, 0x29), Err(Unreadable::Refused(Code::NOT_IMPLEMENTED)), "an update");
    assert_eq!(changed(5, 0), format, "no question");
    assert_eq!(changed(5, 2), format, "two questions");
    assert_eq!(changed(12, 0xc0), format, "a pointer");
    assert_eq!(changed(12, 0x40), format, "a label of the past");
    assert_eq!(Query::read(&good[..11]).map(drop), Err(Unreadable::Nonsense));
    assert_eq!(Query::read(&good[..good.len() - 1]).map(drop), format);
    let mut long = good.clone();
    long.resize(MAX_QUERY + 1, 0);
    assert_eq!(Query::read(&long).map(drop), format);
    let name = [&[63_u8; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat();
    let bytes = [&good[..12], &name, &[0, 1, 0, 1]].concat();
    assert_eq!(Query::read(&bytes).map(drop), format, "a name of 257 bytes");
    let bytes = [&good[..12], &[3, b'a', b'.', b'b', 0, 0, 1, 0, 1]].concat();
    assert_eq!(Query::read(&bytes).expect("a query").name, None, "a dot within a label");
}

#[test]
fn a_reply_says_what_was_asked_and_answers() {
    let bytes = query_bytes("Web", Kind::A, Some(1232));
    let query = Query::read(&bytes).expect("a query");
    let address = Record::Address(IpAddr::from([10, 0, 0, 2]));
    let reply = query.reply(Code::FINE, &[address], query.room());
    let expected = [
        &[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1][..],
        b"\x03Web\0\0\x01\0\x01",
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 2],
        &[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(reply, expected.concat());
    let pointer = query.reply(Code::FINE, &[Record::Pointer("web.net")], 512);
    assert!(pointer.windows(9).any(|part| part == b"\x03web\x03net\0"));
    assert_eq!(code_of(&query.bad_version()), Code(0));
    let end = query.bad_version();
    assert_eq!(end[end.len() - 6], 1, "the upper bits of BADVERS");
    let refused = refusal(&bytes, Code::FORMAT);
    assert_eq!(refused, [0x12, 0x34, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_does_not_fit_is_left_out_and_said_to_be() {
    let many: Vec<_> =
        (0..200).map(|last| Record::Address(IpAddr::from([10, 0, 0, last]))).collect();
    for (size, fits) in [(None, 30), (Some(512), 29), (Some(1232), 74), (Some(4096), 200)] {
        let bytes = query_bytes("many", Kind::A, size);
        let query = Query::read(&bytes).expect("a query");
        let reply = query.reply(Code::FINE, &many, query.room());
        assert!(reply.len() <= query.room());
        assert_eq!(count(&reply), fits, "{size:?}");
        assert_eq!(reply[2] & TRUNCATED != 0, fits < 200);
    }
}

#[test]
fn an_answer_is_known_by_id_and_question() {
    let bytes = query_bytes("world.example", Kind::A, None);
    let query = Query::read(&bytes).expect("a query");
    let mut answer = query.reply(Code::FINE, &[], 512);
    answer[..2].copy_from_slice(&[9, 9]);
    answer[13..18].make_ascii_uppercase();
    assert!(query.is_answered_by(&answer, 0x0909));
    assert!(!query.is_answered_by(&answer, 0x0908));
    assert!(!query.is_answered_by(&answer[..20], 0x0909));
    let mut other = answer.clone();
    other[14] = b'x';
    assert!(!query.is_answered_by(&other, 0x0909));
    let mut question = answer.clone();
    question[2] &= 0x7f;
    assert!(!query.is_answered_by(&question, 0x0909), "a query is no answer");
    query.make_own(&mut answer);
    assert_eq!((&answer[..2], &answer[13..18]), (&[0x12, 0x34][..], &b"world"[..]));
}

proptest! {
    /// Whatever comes, it is read or not, and what is said back is short enough and parses.
    #[test]
    fn no_bytes_do_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        header in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if header && bytes.len() > 12 {
            bytes[2] = 1;
            bytes[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
        }
        if let Ok(query) = Query::read(&bytes) {
            let addresses = [Record::Address(IpAddr::from([1, 2, 3, 4])); 50];
            let mut reply = query.reply(Code::FINE, &addresses, query.room());
            prop_assert!(reply.len() <= query.room());
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            prop_assert!(query.is_answered_by(&reply, id));
            query.make_own(&mut reply);
            prop_assert_eq!(Query::read(&reply).map(drop), Err(Unreadable::Nonsense));
        }
    }

    /// A name that is asked for comes out as it went in.
    #[test]
    fn names_survive(name in "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,20}){0,4}") {
        let bytes = query_bytes(&name, Kind::A, Some(4096));
        let query = Query::read(&bytes).expect("a query");
        prop_assert!(is_writable(&name));
        prop_assert_eq!(query.name, Some(name));
    }
}
