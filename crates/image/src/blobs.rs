//! Blobs by digest, in a directory that several processes may share.
//!
//! ```text
//! blobs/sha256/<hex>     whole, verified blobs: a name here means that the content is on disk
//! partial/<name>         uploads: growing, or left by an interrupted one and resumable
//! partial/put-<unique>   small blobs on their way
//! ```
//!
//! An upload is locked (`flock`) by whoever writes it; the lock goes with the process, the bytes
//! stay. A finished upload is verified, flushed, and renamed: two processes that bring the same
//! blob replace it by itself.
//!
//! The directories are those of an OCI image layout, and `partial` is beside them; who owns the
//! layout writes `oci-layout` and `index.json`.

mod upload;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256, Sha512};
use sys::entry;
use sys::fs::{Mode, OFlags, Root};
use types::digest::Digest;

use crate::durable;
use crate::error::{Error, Result, Step};

pub use upload::{Ready, Sum, Upload};

const PARTIAL: &str = "partial";
const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];
/// Uploads that nobody can resume: their names are never used again.
const PUT: &str = "put-";
/// Longest name of an upload; a file name may have 255 bytes.
const MAX_NAME: usize = 200;

/// A directory of blobs.
#[derive(Debug)]
pub struct Blobs {
    dir: Root,
}

impl Blobs {
    /// Opens the directory, making what is missing. Nothing is removed: another process may be
    /// writing; see [`Blobs::sweep`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        for algorithm in ALGORITHMS {
            let dir = path.join("blobs").join(algorithm);
            std::fs::create_dir_all(dir).step("create the directory of blobs")?;
        }
        std::fs::create_dir_all(path.join(PARTIAL)).step("create the directory of uploads")?;
        let dir = Root::open_host(path).step("open the directory of blobs")?;
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Root {
        &self.dir
    }

    /// Bytes of a blob, `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.dir.lstat(place(digest)) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).step("look a blob up"),
        }
    }

    /// How long ago a blob came, `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn age(&self, digest: &Digest) -> Result<Option<Duration>> {
        match self.dir.lstat(place(digest)) {
            Ok(stat) => Ok(Some(age(stat.st_mtime))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).step("look a blob up"),
        }
    }

    /// A blob for reading. It is not verified: it was when it came, see [`Blobs::verify`].
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`], [`Error::Io`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        match self.dir.open_file(place(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoSuchBlob(digest.clone()))
            }
            other => other.step("open a blob"),
        }
    }

    /// A small blob, verified.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`]; [`Error::TooLarge`]; [`Error::DamagedRecord`] when it has another
    /// digest.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).step("read a blob")?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { what: "a document", limit });
        }
        if hash(digest, &mut &bytes[..]).step("read a blob")? != *digest {
            return Err(damaged(digest));
        }
        Ok(bytes)
    }

    /// Stores a small blob, flushed; fine when it is there. Returns its SHA-256.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = crate::stream::sha256(bytes);
        self.put_as(&digest, bytes)?;
        Ok(digest)
    }

    /// Stores a small blob under a digest of the sender's choice.
    ///
    /// # Errors
    /// [`Error::WrongDigest`], [`Error::Io`].
    pub fn put_as(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        // One that is there but damaged is replaced.
        if self.read(digest, bytes.len() as u64).is_ok_and(|found| found == bytes) {
            return Ok(());
        }
        let mut upload = loop {
            match self.begin(&unique()) {
                // Another process sweeps, and has taken the new file for one that was left.
                Err(Error::UploadBusy(_)) => {}
                upload => break upload?,
            }
        };
        io::Write::write_all(&mut upload, bytes).step("write a blob")?;
        upload.commit(digest).map(|_| ())
    }

    /// Reads a blob to its end and compares its digest.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`]; [`Error::DamagedRecord`] when it has another digest; [`Error::Io`].
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let mut file = self.open_blob(digest)?;
        if hash(digest, &mut file).step("read a blob")? != *digest {
            return Err(damaged(digest));
        }
        Ok(())
    }

    /// Begins an upload, or goes on with the one of this name that was interrupted: look at
    /// [`Upload::len`]. The name is the caller's: letters, digits and `:.=+-_`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another name; [`Error::UploadBusy`] while somebody writes it;
    /// [`Error::Io`].
    pub fn begin(&self, name: &str) -> Result<Upload> {
        let path = partial(name)?;
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
            let fd =
                self.dir.open(&path, flags, Mode::from_raw_mode(0o644)).step("begin an upload")?;
            if !entry::try_lock(&fd).step("lock an upload")? {
                return Err(Error::UploadBusy(name.to_owned()));
            }
            // Whoever had the lock before may have given the file its final name, or removed it.
            let locked = entry::stat_fd(&fd).step("lock an upload")?;
            match self.dir.lstat(&path) {
                Ok(found) if (found.st_dev, found.st_ino) == (locked.st_dev, locked.st_ino) => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).step("lock an upload"),
            }
            let dir = self.dir.try_clone().step("begin an upload")?;
            return Upload::new(dir, path, File::from(fd));
        }
    }

    /// Bytes of an interrupted upload, `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that none can have; [`Error::Io`].
    pub fn partial(&self, name: &str) -> Result<Option<u64>> {
        match self.dir.lstat(partial(name)?) {
            Ok(stat) => Ok(Some(u64::try_from(stat.st_size).unwrap_or(0))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).step("look an upload up"),
        }
    }

    /// Removes a blob; fine when it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        durable::remove(&self.dir, &place(digest)).step("remove a blob")
    }

    /// Takes a blob's name away; `None` if it is not there. What is left, and its size, has a name
    /// that no upload is resumed by: the caller removes it, or [`Blobs::sweep`] does.
    pub(crate) fn detach(&self, digest: &Digest) -> Result<Option<(PathBuf, u64)>> {
        let Some(size) = self.size(digest)? else { return Ok(None) };
        let tmp = partial(&unique())?;
        match durable::rename(&self.dir, &place(digest), &tmp) {
            Ok(()) => Ok(Some((tmp, size))),
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).step("remove a blob"),
        }
    }

    /// All blobs and their sizes, sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut out = Vec::new();
        for algorithm in ALGORITHMS {
            let dir = Path::new("blobs").join(algorithm);
            for found in self.dir.read_dir(&dir).step("list blobs")? {
                let hex = found.name.to_str();
                let digest = hex.and_then(|hex| format!("{algorithm}:{hex}").parse().ok());
                let Some(digest) = digest else { continue };
                if let Some(size) = self.size(&digest)? {
                    out.push((digest, size));
                }
            }
        }
        out.sort();
        Ok(out)
    }

    /// What lies among the blobs and is none (paths below the directory). Nothing that this module
    /// writes is ever there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn strays(&self) -> Result<Vec<PathBuf>> {
        let mut out = Vec::new();
        for algorithm in ALGORITHMS {
            let dir = Path::new("blobs").join(algorithm);
            for found in self.dir.read_dir(&dir).step("list blobs")? {
                let hex = found.name.to_str();
                let digest =
                    hex.and_then(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok());
                if digest.is_none() {
                    out.push(dir.join(&found.name));
                }
            }
        }
        Ok(out)
    }

    /// Removes uploads that nobody writes and that have not grown for this long; returns their
    /// names. Those that nobody can resume go at once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sweep(&self, older: Duration) -> Result<Vec<String>> {
        let mut gone = Vec::new();
        for found in self.dir.read_dir(PARTIAL).step("list uploads")? {
            let Some(name) = found.name.to_str() else { continue };
            let path = Path::new(PARTIAL).join(name);
            let stat = match self.dir.lstat(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.step("list uploads")?,
            };
            if !name.starts_with(PUT) && age(stat.st_mtime) < older {
                continue;
            }
            match self.begin(name) {
                Ok(upload) => upload.abandon()?,
                Err(Error::UploadBusy(_)) => continue,
                // A name that no upload has: somebody else's file.
                Err(Error::Invalid(_)) => continue,
                Err(error) => return Err(error),
            }
            gone.push(name.to_owned());
        }
        Ok(gone)
    }
}

