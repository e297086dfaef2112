//! The agent's life: it waits, does what the monitor asks, and tells what happens.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use proto::frame::FrameError;
use proto::guest::{
    Failure, FromGuest, Hello, Notice, Reply, Request, Side, ToGuest, VERSION, frame,
};
use relay::{Broken, Event, Link, Part};
use sys::poll::{Interest, Poll, Ready};
use sys::signal::{self, SignalFd};
use types::{Error, ErrorKind};

use crate::container::Container;
use crate::exec::ExecProcess;
use crate::files::Job;
use crate::modules::Modules;
use crate::names::Names;
use crate::root::RootFs;

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    #[error("the machine cannot be set up: {0}: {1}")]
    Boot(&'static str, io::Error),
    #[error("there is no port of the name agent")]
    NoPort,
    #[error("the port does not work: {0}")]
    Port(io::Error),
    #[error("{0}")]
    Link(#[from] Broken),
    #[error("a message that cannot be sent: {0}")]
    Message(#[from] FrameError),
}

/// Whose machine this is.
#[derive(Debug)]
pub(crate) enum Machine {
    /// The agent's: it may do with it what it likes.
    Own(Modules),
    /// Somebody else's, where a directory is to be the root file system.
    Borrowed(PathBuf),
}

/// What something has happened to.
#[derive(Clone, Copy, Debug)]
enum Token {
    Signal,
    Link(Part),
    Oom,
    Job(u32),
    Names(crate::names::Part),
}

/// The first process of a machine.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) link: Link,
    pub(crate) machine: Machine,
    signals: SignalFd,
    pub(crate) root: Option<RootFs>,
    pub(crate) container: Option<Container>,
    pub(crate) execs: Vec<ExecProcess>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) names: Option<Names>,
    /// The tags of those that are mounted.
    pub(crate) shares: Vec<String>,
    /// The last words have been said.
    pub(crate) done: bool,
}

impl Agent {
    /// Says hello on a port.
    pub(crate) fn new(port: OwnedFd, machine: Machine) -> Result<Self, Fatal> {
        signal::ignore(signal::SIGPIPE).map_err(|e| Fatal::Boot("ignoring SIGPIPE", e))?;
        signal::default(signal::SIGCHLD).map_err(|e| Fatal::Boot("hearing of children", e))?;
        let signals =
            SignalFd::new(&[signal::SIGCHLD]).map_err(|e| Fatal::Boot("hearing of children", e))?;
        let mut link = Link::new(port, Side::Host).map_err(Fatal::Port)?;
        link.send(&FromGuest::Hello(Hello { version: VERSION }))?;
        Ok(Self {
            link,
            machine,
            signals,
            root: None,
            container: None,
            execs: Vec::new(),
            jobs: Vec::new(),
            names: None,
            shares: Vec::new(),
            done: false,
        })
    }

    /// Waits and acts until the end.
    pub(crate) fn live(mut self) -> Result<(), Fatal> {
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        self.link.flush()?;
        loop {
            poll.clear();
            self.register(&mut poll);
            poll.wait(None, &mut ready).map_err(|e| Fatal::Boot("waiting", e))?;
            for (token, what) in ready.drain(..) {
                self.happen(token, what)?;
            }
            while let Some(event) = self.link.next()? {
                self.hear(event)?;
            }
            self.link.flush()?;
            if self.done && self.link.is_clear() {
                return Ok(());
            }
        }
    }

    fn register(&self, poll: &mut Poll<Token>) {
        poll.add(Token::Signal, &self.signals, Interest::READ);
        self.link.register(poll, Token::Link);
        if let Some(oom) = self.container.as_ref().and_then(Container::oom) {
            poll.add(Token::Oom, oom, Interest::READ);
        }
        for job in &self.jobs {
            poll.add(Token::Job(job.number), &job.outcome, Interest::READ);
        }
        if let Some(names) = &self.names {
            names.register(poll, Token::Names);
        }
    }

