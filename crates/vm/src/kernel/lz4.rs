//! LZ4 as kernels are packed with it: the legacy frame (a magic number, then blocks of at most
//! 8 MiB, each behind its compressed length) that `lz4 -l` writes. (LZ4's own
//! `lz4_Frame_format.md` and `lz4_Block_format.md`.)

use std::io;

pub(super) const MAGIC: &[u8] = &[0x02, 0x21, 0x4c, 0x18];

/// What a block unpacks to at most.
const BLOCK: usize = 8 << 20;

/// Unpacks a frame, of no more than `max` bytes. What follows it (a kernel has its length there) is
/// passed over, for no block has fewer bytes than such a trailer claims.
pub(super) fn decompress(bytes: &[u8], max: usize) -> io::Result<Vec<u8>> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let mut out = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some(compressed) = after.get(..length) else { break };
        let before = out.len();
        block(compressed, &mut out, before + BLOCK).ok_or_else(damaged)?;
        if out.len() > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        rest = &after[length..];
        // Only the last one is shorter.
        if out.len() - before < BLOCK {
            break;
        }
    }
    if out.is_empty() { Err(damaged()) } else { Ok(out) }
}

/// Sequences of literals and of matches in what was unpacked before; the last has literals only.
fn block(mut input: &[u8], out: &mut Vec<u8>, end: usize) -> Option<()> {
    let start = out.len();
    loop {
        let (token, after) = input.split_first()?;
        input = after;
        let literals = length(usize::from(token >> 4), &mut input)?;
        out.extend_from_slice(input.get(..literals)?);
        input = &input[literals..];
        if out.len() > end {
            return None;
        }
        if input.is_empty() {
            return Some(());
        }
        let (offset, after) = input.split_first_chunk::<2>()?;
        input = after;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let count = length(usize::from(token & 15), &mut input)? + 4;
        let from = out.len().checked_sub(offset).filter(|from| offset > 0 && *from >= start)?;
        if out.len() + count > end {
            return None;
        }
        // It may reach into what it writes itself: then it repeats.
        let mut copied = 0;
        while copied < count {
            let piece = (count - copied).min(out.len() - from - copied);
            out.extend_from_within(from + copied..from + copied + piece);
            copied += piece;
        }
    }
}

/// 15 means that more bytes follow, until one that is not 255.
fn length(first: usize, input: &mut &[u8]) -> Option<usize> {
    let mut sum = first;
    if first == 15 {
        loop {
            let (byte, after) = input.split_first()?;
            *input = after;
            sum = sum.checked_add(usize::from(*byte))?;
            if *byte != 255 {
                break;
            }
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(blocks: &[&[u8]]) -> Vec<u8> {
        let mut frame = MAGIC.to_vec();
        for block in blocks {
            frame.extend_from_slice(&(block.len() as u32).to_le_bytes());
            frame.extend_from_slice(block);
        }
        frame
    }

    #[test]
    fn literals_and_matches_are_unpacked() {
        // "abc", then 7 bytes from 3 back, which repeats them; then "xyz".
        let block = [0x33, b'a', b'b', b'c', 3, 0, 0x30, b'x', b'y', b'z'];
        let mut packed = frame(&[&block]);
        // As a kernel has it: the length of all.
        packed.extend_from_slice(&13u32.to_le_bytes());
        assert_eq!(decompress(&packed, 100).expect("unpacked"), b"abcabcabcaxyz");
        // 15 + 255 + 2 literals.
        let mut long = vec![0xf0, 255, 2];
        long.extend_from_slice(&[7; 272]);
        assert_eq!(decompress(&frame(&[&long]), 1000).expect("unpacked"), [7; 272]);
        assert_eq!(
            decompress(&frame(&[&long]), 100).expect_err("too long").kind(),
            io::ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let before_the_begin = [0x13, b'a', 2, 0, 0x00];
        let no_offset = [0x13, b'a', 0, 0, 0x00];
        let cut = [0x50, b'a'];
        for block in [&before_the_begin[..], &no_offset, &cut, &[]] {
            assert!(decompress(&frame(&[block]), 100).is_err(), "{block:?}");
        }
        assert!(decompress(MAGIC, 100).is_err());
    }

    proptest::proptest! {
        #[test]
        fn anything_is_unpacked_or_refused(bytes in proptest::collection::vec(0u8..=255, 0..300)) {
            let unpacked = decompress(&frame(&[&bytes]), 1 << 20);
            proptest::prop_assert!(unpacked.is_err() || !bytes.is_empty());
        }
    }
}
