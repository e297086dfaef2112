//! How large the pieces of work are.

use std::fs;

/// Sizes of the pieces of work.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    /// Rounds of a computation.
    pub(super) rounds: u64,
    /// Bytes of the buffer that is copied.
    pub(super) copy: usize,
    /// How often it is.
    pub(super) copies: usize,
    /// Bytes of the large file.
    pub(super) file: u64,
    /// Small files.
    pub(super) files: u32,
    /// Bytes over the network, each way.
    pub(super) stream: u64,
    /// Round trips.
    pub(super) round_trips: u32,
    /// Idle containers that are looked at together.
    pub(super) crowd: usize,
    /// Bytes of the largest cache, where the kernel says it.
    pub(super) caches: Option<u64>,
}

/// A copy of twice this fits into the memory of a machine without limits.
const LARGEST_COPY: u64 = 160 << 20;

impl Sizes {
    /// Those of figures to rely on.
    pub(super) fn full() -> Self {
        let caches = caches();
        let copy = (caches.unwrap_or(0) * 2).clamp(64 << 20, LARGEST_COPY);
        Self {
            rounds: 25_000,
            copy: copy as usize,
            copies: 4,
            file: 128 << 20,
            files: 2_000,
            stream: 128 << 20,
            round_trips: 2_000,
            crowd: 4,
            caches,
        }
    }

    /// Those of a first look.
    pub(super) fn quick() -> Self {
        Self {
            rounds: 1_000,
            copy: 16 << 20,
            copies: 2,
            file: 8 << 20,
            files: 100,
            stream: 8 << 20,
            round_trips: 100,
            crowd: 2,
            caches: caches(),
        }
    }
}

/// The largest cache of the first processor.
fn caches() -> Option<u64> {
    let folder = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let text = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("size")).ok();
    folder.flatten().filter_map(text).filter_map(|size| bytes(&size)).max()
}

/// `32768K`, as the kernel writes it.
fn bytes(text: &str) -> Option<u64> {
    let number: u64 = text.trim().strip_suffix('K')?.parse().ok()?;
    Some(number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches_are_the_kernels() {
        assert_eq!(bytes("32768K\n"), Some(32 << 20));
        assert_eq!(bytes("x"), None);
    }

    #[test]
    fn a_quick_look_is_smaller_in_everything() {
        let (full, quick) = (Sizes::full(), Sizes::quick());
        assert!(quick.rounds < full.rounds && quick.copy < full.copy && quick.file < full.file);
        assert!(quick.files < full.files && quick.stream < full.stream);
        assert!(quick.crowd < full.crowd && quick.round_trips < full.round_trips);
        assert!(full.copy as u64 <= LARGEST_COPY);
    }
}
