//! The key sequence that detaches (`ctrl-p,ctrl-q`).

use bytes::{BufMut as _, Bytes, BytesMut};

/// What Docker uses unless told otherwise.
const DEFAULT: &[u8] = &[0x10, 0x11];

/// Reads a sequence such as `ctrl-a,x`; an empty text means the default.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    text.split(',')
        .map(|key| one(key).ok_or_else(|| format!("Unknown character: '{key}'")))
        .collect()
}

fn one(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ (b'a'..=b'z' | b'A'..=b'Z')] => Some(letter.to_ascii_lowercase() - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

/// Looks for the sequence in what is typed. What might be its beginning is held back until it
/// turns out not to be.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

/// What to do with a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Send this on.
    Pass(Bytes),
    /// Send this on, then detach.
    Detach(Bytes),
}

impl Watch {
    /// Watches for `keys`.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes a piece of input.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Typed {
        let mut out = BytesMut::with_capacity(input.len() + self.matched);
        for &byte in input {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Typed::Detach(out.freeze());
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.put_u8(byte);
            }
        }
        Typed::Pass(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read_as_docker_reads_them() {
        assert_eq!(parse(""), Ok(vec![0x10, 0x11]));
        assert_eq!(parse("ctrl-a,x,ctrl-]"), Ok(vec![1, b'x', 29]));
        assert_eq!(parse("ctrl-1"), Err("Unknown character: 'ctrl-1'".into()));
    }

    #[test]
    fn the_sequence_is_swallowed_and_its_beginning_held_back() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.feed(b"ab\x10"), Typed::Pass(Bytes::from_static(b"ab")));
        assert_eq!(watch.feed(b"c"), Typed::Pass(Bytes::from_static(b"\x10c")));
        assert_eq!(watch.feed(b"\x10\x10"), Typed::Pass(Bytes::from_static(b"\x10")));
        assert_eq!(watch.feed(b"\x11z"), Typed::Detach(Bytes::new()));
    }
}