    fn happen(&mut self, token: Token, what: Ready) -> Result<(), Fatal> {
        match token {
            Token::Signal => self.reap()?,
            Token::Link(part) => self.link.ready(part, what)?,
            Token::Oom => {
                if self.container.as_mut().is_some_and(Container::look_for_oom) {
                    self.tell(Notice::OutOfMemory)?;
                }
            }
            Token::Job(number) => self.proceed_with_job(number)?,
            Token::Names(part) => {
                if let Some(names) = &mut self.names {
                    names.ready(part, what, &mut self.link);
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), Fatal> {
        match event {
            Event::Name { question, bytes } => {
                if let Some(names) = &mut self.names {
                    names.answer(question, &bytes);
                }
                Ok(())
            }
            Event::Message(json) => {
                let asked: ToGuest = frame::read(&json).map_err(Broken::Violation)?;
                let number = asked.number;
                if let Some(result) = self.answer(number, asked.request) {
                    self.reply(number, result)?;
                }
                // An end that came while the runtime waited for a child.
                self.reap()
            }
        }
    }

    /// Does what is asked. `None`: the answer comes later.
    fn answer(&mut self, number: u32, request: Request) -> Option<Result<Reply, Failure>> {
        let done = |result: Result<(), Error>| result.map(|()| Reply::Done).map_err(failure);
        Some(match request {
            Request::Boot(boot) => done(self.boot(&boot)),
            Request::Create(create) => self.create(*create),
            Request::Start => self.start(),
            Request::Resize { exec, size } => done(self.resize(exec.as_deref(), size)),
            Request::Signal { exec, signal } => done(self.signal(exec.as_deref(), signal)),
            Request::KillAll => done(self.running(Container::kill_all)),
            Request::Pause => done(self.running(Container::pause)),
            Request::Resume => done(self.running(Container::resume)),
            Request::Update(resources) => self
                .running(|container| container.update(&resources))
                .map(Reply::Warnings)
                .map_err(failure),
            Request::Stats => self
                .running(|container| container.sample())
                .map(|sample| Reply::Sample(Box::new(sample)))
                .map_err(failure),
            Request::Processes => self
                .running(|container| container.processes())
                .map(Reply::Processes)
                .map_err(failure),
            Request::Exec(exec) => self.exec(*exec),
            Request::Mount(mount) => done(self.running(|container| container.mount(&mount))),
            Request::Unmount(path) => done(self.running(|container| container.unmount(&path))),
            Request::Files(request) => return self.files(number, request),
            Request::Shutdown => {
                let result = self.shut_down();
                self.done = matches!(self.machine, Machine::Own(_));
                done(result)
            }
            Request::Forget => done(self.forget()),
        })
    }

    pub(crate) fn reply(
        &mut self,
        number: u32,
        result: Result<Reply, Failure>,
    ) -> Result<(), Fatal> {
        let status = result.as_ref().err().map_or(0, |failure| failure.status);
        match self.link.send(&FromGuest::Reply { number, result }) {
            // What a container has made so long is no reason for its machine to end.
            Err(FrameError::TooLong { length, limit }) => {
                let error = Error::system(format!(
                    "the machine's answer would have {length} bytes, and may have {limit}"
                ));
                let result = Err(Failure { error, status });
                Ok(self.link.send(&FromGuest::Reply { number, result })?)
            }
            sent => Ok(sent?),
        }
    }

    pub(crate) fn tell(&mut self, notice: Notice) -> Result<(), Fatal> {
        Ok(self.link.send(&FromGuest::Notice(notice))?)
    }

    fn running<T>(
        &mut self,
        work: impl FnOnce(&mut Container) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.container
            .as_mut()
            .filter(|container| container.is_running())
            .map_or_else(|| Err(not_running()), work)
    }

    /// Reaps every child that has ended.
    fn reap(&mut self) -> Result<(), Fatal> {
        while let Ok(Some(_)) = self.signals.take() {}
        // Before its start the container's process is the runtime's to wait for.
        if self.container.as_ref().is_some_and(Container::is_created) {
            return Ok(());
        }
        // ECHILD: there are none at all.
        while let Ok(Some((pid, exit))) = sys::process::reap_any() {
            let exit_code = exit.status();
            if let Some(container) = self.container.as_mut().filter(|c| c.pid() == pid) {
                let out_of_memory = container.ended();
                if out_of_memory {
                    self.tell(Notice::OutOfMemory)?;
                }
                self.tell(Notice::Exited { exit_code })?;
            } else if let Some(at) = self.execs.iter().position(|exec| exec.pid == pid) {
                let exec = self.execs.remove(at);
                self.tell(Notice::ExecExited { exec: exec.id, exit_code })?;
            }
            // Else a job, whose outcome says more, or an orphan that came to us.
        }
        Ok(())
    }

    /// Lets go of the disks.
    fn shut_down(&mut self) -> Result<(), Error> {
        if let Some(container) = &mut self.container {
            container.end();
        }
        for job in self.jobs.drain(..) {
            // It may have ended already.
            let _ = sys::process::kill(job.pid, signal::SIGKILL);
            let _ = sys::process::wait_pid(job.pid);
        }
        match self.root.take() {
            Some(root) => root.close().map_err(|error| Error::system(error.to_string())),
            None => Ok(()),
        }
    }
}

/// A failure that says nothing about how the container ended.
pub(crate) fn failure(error: Error) -> Failure {
    Failure { error, status: 0 }
}

pub(crate) fn not_running() -> Error {
    Error::conflict("the container is not running")
}

/// What a failed signal means.
pub(crate) fn signalled(result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|error| match error.raw_os_error() {
        Some(sys::errno::ESRCH) => not_running(),
        _ if error.kind() == io::ErrorKind::InvalidInput => {
            Error { kind: ErrorKind::Invalid, message: format!("cannot send the signal: {error}") }
        }
        _ => Error::system(format!("cannot send the signal: {error}")),
    })
}
