//! Cleaning up after a monitor that died: its container is dead or dying (the kernel saw to
//! that), but cgroups stay, and so may processes that left the container's process namespace.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use proto::frame;
use proto::launch::{Reap, Reaped};
use runtime::cgroup::{self, Cgroup, Layout};

use crate::launcher::Prepared;
use crate::setup::driver;

/// How long killed processes have to be gone.
const LIMIT: Duration = Duration::from_secs(10);

/// Cleans up and answers on the first of the descriptors.
pub(crate) fn run(order: &Reap, fds: Vec<OwnedFd>, prepared: &Prepared) -> i32 {
    let failures = clean_up(order, prepared);
    let code = i32::from(!failures.is_empty());
    // Somebody who does not want to know is no failure.
    if let (Some(answer), Ok(bytes)) = (fds.first(), frame::encode(&Reaped { failures })) {
        let _ = send_all(answer, &bytes);
    }
    code
}

/// Sends all of it over a blocking socket.
pub(crate) fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = sys::socket::send(socket, bytes, &[])?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

fn is_missing(error: &cgroup::Error) -> bool {
    matches!(error, cgroup::Error::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn clean_up(order: &Reap, prepared: &Prepared) -> Vec<String> {
    let layout = match &prepared.layout {
        Some(layout) => layout.clone(),
        None => match Layout::probe() {
            Ok(layout) => layout,
            Err(error) => return vec![error.to_string()],
        },
    };
    match Cgroup::open(&layout, &order.cgroups_path, driver(order.systemd_cgroup)) {
        Ok(cgroup) => empty_and_remove(cgroup),
        // The monitor got as far as removing it, or not as far as making it.
        Err(error) if is_missing(&error) => Vec::new(),
        Err(error) => vec![error.to_string()],
    }
}

/// Kills everything in a cgroup and removes it: each step, whatever becomes of the others.
fn empty_and_remove(cgroup: Cgroup) -> Vec<String> {
    let mut failures = Vec::new();
    let end = Instant::now() + LIMIT;
    // Frozen processes do not die, in v1 not even of SIGKILL.
    let _ = cgroup.thaw();
    while cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
        if let Err(error) = cgroup.kill() {
            failures.push(error.to_string());
            break;
        }
        if Instant::now() > end {
            failures.push(format!("some processes of cgroup {} do not die", cgroup.path()));
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if let Err(errors) = cgroup.remove() {
        failures.extend(errors.iter().map(ToString::to_string));
    }
    failures
}
