//! Docker's multiplexed frames: stream number, three zero bytes, length (32 bits, big endian),
//! and so many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The length of a frame's head.
pub const HEAD: usize = 8;

/// Which stream a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard input (never sent by a daemon).
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// The daemon's own words about a failure.
    System = 3,
    /// The exit status as four bytes in network order, last. Ours alone, for who asks for it.
    Status = 4,
}

/// Puts a frame's head before some bytes.
pub fn frame(channel: Channel, bytes: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD + bytes.len());
    framed.put_u32(u32::from(channel as u8) << 24);
    framed.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    framed.put_slice(bytes);
    framed.freeze()
}

/// Takes the frames off a stream again, for clients that want plain bytes.
#[derive(Debug, Default)]
pub struct Unframer {
    head: BytesMut,
    left: usize,
}

impl Unframer {
    /// Takes a piece of the stream and gives the payload in it.
    pub fn feed(&mut self, mut piece: &[u8], plain: &mut Vec<u8>) {
        while !piece.is_empty() {
            if self.left > 0 {
                let length = self.left.min(piece.len());
                plain.extend(&piece[..length]);
                piece.advance(length);
                self.left -= length;
                continue;
            }
            let length = (HEAD - self.head.len()).min(piece.len());
            self.head.put_slice(&piece[..length]);
            piece.advance(length);
            if self.head.len() == HEAD {
                self.head.advance(4);
                self.left = self.head.get_u32() as usize;
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_dockers() {
        assert_eq!(&frame(Channel::Stderr, b"hi")[..], b"\x02\0\0\0\0\0\0\x02hi");
    }

    proptest! {
        #[test]
        fn unframing_survives_any_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            step in 1usize..9,
        ) {
            let stream: Vec<u8> =
                payloads.iter().flat_map(|payload| frame(Channel::Stdout, payload)).collect();
            let (mut unframer, mut plain) = (Unframer::default(), Vec::new());
            for piece in stream.chunks(step) {
                unframer.feed(piece, &mut plain);
            }
            prop_assert_eq!(plain, payloads.concat());
        }
    }
}
