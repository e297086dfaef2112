//! Becoming the resolver, in a process that the launcher has forked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use proto::names::SOCKET;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::serve::Resolver;

/// Who owns nothing: the user and the group of that name everywhere.
const NOBODY: u32 = 65534;

/// How many descriptors it may have open: some for each container.
const FILES: u64 = 1 << 19;

/// Is the resolver until nobody needs it; returns its exit status. `fds` has the connection of the
/// first daemon.
///
/// For a forked process of its own with one thread, whose caller's frames own no descriptor that
/// is used again: all but those given are closed.
pub fn run(directory: &Path, fds: Vec<OwnedFd>) -> i32 {
    let Some(daemon) = fds.into_iter().next() else { return 2 };
    match prepare(directory, daemon).and_then(|mut resolver| resolver.run()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn prepare(directory: &Path, daemon: OwnedFd) -> io::Result<Resolver> {
    sys::process::setsid()?;
    sys::role::close_others(&[daemon.as_fd()])?;
    sys::process::set_name(c"isopod-resolver")?;
    // Cosmetic only.
    let _ = sys::role::set_title("isopod-resolver");
    // What an earlier one has left: were it still there, the daemon would have found it.
    match std::fs::remove_file(directory.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = sys::stream::listen_private(directory, SOCKET)?;
    let more = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    // EPERM beyond fs.nr_open: then with what there is.
    let _ = setrlimit(Resource::Nofile, more);
    renounce()?;
    Resolver::new(listener, daemon)
}

/// Gives every privilege up for good.
fn renounce() -> io::Result<()> {
    sys::process::set_groups(&[])?;
    sys::process::set_gid(NOBODY)?;
    // The capabilities go with the user.
    sys::process::set_uid(NOBODY)?;
    sys::process::no_new_privs()
}
