//! The way to the launcher: a stream socket that takes orders.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use proto::frame;
use proto::launch::{Order, Reap, Reaped};
use types::Error;

/// The daemon's connection to its launcher.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// A blocking socket; the launcher reads at once, so nobody waits for long.
    socket: Mutex<OwnedFd>,
}

impl Launcher {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket: Mutex::new(socket) }
    }

    /// Gives an order with its descriptors.
    pub(crate) fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let bytes = frame::encode(order)
            .map_err(|error| Error::invalid(format!("the container cannot be sent: {error}")))?;
        let socket = crate::lock(&self.socket);
        let mut rest = bytes.as_slice();
        let mut descriptors = descriptors;
        while !rest.is_empty() {
            let sent = sys::socket::send(&*socket, rest, descriptors).map_err(|error| {
                Error::system(format!(
                    "the launcher does not answer ({error}); restart the daemon: running \
                     containers are not touched by that"
                ))
            })?;
            rest = rest.get(sent..).unwrap_or_default();
            descriptors = &[];
        }
        Ok(())
    }

    /// Has the remains of a container cleaned up whose monitor died. Blocks until it is done.
    pub(crate) fn reap(&self, reap: Reap) -> Result<Reaped, Error> {
        let failed = |error| Error::system(format!("cannot clean up a container: {error}"));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        self.order(&Order::Reap(reap), &[theirs.as_fd()])?;
        drop(theirs);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &ours, &mut bytes).map_err(failed)?;
        let mut decoder = frame::Decoder::default();
        decoder.push(&bytes);
        match decoder.message() {
            Ok(Some(reaped)) => Ok(reaped),
            Ok(None) => Err(Error::system("the launcher did not say how the cleaning up went")),
            Err(error) => Err(Error::system(format!("the launcher speaks nonsense: {error}"))),
        }
    }
}
