//! Giving memory back once nothing happens any more.

use std::time::{Duration, Instant};

use crate::{Engine, EventOptions};

/// So long nothing must have happened.
const QUIET: Duration = Duration::from_secs(1);
/// A burst that does not end (a health check every second is one) counts as over after this: the
/// disk must not fill up meanwhile.
const LONGEST: Duration = Duration::from_secs(60);

/// So long code is kept, at least, that has been executed since it was last let go: to map it again
/// takes the next requests half a millisecond in all.
const KEEP_CODE: Duration = Duration::from_secs(20);

/// The heaps that the daemon's threads share. They rarely allocate at the same moment, and one that
/// has to wait for another loses less than a heap of its own costs.
const HEAPS: i32 = 2;

/// Prepares the process for long idle times; to be called before it has threads.
pub fn prepare_to_idle() {
    sys::memory::limit_heaps(HEAPS);
}

impl Engine {
    /// After every burst of activity the allocator is asked to return what it keeps for the next
    /// one: a hundred starts at once leave some 15 MiB of free memory behind otherwise. So it is with
    /// code: most of what start-up and the first requests executed is not needed again.
    pub(crate) fn give_back_when_idle(&self) {
        let Ok(mut events) = self.events(EventOptions::default()) else { return };
        let engine = std::sync::Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut forgotten: Option<Instant> = None;
            let mut event = events.next().await;
            while event.is_some() {
                let burst = async {
                    while let Ok(Some(_)) = tokio::time::timeout(QUIET, events.next()).await {}
                };
                drop(tokio::time::timeout(LONGEST, burst).await);
                if let Some(inner) = engine.upgrade() {
                    Engine { inner }.make_room().await;
                }
                // It walks the whole heap. If no thread can be had, the next burst does it.
                drop(tokio::task::spawn_blocking(sys::memory::trim).await);
                let kept = forgotten.map_or(KEEP_CODE, |at| at.elapsed());
                let next = tokio::time::timeout(KEEP_CODE.saturating_sub(kept), events.next());
                event = match next.await {
                    Ok(event) => event,
                    Err(_) => {
                        drop(tokio::task::spawn_blocking(sys::memory::forget_code).await);
                        forgotten = Some(Instant::now());
                        events.next().await
                    }
                };
            }
        });
    }
}
