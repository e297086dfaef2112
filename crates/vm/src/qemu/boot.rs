//! Booting, and waiting for the agent.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use sys::poll::{Interest, Poll, Ready};
use sys::seccomp::notify;

use super::arguments::{Memory, RAM};
use super::command_line::{self, Fate};
use super::devices::{self, Life, Plan, Started};
use super::qmp::PATIENCE;
use super::{Asked, Qemu};
use crate::backend::{Conditions, Places, Vm};
use crate::error::{Error, Step};
use crate::machine::Machine;
use crate::share::{self, Served};

/// An agent's hello has no more bytes than this.
const MAX_HELLO: usize = 64 << 10;

/// Boots a machine until its agent has said hello.
pub(super) fn boot(
    qemu: &Qemu,
    machine: &Machine,
    places: Places,
    conditions: &Conditions<'_>,
) -> Result<Vm, Error> {
    let served = share::serve(&machine.shares, conditions)?;
    let memory = if machine.shares.is_empty() { Memory::Anonymous } else { Memory::Shared };
    let command_line = command_line::kernel(machine.arch, conditions.cpu, Fate::Used);
    let plan =
        Plan { machine, memory, life: Life::Boot(&command_line), places, shares: &served.sockets };
    let mut started = devices::start(qemu, &plan, conditions)?;
    match hello(&mut started, None, conditions) {
        Ok(greeting) => Ok(started.into_vm(greeting, served)),
        Err(error) => {
            started.process.end();
            Err(error)
        }
    }
}

impl Started {
    /// What the caller goes on with.
    pub(super) fn into_vm(self, greeting: Vec<u8>, served: Served) -> Vm {
        let Started { process, qmp, agent, console, complaints, .. } = self;
        let pidfd = Arc::new(process.pidfd);
        Vm {
            pid: process.pid,
            pidfd: Arc::clone(&pidfd),
            agent,
            greeting,
            console,
            helpers: served.into_processes(),
            control: Box::new(Asked::new(pidfd, qmp, complaints, PATIENCE)),
        }
    }

    /// Why a machine that has ended, or says nothing, does so.
    pub(super) fn last_words(&mut self) -> String {
        let (complaints, console) = (self.complaints.text(), self.console.text());
        let both: Vec<_> = [complaints, console].into_iter().filter(|t| !t.is_empty()).collect();
        both.join("; ")
    }

    /// The machine has ended, or what looks like that.
    pub(super) fn ended(&mut self) -> Error {
        Error::Ended { said: self.last_words() }
    }

    /// Time is over.
    pub(super) fn late(&mut self, conditions: &Conditions<'_>) -> Error {
        Error::Late { limit: conditions.limit, said: self.last_words() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Agent,
    Console,
    Complaints,
    Process,
    Listener,
}

/// Waits for the agent's hello; meanwhile answers the process when it opens its memory.
pub(super) fn hello(
    started: &mut Started,
    ram: Option<&OwnedFd>,
    conditions: &Conditions<'_>,
) -> Result<Vec<u8>, Error> {
    let mut said = Vec::new();
    attend(started, ram, conditions, |started| {
        said.reserve(4096);
        match sys::stream::receive_now(&started.agent, &mut said) {
            Ok(0) => Err(started.ended()),
            Ok(_) if (conditions.ready)(&said) => Ok(true),
            Ok(_) if said.len() > MAX_HELLO => Err(Error::Refused {
                what: "say hello",
                said: "its agent said something else, without end".to_owned(),
            }),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).step("hear from the agent"),
        }
    })?;
    Ok(said)
}

/// Waits until what comes from the agent is enough.
fn attend(
    started: &mut Started,
    ram: Option<&OwnedFd>,
    conditions: &Conditions<'_>,
    mut heard: impl FnMut(&mut Started) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut poll = Poll::default();
    let mut ready: Vec<(Token, Ready)> = Vec::new();
    loop {
        let left = conditions.left();
        if left.is_zero() {
            return Err(started.late(conditions));
        }
        poll.clear();
        ready.clear();
        poll.add(Token::Agent, &started.agent, Interest::READ);
        poll.add(Token::Process, &started.process.pidfd, Interest::READ);
        for (token, tail) in
            [(Token::Console, &started.console), (Token::Complaints, &started.complaints)]
        {
            if !tail.ended() {
                poll.add(token, tail, Interest::READ);
            }
        }
        if let Some(listener) = &started.process.listener {
            poll.add(Token::Listener, listener, Interest::READ);
        }
        poll.wait(Some(left), &mut ready).step("wait for the machine")?;
        for (token, what) in &ready {
            match token {
                Token::Agent if heard(started)? => return Ok(()),
                Token::Agent if what.gone => return Err(started.ended()),
                Token::Agent => {}
                Token::Process => return Err(started.ended()),
                Token::Console => started.console.read(),
                Token::Complaints => started.complaints.read(),
                Token::Listener if what.readable => drop(answer(started, ram)?),
                Token::Listener => started.process.listener = None,
            }
        }
    }
}

/// Answers the process, which wants to open something for reading and writing: its memory is given
/// to it, and the number returned that it has there; anything else goes by the rights that it has.
pub(super) fn answer(started: &Started, ram: Option<&OwnedFd>) -> Result<Option<RawFd>, Error> {
    let Some(listener) = &started.process.listener else { return Ok(None) };
    let asked = match notify::receive(listener) {
        // It was killed meanwhile, which is noticed elsewhere.
        Err(error) if error.raw_os_error() == Some(sys::errno::ENOENT) => return Ok(None),
        other => other.step("hear what the machine's process opens")?,
    };
    // The path may be another by the time it is looked at, and then the process gets its own
    // memory under another name: nothing is decided by it.
    let answered = match ram {
        Some(ram) if names(asked.pid, asked.arguments[1], RAM).unwrap_or(false) => {
            notify::answer_with(listener, asked.id, ram.as_fd()).map(Some)
        }
        _ => notify::let_go_on(listener, asked.id).map(|()| None),
    };
    match answered {
        Err(error) if error.raw_os_error() == Some(sys::errno::ENOENT) => Ok(None),
        other => other.step("answer what the machine's process opens"),
    }
}

/// Whether a string in the memory of a process is this one.
fn names(pid: u32, address: u64, path: &str) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut found = vec![0; path.len() + 1];
    memory.read_exact_at(&mut found, address)?;
    Ok(found.strip_suffix(&[0]) == Some(path.as_bytes()))
}
