//! What a guest may send to its monitor: every frame is read or refused, no channel takes more than
//! it was given credit for, and messages are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::guest::frame::{self, MAX_DATA, MAX_FROM_GUEST, MAX_NAME};
use proto::guest::{Channels, Decoder, Frame, FromGuest, INITIAL_CREDIT, Side, Way};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new(Side::Guest);
    let mut channels = Channels::default();
    for number in 0..4 {
        channels.open(number, if number % 2 == 0 { Way::In } else { Way::Out });
    }
    let mut kept = [0usize; 4];
    for piece in bytes.chunks(37) {
        decoder.push(piece);
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            match frame {
                Frame::Message(json) => {
                    assert!((1..=MAX_FROM_GUEST).contains(&json.len()));
                    let _ = frame::read::<FromGuest>(&json);
                }
                Frame::Name { bytes, .. } => assert!((1..=MAX_NAME).contains(&bytes.len())),
                Frame::Data { channel, bytes } => {
                    assert!((1..=MAX_DATA).contains(&bytes.len()));
                    if channels.received(channel, bytes.len()).is_err() {
                        return;
                    }
                    let kept = &mut kept[channel as usize];
                    *kept += bytes.len();
                    assert!(*kept <= INITIAL_CREDIT as usize);
                    if *kept % 3 == 0 {
                        channels.passed_on(channel, *kept);
                        *kept = 0;
                    }
                }
                Frame::Credit { channel, amount } => {
                    if channels.credited(channel, amount).is_err() {
                        return;
                    }
                    assert!(channels.sendable(channel) <= INITIAL_CREDIT as usize);
                }
                Frame::End { channel } => {
                    if channels.ended(channel).is_err() {
                        return;
                    }
                }
                Frame::Stop { channel } => {
                    if channels.stopped(channel).is_err() {
                        return;
                    }
                }
            }
        }
    }
});
