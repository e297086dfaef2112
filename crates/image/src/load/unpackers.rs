//! Layers of an archive that are unpacked beside each other.
//!
//! An archive is one stream, so its layers come one after the other; but as soon as the last bytes
//! of one are in memory the next can begin. One thread reads the archive and hands each layer's
//! bytes to a pipeline of its own; what has been read and not yet unpacked is bounded for all of
//! them together.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use types::digest::Digest;

use crate::error::Result;
use crate::layer::Staged;
use crate::store::Store;

/// Bytes of an archive that have been read and wait to be unpacked.
const WAITING: usize = 32 << 20;

/// How much room is left for what waits.
#[derive(Debug)]
struct Room {
    state: Mutex<Free>,
    freed: Condvar,
}

#[derive(Debug)]
struct Free {
    bytes: usize,
    /// Memory to be used again.
    buffers: Vec<Vec<u8>>,
}

impl Room {
    fn state(&self) -> MutexGuard<'_, Free> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies bytes, once there is room for them.
    fn piece(self: &Arc<Self>, bytes: &[u8]) -> Piece {
        let enough = self.freed.wait_while(self.state(), |free| free.bytes < bytes.len());
        let mut free = enough.unwrap_or_else(PoisonError::into_inner);
        free.bytes -= bytes.len();
        let mut buffer = free.buffers.pop().unwrap_or_default();
        drop(free);
        buffer.extend_from_slice(bytes);
        Piece { bytes: buffer, room: Arc::clone(self) }
    }
}

/// Some bytes that wait.
struct Piece {
    bytes: Vec<u8>,
    room: Arc<Room>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.bytes);
        let mut free = self.room.state();
        free.bytes += buffer.len();
        buffer.clear();
        free.buffers.push(buffer);
        drop(free);
        self.room.freed.notify_one();
    }
}

/// The reader's end of a pipeline; the layer ends when it is dropped.
pub(super) struct Feed {
    sender: Sender<Piece>,
    room: Arc<Room>,
}

impl Feed {
    /// Hands bytes on, waiting for room. `false` when nobody wants them any more.
    pub(super) fn send(&self, bytes: &[u8]) -> bool {
        self.sender.send(self.room.piece(bytes)).is_ok()
    }
}

/// The pipeline's end.
struct Pieces {
    queue: Receiver<Piece>,
    current: Option<Piece>,
    at: usize,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|piece| self.at >= piece.bytes.len()) {
            self.at = 0;
            self.current = None;
            self.current = self.queue.recv().ok();
        }
        Ok(self.current.as_ref().map_or(&[], |piece| &piece.bytes[self.at..]))
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(buffer.len());
        buffer[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// A layer that has been handed to a pipeline.
pub(super) struct Unpacked {
    /// Its path in the archive.
    pub(super) path: String,
    /// The digest that the path promises.
    pub(super) expected: Option<Digest>,
    /// What came of it.
    pub(super) staged: Result<Staged>,
}

struct Running<'scope> {
    path: String,
    expected: Option<Digest>,
    thread: ScopedJoinHandle<'scope, Result<Staged>>,
}

/// Pipelines under way.
pub(super) struct Unpackers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    store: &'env Store,
    room: Arc<Room>,
    most: usize,
    running: VecDeque<Running<'scope>>,
}

impl<'scope, 'env> Unpackers<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, store: &'env Store) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let state = Mutex::new(Free { bytes: WAITING, buffers: Vec::new() });
        let room = Arc::new(Room { state, freed: Condvar::new() });
        Self { scope, store, room, most: processors.clamp(2, 8), running: VecDeque::new() }
    }

    /// How many layers are under way.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Begins a layer; its bytes go to the feed. Returns what has ended meanwhile, and waits for
    /// the oldest layer when too many are under way.
    pub(super) fn begin(
        &mut self,
        path: String,
        expected: Option<Digest>,
    ) -> (Feed, Vec<Unpacked>) {
        let mut ended = Vec::new();
        while let Some(oldest) = self.running.front()
            && (oldest.thread.is_finished() || self.running.len() >= self.most)
        {
            ended.extend(self.next());
        }
        let (sender, queue) = channel();
        let (store, hash_blob) = (self.store, expected.is_some());
        let thread = self.scope.spawn(move || {
            let mut pieces = Pieces { queue, current: None, at: 0 };
            store.layers.stage_buffered(&mut pieces, hash_blob, &store.options)
        });
        self.running.push_back(Running { path, expected, thread });
        (Feed { sender, room: Arc::clone(&self.room) }, ended)
    }
}

/// The layers under way, each when it has ended, oldest first.
impl Iterator for Unpackers<'_, '_> {
    type Item = Unpacked;

    fn next(&mut self) -> Option<Unpacked> {
        let Running { path, expected, thread } = self.running.pop_front()?;
        let staged = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some(Unpacked { path, expected, staged })
    }
}
