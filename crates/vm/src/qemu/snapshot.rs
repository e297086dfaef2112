//! Templates: a machine's memory in a file and the rest of its state in another.
//!
//! QEMU migrates the state to a descriptor; with `x-ignore-shared` it leaves out memory that is a
//! file shared with others, which stays behind complete. A clone maps that file privately and loads
//! the state: it finds out only from the fact that it runs again.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use serde_json::{Value, json};
use sys::poll::{Interest, Poll};

use super::arguments::Memory;
use super::boot::{answer, hello};
use super::command_line::{self, Fate};
use super::devices::{self, Life, Plan, Started};
use super::{Qemu, freeing};
use crate::backend::{Conditions, Places, Snapshot, Vm};
use crate::error::{Error, Step};
use crate::machine::Machine;
use crate::share::Served;
use crate::template::{RAM, STATE};

/// Boots a machine and writes it down.
pub(super) fn take(
    qemu: &Qemu,
    machine: &Machine,
    places: Places,
    directory: &Path,
    conditions: &Conditions<'_>,
) -> Result<Vec<u8>, Error> {
    let create = |name: &str| {
        let path = directory.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        file.file("create", path)
    };
    let (ram, state) = (create(RAM)?, create(STATE)?);
    ram.set_len(machine.mebibytes() << 20).step("make room for a template's memory")?;
    let command_line = command_line::kernel(machine.arch, conditions.cpu, Fate::Cloned);
    let plan = Plan {
        machine,
        memory: Memory::Written,
        life: Life::Boot(&command_line),
        places,
        shares: &[],
    };
    let mut started = devices::start(qemu, &plan, conditions)?;
    let done = hello(&mut started, Some(&OwnedFd::from(ram)), conditions).and_then(|greeting| {
        match write_down(&mut started, &state, conditions) {
            Ok(()) => Ok(greeting),
            Err(error) => Err(explain(&mut started, error, conditions)),
        }
    });
    // Whatever came of it, this machine has done its duty.
    started.process.end();
    done
}

fn write_down(
    started: &mut Started,
    state: &File,
    conditions: &Conditions<'_>,
) -> Result<(), Error> {
    let what = "write down its state";
    let deadline = conditions.deadline;
    for (command, arguments) in [
        ("migrate-set-capabilities", capabilities()),
        ("getfd", json!({"fdname": "state"})),
        ("migrate", json!({"uri": "fd:state"})),
    ] {
        let fds = [state.as_fd()];
        let fds = if command == "getfd" { &fds[..] } else { &[] };
        let command = json!({"execute": command, "arguments": arguments});
        started.qmp.command_with(what, &command, fds, deadline)?;
    }
    loop {
        let answer = started.qmp.command(what, &json!({"execute": "query-migrate"}), deadline)?;
        match answer.get("status").and_then(Value::as_str) {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let said = answer.get("error-desc").and_then(Value::as_str).unwrap_or("it failed");
                return Err(Error::Refused { what, said: said.to_owned() });
            }
            // Each change of the status is an event.
            _ => match started.qmp.wait_for("MIGRATION", deadline) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return Err(started.late(conditions));
                }
                Err(_) => return Err(started.ended()),
            },
        }
    }
}

/// The memory is in its file: what is written down is all the rest. And each change of the
/// migration's status is told.
fn capabilities() -> Value {
    let on = |name: &str| json!({"capability": name, "state": true});
    json!({"capabilities": [on("x-ignore-shared"), on("events")]})
}

/// Makes a clone.
pub(super) fn restore(
    qemu: &Qemu,
    machine: &Machine,
    from: &Snapshot<'_>,
    conditions: &Conditions<'_>,
) -> Result<Vm, Error> {
    let plan = Plan {
        machine,
        memory: Memory::Cloned,
        life: Life::Incoming(from.state.as_fd()),
        places: from.places,
        shares: &[],
    };
    let mut started = devices::start(qemu, &plan, conditions)?;
    let ram = from.ram.try_clone().step("copy a descriptor")?;
    let runs = give_memory(&mut started, &OwnedFd::from(ram), conditions).and_then(|memory| {
        goes_on(&mut started, conditions)?;
        freeing::attend(started.process.listener.take(), memory)
    });
    match runs {
        // The template's agent has said it to somebody else.
        Ok(()) => Ok(started.into_vm(from.hello.to_vec(), Served::default())),
        Err(error) => {
            started.process.end();
            Err(error)
        }
    }
}

#[derive(Clone, Copy)]
enum Token {
    Control,
    Listener,
    Process,
}

/// Answers the process until it has its memory, and returns the number that it has there: it speaks
/// only after that.
fn give_memory(
    started: &mut Started,
    ram: &OwnedFd,
    conditions: &Conditions<'_>,
) -> Result<Option<RawFd>, Error> {
    let mut memory = None;
    loop {
        let left = conditions.left();
        if left.is_zero() {
            return Err(started.late(conditions));
        }
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        poll.add(Token::Control, &started.qmp, Interest::READ);
        poll.add(Token::Process, &started.process.pidfd, Interest::READ);
        if let Some(listener) = &started.process.listener {
            poll.add(Token::Listener, listener, Interest::READ);
        }
        poll.wait(Some(left), &mut ready).step("wait for the machine")?;
        for (token, what) in ready {
            match token {
                Token::Process => return Err(started.ended()),
                Token::Listener if what.readable => {
                    memory = answer(started, Some(ram))?.or(memory);
                }
                Token::Listener => started.process.listener = None,
                Token::Control => return Ok(memory),
            }
        }
    }
}

/// Waits until the clone has its state and runs.
fn goes_on(started: &mut Started, conditions: &Conditions<'_>) -> Result<(), Error> {
    let what = "go on";
    let deadline = conditions.deadline;
    for (command, arguments) in [
        ("migrate-set-capabilities", capabilities()),
        ("migrate-incoming", json!({"uri": started.incoming})),
    ] {
        let command = json!({"execute": command, "arguments": arguments});
        let done = started.qmp.command(what, &command, deadline);
        done.map_err(|error| explain(started, error, conditions))?;
    }
    // A state that cannot be loaded ends the process.
    match started.qmp.wait_for("RESUME", deadline) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(started.late(conditions)),
        Err(_) => {
            started.process.end();
            Err(started.ended())
        }
    }
}

/// A process that ended says why on its standard error, not to the protocol.
fn explain(started: &mut Started, error: Error, conditions: &Conditions<'_>) -> Error {
    match error {
        Error::Prepare { source, .. } if source.kind() == std::io::ErrorKind::TimedOut => {
            started.late(conditions)
        }
        Error::Prepare { .. } => {
            // It is about to be gone; what it said is complete then.
            started.process.end();
            started.ended()
        }
        other => other,
    }
}
