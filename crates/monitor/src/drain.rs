//! How long to read on after a process has ended: a decision without the reading.
//!
//! Normally its output ends with it. But a pipe may be open in a process that lives on (started
//! by an exec, or outside of the container's process namespace), and a client may be slow.

use std::time::{Duration, Instant};

/// Nobody says anything for so long: that is all there was. Docker waits as long.
const SILENCE: Duration = Duration::from_secs(2);

/// Somebody who holds the pipe goes on talking: it is not the container's output any more.
const LIMIT: Duration = Duration::from_secs(60);

/// What there is to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// When the process ended.
    pub(crate) ended: Instant,
    /// When output was last read.
    pub(crate) active: Instant,
    /// The output has ended.
    pub(crate) drained: bool,
    /// A client holds up the output; its own limit of time is running.
    pub(crate) stalled: bool,
}

impl Drain {
    /// When to stop reading: `None`, now.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        if self.drained {
            return None;
        }
        let limit = self.ended + LIMIT;
        let end =
            if self.stalled { limit } else { limit.min(self.active.max(self.ended) + SILENCE) };
        (now < end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_with_the_output_or_with_silence_or_at_last() {
        let ended = Instant::now();
        let at = |seconds| ended + Duration::from_secs(seconds);
        let open = Drain { ended, active: ended, drained: false, stalled: false };
        assert_eq!(Drain { drained: true, ..open }.until(at(0)), None);
        assert_eq!(open.until(at(1)), Some(at(2)));
        assert_eq!(open.until(at(2)), None, "silence");
        assert_eq!(Drain { active: at(5), ..open }.until(at(6)), Some(at(7)));
        assert_eq!(Drain { active: at(59), ..open }.until(at(60)), None, "it goes on for ever");
        assert_eq!(Drain { stalled: true, ..open }.until(at(9)), Some(at(60)), "a slow client");
    }
}
