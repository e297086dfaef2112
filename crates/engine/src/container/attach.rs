//! Streams to and from a container's first process.

use std::os::unix::net::UnixStream as StdStream;

use proto::control::{Attach, Request};
use proto::launch::WindowSize;
use tokio::net::UnixStream;
use types::Error;
use types::state::Status;

use crate::Engine;

/// What a client wants to be attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// A stream that carries a process's output, Docker-multiplexed unless it has a terminal, and
/// takes its input. Shutting the writing side down ends the input.
#[derive(Debug)]
pub struct Attached {
    /// The stream.
    pub stream: UnixStream,
    /// The process has a terminal: the output is raw.
    pub tty: bool,
}

/// Both ends of a new stream: ours for tokio, theirs for a monitor.
pub(crate) fn stream() -> Result<(UnixStream, std::os::fd::OwnedFd), Error> {
    let failed = |error| Error::system(format!("cannot make a stream: {error}"));
    let (ours, theirs) = StdStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    Ok((UnixStream::from_std(ours).map_err(failed)?, theirs.into()))
}

impl Engine {
    /// Attaches to a container. One that does not run yet is attached to when it starts.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it is paused or being restarted.
    pub async fn attach(&self, reference: &str, options: AttachOptions) -> Result<Attached, Error> {
        let container = self.containers.find(reference)?;
        let (status, tty, open_stdin) = {
            let record = container.record();
            (record.state.status, record.config.tty, record.config.open_stdin)
        };
        match status {
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {} is paused, unpause the container before attach",
                    container.id
                )));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => {}
        }
        let (ours, theirs) = stream()?;
        let attach = Attach {
            stdin: options.stdin && open_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        match container.live() {
            Some(live) => {
                live.link.ask(Request::Attach(attach), Some(theirs)).await?;
            }
            None => crate::lock(&container.attaches).push((attach, theirs)),
        }
        self.tell_container(&container, "attach", &[]);
        Ok(Attached { stream: ours, tty })
    }

    /// Tells listeners that a client has detached by its keys.
    ///
    /// # Errors
    /// Not found.
    pub fn detached(&self, reference: &str) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        self.tell_container(&container, "detach", &[]);
        Ok(())
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it does not run.
    pub async fn resize(&self, reference: &str, rows: u16, cols: u16) -> Result<(), Error> {
        let container = self.containers.find(reference)?;
        let size = WindowSize { rows, cols };
        container.running()?.link.ask(Request::Resize { exec: None, size }, None).await?;
        let (height, width) = (rows.to_string(), cols.to_string());
        self.tell_container(&container, "resize", &[("height", &height), ("width", &width)]);
        Ok(())
    }
}
