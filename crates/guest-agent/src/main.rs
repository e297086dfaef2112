//! The first process of a container's virtual machine. It makes the machine usable, and runs the
//! container in it with the same [`runtime`] that runs containers on the host: the wall of the
//! machine is added, and nothing is taken away.
//!
//! ```text
//!  monitor ══ virtio console port ══ agent (PID 1) ── clone3 ──► container
//!                                      │ fork
//!                                      └──► one process for each archive that is read or written
//! ```
//!
//! The agent does what `proto::guest` says and knows nobody but its monitor. It is one thread,
//! waits in one `poll(2)`, and whatever it reads from the container's files goes through the same
//! fd-relative resolution as on the host. When it cannot go on it turns the machine off.
//!
//! `guest-agent FD DIRECTORY` serves a connection that it inherits, with a directory for the root
//! file system, without a machine: so its tests run it. `guest-agent nothing` does that: it is what
//! runs in a machine that only tries how a container is run.

mod agent;
mod boot;

mod container;
mod devices;
mod exec;
mod files;
mod interfaces;
mod machine;
mod modules;
mod names;
mod processes;
mod root;
mod streams;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use agent::{Agent, Machine};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    let first = first.as_deref().and_then(|word| word.to_str());
    if first == Some("nothing") {
        return;
    }
    let number = first.and_then(|word| word.parse().ok());
    let result = match (number, arguments.next()) {
        (Some(number), Some(directory)) => serve(number, directory.into()),
        _ => boot::start().and_then(|(port, modules)| live(port, Machine::Own(modules))),
    };
    if let Err(error) = result {
        complain(&error);
    }
    if sys::process::getpid() == 1 {
        sys::machine::sync();
        if let Err(error) = sys::machine::power_off() {
            complain(&format_args!("cannot turn the machine off: {error}"));
        }
    }
}

/// Says something on the console, which the monitor keeps, if there is one that works.
fn complain(what: &dyn std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "guest-agent: {what}");
}

fn serve(number: i32, directory: PathBuf) -> Result<(), agent::Fatal> {
    let port = sys::process::inherited(number, 3).map_err(agent::Fatal::Port)?;
    live(port, Machine::Borrowed(directory))
}

fn live(port: OwnedFd, machine: Machine) -> Result<(), agent::Fatal> {
    Agent::new(port, machine)?.live()
}
