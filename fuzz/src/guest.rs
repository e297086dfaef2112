//! What a guest may send to its monitor.

use proto::guest::frame::{self, MAX_DATA, MAX_FROM_GUEST, MAX_NAME};
use proto::guest::{Channels, Decoder, Frame, FromGuest, INITIAL_CREDIT, Side, Way};

/// Every frame is read or refused, no channel takes more than it was given credit for, and messages
/// are read or refused.
///
/// # Panics
/// When that is not so.
pub fn guest_frame(bytes: &[u8]) {
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
}

/// Bytes to begin with.
pub mod seeds {
    use super::{Side, frame};
    use proto::guest::{FromGuest, Hello, VERSION};

    /// A greeting, data and credit, a question for a name, ends, and a kind that is none.
    #[must_use]
    pub fn guest_frame() -> Vec<Vec<u8>> {
        let mut hello = Vec::new();
        let greeting = FromGuest::Hello(Hello { version: VERSION });
        frame::message(&mut hello, Side::Guest, &greeting).expect("it is short");
        let mut data = Vec::new();
        frame::data(&mut data, 0, b"output");
        frame::credit(&mut data, 1, 6);
        frame::end(&mut data, 0);
        frame::stop(&mut data, 1);
        let mut name = Vec::new();
        frame::name(&mut name, 7, &[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]);
        vec![hello, data, name, vec![9, 0, 0, 0, 0, 0, 0, 0, 0]]
    }
}
