use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use types::digest::Digest;

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
}

/// A file that is uploaded.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// Where the file is.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }
}
