//! What can go wrong in the store, a variant a step.

use std::io;

use manifest::InvalidManifest;
use types::digest::{Digest, InvalidDigest};
use types::error::ErrorKind;
use types::reference::InvalidReference;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the image store. [`Error::kind`] says how the API answers it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image of this name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// A short id that several images share.
    #[error("Multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// The name does not follow the grammar.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// A tag where only a digest reference (or the other way round) makes sense.
    #[error("{0}")]
    NotATag(String),
    /// A digest that is none.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// The image cannot be removed; the message is Docker's.
    #[error("conflict: {0}")]
    InUse(String),
    /// No blob of this digest.
    #[error("no such blob: {0}")]
    NoSuchBlob(Digest),
    /// Somebody else is writing the upload of this name.
    #[error("the upload {0} is being written by somebody else")]
    UploadBusy(String),
    /// No snapshot was prepared for this container.
    #[error("container {0} has no snapshot")]
    NoSnapshot(String),
    /// A snapshot for this container is there already.
    #[error("container {0} has a snapshot already")]
    SnapshotExists(String),
    /// A layer that an image needs is not there.
    #[error("layer {0} is missing from the store")]
    MissingLayer(Digest),
    /// A layer does not reproduce the tar it was made from.
    #[error("layer {expected} is damaged: its tar now has the digest {found}")]
    DamagedLayer {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Content that does not have the digest it was announced with.
    #[error("{what} has the digest {found}, not {expected}")]
    WrongDigest {
        /// Which blob.
        what: String,
        /// The announced digest.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// An archive of images is not what it should be.
    #[error("invalid image archive: {0}")]
    BadArchive(String),
    /// A tar stream is damaged or hostile.
    #[error("invalid tar: {0}")]
    BadTar(String),
    /// An entry of a tar cannot be unpacked.
    #[error("cannot unpack {path:?}: {reason}")]
    BadEntry {
        /// The entry's name.
        path: String,
        /// Why.
        reason: String,
    },
    /// An entry of a tar cannot be written, and the tar is not to blame.
    #[error("cannot write {path:?}: {source}")]
    Disk {
        /// The entry's name.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A configured limit was passed.
    #[error("{what} is beyond the limit of {limit}")]
    TooLarge {
        /// What has grown too large.
        what: &'static str,
        /// The limit that was passed.
        limit: u64,
    },
    /// A manifest cannot be understood.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// An image's JSON cannot be understood.
    #[error("invalid image configuration: {0}")]
    BadConfig(String),
    /// A `--change` instruction cannot be understood.
    #[error("{0}")]
    BadInstruction(String),
    /// A path in a container does not exist.
    #[error("no such file or directory: {0}")]
    NoSuchPath(String),
    /// The target of an upload is no directory; Docker's words.
    #[error("extraction point is not a directory")]
    NotADirectory,
    /// An upload may not turn a directory into something else or the other way round.
    #[error("{0}")]
    Overwrite(String),
    /// A request that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The kernel or the store's file system lacks something.
    #[error("{0}")]
    Unsupported(String),
    /// Reading what the client sends.
    #[error("reading the input: {0}")]
    Input(#[source] io::Error),
    /// Writing what the client reads.
    #[error("writing the output: {0}")]
    Output(#[source] io::Error),
    /// Something on the store's own disk.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The store's own records cannot be read.
    #[error("{file} is damaged: {reason}")]
    DamagedRecord {
        /// Which file.
        file: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// How the API answers this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage(_)
            | Self::NoSnapshot(_)
            | Self::NoSuchPath(_)
            | Self::NoSuchBlob(_) => ErrorKind::NotFound,
            Self::InUse(_) | Self::SnapshotExists(_) | Self::UploadBusy(_) => ErrorKind::Conflict,
            Self::AmbiguousId(_)
            | Self::Reference(_)
            | Self::NotATag(_)
            | Self::Digest(_)
            | Self::WrongDigest { .. }
            | Self::BadArchive(_)
            | Self::BadTar(_)
            | Self::BadEntry { .. }
            | Self::TooLarge { .. }
            | Self::Manifest(_)
            | Self::BadConfig(_)
            | Self::BadInstruction(_)
            | Self::NotADirectory
            | Self::Overwrite(_)
            | Self::Invalid(_)
            | Self::Input(_) => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::NotImplemented,
            Self::MissingLayer(_)
            | Self::DamagedLayer { .. }
            | Self::Output(_)
            | Self::Disk { .. }
            | Self::Io { .. }
            | Self::DamagedRecord { .. } => ErrorKind::System,
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

/// Names the step at which a call to the system failed.
pub(crate) trait Step<T> {
    /// Turns the errno into [`Error::Io`].
    fn step(self, step: &'static str) -> Result<T>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|source| Error::Io { step, source })
    }
}
