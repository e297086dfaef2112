//! Streams to and from a container's first process.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use proto::control::{Attach, Request};
use proto::launch::WindowSize;
use tokio::net::UnixStream;
use types::Error;
use types::state::Status;

use super::wait::{WaitCondition, Waiter};
use super::{Container, Live};
use crate::Engine;

/// Longer nobody waits for the end of a container whose output has ended. On a busy host it may
/// take seconds.
const SEEN: Duration = Duration::from_secs(10);
/// The same, where perhaps only its client has.
const SEEN_OR_DETACHED: Duration = Duration::from_millis(100);

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

/// The end of a container that somebody is attached to.
#[derive(Debug)]
pub struct Ending {
    container: Arc<Container>,
    waiter: Waiter,
    limit: Duration,
}

impl Ending {
    /// Waits until everybody can see the end of the container, whose stream has ended: clients ask
    /// how it was next. But a process may close its output and go on, so there is a limit.
    pub async fn seen(self) {
        let seen = async {
            // What runs for a moment only may have ended before its start has.
            if !self.waiter.has_ended() {
                self.container.settled().await;
            }
            self.waiter.outcome().await
        };
        // An error says that the limit was reached.
        drop(tokio::time::timeout(self.limit, seen).await);
    }
}

/// Both ends of a new stream: ours for tokio, theirs for a monitor.
pub(crate) fn stream() -> Result<(UnixStream, OwnedFd), Error> {
    let failed = |error| Error::system(format!("cannot make a stream: {error}"));
    let (ours, theirs) = StdStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    Ok((UnixStream::from_std(ours).map_err(failed)?, theirs.into()))
}

/// Leaves a stream for the start of a container that does not run; gives it back with the
/// connection to the monitor of one that does.
fn wait_or_go(container: &Container, attach: Attach, stream: OwnedFd) -> Option<(Live, OwnedFd)> {
    // A start takes what waits only after it has made the container live, under this lock.
    let mut waiting = crate::lock(&container.attaches);
    if let Some(live) = container.live() {
        return Some((live, stream));
    }
    // Clients come and go while they wait for a start.
    waiting.retain(|(_, stream)| is_open(stream));
    waiting.push((attach, stream));
    None
}

/// Whether the other end of a stream is still there.
fn is_open(stream: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut look = [PollFd::new(stream, PollFlags::empty())];
    // ENOMEM is all that can come: then nothing is known.
    poll(&mut look, Some(&Timespec::default())).is_err()
        || !look[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

impl Engine {
    /// Attaches to a container. One that does not run yet is attached to when it starts.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it is paused or being restarted.
    pub async fn attach(
        &self,
        reference: &str,
        options: AttachOptions,
    ) -> Result<(Attached, Ending), Error> {
        let container = self.containers.find(reference)?;
        if container.record().state.status == Status::Restarting {
            container.settled().await;
        }
        let (status, tty, open_stdin, once) = {
            let record = container.record();
            let config = &record.config;
            (record.state.status, config.tty, config.open_stdin, config.stdin_once)
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
        let waiter = container.waiter(WaitCondition::NotRunning);
        if let Some((live, theirs)) = wait_or_go(&container, attach, theirs) {
            let asked = live.link.ask(Request::Attach(attach), Some(theirs)).await;
            asked.map_err(|error| container.unless_gone(error))?;
        }
        self.tell_container(&container, "attach", &[]);
        // Their input's end detaches them from a container that goes on.
        let detaches = attach.stdin && (tty || !once);
        let limit = if detaches { SEEN_OR_DETACHED } else { SEEN };
        Ok((Attached { stream: ours, tty }, Ending { container, waiter, limit }))
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
        container.settled().await;
        container.ask(Request::Resize { exec: None, size }, None).await?;
        let (height, width) = (rows.to_string(), cols.to_string());
        self.tell_container(&container, "resize", &[("height", &height), ("width", &width)]);
        Ok(())
    }
}
