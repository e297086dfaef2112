//! Streams on their way into the store: compressed or not, hashed as they pass, decompressed on a
//! thread of their own.

mod coding;

use std::io::{self, BufRead, Read};
use std::ops::Deref;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use types::digest::Digest;

use crate::error::{Error, Result};

pub(crate) use coding::Coding;

/// Bytes that go from thread to thread at a time: large enough to make the hand-over cheap, small
/// enough that a chunk is still in the cache when the next thread reads it.
pub(crate) const CHUNK: usize = 256 << 10;
/// Chunks under way between two threads.
const DEPTH: usize = 8;

/// How a layer's blob is compressed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    Plain,
    /// With gzip.
    #[default]
    Gzip,
    /// With zstd.
    Zstd,
}

/// A reader that keeps the SHA-256 of the bytes that pass.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Option<Sha256>,
}

impl<R: Read> Hashing<R> {
    /// Hashes if asked to.
    pub(crate) fn new(inner: R, hash: bool) -> Self {
        Self { inner, hash: hash.then(Sha256::new) }
    }

    /// Reads what is left, and returns the digest if it was kept.
    ///
    /// # Errors
    /// Those of the reader.
    pub(crate) fn finish(mut self) -> io::Result<Option<Digest>> {
        let mut buffer = [0; 8192];
        while self.read(&mut buffer)? > 0 {}
        Ok(self.hash.map(|hash| Digest::from_sha256(hash.finalize().into())))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..n]);
        }
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(hash) = &mut self.hash
            // What is buffered already: this neither reads nor fails.
            && let Ok(bytes) = self.inner.fill_buf()
        {
            hash.update(&bytes[..amount]);
        }
        self.inner.consume(amount);
    }
}

/// Bytes on their way from thread to thread. The memory is used again: taking new memory for every
/// chunk costs a page fault each 4 KiB.
struct Chunk {
    bytes: Vec<u8>,
    len: usize,
    pool: Arc<Pool>,
}

#[derive(Default)]
struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills a chunk from a reader; only at its end it is not full.
    fn fill(self: &Arc<Self>, input: &mut dyn Read) -> io::Result<Chunk> {
        let bytes = self.free().pop().unwrap_or_else(|| vec![0; CHUNK]);
        let mut chunk = Chunk { bytes, len: 0, pool: Arc::clone(self) };
        while chunk.len < CHUNK {
            match input.read(&mut chunk.bytes[chunk.len..]) {
                Ok(0) => break,
                Ok(n) => chunk.len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(chunk)
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.bytes));
    }
}

/// What is known of a stream once it has been read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// Digest of the bytes as they came; only if asked for.
    pub(crate) blob: Option<Digest>,
    /// Digest of the decompressed bytes.
    pub(crate) diff_id: Digest,
    /// How many those were.
    pub(crate) size: u64,
}

/// Reads `input` on one thread (decompressing it), hashes the result on another, and lets
/// `consume` read it on this one. When the consumer returns early, the rest is still hashed, so
/// that the digests are those of the whole stream.
///
/// # Errors
/// The consumer's; [`Error::TooLarge`] beyond `limit` decompressed bytes; [`Error::Input`].
pub(crate) fn pass<T>(
    input: &mut (dyn BufRead + Send),
    hash_blob: bool,
    limit: u64,
    consume: impl FnOnce(&mut Chunks) -> Result<T>,
) -> Result<(T, Passed)> {
    std::thread::scope(|scope| {
        let (to_hash, hash_queue) = sync_channel::<Arc<Chunk>>(DEPTH);
        let (to_consumer, queue) = sync_channel::<Arc<Chunk>>(DEPTH);
        let reader =
            scope.spawn(move || decompress(input, hash_blob, limit, &to_hash, to_consumer));
        let hasher = scope.spawn(move || {
            let mut hash = Sha256::new();
            for chunk in hash_queue {
                hash.update(&chunk[..]);
            }
            Digest::from_sha256(hash.finalize().into())
        });
        let mut chunks = Chunks { queue, current: None, at: 0 };
        let consumed = consume(&mut chunks);
        // The reader notices that nobody listens any more and goes on for the hash alone.
        drop(chunks);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let diff_id = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What broke the stream explains the consumer's "unexpected EOF", so it goes first.
        let (blob, size) = read?;
        Ok((consumed?, Passed { blob, diff_id, size }))
    })
}

fn decompress(
    input: &mut (dyn BufRead + Send),
    hash_blob: bool,
    limit: u64,
    to_hash: &SyncSender<Arc<Chunk>>,
    to_consumer: SyncSender<Arc<Chunk>>,
) -> Result<(Option<Digest>, u64)> {
    let mut hashing = Hashing::new(input, hash_blob);
    let mut size = 0u64;
    {
        let coding = Coding::sniff(hashing.fill_buf().map_err(Error::Input)?);
        let mut decoder = coding.decoder(&mut hashing)?;
        let mut consumer = Some(to_consumer);
        let pool = Arc::new(Pool::default());
        loop {
            let chunk = pool.fill(&mut decoder).map_err(|error| coding.explain(error))?;
            if chunk.is_empty() {
                break;
            }
            size += chunk.len() as u64;
            if size > limit {
                return Err(Error::TooLarge { what: "a decompressed layer", limit });
            }
            let chunk = Arc::new(chunk);
            if let Some(queue) = &consumer
                && queue.send(Arc::clone(&chunk)).is_err()
            {
                consumer = None;
            }
            if to_hash.send(chunk).is_err() {
                break;
            }
        }
    }
    let blob = hashing.finish().map_err(Error::Input)?;
    Ok((blob, size))
}

/// The consumer's end of [`pass`].
pub(crate) struct Chunks {
    queue: Receiver<Arc<Chunk>>,
    current: Option<Arc<Chunk>>,
    at: usize,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|chunk| self.at >= chunk.len()) {
            self.at = 0;
            self.current = self.queue.recv().ok();
        }
        Ok(self.current.as_ref().map_or(&[][..], |chunk| &chunk[self.at..]))
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(buffer.len());
        buffer[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// The SHA-256 of bytes in memory.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// A writer that keeps the SHA-256 of the bytes that pass.
pub(crate) struct HashingWriter<'a> {
    inner: &'a mut dyn io::Write,
    hash: Sha256,
}

impl<'a> HashingWriter<'a> {
    pub(crate) fn new(inner: &'a mut dyn io::Write) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// The digest of what was written.
    pub(crate) fn finish(self) -> Digest {
        Digest::from_sha256(self.hash.finalize().into())
    }
}

impl io::Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
