//! Waiting for containers.

use tokio::sync::watch;
use types::Error;

use super::{Container, Progress};
use crate::Engine;

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run (which may be so already).
    #[default]
    NotRunning,
    /// It ends after this moment.
    NextExit,
    /// It is removed.
    Removed,
}

/// Somebody who waits, from the moment of registration.
#[derive(Debug)]
pub struct Waiter {
    condition: WaitCondition,
    progress: watch::Receiver<Progress>,
    ends: u64,
    failed_removals: u64,
}

/// How the wait ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitOutcome {
    /// The container's exit status.
    pub code: i64,
    /// Why it could not be started, or removed if that was waited for; if it could not.
    pub error: Option<String>,
}

impl Waiter {
    /// Waits.
    pub async fn outcome(mut self) -> WaitOutcome {
        let Self { condition, ends, failed_removals, .. } = self;
        let done = |now: &Progress| match condition {
            // As in Docker, an end counts even if the restart policy goes on from there.
            WaitCondition::NotRunning => !now.active || now.ends > ends || now.removed,
            WaitCondition::NextExit => now.ends > ends || now.removed,
            WaitCondition::Removed => now.removed || now.failed_removals > failed_removals,
        };
        // The sender lives in the container, which lives at least as long as its removal takes.
        let seen = self.progress.wait_for(done).await.map(|now| now.clone());
        let last = seen.unwrap_or_else(|_| self.progress.borrow().clone());
        let error = match condition {
            WaitCondition::Removed if last.removed => String::new(),
            WaitCondition::Removed => last.unremoved,
            WaitCondition::NotRunning | WaitCondition::NextExit => last.error,
        };
        WaitOutcome { code: last.code, error: (!error.is_empty()).then_some(error) }
    }

    /// Whether it has ended since.
    pub(crate) fn has_ended(&self) -> bool {
        self.progress.borrow().ends > self.ends
    }
}

impl Engine {
    /// Begins to wait. Nothing that happens after this returns is missed. A container that is being
    /// started runs.
    ///
    /// # Errors
    /// Not found.
    pub async fn wait_begin(
        &self,
        reference: &str,
        condition: WaitCondition,
    ) -> Result<Waiter, Error> {
        let container = self.containers.find(reference)?;
        if condition == WaitCondition::NotRunning {
            container.settled().await;
        }
        Ok(container.waiter(condition))
    }
}

impl Container {
    /// Somebody who waits from now on.
    pub(crate) fn waiter(&self, condition: WaitCondition) -> Waiter {
        let progress = self.progress.subscribe();
        // An end that can be seen already is not waited for.
        let (ends, failed_removals) = {
            let now = progress.borrow();
            (now.noted, now.failed_removals)
        };
        Waiter { condition, progress, ends, failed_removals }
    }
}
