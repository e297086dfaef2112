//! The step that is ours: sending the context. The daemon's steps come behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use docker_api::build::{BuildEvent, BuildStep};
use types::Timestamp;

/// The number of our step.
const OWN: u32 = 0;

/// What is being sent.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// Bytes on their way, while they are.
    sent: Option<Arc<AtomicU64>>,
    /// The step has been announced.
    begun: bool,
    /// What our clock is ahead of the daemon's, in nanoseconds.
    ahead: Option<i64>,
}

impl Upload {
    pub(super) fn of(sent: Arc<AtomicU64>) -> Self {
        Self { sent: Some(sent), begun: false, ahead: None }
    }

    /// How far it has come, as events.
    pub(super) fn progress(&mut self) -> Vec<BuildEvent> {
        // Nothing is shown before there is a connection.
        let Some(bytes) = self.bytes().filter(|bytes| *bytes > 0) else { return Vec::new() };
        let mut events = self.begin();
        events.push(transfer("", bytes));
        events
    }

    /// The daemon has begun to answer, or will not: everything is sent that ever will be.
    pub(super) fn end(&mut self) -> Vec<BuildEvent> {
        let bytes = self.bytes().filter(|bytes| *bytes > 0);
        self.sent = None;
        let Some(bytes) = bytes else { return Vec::new() };
        let mut events = self.begin();
        events.push(transfer("done", bytes));
        events.push(BuildEvent::Finished { step: OWN, cached: false, at: Timestamp::now() });
        events
    }

    fn bytes(&self) -> Option<u64> {
        self.sent.as_ref().map(|sent| sent.load(Ordering::Relaxed))
    }

    fn begin(&mut self) -> Vec<BuildEvent> {
        if std::mem::replace(&mut self.begun, true) {
            return Vec::new();
        }
        let step = BuildStep {
            number: OWN,
            kind: "internal".to_owned(),
            name: "load build context".to_owned(),
            ..BuildStep::default()
        };
        let plan = BuildEvent::Plan { steps: vec![step] };
        vec![plan, BuildEvent::Started { step: OWN, at: Timestamp::now() }]
    }

    /// An event of the daemon's with a number behind ours and by our clock.
    pub(super) fn behind(&mut self, mut event: BuildEvent) -> BuildEvent {
        if !self.begun {
            return event;
        }
        match &mut event {
            BuildEvent::Plan { steps } => {
                for step in steps {
                    step.number = step.number.saturating_add(1);
                }
            }
            BuildEvent::Started { step, at }
            | BuildEvent::Finished { step, at, .. }
            | BuildEvent::Failed { step, at, .. } => {
                *step = step.saturating_add(1);
                let ahead =
                    *self.ahead.get_or_insert_with(|| Timestamp::now().0.saturating_sub(at.0));
                at.0 = at.0.saturating_add(ahead);
            }
            BuildEvent::Progress { step, .. } | BuildEvent::Log { step, .. } => {
                *step = step.saturating_add(1);
            }
            BuildEvent::Warning { .. } | BuildEvent::Source { .. } | BuildEvent::Built { .. } => {}
        }
        event
    }
}

fn transfer(status: &str, bytes: u64) -> BuildEvent {
    BuildEvent::Progress {
        step: OWN,
        item: "transferring context:".to_owned(),
        status: status.to_owned(),
        current: bytes,
        total: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_steps_come_behind_ours() {
        let sent = Arc::new(AtomicU64::new(0));
        let mut upload = Upload::of(Arc::clone(&sent));
        assert!(upload.progress().is_empty(), "nobody listens yet");
        sent.store(5, Ordering::Relaxed);
        assert_eq!(upload.progress().len(), 3);
        assert_eq!(upload.progress(), [transfer("", 5)]);
        sent.store(9, Ordering::Relaxed);
        let last = upload.end();
        assert_eq!(last[0], transfer("done", 9));
        assert!(upload.end().is_empty() && upload.progress().is_empty());
        let old = Timestamp(5);
        let BuildEvent::Started { step, at } =
            upload.behind(BuildEvent::Started { step: 3, at: old })
        else {
            panic!("another event")
        };
        assert!(step == 4 && at > old);
        let later =
            upload.behind(BuildEvent::Finished { step: 3, cached: false, at: Timestamp(8) });
        assert_eq!(
            later,
            BuildEvent::Finished { step: 4, cached: false, at: Timestamp(at.0 + 3) },
            "clocks that differ do not change how long a step takes"
        );
    }
}
