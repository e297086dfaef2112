//! Where everything is kept, and how several processes share it.
//!
//! ```text
//! <root>/
//!   blobs/sha256/<hex>      verified content, that of manifests too
//!   partial/<upload>        uploads on their way (both are `image::blobs::Blobs`)
//!   lock, turnstile         see `gate`
//!   repositories/<name>/
//!     _manifests/sha256/<hex>            a manifest of the repository: its media type
//!     _tags/<tag>                        the digest that the tag stands for
//!     _blobs/sha256/<hex>                empty: the blob is in the repository
//!     _referrers/sha256/<hex>/<digest>   the descriptor of a manifest about <hex>
//! ```
//!
//! Nothing is held in memory between two requests but running hashes, so any number of processes
//! may serve one root. Every name appears by a rename after its content is on disk, and in the
//! order blob, manifest, tag: a crash leaves things that nobody refers to and never the reverse.
//!
//! **Collecting and pushing.** What links to content is made holding the gate shared; what is
//! unused is removed holding it alone, after a second look. A blob that a client was told of a
//! moment ago, and whose manifest is still to come, is protected by its link's time: links are
//! touched when a client asks for the blob, mounts it or puts a manifest that needs it, and the
//! collector leaves links alone that are younger than its grace time.

mod durable;
mod gate;
mod repository;
mod walk;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use image::blobs::Blobs;

use crate::name::Name;

pub(crate) use gate::Guard;
pub(crate) use repository::{PutError, Repository, Stored};
pub(crate) use walk::{digests_in, names_in};

/// A step on the storage that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// A call to the kernel failed.
    #[error("cannot {step} {path}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content store failed.
    #[error("content: {0}")]
    Content(#[source] image::Error),
    /// Content has another digest than it should.
    #[error("provided digest did not match uploaded content")]
    Mismatch,
    /// A file of ours does not hold what it should.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The result of a step on the storage.
pub(crate) type Result<T> = std::result::Result<T, StorageError>;

impl From<image::Error> for StorageError {
    fn from(error: image::Error) -> Self {
        match error {
            image::Error::WrongDigest { .. } => Self::Mismatch,
            error => Self::Content(error),
        }
    }
}

impl StorageError {
    pub(crate) fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Content(image::Error::Io { source, .. }) => Some(source),
            Self::Content(_) | Self::Mismatch | Self::Damaged { .. } => None,
        }
    }
}

/// Gives a failed call its step and its path.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str, path: &Path) -> Result<T>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| StorageError::Io { step, path: path.to_owned(), source })
    }
}

/// `None` instead of an error where nothing is.
pub(crate) fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // ENOTDIR: a component of the path is a file, so nothing is there either.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A directory that registries serve.
#[derive(Debug)]
pub(crate) struct Storage {
    root: PathBuf,
    blobs: Blobs,
}

impl Storage {
    /// Opens a root, making what is missing.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        // What needs a password to be pulled must not be open to whoever has an account here.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.step("make", root)?;
        let root = root.canonicalize().step("find", root)?;
        let blobs = Blobs::open(&root)?;
        let repositories = root.join("repositories");
        std::fs::create_dir_all(&repositories).step("make", &repositories)?;
        Ok(Self { root, blobs })
    }

    /// The content of all repositories.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The directory of all repositories.
    pub(crate) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// One repository, whether it has anything or not.
    pub(crate) fn repository(&self, name: &Name) -> Repository<'_> {
        Repository::new(self, self.repositories().join(name.path()))
    }

    /// Held while something comes to refer to content.
    pub(crate) fn shared(&self) -> Result<Guard> {
        gate::pass(&self.root, gate::Mode::Shared)
    }

    /// Held while something is taken away.
    pub(crate) fn alone(&self) -> Result<Guard> {
        gate::pass(&self.root, gate::Mode::Alone)
    }

    /// The names of all repositories that have manifests, in their order.
    pub(crate) fn catalog(&self) -> Result<Vec<Name>> {
        let mut names = walk::repositories(&self.repositories())?;
        names.retain(|name| self.repository(name).has_manifests());
        Ok(names)
    }

    /// The names of all repositories, also of those without manifests.
    pub(crate) fn all_repositories(&self) -> Result<Vec<Name>> {
        walk::repositories(&self.repositories())
    }
}

#[cfg(test)]
mod tests;
