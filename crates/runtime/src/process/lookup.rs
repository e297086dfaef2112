//! Finding the program as a shell would, in the container's root and as the container's user.

use std::fs::Metadata;
use std::io;

use crate::error::{Error, Result};

/// The path of `program`; `path` is the value of `$PATH`.
pub(super) fn find(program: &str, path: Option<&str>) -> Result<String> {
    if program.contains('/') {
        return match executable(program) {
            Ok(()) => Ok(program.to_owned()),
            Err(Bad::Directory) => {
                Err(Error::NotExecutable { program: program.to_owned(), directory: true })
            }
            Err(Bad::Missing) => Err(Error::NoSuchProgram { program: program.to_owned() }),
            Err(Bad::Denied) => {
                Err(Error::NotExecutable { program: program.to_owned(), directory: false })
            }
            Err(Bad::Ourselves) => Err(Error::Spec(
                format!("exec: {program:?}: is the container runtime's own program").into(),
            )),
            Err(Bad::Other(errno)) => Err(Error::Exec { program: program.to_owned(), errno }),
        };
    }
    if !program.is_empty() {
        for dir in path.unwrap_or_default().split(':') {
            let dir = if dir.is_empty() { "." } else { dir };
            let candidate = format!("{dir}/{program}");
            if executable(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
    }
    Err(Error::NotInPath { program: program.to_owned() })
}

enum Bad {
    Missing,
    Denied,
    Directory,
    Ourselves,
    Other(i32),
}

fn executable(path: &str) -> std::result::Result<(), Bad> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta = std::fs::metadata(path).map_err(bad)?;
    if meta.is_dir() {
        return Err(Bad::Directory);
    }
    // Through /proc/self/exe a container could have its hands on the host's program
    // (CVE-2019-5736). The daemon runs from a read-only view of it besides.
    let is_link = || std::fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
    if (path.starts_with("/proc") || is_link())
        && let Ok(own) = std::fs::metadata("/proc/self/exe")
    {
        let same = |m: &Metadata| (own.dev(), own.ino()) == (m.dev(), m.ino());
        // The text of a magic link leads nowhere in here; a program that is really there (bound by
        // the user) is found by its own name, too.
        let by_name = || std::fs::canonicalize(path).and_then(std::fs::metadata);
        if same(&meta) && !by_name().is_ok_and(|m| same(&m)) {
            return Err(Bad::Ourselves);
        }
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(Bad::Denied);
    }
    sys::fs::may_execute(path).map_err(bad)
}

fn bad(error: io::Error) -> Bad {
    match error.raw_os_error() {
        Some(sys::errno::ENOENT | sys::errno::ENOTDIR) => Bad::Missing,
        Some(sys::errno::EACCES | sys::errno::EPERM) => Bad::Denied,
        Some(errno) => Bad::Other(errno),
        None => Bad::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_shell_finds_it() {
        assert_eq!(find("sh", Some("/nowhere:/bin")).unwrap(), "/bin/sh");
        assert_eq!(find("/bin/sh", None).unwrap(), "/bin/sh");
        assert!(matches!(find("sh", None), Err(Error::NotInPath { .. })));
        assert!(matches!(find("", Some("/bin")), Err(Error::NotInPath { .. })));
        assert!(matches!(find("/nowhere/x", None), Err(Error::NoSuchProgram { .. })));
        assert!(matches!(find("/etc", None), Err(Error::NotExecutable { directory: true, .. })));
        let e = find("/etc/passwd", None).unwrap_err();
        assert_eq!(e.to_string(), "exec: \"/etc/passwd\": permission denied");
    }
}
