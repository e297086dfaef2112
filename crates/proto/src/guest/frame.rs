//! Frames: one byte of kind, a number (32 bits), a length (32 bits), both little endian, and so many
//! bytes.
//!
//! | kind | number | bytes |
//! | --- | --- | --- |
//! | 1 message | 0 | JSON |
//! | 2 data | channel | at least one |
//! | 3 credit | channel | 4: how many bytes more may be sent |
//! | 4 end | channel | none: there will be no more data |
//! | 5 stop | channel | none: nobody reads any more; an end is to follow |
//! | 6 name | question | a message of DNS, as over UDP |

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Violation;
use crate::frame::FrameError;

/// Bytes of a frame before its contents.
pub const HEAD: usize = 9;

/// Bytes that one data frame carries at most.
pub const MAX_DATA: usize = 32 << 10;

/// The longest message of DNS (there are 16 bits for its length over TCP).
pub const MAX_NAME: usize = 65_535;

/// The longest message that a guest may send: a list of some thousand processes. Who sends is held to
/// it as well: see [`message`].
pub const MAX_FROM_GUEST: usize = 4 << 20;

const MESSAGE: u8 = 1;
const DATA: u8 = 2;
const CREDIT: u8 = 3;
const END: u8 = 4;
const STOP: u8 = 5;
const NAME: u8 = 6;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The monitor.
    Host,
    /// The agent, which is not trusted.
    Guest,
}

impl Side {
    /// Who is at the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Host => Self::Guest,
            Self::Guest => Self::Host,
        }
    }

    fn message_limit(self) -> usize {
        match self {
            Self::Host => crate::frame::MAX_LEN,
            Self::Guest => MAX_FROM_GUEST,
        }
    }

    fn limit(self, kind: u8) -> Result<usize, Violation> {
        match (kind, self) {
            (MESSAGE, side) => Ok(side.message_limit()),
            (DATA, _) => Ok(MAX_DATA),
            (CREDIT, _) => Ok(4),
            (END | STOP, _) => Ok(0),
            (NAME, _) => Ok(MAX_NAME),
            _ => Err(Violation::Kind(kind)),
        }
    }
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON.
    Message(Vec<u8>),
    /// A piece of a channel's data.
    Data {
        /// The channel.
        channel: u32,
        /// At least one byte.
        bytes: Vec<u8>,
    },
    /// So many bytes more may be sent.
    Credit {
        /// The channel.
        channel: u32,
        /// The bytes.
        amount: u32,
    },
    /// A channel's data have ended.
    End {
        /// The channel.
        channel: u32,
    },
    /// A channel's data are not wanted any more.
    Stop {
        /// The channel.
        channel: u32,
    },
    /// A question for a name, or the answer.
    Name {
        /// Chosen by the guest.
        question: u32,
        /// A message of DNS.
        bytes: Vec<u8>,
    },
}

/// Collects bytes and hands out whole frames. It holds no more than the longest frame that its side
/// may send, and takes no memory for what is only announced.
#[derive(Debug)]
pub struct Decoder {
    side: Side,
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Decoder {
    /// For what this side sends.
    pub fn new(side: Side) -> Self {
        Self { side, bytes: Vec::new(), start: 0 }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole frame out, if there is one.
    ///
    /// # Errors
    /// What no frame may be; the stream is of no use any more.
    #[allow(clippy::should_implement_trait, reason = "an iterator would not be fallible")]
    pub fn next(&mut self) -> Result<Option<Frame>, Violation> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [kind, a, b, c, d, e, f, g, h] = *head;
        let number = u32::from_le_bytes([a, b, c, d]);
        let length = u32::from_le_bytes([e, f, g, h]);
        let limit = self.side.limit(kind)?;
        let wanted = length as usize;
        if wanted > limit {
            // Within the limits of 32 bits by their definition.
            return Err(Violation::TooLong { length, limit: limit as u32 });
        }
        let exact = matches!(kind, CREDIT) && wanted != 4;
        if exact || (matches!(kind, DATA | NAME | MESSAGE) && wanted == 0) {
            return Err(Violation::Length { kind, length });
        }
        let Some(body) = rest.get(..wanted) else { return Ok(None) };
        let frame = match kind {
            MESSAGE => Frame::Message(body.to_vec()),
            DATA => Frame::Data { channel: number, bytes: body.to_vec() },
            CREDIT => {
                let amount = body.first_chunk::<4>().copied().unwrap_or_default();
                Frame::Credit { channel: number, amount: u32::from_le_bytes(amount) }
            }
            END => Frame::End { channel: number },
            STOP => Frame::Stop { channel: number },
            _ => Frame::Name { question: number, bytes: body.to_vec() },
        };
        self.start += HEAD + wanted;
        if self.start == self.bytes.len() {
            self.bytes = Vec::new();
            self.start = 0;
        }
        Ok(Some(frame))
    }
}

/// Reads a message.
///
/// # Errors
/// [`Violation::Message`].
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Violation> {
    serde_json::from_slice(json).map_err(|error| Violation::Message(error.to_string()))
}

fn head(into: &mut Vec<u8>, kind: u8, number: u32, length: usize) {
    into.push(kind);
    into.extend_from_slice(&number.to_le_bytes());
    // The limits of all kinds are far below 4 GiB, and callers keep to them.
    into.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// Appends a message of this side's.
///
/// # Errors
/// When it does not serialise or is longer than the other side takes from this one: there it would
/// be a violation, and the end of the connection.
pub fn message<T: Serialize>(
    into: &mut Vec<u8>,
    sender: Side,
    message: &T,
) -> Result<(), FrameError> {
    let json = serde_json::to_vec(message)?;
    let limit = sender.message_limit();
    if json.len() > limit {
        return Err(FrameError::TooLong { length: json.len(), limit });
    }
    head(into, MESSAGE, 0, json.len());
    into.extend_from_slice(&json);
    Ok(())
}

/// Appends data, in as many frames as they need.
pub fn data(into: &mut Vec<u8>, channel: u32, bytes: &[u8]) {
    for piece in bytes.chunks(MAX_DATA) {
        head(into, DATA, channel, piece.len());
        into.extend_from_slice(piece);
    }
}

/// Appends a grant of credit.
pub fn credit(into: &mut Vec<u8>, channel: u32, amount: u32) {
    head(into, CREDIT, channel, 4);
    into.extend_from_slice(&amount.to_le_bytes());
}

/// Appends the end of a channel's data.
pub fn end(into: &mut Vec<u8>, channel: u32) {
    head(into, END, channel, 0);
}

/// Appends that a channel's data are not wanted any more.
pub fn stop(into: &mut Vec<u8>, channel: u32) {
    head(into, STOP, channel, 0);
}

/// Appends a question for a name or an answer; one that is too long to be one is left out.
pub fn name(into: &mut Vec<u8>, question: u32, bytes: &[u8]) {
    if (1..=MAX_NAME).contains(&bytes.len()) {
        head(into, NAME, question, bytes.len());
        into.extend_from_slice(bytes);
    }
}
