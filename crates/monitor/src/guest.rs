//! The second wall: a container in a virtual machine. Its processes are the guest's, and what the
//! runtime does for a container of the host the agent in the guest is asked to do.
//!
//! ```text
//!  engine ──Request──► Monitor ──guest::Request──► agent
//!                        │ Pending: who asked, and until when
//!  engine ◄──Reply────── Monitor ◄──guest::Reply── agent
//!
//!  Streams ◄── pipe ── Link ◄── channel ── the process's output
//! ```
//!
//! The guest is not believed. What it says is checked against what it was asked and against the
//! container's state; a violation, like an answer that does not come, ends the machine and nothing
//! else. Its own end is the container's.

mod answers;
mod files;
mod kills;
mod questions;
mod requests;
mod spare;
mod start;
mod talk;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::control::Reply;
use proto::guest::{Request, Side, ToGuest};
use relay::{Broken, Event, Link, Part};
use sys::poll::{Interest, Poll, Ready};
use sys::signal::SIGKILL;
use types::Error;

use crate::streams::Streams;
use files::{STUCK, Work};
use kills::Kills;

pub(crate) use questions::Questions;
pub(crate) use spare::{Spare, stand_by};
pub(crate) use start::{accelerator, build_template, launch};

/// How long an agent may take for what it does at once.
const PLAIN: Duration = Duration::from_secs(20);
/// How long it may take to start a process: the program may have to be read from a slow disk.
const PROCESS: Duration = Duration::from_secs(60);
/// How long a machine has to let a container die of SIGKILL before it is itself killed.
const KILL: Duration = Duration::from_secs(5);
/// How long a machine has to write its disks.
const QUIET: Duration = Duration::from_secs(30);

/// Who is waiting for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The number of the connection.
    pub(crate) connection: u32,
    /// The number of its request.
    pub(crate) number: u64,
}

/// What an answer leads to.
#[derive(Debug)]
enum What {
    /// Nothing but that it is passed on.
    Plain,
    /// With what the host left out of the new limits.
    Update(Vec<String>),
    Start,
    Exec(Box<NewExec>),
    Pause,
    Resume,
    Pids,
    Files(Work),
    Shutdown,
}

/// An exec that has been asked for.
#[derive(Debug)]
struct NewExec {
    id: String,
    streams: Streams,
    channels: Vec<u32>,
}

/// A request that has not been answered.
#[derive(Debug)]
struct Pending {
    asker: Option<Asker>,
    what: What,
    until: Option<Instant>,
}

/// How far the machine is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    /// It has not been asked.
    No,
    /// It has been asked.
    Asked(Instant),
    /// Everything is on the disk, or never will be.
    Yes,
}

/// The monitor's side of a machine.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) link: Link,
    running: vm::Running,
    pub(crate) questions: Option<Questions>,
    requests: u32,
    channels: u32,
    pending: BTreeMap<u32, Pending>,
    quiet: Quiet,
    /// Nothing that is written need be kept.
    volatile: bool,
    /// Nothing is run in it.
    pub(crate) files_only: bool,
    /// SIGKILL has been sent to the container: when the machine follows.
    kill_at: Option<Instant>,
    /// Why the machine has ended, or was ended.
    pub(crate) failure: Option<String>,
    /// Its process has ended.
    gone: bool,
    /// The guest's kernel has killed for want of memory.
    pub(crate) out_of_memory: bool,
    /// When that was told.
    kills: Kills,
}

/// An answer for somebody.
pub(crate) type Answer = (Asker, Result<Reply, Error>);

impl Guest {
    /// Of a machine that waits for its first order. Nothing is left of it after a failure.
    fn new(mut running: vm::Running) -> std::io::Result<Self> {
        let link = running.agent.try_clone().and_then(|agent| Link::new(agent, Side::Guest));
        let mut link = link.inspect_err(|_| drop(running.kill()))?;
        link.feed(&std::mem::take(&mut running.greeting));
        Ok(Self {
            link,
            running,
            questions: None,
            requests: 0,
            channels: 0,
            pending: BTreeMap::new(),
            quiet: Quiet::No,
            volatile: true,
            files_only: false,
            kill_at: None,
            failure: None,
            gone: false,
            out_of_memory: false,
            kills: Kills::default(),
        })
    }

