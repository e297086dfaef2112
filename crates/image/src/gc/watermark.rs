//! How full the disk may get before images are removed on their own.

use types::digest::Digest;
use types::time::Timestamp;

/// When to collect, in percent of the file system. Off unless set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Collecting begins when the file system is fuller than this.
    pub high_percent: u8,
    /// And ends when it is no fuller than this.
    pub low_percent: u8,
}

/// An image that could be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: Digest,
    /// When it was last of use to anybody, as far as is known.
    pub(super) last_used: Timestamp,
    /// No tag names it.
    pub(super) dangling: bool,
}

impl Watermarks {
    /// Bytes to free, given what the file system has and what of it is left.
    pub fn excess(&self, total: u64, available: u64) -> Option<u64> {
        let used = total.saturating_sub(available);
        let part = |percent: u8| (u128::from(total) * u128::from(percent.min(100)) / 100) as u64;
        let low = part(self.low_percent.min(self.high_percent));
        (used > part(self.high_percent)).then(|| used - low)
    }
}

/// In which order images go: those without a name first, then those used longest ago.
pub(super) fn order(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| {
        b.dangling.cmp(&a.dangling).then(a.last_used.cmp(&b.last_used)).then(a.id.cmp(&b.id))
    });
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collecting_begins_above_the_high_mark_and_aims_at_the_low_one() {
        let marks = Watermarks { high_percent: 85, low_percent: 80 };
        assert_eq!(marks.excess(1000, 500), None);
        assert_eq!(marks.excess(1000, 150), None, "exactly at the mark");
        assert_eq!(marks.excess(1000, 149), Some(51));
        assert_eq!(marks.excess(1000, 0), Some(200));
        assert_eq!(marks.excess(0, 0), None);
        let odd = Watermarks { high_percent: 10, low_percent: 90 };
        assert_eq!(odd.excess(1000, 800), Some(100), "the low mark is never above the high one");
        assert_eq!(marks.excess(u64::MAX, 1), Some(u64::MAX - 1 - (u64::MAX / 5 * 4)));
    }

    #[test]
    fn nameless_images_go_first_and_then_the_old_ones() {
        let candidate = |byte: u8, at: i64, dangling| Candidate {
            id: Digest::from_sha256([byte; 32]),
            last_used: Timestamp(at),
            dangling,
        };
        let given = vec![candidate(1, 10, false), candidate(2, 5, false), candidate(3, 20, true)];
        let ids: Vec<Digest> = order(given).into_iter().map(|found| found.id).collect();
        assert_eq!(ids, [3, 2, 1].map(|byte| Digest::from_sha256([byte; 32])));
    }
}
