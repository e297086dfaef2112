//! Frames: a message is its length (32 bits, little endian) and so many bytes of JSON.
//! File descriptors that belong to a message ride on its first byte (`SCM_RIGHTS`).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message that is accepted, in bytes: room for a command line and environment of
/// `ARG_MAX` (2 MiB) written as JSON, and then some.
pub const MAX_LEN: usize = 16 << 20;

/// Why a message could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than its receiver takes.
    #[error("a message of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Its bytes.
        length: usize,
        /// What is taken: [`MAX_LEN`], and of a guest less.
        limit: usize,
    },
    /// It is no JSON of the expected shape.
    #[error("a message cannot be read")]
    Json(#[from] serde_json::Error),
}

/// Writes one message with its length in front.
///
/// # Errors
/// When it is too long or does not serialise.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(prefix) if length <= MAX_LEN => {
            bytes[..4].copy_from_slice(&prefix.to_le_bytes());
            Ok(bytes)
        }
        _ => Err(FrameError::TooLong { length, limit: MAX_LEN }),
    }
}

/// Collects bytes from a stream and hands out whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole message's JSON out, if there is one.
    ///
    /// # Errors
    /// When the announced length is over the limit; the stream is of no use any more.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some(prefix) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > MAX_LEN {
            return Err(FrameError::TooLong { length, limit: MAX_LEN });
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(4 + length);
        let mut message = std::mem::replace(&mut self.bytes, rest);
        message.drain(..4);
        Ok(Some(message))
    }

    /// Takes the next whole message out, if there is one.
    ///
    /// # Errors
    /// When its length is over the limit or its JSON is not of type `T`.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        Ok(match self.take()? {
            Some(json) => Some(serde_json::from_slice(&json)?),
            None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let mut stream = encode(&"first").expect("encodes");
        stream.extend(encode(&vec![1, 2, 3]).expect("encodes"));
        for cut in 0..stream.len() {
            let mut decoder = Decoder::default();
            decoder.push(&stream[..cut]);
            let early: Option<String> = decoder.message().expect("no error");
            decoder.push(&stream[cut..]);
            let first = early.or_else(|| decoder.message().expect("no error"));
            assert_eq!(first.as_deref(), Some("first"));
            let second: Option<Vec<i32>> = decoder.message().expect("no error");
            assert_eq!(second, Some(vec![1, 2, 3]));
        }
    }

    #[test]
    fn an_endless_message_is_refused_at_its_head() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.take(), Err(FrameError::TooLong { .. })));
    }
}
