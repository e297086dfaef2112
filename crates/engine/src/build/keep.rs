//! What a prune of the build cache leaves.

use std::collections::BTreeSet;
use std::path::Path;

use ::build::cache::Record as CacheRecord;

/// How much of the build cache a prune leaves, in bytes; 0 says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheKeep {
    /// So much always stays.
    pub reserved: u64,
    /// No more than that stays.
    pub most: u64,
    /// So much of the disk is to be free.
    pub free: u64,
}

impl CacheKeep {
    /// How many bytes of `total` stay when `free` of the disk are free; 0: none.
    pub(super) fn bytes(self, total: u64, free: u64) -> u64 {
        if self == Self::default() {
            return 0;
        }
        let most = if self.most == 0 { total } else { self.most };
        let enough = total.saturating_sub(self.free.saturating_sub(free));
        let limited = self.most > 0 || self.free > 0;
        let keep = if limited { most.min(enough) } else { 0 };
        keep.max(self.reserved)
    }
}

/// Bytes of a file system that are free.
pub(super) fn free_space(path: &Path) -> u64 {
    // What cannot be measured counts as enough: nothing is removed for it.
    rustix::fs::statvfs(path).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The records that a prune to so many bytes leaves: those that were used last.
pub(super) fn kept(mut records: Vec<CacheRecord>, keep: u64) -> BTreeSet<String> {
    records.sort_by_key(|record| std::cmp::Reverse(record.last_used));
    let mut sum = 0;
    let fits = records.into_iter().take_while(|record| {
        sum += record.size;
        sum <= keep
    });
    if keep == 0 { BTreeSet::new() } else { fits.map(|record| record.id).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_bounded_from_both_sides() {
        let bytes =
            |reserved, most, free, left| CacheKeep { reserved, most, free }.bytes(100, left);
        assert_eq!(bytes(0, 0, 0, 50), 0, "nothing was said: everything goes");
        assert_eq!(bytes(40, 0, 0, 50), 40);
        assert_eq!(bytes(0, 60, 0, 50), 60);
        assert_eq!(bytes(80, 60, 0, 50), 80, "what is reserved stays");
        assert_eq!(bytes(0, 0, 40, 50), 100, "enough is free");
        assert_eq!(bytes(0, 0, 70, 50), 80);
        assert_eq!(bytes(0, 70, 70, 50), 70);
        assert_eq!(bytes(90, 0, 500, 50), 90);
    }
}
