//! The launcher: single-threaded, started before the daemon has threads, so that forking is safe
//! and cheap. It forks and goes on; nothing that may take time happens in it.
//!
//! It parses no orders: the child does, so that the launcher's heap stays as small as it was at
//! the beginning, and with it every monitor's share of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use proto::frame;
use runtime::cgroup::Layout;
use sys::signal;
use sys::stream::{Frame, FrameReader};

use crate::{filter, guest, monitor, reap};

/// Descriptors that one order may bring: a network namespace, a root and thousands of sockets
/// that hold published ports.
pub(crate) const MAX_FDS: usize = 8192;

/// Signals that are sent to whole sessions or by mistake, and that end neither a launcher nor a
/// monitor: the one ends with its daemon, the other with its container.
const DISREGARDED: [i32; 9] = [
    signal::SIGHUP,
    signal::SIGINT,
    signal::SIGQUIT,
    signal::SIGTERM,
    signal::SIGPIPE,
    signal::SIGUSR1,
    signal::SIGUSR2,
    signal::SIGTTIN,
    signal::SIGTTOU,
];

/// What every monitor needs and what is the same for all: found out once, shared copy-on-write.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Where the controllers are; `None` when that could not be found out (each monitor tries
    /// again then, and has an error to tell).
    pub(crate) layout: Option<Layout>,
    /// The usual seccomp filter; `None` as above.
    pub(crate) filter: Option<filter::Shared>,
}

/// What a forked process does to be the resolver: given the directory to listen in and what came
/// with the order, it returns its exit status in the end.
pub type Resolver = fn(&std::path::Path, Vec<OwnedFd>) -> i32;

impl Prepared {
    fn new() -> Self {
        Self { layout: Layout::probe().ok(), filter: filter::Shared::new().ok() }
    }
}

/// Forks the launcher and returns the daemon's end of the connection to it. The launcher ends
/// when that end is closed.
///
/// To be called before the process has any other thread.
///
/// # Errors
/// Those of `socketpair(2)` and `fork(2)`.
pub fn spawn(resolver: Resolver) -> io::Result<OwnedFd> {
    let (ours, theirs) = sys::stream::pair()?;
    match sys::role::fork()? {
        Some(_) => Ok(ours),
        None => {
            // Our copy of the daemon's end goes with everything else that the daemon had open:
            // the frames that own those are never returned to.
            std::mem::forget(ours);
            serve(theirs, resolver)
        }
    }
}

/// Is the launcher: takes orders from this connection until it ends. For a process of its own that
/// has one thread, as [`spawn`] makes it; every other descriptor but the standard ones is closed.
pub fn serve(orders: OwnedFd, resolver: Resolver) -> ! {
    let code = std::panic::catch_unwind(move || {
        if let Err(error) = become_launcher(&orders) {
            eprintln!("isopod: the launcher cannot be set up: {error}");
            return 1;
        }
        take_orders(orders, resolver)
    });
    sys::process::exit_now(code.unwrap_or(101))
}

/// Cuts every tie to the daemon but the connection.
fn become_launcher(orders: &OwnedFd) -> io::Result<()> {
    // EPERM when it leads a group already, which is as good.
    let _ = sys::process::setsid();
    sys::role::close_others(&[orders.as_fd()])?;
    // Not the daemon's: whoever reads its output to the end must not wait for our monitors.
    sys::stream::replace_stdio(sys::stream::null()?)?;
    std::env::set_current_dir("/")?;
    sys::process::set_umask(0o022);
    for number in DISREGARDED {
        signal::ignore(number)?;
    }
    // Children are reaped by the kernel; a monitor sets this back for itself.
    signal::ignore(signal::SIGCHLD)?;
    sys::process::set_name(c"isopod-launcher")?;
    // Cosmetic only.
    let _ = sys::role::set_title("isopod-launcher");
    sys::memory::be_frugal();
    Ok(())
}

/// Forks for every order. Returns the exit status of whichever process this is in the end.
fn take_orders(orders: OwnedFd, resolver: Resolver) -> i32 {
    let prepared = Prepared::new();
    let mut reader = FrameReader::new(frame::MAX_LEN, MAX_FDS);
    loop {
        let Ok(Some(order)) = reader.read(&orders) else {
            // The daemon has gone, or talks nonsense: nothing it says can be relied on any more.
            return 0;
        };
        match sys::role::fork() {
            Ok(Some(_)) => {}
            Ok(None) => {
                drop((orders, reader));
                return obey(order, &prepared, resolver);
            }
            // The order's connection is closed with it, and that is what the daemon sees.
            Err(_) => drop(order),
        }
    }
}

/// In the forked process: does what the order says.
fn obey(order: Frame, prepared: &Prepared, resolver: Resolver) -> i32 {
    let Frame { body, fds } = order;
    match serde_json::from_slice(&body) {
        Ok(proto::launch::Order::Launch(launch)) => {
            drop(body);
            monitor::run(*launch, fds, prepared, None)
        }
        Ok(proto::launch::Order::Reap(order)) => reap::run(&order, fds, prepared),
        Ok(proto::launch::Order::Spare(launch)) => guest::stand_by(&launch, fds, prepared),
        Ok(proto::launch::Order::Template(machine)) => guest::build_template(&machine, &fds),
        Ok(proto::launch::Order::Resolve(order)) => {
            drop(body);
            resolver(&order.directory, fds)
        }
        Err(error) => monitor::refuse(fds, &format!("an order that cannot be read: {error}")),
    }
}
