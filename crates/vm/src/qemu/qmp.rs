//! QEMU's machine protocol: JSON objects, one a line, over a socket whose other end the process
//! was given. Greeting, `qmp_capabilities`, then commands and their answers with events between.
//! (QEMU documentation, *QEMU Machine Protocol Specification*.)

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sys::poll::{Interest, Poll};

use crate::error::{Error, Step};

/// No answer is longer: the process may be in the hands of its guest.
const MAX_LINE: usize = 1 << 20;

/// How long a process that runs may take to answer when everything on the host is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The host's end of the protocol.
#[derive(Debug)]
pub(super) struct Qmp {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// Up to here `buffer` has no end of a line.
    searched: usize,
    negotiated: bool,
    /// The number of the last command.
    asked: u64,
    events: Vec<String>,
    ended: bool,
}

impl Qmp {
    /// The socket must be non-blocking.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            searched: 0,
            negotiated: false,
            asked: 0,
            events: Vec::new(),
            ended: false,
        }
    }

    /// Does a command and returns what it returns.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Prepare`] when the process has ended or the time is over.
    pub(super) fn command(
        &mut self,
        what: &'static str,
        command: &Value,
        deadline: Instant,
    ) -> Result<Value, Error> {
        self.command_with(what, command, &[], deadline)
    }

    /// The same; descriptors go along (`getfd`).
    pub(super) fn command_with(
        &mut self,
        what: &'static str,
        command: &Value,
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<Value, Error> {
        if !self.negotiated {
            self.negotiated = true;
            self.exchange(what, &json!({"execute": "qmp_capabilities"}), &[], deadline)?;
        }
        self.exchange(what, command, fds, deadline)
    }

    fn exchange(
        &mut self,
        what: &'static str,
        command: &Value,
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<Value, Error> {
        self.asked += 1;
        let mut command = command.clone();
        command["id"] = json!(self.asked);
        let mut line = command.to_string().into_bytes();
        line.push(b'\n');
        let sent = sys::socket::send(&self.socket, &line, fds).step("write to the machine")?;
        // Commands are far shorter than what a socket holds, and one waits for its answer.
        if sent != line.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero)).step("write to the machine");
        }
        loop {
            let mut message = self.message(deadline).step("hear from the machine")?;
            // Another one's is of a command that was not waited for to its end.
            if message.get("id").is_none_or(|id| *id == self.asked) {
                if let Some(value) = message.get_mut("return") {
                    return Ok(value.take());
                }
                if let Some(error) = message.get("error") {
                    let said = error.get("desc").and_then(Value::as_str).unwrap_or_default();
                    return Err(Error::Refused { what, said: said.to_owned() });
                }
            }
            self.note(&message);
            in_time(deadline).step("hear from the machine")?;
        }
    }

    /// Waits for an event that came since the protocol began, or comes.
    ///
    /// # Errors
    /// `TimedOut`; `UnexpectedEof` when the process has ended.
    pub(super) fn wait_for(&mut self, event: &str, deadline: Instant) -> io::Result<()> {
        loop {
            if let Some(at) = self.events.iter().position(|seen| seen == event) {
                self.events.remove(at);
                return Ok(());
            }
            let message = self.message(deadline)?;
            self.note(&message);
            in_time(deadline)?;
        }
    }

    /// Whether nothing more will come.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Reads events that have come, without waiting.
    pub(super) fn listen(&mut self) {
        let now = Instant::now();
        // Not for ever, should they come faster than they are read.
        for _ in 0..256 {
            match self.message(now) {
                Ok(message) => self.note(&message),
                Err(error) => {
                    self.ended |= error.kind() != io::ErrorKind::TimedOut;
                    return;
                }
            }
        }
    }

    fn note(&mut self, message: &Value) {
        // Nobody asks for old ones, and a process gone wrong may send them without end.
        if self.events.len() >= 64 {
            self.events.remove(0);
        }
        if let Some(event) = message.get("event").and_then(Value::as_str) {
            self.events.push(event.to_owned());
        }
    }

    fn message(&mut self, deadline: Instant) -> io::Result<Value> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
                self.searched = 0;
                return Ok(serde_json::from_slice(&line)?);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.buffer.reserve(4096);
            match sys::stream::receive_now(&self.socket, &mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // The same, with something of ours that it never read.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(deadline)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut poll = Poll::default();
        poll.add((), &self.socket, Interest::READ);
        poll.wait(Some(left), &mut Vec::new())
    }
}