    /// A number for a channel that was never used.
    fn channel(&mut self) -> u32 {
        self.channels += 1;
        self.channels
    }

    /// Sends a request.
    fn ask(
        &mut self,
        request: Request,
        asker: Option<Asker>,
        what: What,
        until: Option<Instant>,
    ) -> Result<(), Error> {
        self.requests += 1;
        let number = self.requests;
        let sent = self.link.send(&ToGuest { number, request });
        sent.map_err(|error| Error::invalid(error.to_string()))?;
        self.pending.insert(number, Pending { asker, what, until });
        Ok(())
    }

    /// Whether its process lives.
    pub(crate) fn is_there(&self) -> bool {
        !self.gone
    }

    /// Names everything to wait for.
    pub(crate) fn register<T: Copy>(
        &self,
        poll: &mut Poll<T>,
        link: impl Fn(Part) -> T,
        question: impl Fn(u32) -> T,
        console: T,
    ) {
        if self.gone {
            return;
        }
        if !self.running.console.ended() {
            poll.add(console, &self.running.console, Interest::READ);
        }
        self.link.register(poll, link);
        if let Some(questions) = &self.questions {
            for (number, socket, write) in questions.sockets() {
                poll.add(question(number), socket, Interest { read: true, write });
            }
        }
    }

    /// Its kernel has printed something.
    pub(crate) fn listen(&mut self) {
        self.running.console.read();
    }

    /// Deals with something that has happened to the link.
    pub(crate) fn ready(&mut self, part: Part, ready: Ready) {
        if !self.gone
            && let Err(broken) = self.link.ready(part, ready)
        {
            self.break_off(&broken);
        }
    }

    /// What the guest has to say next.
    pub(crate) fn next(&mut self) -> Option<Event> {
        if self.gone {
            return None;
        }
        match self.link.next() {
            Ok(event) => event,
            Err(broken) => {
                self.break_off(&broken);
                None
            }
        }
    }

    /// Sends what has been made in this turn.
    pub(crate) fn flush(&mut self) {
        if !self.gone
            && let Err(broken) = self.link.flush()
        {
            self.break_off(&broken);
        }
    }

