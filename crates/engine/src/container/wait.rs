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
}

/// How the wait ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitOutcome {
    /// The container's exit status.
    pub code: i64,
    /// Why it could not be started, if it could not.
    pub error: Option<String>,
}

impl Waiter {
    /// Waits.
    pub async fn outcome(mut self) -> WaitOutcome {
        let (condition, ends) = (self.condition, self.ends);
        let done = |now: &Progress| match condition {
            // As in Docker, an end counts even if the restart policy goes on from there.
            WaitCondition::NotRunning => !now.active || now.ends > ends || now.removed,
            WaitCondition::NextExit => now.ends > ends || now.removed,
            WaitCondition::Removed => now.removed,
        };
        // The sender lives in the container, which lives at least as long as its removal takes.
        let seen = self.progress.wait_for(done).await.map(|now| now.clone());
        let last = seen.unwrap_or_else(|_| self.progress.borrow().clone());
        WaitOutcome { code: last.code, error: (!last.error.is_empty()).then_some(last.error) }
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
        let ends = progress.borrow().ends;
        Waiter { condition, progress, ends }
    }
}
