//! What an agent says to its monitor.

use serde::{Deserialize, Serialize};
use types::{Error, Timestamp};

use crate::control::Sample;

/// Everything that an agent sends as messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGuest {
    /// It is there.
    Hello(Hello),
    /// The answer to the request of that number.
    Reply {
        /// [`super::ToGuest::number`].
        number: u32,
        /// The answer, or why there is none.
        result: Result<Reply, Failure>,
    },
    /// Something happened.
    Notice(Notice),
}

/// The first words of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::VERSION`] of the agent.
    pub version: u32,
}

/// Why a request could not be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the user is told.
    pub error: Error,
    /// The container's exit status, where its start failed.
    #[serde(default)]
    pub status: i32,
}

/// An agent's answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// To [`super::Request::Create`]: what the guest's kernel did not allow and nobody asked for.
    Created {
        /// One line each.
        warnings: Vec<String>,
    },
    /// To [`super::Request::Start`].
    Started,
    /// To [`super::Request::Exec`].
    ExecStarted {
        /// The process's id in the guest.
        pid: i32,
    },
    /// To [`super::Request::Update`]: what was not heeded.
    Warnings(Vec<String>),
    /// To [`super::Request::Stats`].
    Sample(Box<Sample>),
    /// To [`super::Request::Processes`]. Where all of it would be too long for a message, command
    /// lines are cut; where there are too many, the last are left out.
    Processes(Vec<ProcessInfo>),
    /// To [`super::FileRequest::Stat`]; `None`: there is nothing.
    Stat(Option<FileStat>),
}

/// Things that an agent tells unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The container's first process ended.
    Exited {
        /// Its status, or 128 plus the signal.
        exit_code: i32,
    },
    /// The guest's kernel killed a process of the container for want of memory. Heard several times
    /// within a second, it is told once.
    OutOfMemory,
    /// An exec's process ended.
    ExecExited {
        /// Its id.
        exec: String,
        /// Its status, or 128 plus the signal.
        exit_code: i32,
    },
}

/// A process of the container, as `ps` shows it. No field may be absent: a guest that leaves them out
/// could name so many in one message that they would be far more here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its number in the machine.
    pub pid: i32,
    /// Its parent's.
    pub ppid: i32,
    /// Who runs it.
    pub uid: u32,
    /// The user's name in the container, or the number.
    pub user: String,
    /// Its state's letter.
    pub state: String,
    /// When it began, in seconds since the epoch.
    pub started: i64,
    /// CPU time in hundredths of a second.
    pub cpu: u64,
    /// The number of its terminal, as `pts/0`; `?`: it has none.
    pub terminal: String,
    /// Address space in KiB.
    pub size: u64,
    /// Memory that is there, in KiB.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Nice value.
    pub nice: i64,
    /// The kernel's name for it.
    pub name: String,
    /// Its command line.
    pub command: String,
}

/// What is at a path, as Docker's API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Last component of the path that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode` bits.
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Where a symlink leads; else empty.
    pub link_target: String,
}

/// A path that differs from the image's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Docker's number: 0 modified, 1 added, 2 deleted.
    pub kind: u8,
    /// Absolute.
    pub path: String,
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// Hexadecimal digits as bytes; `None` for what is none.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}
