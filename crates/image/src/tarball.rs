//! Tar streams: reading them so that no byte is lost, and writing them.
//!
//! The reader is our own because a layer's digest is that of its exact bytes: headers, padding and
//! what follows the end marker must come back as they were, and the `tar` crate does not show them.
//! It follows Go's `archive/tar` where formats leave room, since that is what made most layers.

mod block;
mod entry;
mod pax;
mod reader;
mod sparse;
mod write;

pub(crate) use entry::{Entry, Kind};
pub(crate) use reader::{TarReader, looks_like_tar};
pub(crate) use sparse::Segment;
pub(crate) use write::{Header, TarWriter};

/// Everything in a tar comes in blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// How many bytes follow `len` bytes of content up to the next block.
pub(crate) fn padding(len: u64) -> usize {
    let rest = (len % BLOCK as u64) as usize;
    if rest == 0 { 0 } else { BLOCK - rest }
}

#[cfg(test)]
mod tests;
