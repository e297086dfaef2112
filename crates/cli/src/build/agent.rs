//! ssh agents: those that run, and those that are started for keys.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::secret::Agent;

/// An agent that answers.
#[derive(Debug)]
pub(super) struct Running {
    socket: PathBuf,
    /// Ends when this is dropped.
    _own: Option<Own>,
}

/// An agent of ours. It and its directory go when it is dropped.
#[derive(Debug)]
struct Own {
    process: Child,
    directory: PathBuf,
}

impl Running {
    /// Uses the agent that runs, or starts one and gives it the keys.
    pub(super) fn of(agent: &Agent) -> anyhow::Result<Self> {
        match agent {
            Agent::Socket(path) => Ok(Self { socket: path.clone(), _own: None }),
            Agent::Keys(keys) => start(keys),
        }
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

fn start(keys: &[PathBuf]) -> anyhow::Result<Running> {
    let directory = private_directory().context("a directory for the ssh agent")?;
    let socket = directory.join("agent");
    let process = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .inspect_err(|_| drop(std::fs::remove_dir(&directory)))
        .context("ssh-agent, which --ssh needs for keys (install openssh-client)")?;
    let agent = Running { socket: socket.clone(), _own: Some(Own { process, directory }) };
    // ssh-agent has no way to say that it is ready.
    let began = Instant::now();
    while !socket.exists() {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(5), "ssh-agent does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    // A passphrase is asked for on the terminal.
    let added = Command::new("ssh-add")
        .arg("-q")
        .args(keys)
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .context("ssh-add")?;
    let names: Vec<_> = keys.iter().map(|key| key.display().to_string()).collect();
    anyhow::ensure!(added.success(), "ssh-add did not take {}", names.join(", "));
    Ok(agent)
}

/// A directory that only we may look into.
fn private_directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut attempt = 0_u32;
    loop {
        let name = format!("isopod-ssh-{}-{attempt}", std::process::id());
        let path = std::env::temp_dir().join(name);
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                attempt += 1;
            }
            other => return other.map(|()| path),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // An agent that is gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
