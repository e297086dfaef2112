//! What can go wrong in a build, beside what is wrong in its Dockerfile.

use std::io;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a build, or a step of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file of the context, of a stage or of the image being built.
    #[error("cannot {step} {path}: {source}")]
    File {
        /// What was being done.
        step: &'static str,
        /// With which file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The image store.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The engine, a registry, a server.
    #[error("{}", .0.message)]
    Worker(types::Error),
    /// A process ended with another status than 0.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// Its command line.
        command: String,
        /// Its status.
        code: i32,
    },
    /// A source of `COPY` or `ADD` that is not there.
    #[error(
        "{keyword} failed: file not found in {place} or excluded by .dockerignore: stat {path}: \
         file does not exist"
    )]
    NoSource {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// `build context`, or the stage or image.
        place: String,
        /// The source.
        path: String,
    },
    /// A pattern that matches nothing.
    #[error("{0} failed: no source files were specified")]
    NoMatch(&'static str),
    /// Several sources for one file.
    #[error(
        "When using {0} with more than one source file, the destination must be a directory and \
         end with a /"
    )]
    ManySources(&'static str),
    /// A directory where a file is to be, or the other way round.
    #[error("cannot copy {what} to {there}: {path:?}")]
    Kind {
        /// What is copied.
        what: &'static str,
        /// What is there.
        there: &'static str,
        /// Where.
        path: String,
    },
    /// A pattern that is none.
    #[error("invalid pattern {0:?}: syntax error in pattern")]
    Pattern(String),
    /// `--chmod` of something that is no mode.
    #[error("invalid chmod parameter: '{0}' (an octal mode such as 0755, or u=rwX,go=rX)")]
    Mode(String),
    /// What was fetched is not what was expected.
    #[error("digest mismatch for {address}: expected {expected}, found {found}")]
    Checksum {
        /// Where it came from.
        address: String,
        /// What the Dockerfile says.
        expected: String,
        /// What came.
        found: String,
    },
    /// A flag or value that makes no sense here.
    #[error("{0}")]
    Invalid(String),
    /// Something that the client must have allowed.
    #[error("granting entitlement {0} is not allowed: allow it with --allow {0}")]
    NotAllowed(&'static str),
    /// A secret or agent that the client does not have.
    #[error("{kind} {id:?}: not found: give it with --{kind} id={id}")]
    NotGiven {
        /// `secret` or `ssh`.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The Dockerfile is not there.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NoDockerfile(String),
    /// Nobody waits for the build any more, or another stage failed.
    #[error("the build was cancelled")]
    Cancelled,
}

impl Error {
    /// What kind of error it is to the client.
    pub fn kind(&self) -> types::ErrorKind {
        use types::ErrorKind;
        match self {
            Self::Worker(error) => error.kind,
            Self::Image(error) => error.kind(),
            Self::Io { .. } | Self::File { .. } | Self::NoDockerfile(_) => ErrorKind::System,
            _ => ErrorKind::Invalid,
        }
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        Self::Worker(error)
    }
}

/// Says what was being done when the disk failed.
pub(crate) trait Step<T> {
    /// With the words that follow "cannot".
    fn step(self, step: &'static str) -> Result<T>;
    /// The same, with the file.
    fn at(self, step: &'static str, path: impl AsRef<std::path::Path>) -> Result<T>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|source| Error::Io { step, source })
    }

    fn at(self, step: &'static str, path: impl AsRef<std::path::Path>) -> Result<T> {
        let path = path.as_ref().display();
        self.map_err(|source| Error::File { step, path: path.to_string(), source })
    }
}
