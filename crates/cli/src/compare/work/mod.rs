//! The work that is measured, and the program that does it: this one, called with [`WORD`] and a
//! [`Task`] as JSON. It does a task with its own clock, and says what came out as a line of JSON.
//!
//! It runs natively, and in containers of any image: it is linked statically, needs no shell, no
//! library and no file but itself.

mod files;
mod memory;
mod processors;
mod serve;

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// The first argument of a program that is to do a task.
pub(crate) const WORD: &str = "__compare-task";

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// Say one line and end. Answers `true`.
    Greet,
    /// Answer to the network until standard input ends. Says a [`Serving`] at once.
    Serve,
    /// Compute. Answers a [`Computed`].
    Compute {
        /// How many rounds in all, of some microseconds each.
        rounds: u64,
        /// On every processor there is, or on one.
        everywhere: bool,
    },
    /// Copy memory. Answers the seconds that it took.
    Copy {
        /// Size of the buffer that is copied.
        bytes: usize,
        /// How many times.
        times: usize,
    },
    /// Write, read and remove files. Answers a [`Filed`].
    Files {
        /// A directory to be made, and removed with all that is in it.
        folder: String,
        /// Size of the large file.
        bytes: u64,
        /// How many small ones.
        count: u32,
    },
}

/// Where a server is, and what it costs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Serving {
    /// The TCP port.
    pub(super) port: u16,
    /// Memory of this process alone, as its kernel counts it: bytes, proportional share.
    pub(super) memory: u64,
}

/// What came out of a computation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Computed {
    /// How long it took.
    pub(super) seconds: f64,
    /// On how many threads.
    pub(super) threads: usize,
    /// The sum; equal for as many rounds on as many threads.
    pub(super) sum: u64,
}

/// How long it took to deal with files, in seconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Filed {
    /// To write the large one and have it on its disk.
    pub(super) write: f64,
    /// To read it again.
    pub(super) read: f64,
    /// To create, look at and remove the small ones.
    pub(super) small: f64,
}

impl Task {
    /// The arguments that have the program do it.
    pub(super) fn arguments(&self) -> serde_json::Result<Vec<String>> {
        Ok(vec![WORD.to_owned(), serde_json::to_string(self)?])
    }

    fn perform(&self) -> io::Result<String> {
        let answer = match self {
            Self::Greet => serde_json::to_string(&true),
            Self::Serve => return serve::serve().map(|()| String::new()),
            Self::Compute { rounds, everywhere } => {
                serde_json::to_string(&processors::compute(*rounds, *everywhere))
            }
            Self::Copy { bytes, times } => serde_json::to_string(&memory::copy(*bytes, *times)),
            Self::Files { folder, bytes, count } => {
                serde_json::to_string(&files::handle(folder.as_ref(), *bytes, *count)?)
            }
        };
        Ok(answer? + "\n")
    }
}

pub(super) use serve::{ECHO, GIVE, TAKE, give, take};

/// Does the task that the arguments behind [`WORD`] tell.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let task = arguments.first().map_or("", String::as_str);
    let done = serde_json::from_str::<Task>(task)
        .map_err(io::Error::from)
        .and_then(|task| task.perform())
        .and_then(|answer| io::stdout().write_all(answer.as_bytes()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_travel_as_arguments() {
        let folder = "/a \"b\"".to_owned();
        for task in [Task::Greet, Task::Serve, Task::Files { folder, bytes: 1, count: 2 }] {
            let arguments = task.arguments().expect("JSON");
            assert_eq!(arguments[0], WORD);
            assert_eq!(serde_json::from_str::<Task>(&arguments[1]).expect("a task"), task);
        }
    }

    #[test]
    fn the_same_computation_has_the_same_sum_wherever_it_runs() {
        let sum = |rounds| processors::compute(rounds, false).sum;
        assert_eq!(sum(20), sum(20));
        assert_ne!(sum(20), sum(21));
        assert!(processors::compute(20, true).threads > 0);
    }

    #[test]
    fn files_are_gone_afterwards() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("work");
        let filed = files::handle(&path, 3 << 20, 5).expect("handled");
        assert!(filed.write > 0.0 && filed.read > 0.0 && filed.small > 0.0);
        assert!(!path.exists());
        assert!(memory::copy(1 << 20, 2) > 0.0);
    }
}
