//! Giving memory back once nothing happens any more.

use std::time::Duration;

use crate::{Engine, EventOptions};

/// So long nothing must have happened.
const QUIET: Duration = Duration::from_secs(2);
/// A burst that does not end (a health check every second is one) counts as over after this: the
/// disk must not fill up meanwhile.
const LONGEST: Duration = Duration::from_secs(60);

impl Engine {
    /// After every burst of activity the allocator is asked to return what it keeps for the next
    /// one: a hundred starts at once leave some 15 MiB of free memory behind otherwise.
    pub(crate) fn give_back_when_idle(&self) {
        let Ok(mut events) = self.events(EventOptions::default()) else { return };
        let engine = std::sync::Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            while events.next().await.is_some() {
                let burst = async {
                    while let Ok(Some(_)) = tokio::time::timeout(QUIET, events.next()).await {}
                };
                drop(tokio::time::timeout(LONGEST, burst).await);
                if let Some(inner) = engine.upgrade() {
                    Engine { inner }.make_room().await;
                }
                // It walks the whole heap. If no thread can be had, the next burst does it.
                drop(tokio::task::spawn_blocking(sys::memory::trim).await);
            }
        });
    }
}
