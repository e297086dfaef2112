//! What can go wrong with a virtual machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::machine::Arch;

/// Why a machine does not run. `Display` is for the user, and says what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no program that could run it.
    #[error(
        "running a container in a virtual machine needs {program}, which is not installed \
         (Debian, Ubuntu: apt-get install {package})"
    )]
    NoProgram {
        /// What was looked for.
        program: &'static str,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// Hardware virtualization was asked for, and does not work.
    #[error("hardware virtualization (/dev/kvm) does not work on this host: {0}")]
    NoHardware(String),
    /// More devices than a machine has places for.
    #[error("a virtual machine cannot have more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many fit.
        max: usize,
    },
    /// The kernel is missing, or is none.
    #[error(transparent)]
    Kernel(#[from] crate::kernel::Error),
    /// The guest's card could not be joined to the container's network.
    #[error(transparent)]
    Join(#[from] crate::network::JoinError),
    /// Something around the machine could not be prepared.
    #[error("{step}: {source}")]
    Prepare {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file or directory that belongs to the machine.
    #[error("{step} {}: {source}", .path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file system could not be made on a disk image.
    #[error("{program} failed: {said}")]
    Program {
        /// Which program.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// The machine's process could not be confined or started.
    #[error("the virtual machine's process cannot be set up: {step}: {}", sys::errno::text(*.errno))]
    Confine {
        /// At which step.
        step: String,
        /// The kernel's answer.
        errno: i32,
    },
    /// The machine ended before the agent was there.
    #[error("the virtual machine ended while it started{}", told(.said))]
    Ended {
        /// The last words of its monitor and its console.
        said: String,
    },
    /// The agent was not there in time.
    #[error("the virtual machine did not start within {} s{}", .limit.as_secs(), told(.said))]
    Late {
        /// How long was waited.
        limit: Duration,
        /// The last words of its console.
        said: String,
    },
    /// The machine's monitor refused something, or answered nonsense.
    #[error("the virtual machine's monitor refused to {what}: {said}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        said: String,
    },
    /// A guest of this architecture cannot run here.
    #[error("{arch} guests cannot run here: {why}")]
    Unsupported {
        /// Which architecture.
        arch: Arch,
        /// Why not.
        why: &'static str,
    },
    /// A template is not what it should be.
    #[error("the template {key} cannot be used: {why}")]
    Template {
        /// Which one.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether it was the machine that failed, once there was one: not its process, which could not be
    /// made, nor anything that was prepared for it.
    pub(crate) fn is_the_machines(&self) -> bool {
        matches!(self, Error::Ended { .. } | Error::Late { .. } | Error::Refused { .. })
    }
}

fn told(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; its last words: {said}") }
}

/// Puts a step to the failure of a system call.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Error>;
    fn file(self, step: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Prepare { step, source })
    }

    fn file(self, step: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::File { step, path: path.into(), source })
    }
}
