//! What the engine asks, and the answers.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use proto::control::{Attach, Exec, Hello, Phase, Reply, Request};
use runtime::cgroup::OnMissing;
use runtime::{ExecOptions, failure};
use sys::signal::SIGKILL;
use types::{Error, ErrorKind, Timestamp};

use crate::exec::{self, ExecProcess};
use crate::guest::Asker;
use crate::log::Log;
use crate::monitor::{Monitor, State, Waiting};
use crate::streams::Streams;
use crate::wall::Wall;
use crate::{counters, setup};

const ESRCH: i32 = 3;

impl Monitor<'_> {
    /// Does what is asked. `None`: the answer comes later.
    pub(crate) fn answer(
        &mut self,
        request: Request,
        descriptor: Option<OwnedFd>,
        asker: Asker,
        now: Instant,
    ) -> Option<Result<Reply, Error>> {
        let own = matches!(
            request,
            Request::Hello
                | Request::Abandon
                | Request::Attach(_)
                | Request::Hold
                | Request::LetGo(_)
        );
        if !own && matches!(self.wall, Wall::Machine(_)) {
            return self.ask_guest(request, descriptor, asker, now);
        }
        if !own && matches!(self.wall, Wall::Whole(_)) {
            return Some(self.answer_of_whole(request, now));
        }
        Some(self.answer_now(request, descriptor, now))
    }

    fn answer_now(
        &mut self,
        request: Request,
        descriptor: Option<OwnedFd>,
        now: Instant,
    ) -> Result<Reply, Error> {
        match request {
            Request::Hello => Ok(Reply::Hello(Box::new(self.hello()))),
            Request::Start => self.start(now),
            Request::Abandon => match self.state {
                State::Created(_) => {
                    // At the next turn, when the answer is on its way.
                    self.abandoned = true;
                    Ok(Reply::Done)
                }
                _ => Err(Error::conflict("the container has been started")),
            },
            Request::Attach(attach) => self.attach(attach, descriptor),
            Request::Resize { exec, size } => {
                let resized = match exec {
                    None => self.streams.resize(size),
                    Some(id) => self.exec(&id)?.streams.resize(size),
                };
                done(resized.map_err(|error| Error::system(format!("cannot resize: {error}"))))
            }
            Request::Signal(signal) => done(self.signal(signal)),
            Request::KillAll => done(self.kill_all()),
            Request::Pause => done(self.pause()),
            Request::Resume => done(self.resume()),
            Request::Update(resources) => {
                let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
                let warnings = cgroup
                    .apply(&resources, OnMissing::Warn)
                    .map_err(|error| failure::of_cgroup(&error))?;
                Ok(Reply::Warnings(warnings.iter().map(ToString::to_string).collect()))
            }
            Request::Stats => {
                let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
                let sample = counters::sample(cgroup, self.pid)
                    .map_err(|error| failure::of_cgroup(&error))?;
                self.trim_soon(now);
                Ok(Reply::Sample(Box::new(sample)))
            }
            Request::Pids => {
                let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
                cgroup.pids().map(Reply::Pids).map_err(|error| failure::of_cgroup(&error))
            }
            Request::Exec(exec) => self.run_exec(&exec, descriptor, now),
            Request::Hold => {
                self.held.extend(descriptor);
                Ok(Reply::Done)
            }
            Request::LetGo(ports) => {
                self.held.retain(|socket| {
                    sys::hold::held_port(socket).map_or(true, |port| !ports.contains(&port))
                });
                Ok(Reply::Done)
            }
            Request::Mount(mount) => done(self.mount(*mount, descriptor)),
            Request::Unmount(target) => done(self.unmount(&target)),
            Request::SignalExec { exec, signal } => {
                let exec = self.exec(&exec)?;
                if exec.ended.is_some() {
                    return Err(Error::conflict("the process has ended"));
                }
                let pidfd = exec.pidfd.as_ref().ok_or_else(not_running)?;
                done(signalled(sys::process::pidfd_signal(pidfd, signal)))
            }
            Request::Processes | Request::Files(_) => Err(Error::not_implemented(
                "the container's processes and files are the host's: look at them there",
            )),
        }
    }

    fn hello(&self) -> Hello {
        let phase = match self.state {
            State::Created(_) => Phase::Created,
            State::Running => Phase::Running,
            State::Paused => Phase::Paused,
            // Not before the record is on disk; until then the end is not official.
            State::Draining { .. } => Phase::Running,
            State::Closing { .. } | State::Told { .. } | State::Leaving | State::End => {
                Phase::Exited
            }
        };
        let running = self.execs.iter().map(ExecProcess::state).collect::<Vec<_>>();
        let mut execs = self.past_execs.all();
        execs.extend(running);
        Hello {
            version: proto::launch::VERSION,
            phase,
            pid: self.pid,
            started_at: self.started_at,
            oom_killed: self.oom_killed(),
            dropped: self.dropped_in_all(),
            execs,
        }
    }

    /// Lets the container go.
    fn start(&mut self, now: Instant) -> Result<Reply, Error> {
        let created = match std::mem::replace(&mut self.state, State::Running) {
            State::Created(Waiting::Process(created)) => created,
            other => {
                self.state = other;
                return Err(Error::conflict("the container has been started"));
            }
        };
        let at = Timestamp::now();
        match created.start() {
            Ok(running) => {
                self.started_at = at;
                self.pid = running.pid;
                self.pidfd = running.pidfd;
                self.trim_soon(now);
                Ok(Reply::Started { at })
            }
            Err(error) => {
                self.start_failed(failure::status(&error));
                Err(failure::of_runtime(&error))
            }
        }
    }

    fn attach(&mut self, wants: Attach, stream: Option<OwnedFd>) -> Result<Reply, Error> {
        if !matches!(self.state, State::Created(_) | State::Running | State::Paused) {
            return Err(not_running());
        }
        let stream = stream.ok_or_else(|| Error::invalid("attach lacks its stream"))?;
        let number = self.number();
        self.streams.attach(number, stream, wants);
        Ok(Reply::Done)
    }

    /// Sends a signal. SIGKILL also reaches a paused container, which is let go on by it, as Docker
    /// does: a frozen process (of a v1 cgroup) would not die of it.
    fn signal(&mut self, signal: i32) -> Result<(), Error> {
        match self.state {
            State::Running | State::Paused => {}
            _ => return Err(not_running()),
        }
        signalled(sys::process::pidfd_signal(&self.pidfd, signal))?;
        if signal == SIGKILL && matches!(self.state, State::Paused) {
            self.resume()?;
        }
        Ok(())
    }

    fn kill_all(&mut self) -> Result<(), Error> {
        let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
        cgroup.kill().map_err(|error| failure::of_cgroup(&error))?;
        if matches!(self.state, State::Paused) {
            self.resume()?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Error> {
        match (&self.state, &self.cgroup) {
            (State::Running, Some(cgroup)) => {
                cgroup.freeze().map_err(|error| failure::of_cgroup(&error))?;
                self.state = State::Paused;
                Ok(())
            }
            (State::Paused, _) => Err(Error::conflict("the container is already paused")),
            _ => Err(not_running()),
        }
    }

    fn resume(&mut self) -> Result<(), Error> {
        match (&self.state, &self.cgroup) {
            (State::Paused, Some(cgroup)) => {
                cgroup.thaw().map_err(|error| failure::of_cgroup(&error))?;
                self.state = State::Running;
                Ok(())
            }
            _ => Err(Error::conflict("the container is not paused")),
        }
    }

    fn exec(&self, id: &str) -> Result<&ExecProcess, Error> {
        let found = self.execs.iter().find(|exec| exec.id == id);
        found.ok_or_else(|| Error::not_found(format!("no such exec is running: {id}")))
    }

    /// Runs one more process.
    fn run_exec(
        &mut self,
        exec: &Exec,
        stream: Option<OwnedFd>,
        now: Instant,
    ) -> Result<Reply, Error> {
        match self.state {
            State::Running => {}
            // The new process would join the frozen cgroup and stand still before its execve.
            State::Paused => return Err(Error::conflict("the container is paused")),
            _ => return Err(not_running()),
        }
        let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
        let Wall::Process { filter } = &self.wall else { return Err(not_running()) };
        let wanted = exec::wanted(exec, stream.is_some());
        let failed = |error| Error::system(format!("the exec's streams cannot be made: {error}"));
        let (stdio, ends) = wanted.make().map_err(failed)?;
        let made = runtime::exec(ExecOptions {
            container_pid: self.pid,
            pidfd: self.pidfd.as_fd(),
            process: &exec.process,
            spec: &self.spec,
            stdio,
            cgroup,
            seccomp: filter.as_deref(),
            privileged: exec.privileged,
            extra_fds: Vec::new(),
            asked: setup::asked(&exec.asked),
        });
        let made = made.map_err(|error| match error.errno() {
            // The container's first process has ended, and with it what an exec would join.
            Some(ESRCH) => not_running(),
            _ => failure::of_runtime(&error),
        })?;
        self.trim_soon(now);
        let pid = made.pid;
        // Output of an exec waits for its reader for ever: nobody else gets it, and nothing but
        // the exec itself is held up.
        let streams = Streams::new(ends, made.console, wanted.stdin, Log::default(), None);
        let mut streams = match streams {
            Ok(streams) => streams,
            Err(error) => {
                let _ = sys::process::pidfd_signal(&made.pidfd, SIGKILL);
                return Err(failed(error));
            }
        };
        if let Some(stream) = stream {
            let number = self.number();
            streams.attach(number, stream, exec.attach);
        }
        let number = self.number();
        self.execs.push(ExecProcess {
            number,
            id: exec.id.clone(),
            pid,
            pidfd: Some(made.pidfd),
            streams,
            ended: None,
        });
        Ok(Reply::ExecStarted { pid })
    }
}

fn done(result: Result<(), Error>) -> Result<Reply, Error> {
    result.map(|()| Reply::Done)
}

pub(crate) fn not_running() -> Error {
    Error::conflict("the container is not running")
}

/// What a failed signal means.
fn signalled(result: std::io::Result<()>) -> Result<(), Error> {
    result.map_err(|error| match error.raw_os_error() {
        Some(ESRCH) => not_running(),
        _ if error.kind() == std::io::ErrorKind::InvalidInput => {
            Error { kind: ErrorKind::Invalid, message: format!("cannot send the signal: {error}") }
        }
        _ => Error::system(format!("cannot send the signal: {error}")),
    })
}
