//! Flushing while layers are unpacked: disk and processor work at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use sys::entry;
use sys::fs::Root;

/// After so many bytes the disk is asked to begin, so that the flush at the end has little left to
/// wait for.
const EVERY: u64 = 16 << 20;

/// Flushes the file system on a thread of its own, for all layers that are being made at a time. The
/// thread begins with the first large layer and ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    unflushed: AtomicU64,
    sender: Mutex<Option<SyncSender<()>>>,
}

impl Flusher {
    /// Some bytes were written somewhere below `dir`; never waits for the disk.
    pub(super) fn wrote(&self, bytes: u64, dir: &Root) {
        if self.unflushed.fetch_add(bytes, Ordering::Relaxed) + bytes < EVERY {
            return;
        }
        self.unflushed.store(0, Ordering::Relaxed);
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            let Ok(dir) = entry::reopen_dir(dir) else { return };
            let (new, receiver) = sync_channel(1);
            std::thread::spawn(move || {
                for () in receiver {
                    // What fails here is told by the flush that counts, before layers are named.
                    let _ = entry::syncfs(&dir);
                }
            });
            *sender = Some(new);
        }
        if let Some(sender) = &*sender {
            // One that waits already will do it.
            let _ = sender.try_send(());
        }
    }
}
