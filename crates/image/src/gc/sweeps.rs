//! Removing the files of layers without keeping anybody waiting.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use sys::fs::Root;

use crate::durable;

/// Threads that remove what has lost its name. They are waited for when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Sweeps(Mutex<Vec<JoinHandle<()>>>);

impl Sweeps {
    /// Removes directories below `root`. What cannot be removed now is removed when the store is
    /// opened the next time.
    pub(super) fn begin(&self, root: Root, names: Vec<String>) {
        let sweep = move || {
            for name in names {
                let _ = durable::remove_tree(&root, Path::new(&name));
            }
        };
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.extend(std::thread::Builder::new().name("sweep".to_owned()).spawn(sweep));
    }
}

impl Drop for Sweeps {
    fn drop(&mut self) {
        let threads = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // One that panicked has left something for the next start.
            let _ = thread.join();
        }
    }
}
