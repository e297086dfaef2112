//! How often, and after which waits, something is tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::settings::Settings;

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a registry may ask for. Who asks for more (rate limits reset after
/// hours) is told to the user instead.
const OBEYED: Duration = Duration::from_secs(60);

/// Counts failures.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    failures: u32,
    attempts: u32,
    first_delay: Duration,
    stubborn: bool,
}

impl Patience {
    /// For something that has not been tried yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            failures: 0,
            attempts: settings.attempts.max(1),
            first_delay: settings.first_delay,
            stubborn: false,
        }
    }

    /// From now on also failures count as passing that mean, at a first attempt, that there is
    /// no registry: it was there before.
    pub(crate) fn stubborn(mut self) -> Self {
        self.stubborn = true;
        self
    }

    /// Forgets failures, after success.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// The failure itself when another attempt is of no use.
    pub(crate) async fn again(&mut self, failure: Error) -> Result<()> {
        let random = RandomState::new().build_hasher().finish();
        match self.decide(&failure, random) {
            None => Err(failure),
            Some(wait) => {
                tracing::debug!("trying again in {wait:?}: {failure}");
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }

    /// The wait after one more failure; `None` is the end.
    fn decide(&mut self, failure: &Error, random: u64) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.attempts || !self.is_passing(failure) {
            return None;
        }
        let doubled = self.first_delay.saturating_mul(1 << (self.failures - 1).min(16));
        // Between a half and the whole, so that many who failed together come back apart.
        let part = 500 + u32::try_from(random % 501).unwrap_or(0);
        let wait = doubled.min(LONGEST) * part / 1000;
        match failure.refusal().and_then(|refusal| refusal.retry_after) {
            None => Some(wait),
            Some(asked) if asked <= OBEYED => Some(wait.max(asked)),
            Some(_) => None,
        }
    }

    fn is_passing(&self, failure: &Error) -> bool {
        match failure {
            Error::Transport { source, .. } => {
                source.is_passing() || (self.stubborn && source.is_dial())
            }
            Error::Refused(refusal) | Error::Token { refusal, .. } => refusal.is_passing(),
            Error::Truncated { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Refusal, Transport};
    use proptest::prelude::*;

    fn refused(status: u16, retry_after: Option<u64>) -> Error {
        let after = retry_after.map(Duration::from_secs);
        Error::Refused(Box::new(Refusal::read(status, b"", &[], after)))
    }

    fn patience(attempts: u32) -> Patience {
        Patience::new(&Settings { attempts, ..Settings::default() })
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut patience = patience(12);
        let waits: Vec<u128> = (0..11)
            .map(|_| patience.decide(&refused(500, None), 500).expect("more").as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000, 30000]);
        assert_eq!(patience.decide(&refused(500, None), 500), None);
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        for status in [400, 401, 403, 404, 405, 413, 501] {
            assert_eq!(patience(5).decide(&refused(status, None), 0), None, "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(patience(5).decide(&refused(status, None), 0).is_some(), "{status}");
        }
        assert_eq!(patience(1).decide(&refused(500, None), 0), None);
        assert_eq!(patience(0).decide(&refused(500, None), 0), None);
    }

    #[test]
    fn a_registry_may_ask_for_a_wait_of_bearable_length() {
        let asked = |seconds| patience(5).decide(&refused(429, Some(seconds)), 500);
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(0), Some(Duration::from_millis(500)));
        assert_eq!(asked(3600), None);
        assert_eq!(asked(u64::MAX), None);
    }

    #[test]
    fn nobody_there_is_final_unless_somebody_was() {
        let source = Transport::Dial {
            address: "127.0.0.1:1".parse().expect("valid"),
            reason: "connection refused".into(),
        };
        let error = Error::Transport { request: String::new(), source };
        assert_eq!(patience(5).decide(&error, 0), None);
        assert!(patience(5).stubborn().decide(&error, 0).is_some());
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds(random: u64, failures in 1u32..40) {
            let mut patience = patience(100);
            let mut last = None;
            for _ in 0..failures {
                last = patience.decide(&refused(503, None), random);
            }
            let last = last.expect("more");
            prop_assert!(last >= Duration::from_millis(250) && last <= LONGEST);
        }
    }
}
