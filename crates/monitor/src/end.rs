//! How it ends: of execs, of the container, of the monitor.

use std::time::{Duration, Instant};

use proto::control::{ExecState, ExitRecord, Notice};
use sys::process::Exit;
use types::Timestamp;

use crate::drain::Drain;
use crate::exec::CLIENT_LIMIT;
use crate::monitor::{Monitor, State, Waiting};
use crate::output::Client;
use crate::wall::Wall;
use crate::{record, setup};

/// How long the monitor stays for clients and connections that do not take the rest.
const LAST_WORDS: Duration = Duration::from_secs(30);

impl Monitor<'_> {
    /// Bytes of output that were lost, of all processes.
    pub(crate) fn dropped_in_all(&self) -> u64 {
        let execs: u64 = self.execs.iter().map(|exec| exec.streams.dropped()).sum();
        self.dropped + self.streams.dropped() + execs
    }

    /// Tells of execs whose process has ended and whose output has been read and passed on.
    pub(crate) fn end_execs(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(exec) = self.execs.get(at) {
            match exec.drain(now) {
                Ok(_) => at += 1,
                Err(exit) => {
                    let mut exec = self.execs.remove(at);
                    let clients = exec.streams.close();
                    self.dropped += exec.streams.dropped();
                    // Before the stream ends: who has read it to its end will ask for the status.
                    self.tell_exec_end(exec.id, exec.pid, exit);
                    // Clients that do not read get time, but the end has been told.
                    self.linger(clients);
                    self.trim_soon(now);
                }
            }
        }
    }

    fn tell_exec_end(&mut self, id: String, pid: i32, exit: Exit) {
        let exit_code = exit.status();
        self.tell(Notice::ExecExited { exec: id.clone(), exit_code });
        self.past_execs.push(ExecState { id, pid, exit_code: Some(exit_code) });
    }

    /// Keeps clients that have a backlog; the others are closed.
    fn linger(&mut self, clients: Vec<Client>) {
        self.lingering.extend(clients.into_iter().filter(|client| !client.is_clear()));
    }

    /// The container's first process has ended.
    pub(crate) fn container_ended(&mut self, exit: Exit, now: Instant) {
        if !matches!(self.state, State::Running | State::Paused) {
            return;
        }
        self.state = State::Draining { exit_code: exit.status(), at: Timestamp::now(), since: now };
        self.streams.process_ended();
        self.look_for_oom(now, usize::MAX);
        if let Wall::Machine(guest) = &mut self.wall {
            guest.begin_quiet(now);
            return;
        }
        // With a process namespace of its own everything has gone with its first process. Without
        // one the others are still there, and they are the container's.
        if let Some(cgroup) = &self.cgroup
            && cgroup.pids().is_ok_and(|pids| !pids.is_empty())
        {
            let _ = cgroup.thaw();
            let _ = cgroup.kill();
        }
    }

    /// When something about the end is due.
    pub(crate) fn end_deadline(&self, now: Instant) -> Option<Instant> {
        match &self.state {
            State::Draining { since, .. } => {
                let execs = (!self.execs.is_empty()).then(|| *since + CLIENT_LIMIT);
                let drain = self.drain(*since).until(now);
                execs.filter(|at| *at > now).into_iter().chain(drain).min()
            }
            // A machine that writes its disks has a limit of its own.
            State::Closing { since, .. } => self.is_quiet().then(|| *since + CLIENT_LIMIT),
            State::Told { since } => Some(*since + LAST_WORDS),
            _ => None,
        }
    }

    fn drain(&self, ended: Instant) -> Drain {
        Drain {
            ended,
            active: self.streams.active(),
            drained: self.streams.is_drained(),
            stalled: self.streams.is_stalled(),
        }
    }

    /// Goes on to the next states of the end, as far as nothing is to be waited for.
    pub(crate) fn proceed_to_end(&mut self, now: Instant) {
        if let State::Draining { exit_code, at, since } = self.state
            && self.execs_have_ended(since, now)
            && self.drain(since).until(now).is_none()
        {
            self.write_record(exit_code, at, now);
        }
        if let State::Closing { since, .. } = self.state
            && self.is_quiet()
            && (self.lingering.is_empty() || now >= since + CLIENT_LIMIT)
        {
            self.take_leave(now);
        }
        if matches!(self.state, State::Leaving) && self.is_quiet() {
            // Nobody is there to be told of failures; the next start of the same container meets
            // them.
            let _ = self.undo();
            self.state = State::Told { since: now };
        }
        if let State::Told { since } = self.state {
            let waiting = self.connections.iter().any(|connection| connection.is_waiting());
            let done = self.lingering.is_empty() && !waiting;
            if done || now >= since + LAST_WORDS {
                self.state = State::End;
            }
        }
    }

    /// Whether there is nothing that a machine has yet to write.
    fn is_quiet(&self) -> bool {
        match &self.wall {
            Wall::Process { .. } | Wall::Whole(_) => true,
            Wall::Machine(guest) => guest.is_quiet(),
        }
    }

    /// Whether every exec has ended and been told; they are given a moment.
    fn execs_have_ended(&self, since: Instant, now: Instant) -> bool {
        self.execs.is_empty() || now >= since + CLIENT_LIMIT
    }

    /// Closes the log and writes the exit record: from here on the container's end is official.
    fn write_record(&mut self, exit_code: i32, finished_at: Timestamp, now: Instant) {
        for mut exec in std::mem::take(&mut self.execs) {
            let clients = exec.streams.close();
            self.dropped += exec.streams.dropped();
            let exit = exec.ended.map_or(Exit::Code(137), |(exit, _)| exit);
            self.tell_exec_end(exec.id, exec.pid, exit);
            self.linger(clients);
        }
        let clients = self.streams.close();
        self.linger(clients);
        let record = ExitRecord {
            id: self.id.clone(),
            exit_code,
            oom_killed: self.oom_killed(),
            started_at: self.started_at,
            finished_at,
            dropped: self.dropped_in_all(),
            failures: self.machine_failure().into_iter().collect(),
        };
        let record = self.keep(record);
        self.state = State::Closing { record: Box::new(record), since: now };
    }

    /// Writes the record; that it cannot be written is itself told.
    fn keep(&self, mut record: ExitRecord) -> ExitRecord {
        if let Err(error) = record::write(&self.dir, &record) {
            record.failures.push(format!("cannot write the exit record: {error}"));
        }
        record
    }

    /// Gives back everything that the container had, and tells its end. After that the same
    /// container may be started again at once: nothing of this monitor's is in its way.
    fn take_leave(&mut self, now: Instant) {
        let State::Closing { record, .. } =
            std::mem::replace(&mut self.state, State::Told { since: now })
        else {
            return;
        };
        let failures = self.undo();
        let mut record = *record;
        if !failures.is_empty() {
            record.failures.extend(failures);
            record = self.keep(record);
        }
        self.tell(Notice::Exited(record));
    }

    /// Frees ports, cgroups and the names in the directory; every step, whatever becomes of the
    /// others.
    fn undo(&mut self) -> Vec<String> {
        self.held.clear();
        self.oom = None;
        self.listener = None;
        setup::retract(&self.dir);
        if let Wall::Machine(guest) = &mut self.wall {
            guest.switch_off();
        }
        if let Wall::Whole(whole) = &mut self.wall {
            whole.switch_off();
        }
        let Some(cgroup) = self.cgroup.take() else { return Vec::new() };
        match cgroup.remove() {
            Ok(()) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    /// The program could not be executed: there is a record, with Docker's status.
    pub(crate) fn start_failed(&mut self, exit_code: i32) {
        self.look_for_oom(Instant::now(), usize::MAX);
        drop(self.streams.close());
        let mut failures = self.undo();
        failures.extend(self.machine_failure());
        let record = ExitRecord {
            id: self.id.clone(),
            exit_code,
            oom_killed: self.oom_killed(),
            started_at: self.started_at,
            finished_at: Timestamp::now(),
            dropped: self.dropped_in_all(),
            failures,
        };
        self.keep(record);
        self.state = State::Told { since: Instant::now() };
    }

    /// Gives up a container that was never started. There is no record: it has not been.
    pub(crate) fn abandon(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Leaving);
        if let State::Created(Waiting::Process(created)) = state {
            setup::discard(*created);
        }
        drop(self.streams.close());
        if let Wall::Machine(guest) = &mut self.wall {
            guest.begin_quiet(Instant::now());
        }
    }

    /// Why the machine has ended, if it should not have.
    fn machine_failure(&self) -> Option<String> {
        match &self.wall {
            Wall::Process { .. } => None,
            Wall::Machine(guest) => guest.failure.clone(),
            Wall::Whole(whole) => whole.failure.clone(),
        }
    }

    /// Whether a process of the container has been killed for want of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        let guest = matches!(&self.wall, Wall::Machine(guest) if guest.out_of_memory);
        guest || self.oom_kills > 0
    }

    /// When something about the machine is due.
    pub(crate) fn guest_deadline(&self) -> Option<Instant> {
        match &self.wall {
            Wall::Process { .. } => None,
            Wall::Machine(guest) => guest.deadline(),
            Wall::Whole(whole) => whole.deadline(),
        }
    }

    /// Sends the machine what has been made for it in this turn.
    pub(crate) fn flush_guest(&mut self) {
        if let Wall::Machine(guest) = &mut self.wall {
            guest.flush();
        }
    }
}
