//! How often a guest is believed that its kernel has killed for want of memory: each time is an event
//! for everybody who listens to the daemon, and a guest can say it without end.

use std::time::{Duration, Instant};

/// What is said again within this time is the same to those who are told.
const PACE: Duration = Duration::from_secs(1);

/// What has been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    told: Option<Instant>,
}

impl Kills {
    /// Whether one that is heard of now is to be told; then it has been.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.told.is_none_or(|told| now >= told + PACE);
        if due {
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_told_once_in_a_while_however_many_there_are() {
        let now = Instant::now();
        let mut kills = Kills::default();
        let heard = (0..3000).map(|at| now + Duration::from_millis(at));
        assert_eq!(heard.filter(|at| kills.is_due(*at)).count(), 3);
    }
}
