//! Restart policies: whether and when a container that ended runs again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;
use types::container::{RestartPolicy, RestartRule};
use types::state::Status;

use super::Container;
use super::start::Starter;
use crate::Engine;

/// The first delay; each restart in a row doubles it.
pub(crate) const FIRST: Duration = Duration::from_millis(100);
/// No delay is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next delay the first again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The back-off of one container, and its pending restart.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    /// The last delay; zero before the first.
    pub(crate) delay: Duration,
    pending: Option<AbortHandle>,
}

/// Decides; `delay` is the last delay and becomes the next one.
pub(crate) fn decide(
    policy: &RestartPolicy,
    stopped_by_user: bool,
    exit_code: i32,
    restarts: u32,
    ran: Duration,
    delay: &mut Duration,
) -> Option<Duration> {
    let wanted = match policy.name {
        RestartRule::No => false,
        RestartRule::Always | RestartRule::UnlessStopped => true,
        RestartRule::OnFailure => {
            let most = policy.maximum_retry_count;
            exit_code != 0 && (most == 0 || i64::from(restarts) < most)
        }
    };
    if stopped_by_user || !wanted {
        *delay = Duration::ZERO;
        return None;
    }
    *delay = match *delay {
        _ if ran >= LONG_RUN => FIRST,
        Duration::ZERO => FIRST,
        last => (last * 2).min(LONGEST),
    };
    Some(*delay)
}

impl Engine {
    /// Starts a container again after a while; while the engine is being opened, when that is
    /// over.
    pub(crate) fn restart_after(&self, container: &Arc<Container>, delay: Duration) {
        if self.opening.load(Ordering::SeqCst) {
            return;
        }
        let engine = self.clone();
        let subject = Arc::clone(container);
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // From here on cancelling would cut a start in two.
            crate::lock(&subject.restarts).pending = None;
            tokio::spawn(async move { engine.restart_now(&subject).await });
        });
        crate::lock(&container.restarts).pending = Some(task.abort_handle());
    }

    pub(crate) async fn restart_now(&self, container: &Arc<Container>) {
        self.settle_peers(container).await;
        if let Err(error) = container.known().await {
            tracing::error!(container = container.id.short(), "cannot restart: {error}");
            return;
        }
        let _start = container.being_started();
        let _operation = container.operation.lock().await;
        {
            let record = container.record();
            if record.state.status != Status::Restarting || record.stopped_by_user {
                return;
            }
        }
        if let Err(error) = self.start_locked(container, Starter::Policy).await {
            tracing::error!(container = container.id.short(), "cannot restart: {error}");
        }
    }

    /// Forgets a pending restart.
    pub(crate) fn cancel_restart(&self, container: &Container) {
        let mut restarts = crate::lock(&container.restarts);
        restarts.delay = Duration::ZERO;
        if let Some(pending) = restarts.pending.take() {
            pending.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: RestartRule, maximum_retry_count: i64) -> RestartPolicy {
        RestartPolicy { name, maximum_retry_count }
    }

    #[test]
    fn delays_double_up_to_a_minute_and_start_over() {
        let always = policy(RestartRule::Always, 0);
        let mut delay = Duration::ZERO;
        let mut next = |ran| decide(&always, false, 1, 0, Duration::from_secs(ran), &mut delay);
        assert_eq!(next(0), Some(Duration::from_millis(100)));
        assert_eq!(next(0), Some(Duration::from_millis(200)));
        for _ in 0..20 {
            next(0);
        }
        assert_eq!(next(0), Some(LONGEST));
        assert_eq!(next(10), Some(FIRST));
    }

    #[test]
    fn policies_differ() {
        let decide = |policy: &RestartPolicy, stopped, code, restarts| {
            decide(policy, stopped, code, restarts, Duration::ZERO, &mut Duration::default())
                .is_some()
        };
        assert!(!decide(&policy(RestartRule::No, 0), false, 1, 0));
        assert!(decide(&policy(RestartRule::Always, 0), false, 0, 9));
        assert!(!decide(&policy(RestartRule::Always, 0), true, 0, 0));
        assert!(decide(&policy(RestartRule::OnFailure, 2), false, 1, 1));
        assert!(!decide(&policy(RestartRule::OnFailure, 2), false, 1, 2));
        assert!(!decide(&policy(RestartRule::OnFailure, 0), false, 0, 0));
        assert!(decide(&policy(RestartRule::UnlessStopped, 0), false, 0, 0));
    }
}
