use proptest::prelude::*;

use super::frame::{self, HEAD, MAX_DATA, MAX_FROM_GUEST};
use super::*;

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    let hello = FromGuest::Hello(Hello { version: VERSION });
    frame::message(&mut bytes, Side::Guest, &hello).expect("encodes");
    bytes
}

/// All frames of these bytes, and what is wrong with them.
fn all(side: Side, bytes: &[u8]) -> (Vec<Frame>, Option<Violation>) {
    let mut decoder = Decoder::new(side);
    decoder.push(bytes);
    let mut frames = Vec::new();
    loop {
        match decoder.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(violation) => return (frames, Some(violation)),
        }
    }
}

fn raw(kind: u8, number: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

#[test]
fn a_hello_is_whole_with_its_last_byte() {
    let bytes = hello();
    for cut in 0..bytes.len() {
        assert!(!whole_hello(&bytes[..cut]), "{cut}");
    }
    assert!(whole_hello(&bytes));
    assert!(whole_hello(&[0xff; HEAD]), "what is no hello is not waited for");
}

#[test]
fn every_kind_of_frame_comes_as_it_went() {
    let mut bytes = hello();
    frame::data(&mut bytes, 7, &vec![1; MAX_DATA + 1]);
    frame::data(&mut bytes, 7, &[]);
    frame::credit(&mut bytes, 8, 99);
    frame::end(&mut bytes, 7);
    frame::stop(&mut bytes, 9);
    frame::name(&mut bytes, 3, b"question");
    frame::name(&mut bytes, 3, b"");
    let (frames, wrong) = all(Side::Guest, &bytes);
    assert_eq!(wrong, None);
    assert!(matches!(&frames[0], Frame::Message(json) if json.starts_with(b"{")));
    assert_eq!(frames[1], Frame::Data { channel: 7, bytes: vec![1; MAX_DATA] });
    let rest = [
        Frame::Data { channel: 7, bytes: vec![1] },
        Frame::Credit { channel: 8, amount: 99 },
        Frame::End { channel: 7 },
        Frame::Stop { channel: 9 },
        Frame::Name { question: 3, bytes: b"question".to_vec() },
    ];
    assert_eq!(frames[2..], rest);
}

#[test]
fn frames_that_nobody_may_send_are_refused_at_their_head() {
    let long = u32::try_from(MAX_FROM_GUEST + 1).expect("fits");
    let cases = [
        (raw(0, 0, 0), Violation::Kind(0)),
        (raw(7, 0, 0), Violation::Kind(7)),
        (raw(1, 0, long), Violation::TooLong { length: long, limit: long - 1 }),
        (raw(2, 0, u32::MAX), Violation::TooLong { length: u32::MAX, limit: 32 << 10 }),
        (raw(2, 0, 0), Violation::Length { kind: 2, length: 0 }),
        (raw(3, 0, 3), Violation::Length { kind: 3, length: 3 }),
        (raw(4, 0, 1), Violation::TooLong { length: 1, limit: 0 }),
        (raw(6, 0, 65_536), Violation::TooLong { length: 65_536, limit: 65_535 }),
    ];
    for (bytes, expected) in cases {
        assert_eq!(all(Side::Guest, &bytes), (Vec::new(), Some(expected)));
    }
    let (frames, wrong) = all(Side::Host, &raw(1, 0, long));
    assert_eq!((frames.len(), wrong), (0, None), "the host may send more");
}

#[test]
fn a_message_is_no_longer_than_the_other_side_takes_it() {
    for side in [Side::Guest, Side::Host] {
        let mut bytes = Vec::new();
        let fits = "x".repeat(MAX_FROM_GUEST - 2);
        frame::message(&mut bytes, side, &fits).expect("with its two quotes, as long as may be");
        assert_eq!(all(side, &bytes).1, None);
        bytes.clear();
        let sent = frame::message(&mut bytes, side, &(fits + "x"));
        assert_eq!((sent.is_err(), bytes.is_empty()), (side == Side::Guest, side == Side::Guest));
    }
}

#[test]
fn data_need_credit_and_a_channel_that_goes_that_way() {
    let mut channels = Channels::default();
    channels.open(1, Way::In);
    channels.open(2, Way::Out);
    assert_eq!(channels.received(3, 1), Err(Violation::Channel(3)));
    assert_eq!(channels.received(2, 1), Err(Violation::Channel(2)));
    assert_eq!(channels.ended(2), Err(Violation::Channel(2)));
    let all = INITIAL_CREDIT as usize;
    assert_eq!(channels.received(1, all), Ok(true));
    let over = Violation::Credit { channel: 1, length: 1, credit: 0 };
    assert_eq!(channels.received(1, 1), Err(over));
    assert_eq!(channels.passed_on(1, 1), None, "a little is not worth a frame");
    assert_eq!(channels.passed_on(1, all - 1), Some(INITIAL_CREDIT));
    assert_eq!(channels.received(1, all), Ok(true));
    assert_eq!(channels.ended(1), Ok(()));
    assert_eq!(channels.received(1, 1), Err(Violation::Channel(1)), "it has ended");
}

#[test]
fn a_sender_keeps_to_its_credit_and_gets_no_more_than_all_of_it() {
    let mut channels = Channels::default();
    channels.open(2, Way::Out);
    channels.sent(2, channels.sendable(2));
    assert_eq!(channels.sendable(2), 0);
    assert_eq!(channels.credited(2, 10), Ok(()));
    assert_eq!(channels.sendable(2), 10);
    assert_eq!(channels.credited(2, INITIAL_CREDIT), Err(Violation::Excess(2)));
    assert_eq!(channels.credited(2, u32::MAX), Err(Violation::Excess(2)));
    assert_eq!(channels.stopped(2), Ok(true));
    assert_eq!(channels.stopped(2), Ok(false));
    assert_eq!(channels.sendable(2), 0, "nobody reads");
    assert!(channels.finish(2));
    assert!(!channels.finish(2));
    assert_eq!(channels.credited(2, 1), Ok(()), "on its way when the end went");
    assert_eq!(channels.stopped(2), Ok(false));
}

#[test]
fn what_nobody_wants_is_still_counted() {
    let mut channels = Channels::default();
    channels.open(1, Way::In);
    assert!(channels.stop(1));
    assert!(!channels.stop(1));
    assert_eq!(channels.received(1, INITIAL_CREDIT as usize), Ok(false));
    assert_eq!(channels.passed_on(1, INITIAL_CREDIT as usize), None, "no credit after a stop");
    assert!(channels.received(1, 1).is_err());
    assert_eq!(channels.ended(1), Ok(()));
}

#[test]
fn hexadecimal_digits_are_bytes() {
    assert_eq!(to_hex(&[0, 0xab, 0xff]), "00abff");
    assert_eq!(from_hex("00aBff"), Some(vec![0, 0xab, 0xff]));
    assert_eq!((from_hex("0"), from_hex("0g"), from_hex("é")), (None, None, None));
}

proptest! {
    /// Whatever comes, however it is cut, the same is read, and nothing panics.
    #[test]
    fn any_bytes_cut_anywhere_are_read_alike(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        kinds in proptest::collection::vec(0u8..8, 0..12),
        cut in 0usize..400,
    ) {
        let mut stream = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            let piece = bytes.get(at * 20..at * 20 + 20).unwrap_or_default();
            stream.extend(raw(*kind, at as u32, piece.len() as u32));
            stream.extend_from_slice(piece);
        }
        stream.extend_from_slice(&bytes);
        let (expected, wrong) = all(Side::Guest, &stream);
        let mut decoder = Decoder::new(Side::Guest);
        let (mut frames, mut found) = (Vec::new(), None);
        let cut = cut.min(stream.len());
        for piece in [&stream[..cut], &stream[cut..]] {
            decoder.push(piece);
            while found.is_none() {
                match decoder.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(violation) => found = Some(violation),
                }
            }
        }
        prop_assert_eq!((frames, found), (expected, wrong));
    }

    /// However the two sides act, no more is on its way than the credit that was given.
    #[test]
    fn a_receiver_is_never_sent_more_than_it_can_keep(steps in proptest::collection::vec((any::<bool>(), 1usize..100_000), 0..200)) {
        let (mut sender, mut receiver) = (Channels::default(), Channels::default());
        sender.open(1, Way::Out);
        receiver.open(1, Way::In);
        let mut kept = 0usize;
        for (send, amount) in steps {
            if send {
                let amount = amount.min(sender.sendable(1));
                sender.sent(1, amount);
                prop_assert_eq!(receiver.received(1, amount), Ok(true));
                kept += amount;
            } else {
                let amount = amount.min(kept);
                kept -= amount;
                if let Some(credit) = receiver.passed_on(1, amount) {
                    prop_assert_eq!(sender.credited(1, credit), Ok(()));
                }
            }
            prop_assert!(kept <= INITIAL_CREDIT as usize);
        }
    }
}