/// Where a blob is. A digest has checked digits and nothing else.
fn place(digest: &Digest) -> PathBuf {
    Path::new("blobs").join(digest.algorithm()).join(digest.hex())
}

fn partial(name: &str) -> Result<PathBuf> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b":.=+-_".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(fine)
    {
        return Err(Error::Invalid(format!("{name:?} cannot be the name of an upload")));
    }
    Ok(Path::new(PARTIAL).join(name))
}

/// A name that no other process, and no earlier one of the same id, has used.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PUT}{}-{}-{next}", std::process::id(), now.as_nanos())
}

/// Time since a moment in seconds since the epoch; a clock that went back makes it zero.
fn age(mtime: i64) -> Duration {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(mtime).unwrap_or(0));
    SystemTime::now().duration_since(then).unwrap_or_default()
}

fn damaged(digest: &Digest) -> Error {
    let file = place(digest).display().to_string();
    Error::DamagedRecord { file, reason: "its content has another digest".to_owned() }
}

/// The digest of a stream, by the algorithm of the given one.
pub(crate) fn hash(like: &Digest, input: &mut dyn Read) -> io::Result<Digest> {
    let mut buffer = vec![0; 256 << 10];
    let mut each = |update: &mut dyn FnMut(&[u8])| -> io::Result<()> {
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    if like.algorithm() == "sha512" {
        let mut hash = Sha512::new();
        each(&mut |bytes| hash.update(bytes))?;
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("sha512:{hex}").parse().map_err(io::Error::other);
    }
    let mut hash = Sha256::new();
    each(&mut |bytes| hash.update(bytes))?;
    Ok(Digest::from_sha256(hash.finalize().into()))
}

#[cfg(test)]
mod tests;
