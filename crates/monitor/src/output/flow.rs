//! What to do with a client that does not read: the decisions, without the sockets.
//!
//! ```text
//!            a send takes only a part
//!   Clear ────────────────────────────► Waiting      the process's output is not read, so a
//!     ▲                                   │  │       slow reader loses nothing
//!     │  all of it went                   │  │
//!     ├───────────────────────────────────┘  │ no progress for the time of patience
//!     │                                      ▼
//!     └─────────────────────────────────── Skipping   its backlog is dropped and counted, and
//!        the socket has room again                    so is everything until it reads again
//! ```

use std::time::{Duration, Instant};

/// How long the output of a container waits for one attached client to take anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How a client keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It has taken all it was sent.
    Clear,
    /// It has a backlog, and took something last at this moment.
    Waiting(Instant),
    /// It is not sent anything before its socket has room.
    Skipping,
}

impl Flow {
    /// Some bytes went and `left` are still to go.
    pub(crate) fn progressed(self, left: usize, now: Instant) -> Self {
        match (left, self) {
            (0, _) => Self::Clear,
            (_, Self::Skipping) => Self::Skipping,
            _ => Self::Waiting(now),
        }
    }

    /// When the patience with it will be over.
    pub(crate) fn deadline(self, patience: Option<Duration>) -> Option<Instant> {
        match (self, patience) {
            (Self::Waiting(since), Some(patience)) => Some(since + patience),
            _ => None,
        }
    }

    /// Whether its backlog is to be dropped now.
    pub(crate) fn expired(self, patience: Option<Duration>, now: Instant) -> bool {
        self.deadline(patience).is_some_and(|deadline| now >= deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_makes_any_progress_is_waited_for() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let patience = Some(PATIENCE);
        let mut flow = Flow::Clear.progressed(100, start);
        assert!(!flow.expired(patience, later(9)));
        flow = flow.progressed(50, later(9));
        assert!(!flow.expired(patience, later(18)), "the time starts again");
        assert!(flow.expired(patience, later(19)));
        assert_eq!(flow.progressed(0, later(18)), Flow::Clear);
    }

    #[test]
    fn one_that_is_skipped_comes_back_only_with_nothing_left() {
        let now = Instant::now();
        assert_eq!(Flow::Skipping.progressed(3, now), Flow::Skipping);
        assert_eq!(Flow::Skipping.progressed(0, now), Flow::Clear);
    }

    #[test]
    fn without_a_limit_nothing_expires() {
        let now = Instant::now();
        assert!(!Flow::Waiting(now).expired(None, now + Duration::from_secs(10_000)));
        assert_eq!(Flow::Waiting(now).deadline(None), None);
    }
}
