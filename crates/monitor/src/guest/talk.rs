//! A conversation with an agent while its monitor has nothing else to do.

use std::time::{Duration, Instant};

use proto::guest::{self, FromGuest, Request, ToGuest, frame};
use relay::{Broken, Event, Part};
use sys::poll::{Interest, Poll};

use super::Guest;
use super::start::StartError;

/// What something has happened to while a machine is set up.
#[derive(Clone, Copy)]
enum Token {
    Link(Part),
    Console,
    Process,
}

impl Guest {
    /// Asks for something; returns the request's number.
    pub(super) fn request(&mut self, request: Request) -> Result<u32, StartError> {
        self.requests += 1;
        self.link.send(&ToGuest { number: self.requests, request })?;
        Ok(self.requests)
    }

    /// Hears what the agent says until `hear` says that it was the last thing.
    pub(super) fn converse(
        &mut self,
        limit: Duration,
        mut hear: impl FnMut(FromGuest) -> Result<bool, StartError>,
    ) -> Result<(), StartError> {
        let deadline = Instant::now() + limit;
        self.link.flush()?;
        let mut poll = Poll::default();
        let mut ready = Vec::new();
        loop {
            while let Some(event) = self.link.next()? {
                let Event::Message(json) = event else {
                    return Err(guest::Violation::Order("a question").into());
                };
                if hear(frame::read(&json)?)? {
                    return Ok(());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StartError::Late);
            }
            poll.clear();
            self.link.register(&mut poll, Token::Link);
            poll.add(Token::Process, &self.running.pidfd, Interest::READ);
            if !self.running.console.ended() {
                poll.add(Token::Console, &self.running.console, Interest::READ);
            }
            poll.wait(Some(left), &mut ready)?;
            for (token, what) in ready.drain(..) {
                match token {
                    Token::Link(part) => self.link.ready(part, what)?,
                    Token::Console => self.listen(),
                    Token::Process => return Err(Broken::Ended.into()),
                }
            }
        }
    }
}
