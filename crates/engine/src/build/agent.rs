//! The socket of an ssh agent that is the client's.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use build::worker::Session;

/// A socket that a step's processes connect to; it is gone when this is dropped.
pub(super) struct Agent {
    directory: PathBuf,
    path: PathBuf,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Agent {
    /// Listens in a new directory of the engine's.
    pub(super) fn listen(
        directory: &Path,
        session: Arc<dyn Session>,
        id: &str,
        (uid, gid, mode): (u32, u32, u32),
    ) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join("agent");
        let listener = UnixListener::bind(&path)?;
        std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        let ended = Arc::new(AtomicBool::new(false));
        let (over, id) = (Arc::clone(&ended), id.to_owned());
        let accepting = std::thread::Builder::new().name("ssh".to_owned()).spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { return };
                match session.ssh(&id) {
                    Ok(agent) => join(connection, agent),
                    // Closing the connection is all that the protocol has for this.
                    Err(error) => tracing::debug!("no ssh agent: {error}"),
                }
            }
        })?;
        let directory = directory.to_owned();
        Ok(Self { directory, path, ended, accepting: Some(accepting) })
    }

    /// The socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread up; an error says that it listens no more.
        drop(UnixStream::connect(&self.path));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!("cannot remove {}: {error}", self.directory.display());
        }
    }
}

/// Copies both ways until both have ended.
fn join(one: UnixStream, other: UnixStream) {
    let (Ok(from_one), Ok(from_other)) = (one.try_clone(), other.try_clone()) else { return };
    std::thread::spawn(move || copy(from_one, other));
    std::thread::spawn(move || copy(from_other, one));
}

fn copy(mut from: UnixStream, mut to: UnixStream) {
    // Either end may go at any time.
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}
