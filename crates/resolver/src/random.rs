//! Numbers that nobody can foresee: ids of queries, without which a stranger could forge answers.

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes from the kernel, some at a time.
#[derive(Debug)]
pub(crate) struct Random {
    bytes: [u8; 256],
    used: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { bytes: [0; 256], used: 256 }
    }
}

impl Random {
    pub(crate) fn next(&mut self) -> u16 {
        if self.used + 2 > self.bytes.len() {
            // Up to 256 bytes are given whole once the kernel has gathered enough (getrandom(2)),
            // which it had before this process began. EINTR does not come for so few.
            let _ = getrandom(&mut self.bytes, GetRandomFlags::empty());
            self.used = 0;
        }
        self.used += 2;
        u16::from_ne_bytes([self.bytes[self.used - 2], self.bytes[self.used - 1]])
    }
}
