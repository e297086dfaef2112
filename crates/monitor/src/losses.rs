//! Telling that output is lost while it happens: a service may not end for months.

use std::time::{Duration, Instant};

use proto::control::Notice;

use crate::monitor::Monitor;

/// How long after one account the next one follows, if there is more to tell.
const PACE: Duration = Duration::from_secs(10);

/// What has been told.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    told: u64,
    /// Not before.
    next: Option<Instant>,
}

impl Losses {
    /// Whether more has been lost by now than was told a while ago.
    fn is_due(&self, dropped: u64, now: Instant) -> bool {
        dropped > self.told && self.next.is_none_or(|next| now >= next)
    }

    /// When the next account is due, if one is.
    fn deadline(&self, dropped: u64) -> Option<Instant> {
        self.next.filter(|_| dropped > self.told)
    }
}

impl Monitor<'_> {
    /// When the next account of losses is due.
    pub(crate) fn losses_deadline(&self) -> Option<Instant> {
        self.losses.deadline(self.dropped_in_all())
    }

    /// Gives an account of losses if one is due.
    pub(crate) fn tell_losses(&mut self, now: Instant) {
        let bytes = self.dropped_in_all();
        if self.losses.is_due(bytes, now) {
            self.losses = Losses { told: bytes, next: Some(now + PACE) };
            self.tell(Notice::Dropped { bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_told_at_once_and_more_a_while_later() {
        let now = Instant::now();
        let mut losses = Losses::default();
        assert!(!losses.is_due(0, now));
        assert!(losses.is_due(1, now));
        losses = Losses { told: 1, next: Some(now + PACE) };
        assert_eq!(losses.deadline(1), None, "nothing more to tell");
        assert!(!losses.is_due(2, now));
        assert_eq!(losses.deadline(2), Some(now + PACE));
        assert!(losses.is_due(2, now + PACE));
    }
}
