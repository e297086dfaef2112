//! What a guest says: read, checked, and passed on.

use std::time::Instant;

use proto::control::{self, Reply};
use proto::guest::{self, Failure, FromGuest, Notice, Violation, frame};
use relay::{Broken, Event, Part};
use sys::poll::Ready;
use sys::process::Exit;
use types::{Error, Timestamp};

use super::{Answer, Guest, What};
use crate::exec::ExecProcess;
use crate::monitor::{Monitor, State, Waiting};
use crate::wall::Wall;

impl Monitor<'_> {
    /// Something has happened to the connection to the machine.
    pub(crate) fn guest_ready(&mut self, part: Part, ready: Ready, now: Instant) {
        if let Wall::Machine(guest) = &mut self.wall {
            guest.ready(part, ready);
        }
        // The first thing that may not be ends the machine.
        while let Wall::Machine(guest) = &mut self.wall
            && let Some(event) = guest.next()
        {
            if let Err(violation) = self.hear(event, now) {
                if let Wall::Machine(guest) = &mut self.wall {
                    guest.break_off(&Broken::Violation(violation));
                }
                return;
            }
        }
    }

    /// The resolver has something for a question of the guest's.
    pub(crate) fn question_ready(&mut self, number: u32) {
        if let Wall::Machine(guest) = &mut self.wall
            && let Some(answer) = guest.questions.as_mut().and_then(|all| all.proceed(number))
        {
            guest.link.send_name(number, &answer);
        }
        if let Wall::Whole(whole) = &mut self.wall {
            whole.question_ready(number);
        }
    }

    fn hear(&mut self, event: Event, now: Instant) -> Result<(), Violation> {
        match event {
            Event::Name { question, bytes } => {
                if let Wall::Machine(guest) = &mut self.wall
                    && let Some(questions) = &mut guest.questions
                {
                    questions.ask(question, &bytes, now);
                }
                Ok(())
            }
            Event::Message(json) => match frame::read(&json)? {
                FromGuest::Hello(_) => Err(Violation::Order("a greeting")),
                FromGuest::Reply { number, result } => self.hear_reply(number, result, now),
                FromGuest::Notice(notice) => self.hear_notice(notice, now),
            },
        }
    }

    fn hear_notice(&mut self, notice: Notice, now: Instant) -> Result<(), Violation> {
        match notice {
            Notice::Exited { exit_code } => {
                if !matches!(self.state, State::Running | State::Paused) {
                    return Err(Violation::Order("the end of a container"));
                }
                self.container_ended(Exit::Code(exit_code & 0xff), now);
            }
            Notice::OutOfMemory => {
                let running = matches!(self.state, State::Running | State::Paused);
                let Wall::Machine(guest) = &mut self.wall else { return Ok(()) };
                guest.out_of_memory = true;
                if running && guest.kills.is_due(now) {
                    self.tell(control::Notice::OutOfMemory);
                }
            }
            Notice::ExecExited { exec, exit_code } => {
                let found = self.execs.iter_mut().find(|known| known.id == exec);
                let exec = found.ok_or(Violation::Order("the end of an exec"))?;
                if exec.ended.is_some() {
                    return Err(Violation::Order("the second end of an exec"));
                }
                exec.end(Exit::Code(exit_code & 0xff), now);
            }
        }
        Ok(())
    }

    fn hear_reply(
        &mut self,
        number: u32,
        result: Result<guest::Reply, Failure>,
        now: Instant,
    ) -> Result<(), Violation> {
        let Wall::Machine(guest) = &mut self.wall else { return Ok(()) };
        let pending = guest.pending.remove(&number).ok_or(Violation::Number(number))?;
        let wrong = || Violation::Answer(number);
        let passed_on: Result<Reply, Error> = match (pending.what, result) {
            (What::Shutdown, _) => {
                guest.quiet = super::Quiet::Yes;
                return Ok(());
            }
            (What::Start, Ok(guest::Reply::Started)) => {
                let at = Timestamp::now();
                self.started_at = at;
                self.state = State::Running;
                self.trim_soon(now);
                Ok(Reply::Started { at })
            }
            (What::Start, Err(failure)) => {
                let Failure { error, status } = failure;
                let status = if (1..=255).contains(&status) { status } else { 128 };
                self.start_failed(status);
                Err(error)
            }
            (What::Exec(new), Ok(guest::Reply::ExecStarted { pid })) => {
                let number = self.number();
                let super::NewExec { id, streams, .. } = *new;
                let exec = ExecProcess { number, id, pid, pidfd: None, streams, ended: None };
                self.execs.push(exec);
                Ok(Reply::ExecStarted { pid })
            }
            (What::Exec(new), Err(failure)) => {
                new.channels.iter().for_each(|channel| guest.link.forget(*channel));
                Err(failure.error)
            }
            (What::Pause, Ok(guest::Reply::Done)) => {
                if matches!(self.state, State::Running) {
                    self.state = State::Paused;
                }
                Ok(Reply::Done)
            }
            (What::Resume, Ok(guest::Reply::Done)) => {
                if matches!(self.state, State::Paused) {
                    self.state = State::Running;
                }
                Ok(Reply::Done)
            }
            (What::Pids, Ok(guest::Reply::Processes(list))) => {
                Ok(Reply::Pids(list.iter().map(|process| process.pid).collect()))
            }
            (What::Files(_), Ok(guest::Reply::Done)) => Ok(Reply::Done),
            (What::Files(work), Ok(guest::Reply::Stat(stat))) if work.channel.is_none() => {
                Ok(Reply::Stat(stat))
            }
            (What::Update(mut warnings), Ok(guest::Reply::Warnings(own))) => {
                warnings.extend(own);
                Ok(Reply::Warnings(warnings))
            }
            (What::Plain, Ok(reply)) => Ok(plain(reply).ok_or_else(wrong)?),
            (
                What::Plain
                | What::Update(_)
                | What::Pause
                | What::Resume
                | What::Pids
                | What::Files(_),
                Err(failure),
            ) => Err(failure.error),
            _ => return Err(wrong()),
        };
        if let Some(asker) = pending.asker {
            self.deliver((asker, passed_on));
        }
        Ok(())
    }

    /// The machine's process has ended, wanted or not.
    pub(crate) fn machine_ended(&mut self, exit: Exit, now: Instant) {
        let how = match exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal { signal, .. } => format!("signal {signal}"),
        };
        // What it said before may not have been read yet.
        let readable = Ready { readable: true, writable: false, gone: false };
        self.guest_ready(Part::Port, readable, now);
        let Wall::Machine(guest) = &mut self.wall else { return };
        let answers = guest.ended(&how);
        for exec in &mut self.execs {
            if exec.ended.is_none() {
                exec.end(Exit::Code(137), now);
            }
        }
        match self.state {
            State::Running | State::Paused => self.container_ended(Exit::Code(137), now),
            State::Created(Waiting::Starting) => self.start_failed(128),
            // Whoever waits for it sees the connection close.
            State::Created(_) => self.abandoned = true,
            _ => {}
        }
        answers.into_iter().for_each(|answer| self.deliver(answer));
    }

    /// Sends an answer that has come late.
    pub(crate) fn deliver(&mut self, (asker, result): Answer) {
        let reply = control::FromMonitor::Reply { number: asker.number, result };
        let mut connections = self.connections.iter_mut();
        if let Some(connection) =
            connections.find(|connection| connection.number == asker.connection)
        {
            connection.tell(&reply);
        }
    }

    /// Gives up what takes the machine too long.
    pub(crate) fn expire_guest(&mut self, now: Instant) {
        if let Wall::Whole(whole) = &mut self.wall {
            whole.expire(now);
        }
        let Wall::Machine(guest) = &mut self.wall else { return };
        let answers: Vec<Answer> = Guest::expire(guest, now);
        answers.into_iter().for_each(|answer| self.deliver(answer));
    }
}

/// An answer that is the same in the engine's words.
fn plain(reply: guest::Reply) -> Option<Reply> {
    Some(match reply {
        guest::Reply::Done => Reply::Done,
        guest::Reply::Warnings(warnings) => Reply::Warnings(warnings),
        guest::Reply::Sample(sample) => Reply::Sample(sample),
        guest::Reply::Processes(list) => Reply::Processes(list),
        _ => return None,
    })
}
