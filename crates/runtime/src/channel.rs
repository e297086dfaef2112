//! The words between the caller and the child that becomes the container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Step};

/// Longest message; longer texts are cut.
const MAX: usize = 4096;

/// From the child.
#[derive(Debug)]
pub(crate) enum Report {
    /// The intermediate process has made the container's process, with this pid.
    Pid(i32),
    /// The master of the terminal.
    Console(OwnedFd),
    /// Something was left out.
    Warning(String),
    /// Namespaces and cgroup stand: run the hooks of the runtime's namespace.
    Hooks,
    /// Everything is set up.
    Ready,
    /// It went wrong; the child ends.
    Failed(Error),
    /// The other side has gone: either `execve` has happened or the child died.
    Closed,
}

/// To the child: go on past the point where it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// The id maps are written.
    Mapped = b'm',
    /// The hooks have run.
    HooksDone = b'h',
    /// Execute.
    Go = b'g',
}

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Channel {
        Channel { socket }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    /// The caller's end and the child's.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = sys::socket::pair()?;
        Ok((a.into(), b.into()))
    }

    /// Waits for the next report.
    pub(crate) fn report(&self) -> io::Result<Report> {
        let mut buf = [0u8; MAX];
        let (len, mut fds) = match sys::socket::recv(&self.socket, &mut buf) {
            // The child went while an order of ours lay unread.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Report::Closed),
            other => other?,
        };
        let Some((tag, rest)) = buf[..len].split_first() else { return Ok(Report::Closed) };
        Ok(match tag {
            b'P' => Report::Pid(i32::from_le_bytes(rest.try_into().unwrap_or_default())),
            b'C' => match fds.pop() {
                Some(fd) => Report::Console(fd),
                None => return Err(io::ErrorKind::InvalidData.into()),
            },
            b'W' => Report::Warning(String::from_utf8_lossy(rest).into_owned()),
            b'H' => Report::Hooks,
            b'R' => Report::Ready,
            b'E' => Report::Failed(decode(rest)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    fn tell(&self, tag: u8, rest: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(1 + rest.len());
        bytes.push(tag);
        bytes.extend_from_slice(&rest[..rest.len().min(MAX - 1)]);
        sys::socket::send(&self.socket, &bytes, fds).map(drop)
    }

    /// Reports the pid of the container's process.
    pub(crate) fn tell_pid(&self, pid: i32) -> io::Result<()> {
        self.tell(b'P', &pid.to_le_bytes(), &[])
    }

    /// Hands over the terminal's master.
    pub(crate) fn tell_console(&self, master: BorrowedFd<'_>) -> io::Result<()> {
        self.tell(b'C', &[], &[master])
    }

    /// Reports something that was left out; nobody listening is no reason to fail.
    pub(crate) fn warn(&self, text: &str) {
        let _ = self.tell(b'W', text.as_bytes(), &[]);
    }

    /// Asks for the hooks.
    pub(crate) fn tell_hooks(&self) -> io::Result<()> {
        self.tell(b'H', &[], &[])
    }

    /// Reports that everything is set up.
    pub(crate) fn tell_ready(&self) -> io::Result<()> {
        self.tell(b'R', &[], &[])
    }

    /// Reports what went wrong.
    pub(crate) fn fail(&self, error: &Error) {
        let _ = self.tell(b'E', &encode(error), &[]);
    }

    /// Lets the child go on.
    pub(crate) fn order(&self, order: Order) -> io::Result<()> {
        sys::socket::send(&self.socket, &[order as u8], &[]).map(drop)
    }

    /// Waits until the caller lets this child go on.
    ///
    /// # Errors
    /// `BrokenPipe` when the caller has gone.
    pub(crate) fn wait_for(&self, order: Order) -> io::Result<()> {
        let mut buf = [0u8; 8];
        match sys::socket::recv(&self.socket, &mut buf)? {
            (1, _) if buf[0] == order as u8 => Ok(()),
            (0, _) => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Kind, step, errno, text.
fn encode(error: &Error) -> Vec<u8> {
    let (kind, text) = match error {
        Error::NotInPath { program } => (1, program.clone()),
        Error::NoSuchProgram { program } => (2, program.clone()),
        Error::NotExecutable { program, directory: false } => (3, program.clone()),
        Error::NotExecutable { program, directory: true } => (4, program.clone()),
        Error::Exec { program, .. } => (5, program.clone()),
        Error::Spec(text) => (6, text.to_string()),
        Error::Setup { what, .. } => (0, what.clone()),
        other => (7, other.to_string()),
    };
    let errno = error.errno().filter(|_| kind != 7).unwrap_or(0);
    let mut out = vec![kind, error.step() as u8];
    out.extend_from_slice(&errno.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Error {
    let [kind, step, e0, e1, e2, e3, text @ ..] = bytes else {
        return Error::Died("garbled report".into());
    };
    let errno = i32::from_le_bytes([*e0, *e1, *e2, *e3]);
    let text = String::from_utf8_lossy(text).into_owned();
    match kind {
        1 => Error::NotInPath { program: text },
        2 => Error::NoSuchProgram { program: text },
        3 => Error::NotExecutable { program: text, directory: false },
        4 => Error::NotExecutable { program: text, directory: true },
        5 => Error::Exec { program: text, errno },
        6 => Error::Spec(text.into()),
        _ => Error::Setup {
            step: Step::from_number(*step),
            what: text,
            errno: (errno != 0).then_some(errno),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_pipe() {
        let errors = [
            Error::NotInPath { program: "foo".into() },
            Error::NotExecutable { program: "/etc".into(), directory: true },
            Error::Exec { program: "/x".into(), errno: 8 },
            Error::Setup { step: Step::Mount, what: "mount /x".into(), errno: Some(13) },
            Error::Setup { step: Step::Cwd, what: "no".into(), errno: None },
        ];
        for error in errors {
            let back = decode(&encode(&error));
            assert_eq!(back.to_string(), error.to_string());
            assert_eq!(back.step(), error.step());
            assert_eq!(back.errno(), error.errno());
        }
    }

    #[test]
    fn messages_reflect_docker() {
        let e = Error::NotInPath { program: "foo".into() };
        assert_eq!(e.to_string(), "exec: \"foo\": executable file not found in $PATH");
        let e = Error::NoSuchProgram { program: "/x".into() };
        assert_eq!(e.to_string(), "exec: \"/x\": stat /x: no such file or directory");
        let e = Error::Exec { program: "/x".into(), errno: sys::errno::ENOEXEC };
        assert_eq!(e.to_string(), "exec /x: exec format error");
    }
}
