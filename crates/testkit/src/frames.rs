//! The multiplexed stream of attach, exec and logs: `[stream, 0, 0, 0, length × 4, payload]`.

use std::io::Read;

/// What came over each stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Streams {
    /// Frames of type 1.
    pub stdout: Vec<u8>,
    /// Frames of type 2.
    pub stderr: Vec<u8>,
}

/// The next frame: its stream's number and its payload; `None` at a clean end.
pub fn next(reader: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 8];
    let first = loop {
        match reader.read(&mut head) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other.expect("reading a frame's head"),
        }
    };
    if first == 0 {
        return None;
    }
    reader.read_exact(&mut head[first..]).expect("a frame's head is cut off");
    assert!(head[0] <= 3 && head[1..4] == [0, 0, 0], "not a frame's head: {head:?}");
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).expect("a frame is cut off");
    Some((head[0], payload))
}

/// All frames until the end.
#[must_use]
pub fn split(mut reader: impl Read) -> Streams {
    let mut streams = Streams::default();
    while let Some((stream, payload)) = next(&mut reader) {
        match stream {
            1 => streams.stdout.extend(payload),
            2 => streams.stderr.extend(payload),
            other => panic!("a frame of stream {other}"),
        }
    }
    streams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        let bytes =
            [&[1, 0, 0, 0, 0, 0, 0, 2], &b"ab"[..], &[2, 0, 0, 0, 0, 0, 0, 1], b"e"].concat();
        let streams = split(&bytes[..]);
        assert_eq!((streams.stdout, streams.stderr), (b"ab".to_vec(), b"e".to_vec()));
    }
}
