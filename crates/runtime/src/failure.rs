//! What a failure of the runtime is to the engine.

use crate::cgroup;
use types::{Error, ErrorKind};

const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;

/// What became of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// It is not there.
    Missing,
    /// It cannot be executed.
    Unfit,
    /// It was not even looked for.
    NotReached,
}

fn program(error: &crate::Error) -> Program {
    use crate::Error as E;
    match error {
        E::NotInPath { .. } | E::NoSuchProgram { .. } => Program::Missing,
        E::Exec { errno: ENOENT | ENOTDIR, .. } => Program::Missing,
        E::NotExecutable { .. } | E::Exec { errno: EACCES | ENOEXEC, .. } => Program::Unfit,
        _ => Program::NotReached,
    }
}

/// The error that crosses the control connection. A program that cannot be run is the fault of
/// the request, as with Docker (400).
pub fn of_runtime(error: &crate::Error) -> Error {
    let kind = match program(error) {
        Program::Missing | Program::Unfit => ErrorKind::Invalid,
        Program::NotReached if matches!(error, crate::Error::Spec(_)) => ErrorKind::Invalid,
        Program::NotReached => ErrorKind::System,
    };
    Error { kind, message: error.to_string() }
}

/// The exit status of a container that could not be started, as Docker has it.
pub fn status(error: &crate::Error) -> i32 {
    match program(error) {
        Program::Missing => 127,
        Program::Unfit => 126,
        Program::NotReached => 128,
    }
}

/// A failure of the container's cgroup.
pub fn of_cgroup(error: &cgroup::Error) -> Error {
    Error::system(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_run_has_dockers_status() {
        let program = String::from("x");
        let cases = [
            (crate::Error::NotInPath { program: program.clone() }, 127),
            (crate::Error::NoSuchProgram { program: program.clone() }, 127),
            (crate::Error::NotExecutable { program: program.clone(), directory: true }, 126),
            (crate::Error::Exec { program: program.clone(), errno: ENOENT }, 127),
            (crate::Error::Exec { program: program.clone(), errno: ENOEXEC }, 126),
            (crate::Error::Exec { program, errno: 12 }, 128),
            (crate::Error::Spec("no".into()), 128),
        ];
        for (error, expected) in cases {
            assert_eq!(status(&error), expected, "{error}");
            let invalid = of_runtime(&error).kind == ErrorKind::Invalid;
            assert!(invalid || expected == 128, "{error}");
        }
    }
}