    /// Ends a machine that cannot be talked to any more.
    pub(crate) fn break_off(&mut self, broken: &Broken) {
        // The end of the connection is the end of the machine, which has a reason of its own.
        if !matches!(broken, Broken::Ended) {
            self.fail(format!("the virtual machine was ended: {broken}"));
        }
        self.kill();
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// Ends a machine that is of no use any more.
    fn give_up(&mut self, why: &str) {
        self.fail(format!("the virtual machine was ended: {why}"));
        self.kill();
    }

    fn kill(&self) {
        let _ = self.running.kill();
    }

    /// When to look again although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.gone {
            return None;
        }
        let quiet = match self.quiet {
            Quiet::Asked(since) => Some(since + QUIET),
            _ => None,
        };
        let questions = self.questions.as_ref().and_then(Questions::deadline);
        let pending = self.pending.values().filter_map(|pending| pending.until);
        pending.chain(quiet).chain(self.kill_at).chain(questions).min()
    }

    /// Gives up what takes too long; returns what is to be said of it.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Answer> {
        if let Some(questions) = &mut self.questions {
            questions.expire(now);
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.fail("the virtual machine was killed: it did not end the container".to_owned());
            self.kill();
        }
        if matches!(self.quiet, Quiet::Asked(since) if now >= since + QUIET) {
            self.fail("the virtual machine was killed: it did not write its disks".to_owned());
            self.quiet = Quiet::Yes;
        }
        self.look_after_files(now);
        let late: Vec<u32> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.until.is_some_and(|until| now >= until))
            .map(|(number, _)| *number)
            .collect();
        let mut answers = Vec::new();
        for number in late {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            pending.until = None;
            let Some(asker) = pending.asker.take() else { continue };
            let error = Error::unavailable(
                "the container's virtual machine does not answer; kill the container",
            );
            answers.push((asker, Err(error)));
        }
        answers
    }

    /// Ends a machine that hangs over files. It is there for nothing else, and nobody else would: the
    /// container cannot be started, removed or killed meanwhile.
    fn look_after_files(&mut self, now: Instant) {
        let mut hangs = false;
        for pending in self.pending.values_mut() {
            let due = pending.until.is_some_and(|until| now >= until);
            if let (What::Files(work), true) = (&mut pending.what, due) {
                let goes_on = work.goes_on(&self.link);
                pending.until = goes_on.then(|| now + STUCK);
                hangs |= !goes_on;
            }
        }
        if hangs {
            let seconds = STUCK.as_secs();
            self.give_up(&format!("it has done nothing about the files for {seconds} s"));
        }
    }

    /// Has the machine write its disks, once.
    pub(crate) fn begin_quiet(&mut self, now: Instant) {
        self.kill_at = None;
        if self.quiet != Quiet::No {
            return;
        }
        self.quiet = Quiet::Yes;
        if !self.volatile
            && !self.gone
            && self.ask(Request::Shutdown, None, What::Shutdown, None).is_ok()
        {
            self.quiet = Quiet::Asked(now);
        }
    }

    /// Whether it may be switched off.
    pub(crate) fn is_quiet(&self) -> bool {
        self.gone || self.quiet == Quiet::Yes
    }

    /// Its process has ended. Returns what there is to be said to those who wait.
    pub(crate) fn ended(&mut self, how: &str) -> Vec<Answer> {
        self.gone = true;
        if self.quiet == Quiet::No || matches!(self.quiet, Quiet::Asked(_)) {
            let last = self.last_words();
            self.fail(format!("the virtual machine ended unexpectedly ({how}){last}"));
        }
        self.questions = None;
        // Closes every pipe, so that readers see the end.
        for channel in 1..=self.channels {
            self.link.forget(channel);
        }
        let why = self.failure.clone().unwrap_or_else(|| "the virtual machine has ended".into());
        let pending = std::mem::take(&mut self.pending);
        pending
            .into_values()
            .filter_map(|pending| {
                let error = match pending.what {
                    What::Start => Error::system(why.clone()),
                    What::Files(_) if self.failure.is_some() => Error::system(why.clone()),
                    _ => crate::requests::not_running(),
                };
                pending.asker.map(|asker| (asker, Err(error)))
            })
            .collect()
    }

    /// What the machine and the guest's kernel have said last, for an error.
    fn last_words(&mut self) -> String {
        let said = [self.running.complaints(), self.running.console.text()];
        let said: Vec<String> = said.into_iter().filter(|text| !text.is_empty()).collect();
        if said.is_empty() {
            return String::new();
        }
        format!("; its last words: {}", said.join("; "))
    }

    /// All processes of the machine.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut all = vec![self.running.pid];
        for (helper, _) in &self.running.helpers {
            all.push(*helper);
            // What serves is a child of the one that waits for its end.
            all.extend(sys::process::children(*helper));
        }
        all
    }

    /// Switches it off, and waits until its processes have gone.
    pub(crate) fn switch_off(&mut self) {
        self.kill();
        self.gone = true;
        // ECHILD: it has been waited for.
        let _ = sys::process::wait_pidfd(&self.running.pidfd);
        for (_, helper) in &self.running.helpers {
            // They end with the machine; one that hangs does not keep us.
            let _ = sys::process::pidfd_signal(helper, SIGKILL);
            let _ = sys::process::wait_pidfd(helper);
        }
    }
}
