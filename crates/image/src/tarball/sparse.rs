//! Maps of files with holes.

use super::block::number;
use crate::error::{Error, Result};

/// A run of content within a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where in the file.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) len: u64,
}

/// More runs than any real file has; each costs 16 bytes of memory here.
pub(super) const MAX_SEGMENTS: usize = 1 << 20;

fn bad() -> Error {
    Error::BadTar("a malformed map of a sparse file".into())
}

/// Reads 24-byte slots of a GNU header up to the first empty one.
pub(super) fn gnu_slots(slots: &[u8], into: &mut Vec<Segment>) -> Result<()> {
    for slot in slots.chunks_exact(24) {
        if slot[0] == 0 {
            break;
        }
        let field = |range: std::ops::Range<usize>| {
            number(&slot[range]).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)
        };
        into.push(Segment { offset: field(0..12)?, len: field(12..24)? });
        if into.len() > MAX_SEGMENTS {
            return Err(bad());
        }
    }
    Ok(())
}

/// Pairs of numbers.
pub(super) fn pairs(numbers: &[u64]) -> Result<Vec<Segment>> {
    if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MAX_SEGMENTS {
        return Err(bad());
    }
    Ok(numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], len: pair[1] }).collect())
}

/// Checks that the runs lie one after the other within the file and make up the payload.
pub(super) fn check(segments: &[Segment], size: u64, payload: u64) -> Result<()> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in segments {
        let next = segment.offset.checked_add(segment.len).ok_or_else(bad)?;
        if segment.offset < end || next > size {
            return Err(bad());
        }
        end = next;
        sum += segment.len;
    }
    if sum == payload { Ok(()) } else { Err(bad()) }
}
