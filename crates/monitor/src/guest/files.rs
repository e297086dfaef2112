//! Work on files that a machine has been asked for.

use std::time::Duration;

use relay::{Link, Progress};

/// A machine that is there for nothing else is looked at after such a time, and again: one that has had
/// something to do for all of it, and with which nothing has moved, hangs. Long, for a guest that compares
/// all of its files says nothing before it is done; who cannot wait removes the container by force.
pub(super) const STUCK: Duration = Duration::from_secs(600);

/// What is known of the work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// The channel of its data, if it has any.
    pub(super) channel: Option<u32>,
    /// How it got on when it was looked at last.
    last: Progress,
}

impl Work {
    pub(super) fn new(channel: Option<u32>) -> Self {
        Self { channel, last: Progress { moved: 0, theirs: true } }
    }

    /// Whether it goes on; whoever is at our end may take any time.
    pub(super) fn goes_on(&mut self, link: &Link) -> bool {
        self.is_better(self.channel.map_or(self.last, |channel| link.progress(channel)))
    }

    fn is_better(&mut self, now: Progress) -> bool {
        let last = std::mem::replace(&mut self.last, now);
        now.moved != last.moved || !now.theirs || !last.theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_hangs_when_it_is_the_machines_turn_and_nothing_moves() {
        let progress = |moved, theirs| Progress { moved, theirs };
        let mut stat = Work::new(None);
        assert!(!stat.is_better(stat.last), "no answer at all");

        let mut copy = Work::new(Some(1));
        assert!(copy.is_better(progress(5, true)), "data came");
        assert!(copy.is_better(progress(5, false)), "a client does not take them");
        assert!(copy.is_better(progress(5, false)), "it may take its time");
        assert!(copy.is_better(progress(5, true)), "until a moment ago");
        assert!(!copy.is_better(progress(5, true)));
        assert!(copy.is_better(progress(0, true)), "the end of the data");
        assert!(!copy.is_better(progress(0, true)), "and no answer");
    }
}
