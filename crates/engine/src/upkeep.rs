//! Keeping the image store in order.

use tokio::sync::mpsc;
use types::Error;

use crate::{Engine, aside, blocking, from_image};

/// Steps that may wait for whoever looks.
const QUEUE: usize = 64;

/// What a check tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckEvent {
    /// It has come further.
    Step(image::CheckStep),
    /// It has ended.
    Report(image::CheckReport),
}

impl Engine {
    /// Removes images that nobody uses when the disk is fuller than the settings allow.
    pub(crate) async fn make_room(&self) {
        let Some(marks) = self.config.watermarks else { return };
        let engine = self.clone();
        let uses = self.image_uses();
        let room = blocking(move || {
            let marks = image::Watermarks { high_percent: marks.high, low_percent: marks.low };
            engine.images.collect_to(marks, &uses).map_err(from_image)
        });
        match room.await {
            Ok(pruned) if pruned.reclaimed == 0 && pruned.removed.is_empty() => {}
            Ok(pruned) => {
                tracing::info!(bytes = pruned.reclaimed, "the disk was too full: images made room");
                self.tell_removals(&pruned.removed);
            }
            Err(error) => tracing::warn!("cannot make room on the disk: {error}"),
        }
    }

    /// Verifies everything that the image store has, and repairs it if asked to. What happens
    /// comes from the channel; the report or an error is the last that comes. A check goes on when
    /// nobody listens: what it repairs must not be left half done.
    pub fn check_images(&self, repair: bool) -> mpsc::Receiver<Result<CheckEvent, Error>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let engine = self.clone();
        tokio::spawn(async move {
            let steps = sender.clone();
            let work = aside(move || {
                let mut tell = |step: image::CheckStep| match step {
                    // Where it is now is for those who look.
                    image::CheckStep::Checking { .. } => {
                        drop(steps.try_send(Ok(CheckEvent::Step(step))));
                    }
                    image::CheckStep::Found(_) => {
                        drop(steps.blocking_send(Ok(CheckEvent::Step(step))));
                    }
                };
                engine.images.check(repair, &mut tell).map_err(from_image)
            });
            let last = work.await.map(CheckEvent::Report);
            drop(sender.send(last).await);
        });
        receiver
    }
}
