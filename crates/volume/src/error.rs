//! What can go wrong with volumes.

use std::io;

use types::error::ErrorKind;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure; [`Error::kind`] says how the API answers it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No volume of this name; Docker's words.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// The name breaks the rule; Docker's words.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )]
    BadName(String),
    /// Names of one character are refused; Docker's words.
    #[error(
        "create {0}: volume name is too short, names should be at least two alphanumeric characters"
    )]
    ShortName(String),
    /// The name is longer than a file name may be.
    #[error("create: volume name is too long (at most 255 bytes)")]
    LongName,
    /// Only `local` is there.
    #[error("error looking up volume plugin {0}: plugin \"{0}\" not found")]
    NoSuchDriver(String),
    /// It is there with another driver or other options; Docker's words.
    #[error("create {0}: conflict: volume name must be unique")]
    Exists(String),
    /// A volume is to be made whose name is taken.
    #[error(
        "volume name {0:?} is already in use: choose another one, or replace the volume with \
         what is new"
    )]
    Taken(String),
    /// The disk's file system cannot limit directories; Docker's words.
    #[error("quota size requested but no quota support")]
    NoQuota,
    /// An option that the local driver does not know.
    #[error("create {name}: invalid option: {option:?}")]
    BadOption {
        /// The volume.
        name: String,
        /// The option's key.
        option: String,
    },
    /// `type` or `o` needs `device`.
    #[error("create {name}: missing device in volume options")]
    MissingDevice {
        /// The volume.
        name: String,
    },
    /// Containers use it; Docker's words.
    #[error("remove {name}: volume is in use - [{}]", containers.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// Ids of the containers.
        containers: Vec<String>,
    },
    /// The mount that the options describe cannot be made.
    #[error("failed to mount local volume: mount {device}:{name}, data: {data}: {source}")]
    Mount {
        /// The volume.
        name: String,
        /// Its `device`.
        device: String,
        /// Its `o`.
        data: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The store's own disk.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A record cannot be read.
    #[error("volume {name}: its record is damaged: {reason}")]
    DamagedRecord {
        /// The volume.
        name: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// How the API answers this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchVolume(_) => ErrorKind::NotFound,
            Self::NoSuchDriver(_) => ErrorKind::NotFound,
            Self::BadName(_)
            | Self::ShortName(_)
            | Self::LongName
            | Self::NoQuota
            | Self::BadOption { .. }
            | Self::MissingDevice { .. } => ErrorKind::Invalid,
            Self::Exists(_) | Self::Taken(_) | Self::InUse { .. } => ErrorKind::Conflict,
            Self::Mount { .. } | Self::Io { .. } | Self::DamagedRecord { .. } => ErrorKind::System,
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
