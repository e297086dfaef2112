//! What the engine asks of a container in a machine, put to its agent.

use std::os::fd::OwnedFd;
use std::time::Instant;

use proto::control::{Exec, Reply, Request};
use proto::guest::{self, FileRequest, Streams as Channels};
use proto::launch::WindowSize;
use runtime::cgroup::OnMissing;
use runtime::failure;
use sys::signal::SIGKILL;
use types::Error;

use super::files::{STUCK, Work};
use super::{Asker, Guest, KILL, NewExec, PLAIN, PROCESS, What};
use crate::exec;
use crate::log::Log;
use crate::monitor::{Monitor, State, Waiting};
use crate::requests::not_running;
use crate::streams::{FarEnds, Streams};
use crate::wall::Wall;

impl Guest {
    /// Joins the far ends of a process's pipes to channels.
    pub(super) fn join(
        &mut self,
        far: FarEnds,
        terminal: Option<WindowSize>,
    ) -> std::io::Result<Channels> {
        let mut channels = Channels { terminal, ..Channels::default() };
        if let Some(end) = far.stdin {
            let channel = self.channel();
            self.link.draw(channel, end)?;
            channels.stdin = Some(channel);
        }
        for (end, place) in [(far.stdout, &mut channels.stdout), (far.stderr, &mut channels.stderr)]
        {
            if let Some(end) = end {
                let channel = self.channel();
                self.link.pour(channel, end)?;
                *place = Some(channel);
            }
        }
        Ok(channels)
    }
}

