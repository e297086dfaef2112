//! The multiplexed stream of attach, exec and logs without a terminal: frames of eight bytes of
//! header (stream, three zeros, length as big endian) and a payload.

use bytes::{Buf as _, Bytes, BytesMut};

/// Which stream a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Echoed standard input (nobody sends it).
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// An error of the daemon, as text.
    System,
    /// An exit status, four bytes in network order: Isopod's own, for who asked for it.
    Status,
}

/// A piece of one stream. Frames are handed on as they arrive, not gathered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose.
    pub stream: Stream,
    /// What.
    pub data: Bytes,
}

/// A frame names a stream that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized input header: {0}")]
pub struct UnknownStream(pub u8);

/// Takes frames apart, however the bytes arrive.
#[derive(Debug, Default)]
pub struct Demux {
    buffer: BytesMut,
    current: Option<(Stream, usize)>,
}

impl Demux {
    /// Takes more bytes of the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, or `None` until more bytes come.
    ///
    /// # Errors
    /// A stream that does not exist: the bytes are no multiplexed stream.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, UnknownStream> {
        loop {
            if let Some((stream, left)) = self.current {
                if left == 0 {
                    self.current = None;
                    continue;
                }
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let data = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                self.current = Some((stream, left - data.len()));
                return Ok(Some(Chunk { stream, data }));
            }
            if self.buffer.len() < 8 {
                return Ok(None);
            }
            let stream = match self.buffer[0] {
                0 => Stream::Stdin,
                1 => Stream::Stdout,
                2 => Stream::Stderr,
                3 => Stream::System,
                4 => Stream::Status,
                other => return Err(UnknownStream(other)),
            };
            self.buffer.advance(4);
            let length = self.buffer.get_u32();
            self.current = Some((stream, usize::try_from(length).unwrap_or(usize::MAX)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(stream: u8, data: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(data.len()).expect("short").to_be_bytes());
        frame.extend(data);
        frame
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_streams(
            frames in prop::collection::vec((1u8..=2, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..20,
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(s, d)| frame(*s, d)).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demux = Demux::default();
            for piece in bytes.chunks(cut) {
                demux.push(piece);
                while let Some(chunk) = demux.next_chunk().expect("known streams") {
                    if chunk.stream == Stream::Stdout { &mut out } else { &mut err }
                        .extend_from_slice(&chunk.data);
                }
            }
            let want = |n: u8| -> Vec<u8> {
                frames.iter().filter(|(s, _)| *s == n).flat_map(|(_, d)| d.clone()).collect()
            };
            prop_assert_eq!(out, want(1));
            prop_assert_eq!(err, want(2));
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut demux = Demux::default();
            demux.push(&bytes);
            while let Ok(Some(_)) = demux.next_chunk() {}
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let mut demux = Demux::default();
        demux.push(b"HTTP/1.1 200 OK");
        assert_eq!(demux.next_chunk(), Err(UnknownStream(b'H')));
    }
}
