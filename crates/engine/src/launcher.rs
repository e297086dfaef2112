//! The way to the launcher: a stream socket that takes orders.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use proto::frame;
use proto::launch::{Built, Machine, Order, Reap, Reaped};
use serde::Serialize;
use serde::de::DeserializeOwned;
use types::Error;

/// How long the orders of an earlier daemon may take to come to something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lock that goes along with every order until its monitor can be reached, or its cleaning up
/// is over. A daemon that starts takes it first: then every order of the one before it has come
/// to something, and what it finds in the monitors' directories is all there will be.
#[derive(Debug)]
pub(crate) struct Guard(File);

impl Guard {
    /// Takes the lock; waits for orders that are on their way.
    pub(crate) fn take(exec_root: &Path) -> Result<Self, Error> {
        let path = exec_root.join("orders.lock");
        let failed =
            |error: io::Error| Error::system(format!("cannot lock {}: {error}", path.display()));
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if begun.elapsed() > PATIENCE {
                tracing::error!("a monitor that an earlier daemon ordered does not come up");
                return Ok(Self(file));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The daemon's connection to its launcher.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// A blocking socket; the launcher reads at once, so nobody waits for long.
    socket: Mutex<OwnedFd>,
    guard: Guard,
}

impl Launcher {
    pub(crate) fn new(socket: OwnedFd, guard: Guard) -> Self {
        Self { socket: Mutex::new(socket), guard }
    }

    /// What goes along with a launch, behind the control connection.
    pub(crate) fn guard(&self) -> BorrowedFd<'_> {
        self.guard.as_fd()
    }

    /// Gives an order with its descriptors.
    pub(crate) fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        give(&crate::lock(&self.socket), order, descriptors)
    }

    /// Has the remains of a container cleaned up whose monitor died. Blocks until it is done.
    pub(crate) fn reap(&self, reap: Reap) -> Result<Reaped, Error> {
        self.ask(&Order::Reap(reap), &[self.guard()], "clean up a container")
    }

    /// Has a template of machines like this one. Blocks until it is made. Returns its name.
    pub(crate) fn build_template(&self, machine: Machine) -> Result<String, Error> {
        let order = Order::Template(Box::new(machine));
        self.ask::<Built>(&order, &[], "make a template")?
    }

    /// Gives an order that is answered once, on a socket of its own.
    fn ask<T: DeserializeOwned>(
        &self,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
        what: &str,
    ) -> Result<T, Error> {
        let failed = |error| Error::system(format!("cannot {what}: {error}"));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        self.order(order, &[&[theirs.as_fd()], descriptors].concat())?;
        drop(theirs);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &ours, &mut bytes).map_err(failed)?;
        let mut decoder = frame::Decoder::default();
        decoder.push(&bytes);
        match decoder.message() {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Error::system(format!("cannot {what}: the launcher did not answer"))),
            Err(error) => Err(Error::system(format!("the launcher speaks nonsense: {error}"))),
        }
    }
}

/// Sends a message to a process that launches, with its descriptors.
pub(crate) fn give<T: Serialize>(
    socket: &OwnedFd,
    message: &T,
    mut descriptors: &[BorrowedFd<'_>],
) -> Result<(), Error> {
    let bytes = frame::encode(message)
        .map_err(|error| Error::invalid(format!("the container cannot be sent: {error}")))?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let sent = sys::socket::send(socket, rest, descriptors).map_err(|error| {
            Error::system(format!(
                "the launcher does not answer ({error}); restart the daemon: running containers \
                 are not touched by that"
            ))
        })?;
        rest = rest.get(sent..).unwrap_or_default();
        descriptors = &[];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_waits_for_the_orders_of_the_one_before() {
        let name = crate::container::names::id().expect("random").to_string();
        let directory = std::env::temp_dir().join(format!("isopod-guard-{name}"));
        std::fs::create_dir_all(&directory).expect("made");
        let before = Guard::take(&directory).expect("free");
        // An order on its way has a copy of the descriptor, as a message in a socket has.
        let order = before.as_fd().try_clone_to_owned().expect("a copy");
        drop(before);
        let begun = Instant::now();
        let launched = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(order);
        });
        drop(Guard::take(&directory).expect("free at last"));
        assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
        launched.join().expect("no panic");
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
