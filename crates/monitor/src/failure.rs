//! What a failure of the runtime is to the engine.

use runtime::cgroup;
use types::{Error, ErrorKind};

/// The error that crosses the control connection. Its kind tells what became of the program:
/// not found (Docker's status 127), forbidden (126), or something else (128).
pub(crate) fn of_runtime(error: &runtime::Error) -> Error {
    let kind = match error {
        runtime::Error::NotInPath { .. } | runtime::Error::NoSuchProgram { .. } => {
            ErrorKind::NotFound
        }
        runtime::Error::NotExecutable { .. } => ErrorKind::Forbidden,
        runtime::Error::Exec { errno: ENOENT | ENOTDIR, .. } => ErrorKind::NotFound,
        runtime::Error::Exec { errno: EACCES | ENOEXEC, .. } => ErrorKind::Forbidden,
        runtime::Error::Spec(_) => ErrorKind::Invalid,
        _ => ErrorKind::System,
    };
    Error { kind, message: error.to_string() }
}

const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;

/// The exit status of a container that could not be started, as Docker has it.
pub(crate) fn status(error: &Error) -> i32 {
    match error.kind {
        ErrorKind::NotFound => 127,
        ErrorKind::Forbidden => 126,
        _ => 128,
    }
}

/// A failure of the container's cgroup.
pub(crate) fn of_cgroup(error: &cgroup::Error) -> Error {
    Error::system(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_run_has_dockers_status() {
        let program = String::from("x");
        let cases = [
            (runtime::Error::NotInPath { program: program.clone() }, 127),
            (runtime::Error::NoSuchProgram { program: program.clone() }, 127),
            (runtime::Error::NotExecutable { program: program.clone(), directory: true }, 126),
            (runtime::Error::Exec { program: program.clone(), errno: ENOENT }, 127),
            (runtime::Error::Exec { program: program.clone(), errno: ENOEXEC }, 126),
            (runtime::Error::Exec { program, errno: 12 }, 128),
            (runtime::Error::Spec("no".into()), 128),
        ];
        for (error, expected) in cases {
            assert_eq!(status(&of_runtime(&error)), expected, "{error}");
        }
    }
}
