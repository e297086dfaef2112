//! What can go wrong with disks.

use std::io;
use std::path::{Path, PathBuf};

use types::error::ErrorKind;

/// A failure; [`Error::kind`] says how the API answers it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no path, and no snapshot has the name.
    #[error(
        "no such disk: {0}: give the absolute path of a disk image on the daemon's host, or the \
         name of a snapshot (`isopod vm snapshot ls`)"
    )]
    NoSuchDisk(String),
    /// A directory, a device or the like.
    #[error("{} is no disk image: it is not a regular file", .0.display())]
    NoFile(PathBuf),
    /// An image that cannot be used, and why.
    #[error("{} cannot be used as a disk: {why}", .path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Less was asked for than the image has.
    #[error(
        "the disk cannot be smaller than the image that it begins as: that has {image} bytes, \
         {asked} were asked for"
    )]
    Smaller {
        /// Bytes of the image.
        image: u64,
        /// Bytes that were asked for.
        asked: u64,
    },
    /// More than the format's table here has entries for.
    #[error("a disk cannot have more than {most} bytes, and {asked} were asked for")]
    TooLarge {
        /// The most that it can have.
        most: u64,
        /// Bytes that were asked for.
        asked: u64,
    },
    /// What the machine wrote would not fit it any more.
    #[error(
        "{} has changed since the machine was made from it: what the machine has written no longer \
         fits; put the old file back, or make a new machine",
        .0.display()
    )]
    Changed(PathBuf),
    /// Each snapshot of a machine puts one more layer below it.
    #[error("the disk has {0} layers already, which is the most: copy it into an image of its own")]
    Deep(usize),
    /// A snapshot of this name is there.
    #[error("snapshot {0:?} is there already: choose another name, or remove it first")]
    Taken(String),
    /// No snapshot of this name.
    #[error("no such snapshot: {0}")]
    NoSnapshot(String),
    /// What cannot be a snapshot's name.
    #[error(
        "invalid snapshot name {0:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at least two and \
         at most 128 of them"
    )]
    BadName(String),
    /// A name that the API has another use for.
    #[error("a snapshot cannot be called {0:?}: choose another name")]
    Reserved(String),
    /// A file that cannot be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// How the API answers it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NoSuchDisk(_) | Error::NoSnapshot(_) => ErrorKind::NotFound,
            Error::Taken(_) | Error::Changed(_) | Error::Deep(_) => ErrorKind::Conflict,
            Error::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Error::File { .. } => ErrorKind::System,
            _ => ErrorKind::Invalid,
        }
    }
}

/// Puts a step and a path to the failure of a system call.
pub(crate) trait At<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { what, path: path.to_owned(), source })
    }
}
