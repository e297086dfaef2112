//! Copying memory.

use std::hint::black_box;
use std::time::Instant;

/// Copies a buffer of so many bytes so many times; the seconds it took. All pages are there before
/// the clock starts.
pub(super) fn copy(bytes: usize, times: usize) -> f64 {
    let mut from = vec![1_u8; bytes];
    let mut to = vec![2_u8; bytes];
    let began = Instant::now();
    for _ in 0..times {
        to.copy_from_slice(black_box(&from));
        // The next copy goes the other way, and is not that of an unchanged buffer.
        std::mem::swap(black_box(&mut to), black_box(&mut from));
    }
    began.elapsed().as_secs_f64()
}
