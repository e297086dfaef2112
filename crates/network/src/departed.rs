//! Links of containers that have ended.
//!
//! A link goes away with its container's namespace, which costs nobody anything. Only where the
//! namespace lives on (another container shares it, a process has it open) the link has to be
//! removed, so that a later owner of the address has it alone. Removing waits for RCU, some 30 ms,
//! so it is not done before it is known to be needed.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use sys::netlink::{Socket, Target, link_named, remove_link};

use crate::firewall::Guards;

/// The kernel has that long to remove a link by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Links to be looked after.
#[derive(Debug)]
pub(crate) struct Departed(Sender<(Instant, String)>);

impl Departed {
    /// Starts the thread, which ends with this value, after its work is done.
    pub(crate) fn start(guards: Option<Guards>) -> io::Result<Departed> {
        let (sender, links) = mpsc::channel();
        let mut socket = Socket::open()?;
        let work = move || remove_all(&links, &mut socket, guards.as_ref());
        thread::Builder::new().name("departed".to_owned()).stack_size(128 << 10).spawn(work)?;
        Ok(Departed(sender))
    }

    /// A link whose container has ended.
    pub(crate) fn add(&self, link: String) {
        // The thread only ends before the sender by a panic; then the links stay, as without it.
        let _ = self.0.send((Instant::now() + GRACE, link));
    }
}

fn remove_all(links: &Receiver<(Instant, String)>, socket: &mut Socket, guards: Option<&Guards>) {
    while let Ok((due, link)) = links.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let there = link_named(socket, &link);
        let result = match there {
            Ok(None) => Ok(()),
            // It may go in between.
            Ok(Some(found)) => match socket.run(&[remove_link(Target::Index(found.index))]) {
                Err(e) if e.errno() == Some(crate::bridge::ENODEV) => Ok(()),
                other => other,
            },
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            tracing::warn!("link {link} of a container that has ended is left: {e}");
            continue;
        }
        // Not before: whoever has the namespace could be anybody.
        if let Some(Err(e)) = guards.map(|guards| guards.forget(&link)) {
            tracing::warn!("rules about link {link}, which has gone, are left: {e}");
        }
    }
}