impl Monitor<'_> {
    /// Asks the machine. `None`: the answer comes later.
    pub(crate) fn ask_guest(
        &mut self,
        request: Request,
        descriptor: Option<OwnedFd>,
        asker: Asker,
        now: Instant,
    ) -> Option<Result<Reply, Error>> {
        match self.put_to_guest(request, descriptor, asker, now) {
            Ok(reply) => reply.map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    fn put_to_guest(
        &mut self,
        request: Request,
        descriptor: Option<OwnedFd>,
        asker: Asker,
        now: Instant,
    ) -> Result<Option<Reply>, Error> {
        let plain = Some(now + PLAIN);
        let (request, what, until) = match request {
            Request::Start => {
                if !matches!(self.state, State::Created(Waiting::Machine)) {
                    return Err(Error::conflict("the container has been started"));
                }
                if self.guest()?.files_only {
                    return Err(Error::conflict("the machine is there for its files only"));
                }
                self.state = State::Created(Waiting::Starting);
                (guest::Request::Start, What::Start, Some(now + PROCESS))
            }
            Request::Files(request) => {
                return self.files(request, descriptor, asker, now).map(|()| None);
            }
            Request::KillAll if self.guest()?.files_only => {
                self.guest()?.give_up("nobody wants the files any more");
                return Ok(Some(Reply::Done));
            }
            Request::Resize { exec, size } => {
                (guest::Request::Resize { exec, size }, What::Plain, plain)
            }
            other => {
                if !matches!(self.state, State::Running | State::Paused) {
                    return Err(not_running());
                }
                match self.of_running(other, descriptor, asker, now)? {
                    Some((request, what)) => (request, what, plain),
                    None => return Ok(None),
                }
            }
        };
        let guest = self.guest()?;
        guest.ask(request, Some(asker), what, until)?;
        Ok(None)
    }

    /// The container is to be killed: the machine is, if that takes too long, and a frozen container
    /// is let go on, which could not die.
    fn expect_death(&mut self, now: Instant) -> Result<(), Error> {
        let paused = matches!(self.state, State::Paused);
        let guest = self.guest()?;
        guest.kill_at.get_or_insert(now + KILL);
        if paused {
            guest.ask(guest::Request::Resume, None, What::Resume, None)?;
        }
        Ok(())
    }

    /// What is asked of a container that runs; `None`: it has been asked already.
    fn of_running(
        &mut self,
        request: Request,
        descriptor: Option<OwnedFd>,
        asker: Asker,
        now: Instant,
    ) -> Result<Option<(guest::Request, What)>, Error> {
        use guest::Request as G;
        let paused = matches!(self.state, State::Paused);
        let plain = |request| Ok(Some((request, What::Plain)));
        match request {
            Request::Signal(signal) => {
                if signal == SIGKILL {
                    self.expect_death(now)?;
                }
                plain(G::Signal { exec: None, signal })
            }
            Request::KillAll => {
                self.expect_death(now)?;
                plain(G::KillAll)
            }
            Request::SignalExec { exec, signal } => plain(G::Signal { exec: Some(exec), signal }),
            Request::Pause if paused => Err(Error::conflict("the container is already paused")),
            Request::Pause => Ok(Some((G::Pause, What::Pause))),
            Request::Resume if !paused => Err(Error::conflict("the container is not paused")),
            Request::Resume => Ok(Some((G::Resume, What::Resume))),
            Request::Update(resources) => {
                // The machine's own process has these limits on the host as well.
                let mut warnings = Vec::new();
                if let Some(cgroup) = &self.cgroup {
                    let limits = crate::wall::of_host(&resources);
                    let left_out = cgroup.apply(&limits, OnMissing::Warn);
                    let left_out = left_out.map_err(|error| failure::of_cgroup(&error))?;
                    warnings.extend(left_out.iter().map(ToString::to_string));
                }
                let own = Box::new(crate::wall::of_guest(&resources));
                Ok(Some((G::Update(own), What::Update(warnings))))
            }
            Request::Stats => plain(G::Stats),
            Request::Processes => plain(G::Processes),
            Request::Pids => Ok(Some((G::Processes, What::Pids))),
            Request::Exec(_) if paused => Err(Error::conflict("the container is paused")),
            Request::Exec(exec) => self.ask_exec(*exec, descriptor, asker, now).map(|()| None),
            Request::Unmount(path) => {
                let path = path.to_string_lossy().into_owned();
                plain(G::Unmount(path))
            }
            Request::Mount(_) => Err(Error::invalid(
                "mounts cannot be added to a running container in a virtual machine; stop it first",
            )),
            _ => Err(Error::not_implemented("this cannot be asked of a virtual machine")),
        }
    }

    /// Runs one more process.
    fn ask_exec(
        &mut self,
        exec: Exec,
        stream: Option<OwnedFd>,
        asker: Asker,
        now: Instant,
    ) -> Result<(), Error> {
        let failed = |error| Error::system(format!("the exec's streams cannot be made: {error}"));
        let wanted = exec::wanted(&exec, stream.is_some());
        let (far, ends) = wanted.pipes().map_err(failed)?;
        // Output of an exec waits for its reader for ever: nobody else gets it, and nothing but
        // the exec itself is held up.
        let mut streams =
            Streams::new(ends, None, wanted.stdin, Log::default(), None).map_err(failed)?;
        if let Some(stream) = stream {
            let number = self.number();
            streams.attach(number, stream, exec.attach);
        }
        let guest = self.guest()?;
        let channels = guest.join(far, wanted.terminal).map_err(failed)?;
        let Exec { id, process, privileged, asked, user, .. } = exec;
        let all = [channels.stdin, channels.stdout, channels.stderr];
        let what = What::Exec(Box::new(NewExec {
            id: id.clone(),
            streams,
            channels: all.into_iter().flatten().collect(),
        }));
        let order = guest::Exec { id, process, user, streams: channels, privileged, asked };
        let request = guest::Request::Exec(Box::new(order));
        guest.ask(request, Some(asker), what, Some(now + PROCESS))
    }

    /// Reads or writes files. It may take as long as it takes; but a machine that is there for nothing
    /// else must get on with it.
    fn files(
        &mut self,
        mut request: FileRequest,
        stream: Option<OwnedFd>,
        asker: Asker,
        now: Instant,
    ) -> Result<(), Error> {
        let guest = self.guest()?;
        let until = guest.files_only.then(|| now + STUCK);
        let number = guest.channel();
        let failed = |error| Error::system(format!("the stream cannot be used: {error}"));
        let channel = match &mut request {
            FileRequest::Stat { .. } => None,
            FileRequest::Get { channel, .. }
            | FileRequest::Export { channel }
            | FileRequest::Changes { channel }
            | FileRequest::Layer { channel }
            | FileRequest::Put { channel, .. } => {
                *channel = number;
                Some(number)
            }
        };
        if channel.is_some() {
            let stream = stream.ok_or_else(|| Error::invalid("files lack their stream"))?;
            if matches!(request, FileRequest::Put { .. }) {
                guest.link.draw(number, stream).map_err(failed)?;
            } else {
                guest.link.pour(number, stream).map_err(failed)?;
            }
        }
        let what = What::Files(Work::new(channel));
        guest.ask(guest::Request::Files(request), Some(asker), what, until)
    }

    /// The machine, if it is there.
    pub(super) fn guest(&mut self) -> Result<&mut Guest, Error> {
        match &mut self.wall {
            Wall::Machine(guest) if guest.is_there() => Ok(guest),
            _ => Err(not_running()),
        }
    }
}
