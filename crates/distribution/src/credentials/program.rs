//! Credential programs: `docker-credential-<name>`, which keep secrets in a keychain.
//!
//! Each is run with one word (`get`, `store`, `erase`, `list`), reads one document from its
//! standard input and answers with one on its standard output.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::Credentials;

/// What such programs are called before their own name.
const PREFIX: &str = "docker-credential-";
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 1 << 20;
/// How long one may take. Some ask the user to touch a key.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// Why a credential program was of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A name that could be a path.
    #[error("invalid credential helper name \"{0}\"")]
    Name(String),
    /// It does not start.
    #[error("error getting credentials - err: exec: \"{program}\": {source}")]
    Start {
        /// Its file name.
        program: String,
        /// The system's words.
        source: io::Error,
    },
    /// It failed.
    #[error("error getting credentials - err: {status}, out: `{output}`")]
    Failed {
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// It did not end in time.
    #[error("{program} did not answer within {TIMEOUT:?}")]
    Timeout {
        /// Its file name.
        program: String,
    },
    /// Its answer is no JSON of the expected shape.
    #[error("{program}: {source}")]
    Answer {
        /// Its file name.
        program: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// One credential program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    file: String,
    timeout: Duration,
}

impl Program {
    /// The program that a configuration calls `name`.
    pub(super) fn named(name: &str) -> Result<Self, ProgramError> {
        if name.is_empty() || name.contains('/') {
            return Err(ProgramError::Name(name.to_owned()));
        }
        Ok(Self { file: format!("{PREFIX}{name}"), timeout: TIMEOUT })
    }

    /// What it keeps for a server.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>, ProgramError> {
        let answer = match self.run("get", server.as_bytes()) {
            Err(ProgramError::Failed { output, .. }) if is_absence(&output) => return Ok(None),
            other => other?,
        };
        let entry: Entry = self.parse(&answer)?;
        let mut found = Credentials { server_address: server.to_owned(), ..Default::default() };
        if entry.username == TOKEN_USER {
            found.identity_token = entry.secret;
        } else {
            (found.username, found.password) = (entry.username, entry.secret);
        }
        Ok(Some(found).filter(|found| !found.is_empty()))
    }

    /// Keeps credentials.
    pub(super) fn store(&self, server: &str, new: &Credentials) -> Result<(), ProgramError> {
        let token = !new.identity_token.is_empty();
        let entry = Entry {
            server: server.to_owned(),
            username: if token { TOKEN_USER.to_owned() } else { new.username.clone() },
            secret: if token { new.identity_token.clone() } else { new.password.clone() },
        };
        let json = serde_json::to_vec(&entry)
            .map_err(|source| ProgramError::Answer { program: self.file.clone(), source })?;
        self.run("store", &json).map(drop)
    }

    /// Forgets a server.
    pub(super) fn erase(&self, server: &str) -> Result<(), ProgramError> {
        match self.run("erase", server.as_bytes()) {
            Err(ProgramError::Failed { output, .. }) if is_absence(&output) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The servers it knows, and who we are to them.
    pub(super) fn list(&self) -> Result<BTreeMap<String, String>, ProgramError> {
        let answer = self.run("list", b"unused")?;
        self.parse(&answer)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, answer: &[u8]) -> Result<T, ProgramError> {
        serde_json::from_slice(answer)
            .map_err(|source| ProgramError::Answer { program: self.file.clone(), source })
    }

    fn run(&self, word: &str, input: &[u8]) -> Result<Vec<u8>, ProgramError> {
        let start = |source| ProgramError::Start { program: self.file.clone(), source };
        let mut child = Command::new(&self.file)
            .arg(word)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(start(io::ErrorKind::BrokenPipe.into()));
        };
        let input = input.to_vec();
        let (send, receive) = mpsc::channel();
        // A thread of its own, since a program may read nothing, or leave its output open in a
        // child of its own; then the thread ends with that child.
        thread::spawn(move || {
            // One that does not read what it is told has its reasons: its answer counts.
            let _ = stdin.write_all(&input);
            drop(stdin);
            let mut output = Vec::new();
            let read = stdout.take(MAX_ANSWER).read_to_end(&mut output);
            let _ = send.send(read.map(|_| output));
        });
        let deadline = Instant::now() + self.timeout;
        let timeout = || ProgramError::Timeout { program: self.file.clone() };
        if !ended(&child, deadline).map_err(start)? {
            child.kill().map_err(start)?;
            child.wait().map_err(start)?;
            return Err(timeout());
        }
        let status = child.wait().map_err(start)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let output = receive.recv_timeout(left).map_err(|_| timeout())?.map_err(start)?;
        if status.success() {
            return Ok(output);
        }
        let output = String::from_utf8_lossy(&output).trim().chars().take(1024).collect();
        Err(ProgramError::Failed { status: status.to_string(), output })
    }
}

/// Waits for the end of a process until a moment.
fn ended(child: &Child, deadline: Instant) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The words with which every such program says that it knows nothing of a server.
fn is_absence(output: &str) -> bool {
    output.contains("credentials not found in native keychain")
}

#[cfg(test)]
impl Program {
    /// A program at a path, for tests that must not change the environment.
    pub(super) fn at(file: &std::path::Path, timeout: Duration) -> Self {
        Self { file: file.display().to_string(), timeout }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }
}
