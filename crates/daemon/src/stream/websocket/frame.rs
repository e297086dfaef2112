//! Websocket frames: out unmasked and whole, in masked and in any number of pieces.

/// Close status: the other side broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;

/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation = 0,
    /// Text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The end.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// Yes.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| *opcode as u8 == bits)
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A final, unmasked frame, as servers send them.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A close frame.
pub fn encode_close(status: u16) -> Vec<u8> {
    encode(Opcode::Close, &status.to_be_bytes())
}

/// Something that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Part of a message.
    Data(Vec<u8>),
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// To be ignored.
    Pong,
    /// To be answered with the same status.
    Close(Option<u16>),
}

/// The client broke the protocol; the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);

/// Takes a client's frames apart. Payloads of messages are handed out as they come, so that a
/// frame's length costs no memory.
#[derive(Debug, Default)]
pub struct Decoder {
    head: Vec<u8>,
    frame: Option<Current>,
    in_message: bool,
}

/// The frame whose payload is being read.
#[derive(Debug)]
struct Current {
    opcode: Opcode,
    mask: [u8; 4],
    at: usize,
    left: u64,
    control: Vec<u8>,
}

impl Decoder {
    /// Takes a piece of the stream.
    ///
    /// # Errors
    /// When the client broke the protocol.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<Vec<Input>, Violation> {
        let mut inputs = Vec::new();
        loop {
            if let Some(frame) = &mut self.frame {
                let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(piece.len());
                let (payload, rest) = piece.split_at(length);
                piece = rest;
                frame.left -= length as u64;
                let plain =
                    payload.iter().enumerate().map(|(i, b)| b ^ frame.mask[(frame.at + i) % 4]);
                if frame.opcode.is_control() {
                    frame.control.extend(plain);
                } else if length > 0 {
                    inputs.push(Input::Data(plain.collect()));
                }
                frame.at = (frame.at + length) % 4;
                if frame.left > 0 {
                    return Ok(inputs);
                }
                if let Some(frame) = self.frame.take()
                    && frame.opcode.is_control()
                {
                    inputs.push(control(frame.opcode, frame.control)?);
                }
            }
            while self.head.len() < head_length(&self.head) {
                let Some((first, rest)) = piece.split_first() else { return Ok(inputs) };
                self.head.push(*first);
                piece = rest;
            }
            let head = std::mem::take(&mut self.head);
            self.frame = Some(self.begin(&head)?);
        }
    }

    /// Looks at a whole head.
    fn begin(&mut self, head: &[u8]) -> Result<Current, Violation> {
        let (first, second) = (head[0], head[1]);
        let last = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(Violation("a reserved bit is set"));
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation("an unknown opcode"))?;
        if second & 0x80 == 0 {
            return Err(Violation("a client's frame is not masked"));
        }
        let (extended, mask) = head[2..].split_at(head.len() - 6);
        let left = match extended {
            [] => u64::from(second & 0x7f),
            bytes => bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if left >> 63 != 0 {
            return Err(Violation("a length with its highest bit set"));
        }
        if opcode.is_control() {
            if !last || left > MAX_CONTROL as u64 {
                return Err(Violation("a control frame is fragmented or too long"));
            }
        } else {
            if (opcode == Opcode::Continuation) != self.in_message {
                return Err(Violation("fragments out of order"));
            }
            self.in_message = !last;
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Current { opcode, mask, at: 0, left, control: Vec::new() })
    }
}

/// How long the head is that begins with these bytes, as far as they tell.
fn head_length(head: &[u8]) -> usize {
    let extended = match head.get(1).map(|second| second & 0x7f) {
        Some(126) => 2,
        Some(127) => 8,
        _ => 0,
    };
    // An unmasked frame is refused by its second byte: no need to wait for a mask, but the
    // head is read as if there were one, so that the refusal is in one place.
    2 + extended + 4
}

fn control(opcode: Opcode, payload: Vec<u8>) -> Result<Input, Violation> {
    Ok(match opcode {
        Opcode::Ping => Input::Ping(payload),
        Opcode::Close => match payload.as_slice() {
            [] => Input::Close(None),
            [_] => return Err(Violation("half a close status")),
            [high, low, ..] => Input::Close(Some(u16::from_be_bytes([*high, *low]))),
        },
        _ => Input::Pong,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as clients send them.
    pub(crate) fn client(last: bool, opcode: Opcode, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = encode(opcode, payload);
        let head = frame.len() - payload.len();
        if !last {
            frame[0] &= 0x7f;
        }
        frame[1] |= 0x80;
        frame.truncate(head);
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        frame
    }

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(encode(Opcode::Text, b"Hello"), b"\x81\x05Hello");
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&masked), Ok(vec![Input::Data(b"Hello".to_vec())]));
        assert_eq!(encode(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7e, 1, 0]);
        assert_eq!(encode(Opcode::Binary, &[0; 65536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let mut stream = client(false, Opcode::Text, [1, 2, 3, 4], b"Hel");
        stream.extend(client(true, Opcode::Ping, [9; 4], b"?"));
        stream.extend(client(true, Opcode::Continuation, [4, 3, 2, 1], b"lo"));
        stream.extend(client(true, Opcode::Close, [0; 4], &1001u16.to_be_bytes()));
        let inputs = Decoder::default().feed(&stream).expect("valid");
        assert_eq!(
            inputs,
            [
                Input::Data(b"Hel".to_vec()),
                Input::Ping(b"?".to_vec()),
                Input::Data(b"lo".to_vec()),
                Input::Close(Some(1001)),
            ]
        );
    }

    #[test]
    fn broken_frames_are_refused() {
        let unmasked = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o'];
        let long_ping = client(true, Opcode::Ping, [0; 4], &[0; 126]);
        let cut_ping = client(false, Opcode::Ping, [0; 4], b"");
        let orphan = client(true, Opcode::Continuation, [0; 4], b"x");
        let nested =
            [client(false, Opcode::Text, [0; 4], b"x"), client(true, Opcode::Text, [0; 4], b"y")]
                .concat();
        let mut reserved = client(true, Opcode::Text, [0; 4], b"x");
        reserved[0] |= 0x40;
        let mut unknown = client(true, Opcode::Text, [0; 4], b"x");
        unknown[0] = 0x83;
        let half_status = client(true, Opcode::Close, [0; 4], b"x");
        let huge = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        for stream in [
            &unmasked[..],
            &long_ping,
            &cut_ping,
            &orphan,
            &nested,
            &reserved,
            &unknown,
            &half_status,
            &huge,
        ] {
            assert!(Decoder::default().feed(stream).is_err(), "{stream:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_bytes(
            messages in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>()), 0..5),
            step in 1usize..40,
        ) {
            let stream: Vec<u8> = messages
                .iter()
                .flat_map(|(payload, mask)| client(true, Opcode::Binary, *mask, payload))
                .collect();
            let (mut decoder, mut bytes) = (Decoder::default(), Vec::new());
            for piece in stream.chunks(step) {
                for input in decoder.feed(piece).map_err(|v| TestCaseError::fail(v.0))? {
                    if let Input::Data(data) = input { bytes.extend(data) }
                }
            }
            let sent: Vec<u8> = messages.into_iter().flat_map(|(payload, _)| payload).collect();
            prop_assert_eq!(bytes, sent);
        }

        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            for piece in garbage.chunks(7) {
                if decoder.feed(piece).is_err() { break }
            }
        }
    }
}
