//! What can go wrong between a specification and a running process.

use std::borrow::Cow;
use std::io;

use thiserror::Error as ThisError;

/// Where in the set-up of a process something failed. The numbers cross the pipe from the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// The specification asks for something that cannot be.
    Spec = 1,
    /// Pipes, sockets and other preparation in the parent.
    Prepare,
    /// `clone3`.
    Clone,
    /// Joining the cgroups.
    Cgroup,
    /// Opening or joining a namespace.
    Namespace,
    /// Writing the id maps of the user namespace.
    IdMap,
    /// Attaching the root file system.
    Root,
    /// A mount of the specification.
    Mount,
    /// A device node or link in `/dev`.
    Device,
    /// The terminal.
    Console,
    /// Masked and read-only paths.
    Mask,
    /// Making the root the root.
    Pivot,
    /// A sysctl.
    Sysctl,
    /// Host or domain name.
    Hostname,
    /// The loopback link of a new network namespace.
    Network,
    /// A resource limit.
    Rlimit,
    /// `oom_score_adj`.
    OomScore,
    /// Scheduling policy, I/O priority, affinity, personality.
    Scheduler,
    /// Session keyring.
    Keyring,
    /// Capabilities.
    Capabilities,
    /// User, groups.
    User,
    /// `no_new_privs`, dumpable and other `prctl`s.
    Privileges,
    /// AppArmor or SELinux label.
    Label,
    /// The seccomp filter.
    Seccomp,
    /// The working directory.
    Cwd,
    /// Standard streams and further descriptors.
    Stdio,
    /// A hook.
    Hook,
    /// Finding the program.
    Lookup,
    /// `execve`.
    Exec,
    /// The child vanished without a word.
    Died,
}

impl Step {
    /// The step with this number.
    pub(crate) fn from_number(number: u8) -> Step {
        use Step::*;
        const ALL: [Step; 30] = [
            Spec,
            Prepare,
            Clone,
            Cgroup,
            Namespace,
            IdMap,
            Root,
            Mount,
            Device,
            Console,
            Mask,
            Pivot,
            Sysctl,
            Hostname,
            Network,
            Rlimit,
            OomScore,
            Scheduler,
            Keyring,
            Capabilities,
            User,
            Privileges,
            Label,
            Seccomp,
            Cwd,
            Stdio,
            Hook,
            Lookup,
            Exec,
            Died,
        ];
        ALL.into_iter().find(|s| *s as u8 == number).unwrap_or(Died)
    }
}

/// Why a process could not be made. `Display` is one line in runc's words where clients read them.
#[derive(Debug, ThisError)]
pub enum Error {
    /// No such program in any directory of `$PATH`: Docker's exit status 127.
    #[error("exec: \"{program}\": executable file not found in $PATH")]
    NotInPath {
        /// `args[0]`.
        program: String,
    },
    /// The named program is not there: Docker's exit status 127.
    #[error("exec: \"{program}\": stat {program}: no such file or directory")]
    NoSuchProgram {
        /// `args[0]`.
        program: String,
    },
    /// The program may not be executed, or is a directory: Docker's exit status 126.
    #[error("exec: \"{program}\": {why}permission denied", why = if *.directory { "is a directory: " } else { "" })]
    NotExecutable {
        /// `args[0]`.
        program: String,
        /// It is a directory.
        directory: bool,
    },
    /// `execve` itself failed: `ENOENT` for a missing interpreter, `ENOEXEC`, …
    #[error("exec {program}: {}", errno_text(*.errno))]
    Exec {
        /// The file.
        program: String,
        /// The error number.
        errno: i32,
    },
    /// The specification cannot be followed.
    #[error("{0}")]
    Spec(Cow<'static, str>),
    /// A step of the set-up failed.
    #[error("{what}{}{}", if .errno.is_some() { ": " } else { "" }, .errno.map(errno_text).unwrap_or_default())]
    Setup {
        /// Which.
        step: Step,
        /// What was being done, to what.
        what: String,
        /// The error number, if the kernel gave one.
        errno: Option<i32>,
    },
    /// The cgroup refused.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// The seccomp profile cannot be used.
    #[error("seccomp: {0}")]
    Seccomp(#[from] crate::seccomp::Error),
    /// The child ended before it said what it was doing (killed from outside, out of memory).
    #[error("the container's process died during its set-up ({0}): it may have been out of memory")]
    Died(String),
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Where it happened.
    pub fn step(&self) -> Step {
        match self {
            Error::NotInPath { .. } | Error::NoSuchProgram { .. } | Error::NotExecutable { .. } => {
                Step::Lookup
            }
            Error::Exec { .. } => Step::Exec,
            Error::Spec(_) => Step::Spec,
            Error::Setup { step, .. } => *step,
            Error::Cgroup(_) => Step::Cgroup,
            Error::Seccomp(_) => Step::Seccomp,
            Error::Died(_) => Step::Died,
        }
    }

    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::NotInPath { .. } | Error::NoSuchProgram { .. } => Some(libc_enoent()),
            Error::NotExecutable { .. } => Some(sys::errno::EACCES),
            Error::Exec { errno, .. } => Some(*errno),
            Error::Setup { errno, .. } => *errno,
            Error::Cgroup(e) => e.errno(),
            Error::Spec(_) | Error::Seccomp(_) | Error::Died(_) => None,
        }
    }

    /// A failure of a syscall at `step`.
    pub(crate) fn at(step: Step, what: impl Into<String>, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(errno) => Error::Setup { step, what: what.into(), errno: Some(errno) },
            None => Error::Setup { step, what: format!("{}: {source}", what.into()), errno: None },
        }
    }

    /// A failure at `step` for a reason of our own.
    pub(crate) fn because(step: Step, what: impl Into<String>) -> Error {
        Error::Setup { step, what: what.into(), errno: None }
    }
}

fn libc_enoent() -> i32 {
    sys::errno::ENOENT
}

/// The text of an error number as Go's runtime (and so Docker) prints it: lower case.
pub(crate) fn errno_text(errno: i32) -> String {
    sys::errno::text(errno)
}

/// Puts step and subject to a syscall's failure.
pub(crate) trait Context<T> {
    /// `what` is only evaluated on failure.
    fn context<S: Into<String>>(self, step: Step, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context<S: Into<String>>(self, step: Step, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::at(step, what(), source))
    }
}
