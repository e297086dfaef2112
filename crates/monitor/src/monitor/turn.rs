//! One turn of a monitor: what it waits for, and what it does about it.

use std::time::{Duration, Instant};

use sys::poll::{Interest, Poll, Ready};

use super::{Monitor, State};
use crate::streams::Part;
use crate::wall::Wall;

/// A created container that nobody starts while nobody is connected is given up after this.
const ALONE: Duration = Duration::from_secs(30);

/// Memory for reading output is given back when nothing was read for so long.
const IDLE: Duration = Duration::from_secs(1);

/// What something has happened to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Signal,
    Listener,
    Oom,
    Connection(u32),
    Guest(relay::Part),
    Question(u32),
    Console,
    Notices,
    Container(Part),
    Exec(u32, Part),
    Lingering(u32),
}

impl Monitor<'_> {
    /// Waits and acts until the end.
    pub(super) fn live(&mut self) {
        let mut ready = Vec::new();
        self.trim_soon(Instant::now());
        loop {
            self.advance(Instant::now());
            if matches!(self.state, State::End) {
                return;
            }
            let mut poll = std::mem::take(&mut self.poll);
            self.flush_guest();
            poll.clear();
            self.register(&mut poll);
            let limit =
                self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // ENOMEM is all that can come; then turns are made blindly, but not in a rush.
            if poll.wait(limit, &mut ready).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
            self.poll = poll;
            let now = Instant::now();
            for (token, what) in ready.drain(..) {
                self.happen(token, what, now);
            }
        }
    }

    /// Names everything to wait for.
    fn register(&self, poll: &mut Poll<Token>) {
        poll.add(Token::Signal, &self.signals, Interest::READ);
        if let Some(listener) = &self.listener {
            poll.add(Token::Listener, listener, Interest::READ);
        }
        if let Some(oom) = &self.oom {
            poll.add(Token::Oom, oom, Interest::READ);
        }
        if let Wall::Machine(guest) = &self.wall {
            guest.register(poll, Token::Guest, Token::Question, Token::Console);
        }
        if let Wall::Whole(whole) = &self.wall {
            whole.register(poll, Token::Notices, Token::Question);
        }
        for connection in &self.connections {
            let interest = Interest { read: true, write: connection.is_waiting() };
            poll.add(Token::Connection(connection.number), connection.fd(), interest);
        }
        self.streams.register(poll, Token::Container);
        for exec in &self.execs {
            exec.streams.register(poll, |part| Token::Exec(exec.number, part));
        }
        for client in &self.lingering {
            if let Some(interest) = client.interest(false) {
                poll.add(Token::Lingering(client.number), client.fd(), interest);
            }
        }
    }

    /// When to look again although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let execs = self.execs.iter();
        let drains = execs.clone().filter_map(|exec| exec.drain(now).ok().flatten());
        let clients = execs.filter_map(|exec| exec.streams.deadline());
        let alone = match self.state {
            State::Created(_) => self.alone.map(|since| since + ALONE),
            _ => None,
        };
        drains
            .chain(clients)
            .chain(self.streams.deadline())
            .chain(alone)
            .chain(self.idle_at)
            .chain(self.trim_at)
            .chain(self.doubts.deadline())
            .chain(self.guest_deadline())
            .chain(self.losses_deadline())
            .chain(self.end_deadline(now))
            .min()
    }

    /// Does what time or the state of things asks for.
    fn advance(&mut self, now: Instant) {
        self.connections.retain(|connection| !connection.is_broken());
        self.alone = if self.connections.is_empty() { self.alone.or(Some(now)) } else { None };
        self.resolve_doubts(now);
        self.expire_guest(now);
        self.streams.expire(now);
        for exec in &mut self.execs {
            exec.streams.expire(now);
        }
        self.lingering.retain(|client| !client.is_clear());
        self.end_execs(now);
        self.tell_losses(now);
        self.proceed_to_end(now);
        let given_up = self.abandoned || self.alone.is_some_and(|since| now >= since + ALONE);
        if given_up && matches!(self.state, State::Created(_)) {
            self.abandon();
        }
        if self.idle_at.take_if(|at| now >= *at).is_some() {
            self.scratch.release();
            self.streams.release();
            self.trim_at = Some(now);
        }
        if self.trim_at.take_if(|at| now >= *at).is_some() {
            sys::memory::trim();
            sys::memory::trim_stack();
        }
    }

    fn happen(&mut self, token: Token, ready: Ready, now: Instant) {
        match token {
            Token::Signal => self.reap(now),
            Token::Listener => self.accept(),
            Token::Oom => {
                if let Some(oom) = &self.oom {
                    oom.drain();
                }
                self.look_for_oom(now, 0);
            }
            Token::Connection(number) => self.serve(number, ready, now),
            Token::Guest(part) => self.guest_ready(part, ready, now),
            Token::Question(number) => self.question_ready(number),
            Token::Console => {
                if let Wall::Machine(guest) = &mut self.wall {
                    guest.listen();
                }
            }
            Token::Notices => {
                if let Wall::Whole(whole) = &mut self.wall {
                    whole.listen(now);
                }
            }
            Token::Container(part) => {
                self.streams.ready(part, ready, &mut self.scratch, now);
            }
            Token::Exec(number, part) => {
                let exec = self.execs.iter_mut().find(|exec| exec.number == number);
                if let Some(exec) = exec {
                    exec.streams.ready(part, ready, &mut self.scratch, now);
                }
            }
            Token::Lingering(number) => {
                for client in self.lingering.iter_mut().filter(|c| c.number == number) {
                    client.write_ready(ready, now);
                }
            }
        }
        if self.scratch.is_held() {
            self.idle_at = Some(now + IDLE);
        }
    }

    /// Has memory that is free now given back soon.
    pub(crate) fn trim_soon(&mut self, now: Instant) {
        self.trim_at.get_or_insert(now + IDLE);
    }
}
