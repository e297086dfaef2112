//! The work as plain processes of this host, for comparison.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use super::work::{Serving, Task};

fn command(task: &Task) -> anyhow::Result<Command> {
    // Also when it has been replaced meanwhile: the same program as in the containers.
    let mut command = Command::new("/proc/self/exe");
    command.args(task.arguments()?).stdin(Stdio::null());
    Ok(command)
}

/// Starts the trivial program: seconds until its line is here, and until it has ended.
///
/// # Errors
/// It did not run.
pub(super) fn start() -> anyhow::Result<(f64, f64)> {
    let mut command = command(&Task::Greet)?;
    command.stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn()?;
    let mut out = child.stdout.take().context("there is no pipe to a child")?;
    let mut text = [0; 64];
    let heard = out.read(&mut text)?;
    let first = began.elapsed().as_secs_f64();
    let status = child.wait()?;
    anyhow::ensure!(heard > 0 && status.success(), "the program ended with {status}");
    Ok((first, began.elapsed().as_secs_f64()))
}

/// Has a task done; its answer.
///
/// # Errors
/// It failed, and says why.
pub(super) fn ask<T: DeserializeOwned>(task: &Task) -> anyhow::Result<T> {
    let output = command(task)?.output()?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| anyhow::anyhow!("{}", super::container::complaint(&output.stderr)))
}

/// A server that ends with this value.
pub(super) struct Server {
    child: Child,
    /// Where it is and what it costs.
    pub(super) serving: Serving,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// It does not say that it serves.
    pub(super) fn launch() -> anyhow::Result<Self> {
        let mut child =
            command(&Task::Serve)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match serde_json::from_str(&line) {
            Ok(serving) => Ok(Self { child, serving }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error).context("the server did not start")
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where plain processes write: the file system that containers write to, if it can be written to
/// outside of the daemon's directory.
pub(super) struct Place {
    /// A directory.
    pub(super) folder: PathBuf,
    /// Whether it is on the containers' file system.
    pub(super) same: bool,
}

impl Place {
    /// Looks for one, given the daemon's data root.
    pub(super) fn find(data_root: &Path) -> Self {
        let temporary = std::env::temp_dir();
        let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
        let wanted = device(data_root);
        let beside = data_root.parent().map(Path::to_owned);
        let fits = |path: &PathBuf| wanted.is_some() && device(path) == wanted && writable(path);
        let found = [Some(temporary.clone()), beside].into_iter().flatten().find(fits);
        Self { same: found.is_some(), folder: found.unwrap_or(temporary) }
    }

    /// A path in it that is nobody else's.
    pub(super) fn path(&self) -> String {
        let name = format!("isopod-compare-{}", std::process::id());
        self.folder.join(name).to_string_lossy().into_owned()
    }
}

fn writable(path: &Path) -> bool {
    let access = rustix::fs::Access::WRITE_OK;
    rustix::fs::access(path, access).is_ok()
}

/// Removes what a server or a task that was broken off has left.
pub(super) fn clean(place: &Place) -> io::Result<()> {
    match std::fs::remove_dir_all(place.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_on_the_file_system_of_the_data_root() {
        let folder = tempfile::tempdir().expect("a directory");
        let root = folder.path().join("data");
        std::fs::create_dir(&root).expect("made");
        let place = Place::find(&root);
        assert!(place.same);
        assert_ne!(place.folder, root);
        assert!(!Place::find(Path::new("/nothing/here")).same);
    }
}
