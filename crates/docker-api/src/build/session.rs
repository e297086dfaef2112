//! The session of a build: `POST /build/session?id=<name chosen by the client>`, upgraded
//! (`Connection: Upgrade`, `Upgrade: isopod-build-session`), open as long as the build.
//!
//! Both sides send frames: 4 bytes big-endian length of the payload, 1 byte [`Kind`], 4 bytes
//! big-endian conversation number, payload of at most [`MAX_PAYLOAD`] bytes. Only the daemon begins
//! conversations and chooses their numbers.
//!
//! ```text
//!  daemon                                          client
//!    │ Secret  n  "id"                                │
//!    │ ◄───────────── Data n bytes …, Close n         │   or  Refuse n "why"
//!    │ Ssh     n  "id" (`default`)                    │
//!    │ ◄───────────── Accept n                        │   or  Refuse n "why"
//!    │ Data n … ◄───► Data n …       Close n by both  │   the agent's protocol, untouched
//!    │ Output  n  JSON {"Index":0,"Type":"tar"}       │   Index: which of the `outputs`
//!    │ ◄───────────── Accept n                        │   or  Refuse n "why"
//!    │ Data n …, Close n                              │
//!    │ ◄───────────── Close n, once it is on disk     │   or  Refuse n "why"
//! ```
//!
//! `Close` ends one direction. `Refuse` ends a conversation at once, from either side.

/// The protocol's name in the `Upgrade` header.
pub const UPGRADE: &str = "isopod-build-session";

/// Bytes that one frame may carry.
pub const MAX_PAYLOAD: usize = 64 << 10;

/// Bytes that one secret may have, as in BuildKit.
pub const MAX_SECRET: usize = 500 << 10;

const HEAD: usize = 9;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Daemon: send the secret of this id.
    Secret,
    /// Daemon: connect the ssh agent of this id.
    Ssh,
    /// Daemon: here comes a result.
    Output,
    /// Client: go on.
    Accept,
    /// Either: no, or no more; the payload says why.
    Refuse,
    /// Either: bytes.
    Data,
    /// Either: no more bytes from here.
    Close,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Secret,
        Self::Ssh,
        Self::Output,
        Self::Accept,
        Self::Refuse,
        Self::Data,
        Self::Close,
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Secret => 1,
            Self::Ssh => 2,
            Self::Output => 3,
            Self::Accept => 4,
            Self::Refuse => 5,
            Self::Data => 6,
            Self::Close => 7,
        }
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Which conversation.
    pub number: u32,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The other side does not speak this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length beyond [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// A kind that there is not.
    #[error("a frame of the unknown kind {0}")]
    Unknown(u8),
}

impl Frame {
    /// A frame; its payload must have at most [`MAX_PAYLOAD`] bytes.
    pub fn new(kind: Kind, number: u32, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        debug_assert!(payload.len() <= MAX_PAYLOAD, "whoever has more sends several frames");
        Self { kind, number, payload }
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD + self.payload.len());
        bytes.extend(length.to_be_bytes());
        bytes.push(self.kind.byte());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// `Output`'s payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OutputHead {
    /// Which of the request's `outputs`.
    pub index: usize,
    /// Its type.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// Puts frames together from the bytes of a connection.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What is no frame; the connection is of no use any more.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let waiting = &self.bytes[self.start..];
        let Some((&[l0, l1, l2, l3, kind, n0, n1, n2, n3], rest)) =
            waiting.split_first_chunk::<HEAD>()
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let known = Kind::ALL.into_iter().find(|known| known.byte() == kind);
        let kind = known.ok_or(FrameError::Unknown(kind))?;
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let number = u32::from_be_bytes([n0, n1, n2, n3]);
        let frame = Frame { kind, number, payload: payload.to_vec() };
        self.start += HEAD + length;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_cut(payloads: Vec<Vec<u8>>, cut in 1usize..40) {
            let frames: Vec<Frame> = payloads
                .into_iter()
                .zip(Kind::ALL.into_iter().cycle())
                .zip(0..)
                .map(|((payload, kind), number)| Frame::new(kind, number, payload))
                .collect();
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.frame().expect("frames") {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn nonsense_is_an_error_or_a_wait(bytes: Vec<u8>) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.frame() {}
        }
    }
}
