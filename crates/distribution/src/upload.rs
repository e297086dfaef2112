use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use types::digest::Digest;

/// Bytes of a file that are read at once.
const BLOCK: usize = 1 << 20;

/// The bytes of an upload, as they become known.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob to be uploaded. It is opened again for every attempt.
pub trait Source: Send {
    /// Its length in bytes, if that is known before it has been read.
    fn size(&self) -> Option<u64>;

    /// Its bytes from `from` on.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn open(&mut self, from: u64) -> io::Result<Chunks>;

    /// Its digest. It is asked for after the last byte has been taken from [`Self::open`], so
    /// that it may be found while the bytes are made.
    ///
    /// # Errors
    /// Whatever keeps it from being known.
    fn digest(&mut self) -> io::Result<Digest>;

    /// Its digest, if that is known before it has been read: then a small blob needs one request
    /// less.
    fn known_digest(&self) -> Option<Digest> {
        None
    }
}

/// A file whose digest is known.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<File>,
    size: u64,
    digest: Digest,
}

impl FileSource {
    /// All of a file.
    ///
    /// # Errors
    /// When its length cannot be found out.
    pub fn new(file: File, digest: Digest) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), size, digest })
    }
}

impl Source for FileSource {
    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let state = (Arc::clone(&self.file), from, self.size);
        Ok(Box::pin(stream::try_unfold(state, |(file, from, size)| async move {
            let wanted = usize::try_from(size.saturating_sub(from)).unwrap_or(BLOCK).min(BLOCK);
            if wanted == 0 {
                return Ok(None);
            }
            let reading = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut block = vec![0; wanted];
                reading.read_exact_at(&mut block, from).map(|()| block)
            });
            let block = read.await.map_err(io::Error::other)??;
            Ok(Some((Bytes::from(block), (file, from + wanted as u64, size))))
        })))
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(self.digest.clone())
    }

    fn known_digest(&self) -> Option<Digest> {
        Some(self.digest.clone())
    }
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct BytesSource {
    bytes: Bytes,
    digest: Digest,
}

impl BytesSource {
    /// These bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
        Self { bytes, digest }
    }
}

impl Source for BytesSource {
    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.bytes.len());
        let rest = self.bytes.slice(from..);
        Ok(Box::pin(stream::iter((!rest.is_empty()).then_some(Ok(rest)))))
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(self.digest.clone())
    }

    fn known_digest(&self) -> Option<Digest> {
        Some(self.digest.clone())
    }
}
