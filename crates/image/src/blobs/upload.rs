//! A blob on its way in.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use sys::entry;
use sys::fs::Root;
use types::digest::Digest;

use super::{hash, place};
use crate::durable;
use crate::error::{Error, Result, Step};
use crate::fault;

/// A blob that is being written. Dropped without a word it stays, as after [`Upload::keep`].
#[derive(Debug)]
pub struct Upload {
    dir: Root,
    path: PathBuf,
    file: File,
    len: u64,
    /// Of all bytes so far; nothing once an upload is resumed, for then the file is read again in
    /// the end instead of at every piece.
    hash: Option<Sha256>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Whoever goes on with it must not be kept out by a process that another thread is just
        // starting. Where it fails, closing the file does the same a little later.
        let _ = entry::unlock(&self.file);
    }
}

/// The running hash of an upload that waits for more.
#[derive(Debug)]
pub struct Sum {
    len: u64,
    hash: Sha256,
}

impl Upload {
    pub(super) fn new(dir: Root, path: PathBuf, mut file: File) -> Result<Self> {
        let len = file.seek(SeekFrom::End(0)).step("begin an upload")?;
        let hash = (len == 0).then(Sha256::new);
        Ok(Self { dir, path, file, len, hash })
    }

    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that are there, from the beginning; writing goes on at the end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reader(&self) -> Result<impl Read + Send + use<>> {
        let file = File::from(self.file.try_clone().map(std::os::fd::OwnedFd::from).step(READ)?);
        Ok(At { file, at: 0, end: self.len })
    }

    /// The caller knows the digest of what it writes.
    pub(crate) fn without_hash(mut self) -> Self {
        self.hash = None;
        self
    }

    /// Verifies, flushes and names the blob. Returns its size. A blob that is wrong is removed.
    ///
    /// # Errors
    /// [`Error::WrongDigest`], [`Error::Io`].
    pub fn commit(self, expected: &Digest) -> Result<u64> {
        self.ready(expected)?.name()
    }

    /// Verifies and flushes, which may take long, and leaves the naming, which does not, to a
    /// moment of the caller's choice. A blob that is wrong is removed.
    ///
    /// # Errors
    /// [`Error::WrongDigest`], [`Error::Io`].
    pub fn ready(mut self, expected: &Digest) -> Result<Ready> {
        let found = match self.hash.take() {
            Some(sum) if expected.algorithm() == "sha256" => {
                Digest::from_sha256(sum.finalize().into())
            }
            _ => hash(expected, &mut self.reader()?).step(READ)?,
        };
        if found != *expected {
            self.abandon()?;
            let expected = expected.clone();
            return Err(Error::WrongDigest { what: "the blob".to_owned(), expected, found });
        }
        durable::sync(&self.file).step("flush a blob")?;
        Ok(Ready { upload: self, digest: found })
    }

    /// Flushes and names a blob whose digest is known to be right.
    pub(crate) fn commit_known(self, digest: &Digest) -> Result<u64> {
        durable::sync(&self.file).step("flush a blob")?;
        self.name(digest)
    }

    /// Names a blob that is right and flushed.
    pub(crate) fn name(self, digest: &Digest) -> Result<u64> {
        let to = place(digest);
        durable::rename(&self.dir, &self.path, &to)
            .and_then(|()| durable::sync_dir_of(&self.dir, &to))
            .step("name a blob")?;
        Ok(self.len)
    }

    /// Removes what came.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn abandon(self) -> Result<()> {
        durable::remove(&self.dir, &self.path).step("remove an upload")
    }

    /// Leaves what came for a later [`super::Blobs::begin`].
    pub fn keep(self) {
        drop(self);
    }

    /// Leaves what came, like [`Upload::keep`], and gives what spares whoever goes on with it the
    /// reading of everything once more; nothing if that was lost already.
    pub fn pause(mut self) -> Option<Sum> {
        self.hash.take().map(|hash| Sum { len: self.len, hash })
    }

    /// Takes what [`Upload::pause`] gave, unless the upload has grown since. Bytes that are there
    /// must still be the same: nobody may have cut the upload in between.
    pub fn remember(&mut self, sum: Sum) {
        if sum.len == self.len {
            self.hash = Some(sum.hash);
        }
    }

    /// The file, for reading at any place what has come so far, also after it has its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn file(&self) -> Result<File> {
        Ok(File::from(self.file.try_clone().map(std::os::fd::OwnedFd::from).step(READ)?))
    }

    /// Cuts what came to its first bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn truncate(&mut self, len: u64) -> Result<()> {
        if len < self.len {
            entry::truncate(&self.file, len).step("cut an upload")?;
            self.file.seek(SeekFrom::Start(len)).step("cut an upload")?;
            self.len = len;
            self.hash = (len == 0).then(Sha256::new);
        }
        Ok(())
    }
}

/// A blob that is right and on disk, and has no name yet. Dropped, it stays an upload.
#[derive(Debug)]
pub struct Ready {
    upload: Upload,
    digest: Digest,
}

impl Ready {
    /// Gives it its name. Returns its size.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn name(self) -> Result<u64> {
        self.upload.name(&self.digest)
    }
}

const READ: &str = "read an upload";

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fault::point("write of a blob");
        let n = self.file.write(bytes)?;
        fault::wrote(&self.file);
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes[..n]);
        }
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A part of a file, read without moving the writer's position.
struct At {
    file: File,
    at: u64,
    end: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let n = std::os::unix::fs::FileExt::read_at(&self.file, &mut buffer[..want], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