/// Whoever has other things to say without end is as late as one who says nothing.
fn in_time(deadline: Instant) -> io::Result<()> {
    if Instant::now() < deadline { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

impl AsFd for Qmp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn pair() -> (Qmp, OwnedFd) {
        let (ours, theirs) = sys::stream::pair().expect("pair");
        sys::stream::set_nonblocking(&ours).expect("non-blocking");
        (Qmp::new(ours), theirs)
    }

    fn say(theirs: &OwnedFd, text: &str) {
        assert_eq!(sys::stream::write(theirs, text.as_bytes()).expect("write"), text.len());
    }

    #[test]
    fn answers_are_told_from_greeting_and_events() {
        let (mut qmp, theirs) = pair();
        say(&theirs, "{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"STOP\"}\r\n");
        say(&theirs, "{\"event\": \"RESUME\"}\r\n{\"return\": {\"status\": \"running\"}}\r\n");
        let asked = json!({"execute": "query-status"});
        let answer = qmp.command("ask", &asked, soon()).expect("answer");
        assert_eq!(answer["status"], "running");
        qmp.wait_for("RESUME", soon()).expect("it came before the answer");
        let mut sent = Vec::with_capacity(4096);
        sys::stream::read(&theirs, &mut sent).expect("read");
        let sent = String::from_utf8(sent).expect("text");
        assert_eq!(sent.lines().count(), 2, "{sent}");
        assert!(sent.starts_with("{\"execute\":\"qmp_capabilities\",\"id\":1}\n"), "{sent}");
    }

    #[test]
    fn refusals_ends_and_silence_are_errors() {
        let (mut qmp, theirs) = pair();
        say(
            &theirs,
            "{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"desc\": \"no such thing\"}}\n",
        );
        let error = qmp.command("do it", &json!({"execute": "x"}), soon()).expect_err("refused");
        assert!(error.to_string().ends_with("refused to do it: no such thing"), "{error}");
        let late = qmp.wait_for("RESUME", Instant::now()).expect_err("nothing comes");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        let gone = qmp.wait_for("RESUME", soon()).expect_err("it has gone");
        assert_eq!(gone.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_late_answer_is_not_taken_for_anothers() {
        let (mut qmp, theirs) = pair();
        say(&theirs, "{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n");
        let ask = json!({"execute": "query-status"});
        let shortly = Instant::now() + Duration::from_millis(100);
        qmp.command("ask", &ask, shortly).expect_err("no answer yet");
        say(&theirs, "{\"return\": \"first\", \"id\": 2}\n{\"return\": \"second\", \"id\": 3}\n");
        assert_eq!(qmp.command("ask", &ask, soon()).expect("answer"), "second");
    }

    #[test]
    fn events_without_end_are_no_answer() {
        let (mut qmp, theirs) = pair();
        let writer = std::thread::spawn(move || {
            while sys::socket::send(&theirs, b"{\"event\": \"NOISE\"}\n", &[]).is_ok() {}
        });
        let soon = Instant::now() + Duration::from_millis(100);
        let late = qmp.wait_for("RESUME", soon).expect_err("it never comes");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let answer = qmp.command("ask", &json!({"execute": "query-status"}), soon);
        assert!(matches!(answer, Err(Error::Prepare { .. })), "{answer:?}");
        drop(qmp);
        writer.join().expect("writer");
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let (mut qmp, theirs) = pair();
        let writer = std::thread::spawn(move || {
            // Fails as soon as nobody reads any more.
            while sys::socket::send(&theirs, &[b'x'; 4096], &[]).is_ok() {}
        });
        let error = qmp.wait_for("RESUME", soon()).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(qmp);
        writer.join().expect("writer");
    }
}
