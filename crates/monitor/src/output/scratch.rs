//! The one buffer that everything is read into.

/// How much is read at once: what a pipe holds.
const SIZE: usize = 64 << 10;

/// A buffer that takes memory only while there is something to read.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    buffer: Vec<u8>,
}

impl Scratch {
    /// The buffer, empty and with room for 64 KiB.
    pub(crate) fn empty(&mut self) -> &mut Vec<u8> {
        self.buffer.clear();
        self.buffer.reserve_exact(SIZE);
        &mut self.buffer
    }

    /// Gives the memory back.
    pub(crate) fn release(&mut self) {
        self.buffer = Vec::new();
    }

    /// Whether there is any to give back.
    pub(crate) fn is_held(&self) -> bool {
        self.buffer.capacity() > 0
    }
}
