//! The standard streams of one process (the container's first, or an exec's): output is read and
//! goes to the log and to every client, input comes from the clients.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proto::control::Attach;
use proto::launch::{Stdin as StdinKind, WindowSize};
use proto::log::Stream;
use runtime::Stdio;
use sys::poll::{Interest, Poll, Ready};

use crate::log::Log;
use crate::output::{Client, Fed, Scratch};
use crate::stdin::{AfterEnd, Stdin};

/// How much of the last output of a process is kept for a client that is slow to take it.
const MAX_LAST_BACKLOG: usize = 1 << 20;

/// Which of a process's descriptors something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Output number 0 (standard output, or the terminal) or 1 (standard error).
    Source(usize),
    /// Room in the standard input.
    Stdin,
    /// A client, by its number.
    Client(u32),
}

/// Which streams a new process gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) terminal: Option<WindowSize>,
    pub(crate) stdin: StdinKind,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// Our ends of the pipes to a process that is about to be made.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// A terminal is behind them, out of our reach.
    terminal: bool,
}

/// The process's ends of the pipes.
#[derive(Debug, Default)]
pub(crate) struct FarEnds {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl Wanted {
    /// Makes the process's streams, and our ends of them.
    pub(crate) fn make(&self) -> io::Result<(Stdio, Ends)> {
        if let Some(WindowSize { rows, cols }) = self.terminal {
            return Ok((Stdio::Terminal { rows, cols }, Ends::default()));
        }
        let (far, ends) = self.pipes()?;
        let or_null = |end: Option<OwnedFd>| end.map_or_else(sys::stream::null, Ok);
        let stdio = [or_null(far.stdin)?, or_null(far.stdout)?, or_null(far.stderr)?];
        Ok((Stdio::Fds(stdio), ends))
    }

    /// Makes a pipe for each stream that is wanted. A terminal, which somebody else has, has no
    /// standard error.
    pub(crate) fn pipes(&self) -> io::Result<(FarEnds, Ends)> {
        let terminal = self.terminal.is_some();
        let mut far = FarEnds::default();
        let mut ends = Ends { terminal, ..Ends::default() };
        if self.stdin != StdinKind::Null {
            let (theirs, ours) = sys::stream::pipe()?;
            (far.stdin, ends.stdin) = (Some(theirs), Some(ours));
        }
        if self.stdout {
            let (ours, theirs) = sys::stream::pipe()?;
            (far.stdout, ends.stdout) = (Some(theirs), Some(ours));
        }
        if self.stderr && !terminal {
            let (ours, theirs) = sys::stream::pipe()?;
            (far.stderr, ends.stderr) = (Some(theirs), Some(ours));
        }
        Ok((far, ends))
    }
}

impl Ends {
    /// Both ways of the stream that is a machine's console: a terminal, which the guest has.
    pub(crate) fn of_console(stream: OwnedFd) -> io::Result<Self> {
        let stdin = Some(stream.try_clone()?);
        Ok(Self { stdin, stdout: Some(stream), stderr: None, terminal: true })
    }
}

#[derive(Debug)]
struct Source {
    fd: Rc<OwnedFd>,
    stream: Stream,
}

#[derive(Debug)]
struct Console {
    master: Rc<OwnedFd>,
    /// Kept open as long as the process lives: while nobody has the slave open, reads from the
    /// master fail with EIO, also when somebody is about to open it again.
    slave: Option<OwnedFd>,
}

/// The streams of a process.
#[derive(Debug)]
pub(crate) struct Streams {
    sources: [Option<Source>; 2],
    console: Option<Console>,
    /// There is a terminal, here or elsewhere: output goes to clients as it is.
    raw: bool,
    stdin: Stdin,
    clients: Vec<Client>,
    log: Log,
    /// How long output waits for a client that does not read; `None`: for ever.
    patience: Option<Duration>,
    /// Bytes of output that were neither kept nor passed on where they should have been.
    dropped: u64,
    /// When output was last read.
    active: Instant,
    /// The client whose input the process has for its own has vanished, without closing its side
    /// first.
    orphaned: bool,
    /// The process has ended.
    ended: bool,
}

impl Streams {
    /// Takes our ends, or the terminal's master.
    pub(crate) fn new(
        ends: Ends,
        console: Option<OwnedFd>,
        stdin: StdinKind,
        log: Log,
        patience: Option<Duration>,
    ) -> io::Result<Self> {
        let once = stdin == StdinKind::Once;
        let shared = |end: Option<OwnedFd>| -> io::Result<Option<Rc<OwnedFd>>> {
            end.map(|fd| sys::stream::set_nonblocking(&fd).map(|()| Rc::new(fd))).transpose()
        };
        let source = |fd: Rc<OwnedFd>, stream| Source { fd, stream };
        let mut streams = Self {
            sources: [None, None],
            console: None,
            raw: ends.terminal || console.is_some(),
            stdin: Stdin::default(),
            clients: Vec::new(),
            log,
            patience,
            dropped: 0,
            active: Instant::now(),
            orphaned: false,
            ended: false,
        };
        if let Some(master) = shared(console)? {
            let slave = Some(sys::pty::peer(&*master)?);
            streams.sources[0] = Some(source(Rc::clone(&master), Stream::Stdout));
            if stdin != StdinKind::Null {
                streams.stdin = Stdin::new(Rc::clone(&master), once, true);
            }
            streams.console = Some(Console { master, slave });
            return Ok(streams);
        }
        streams.sources = [
            shared(ends.stdout)?.map(|fd| source(fd, Stream::Stdout)),
            shared(ends.stderr)?.map(|fd| source(fd, Stream::Stderr)),
        ];
        if let Some(sink) = shared(ends.stdin)? {
            streams.stdin = Stdin::new(sink, once, ends.terminal);
        }
        Ok(streams)
    }

    /// Adds a client.
    pub(crate) fn attach(&mut self, number: u32, socket: OwnedFd, mut wants: Attach) {
        wants.stdin &= self.stdin.is_open();
        self.clients.push(Client::new(number, socket, wants, self.raw));
    }

    /// Sets the terminal's size; without a terminal there is nothing to set.
    pub(crate) fn resize(&self, size: WindowSize) -> io::Result<()> {
        match &self.console {
            Some(console) => sys::pty::resize(&*console.master, size.rows, size.cols),
            None => Ok(()),
        }
    }

    /// Bytes that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When output was last read.
    pub(crate) fn active(&self) -> Instant {
        self.active
    }

    /// Whether the process's input has lost its writer; asked once.
    pub(crate) fn take_orphaned(&mut self) -> bool {
        std::mem::take(&mut self.orphaned)
    }

    /// Ends the process's input, once it has taken everything.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin.close();
    }

    /// Whether a client holds up the output. When the process has ended, what is left is not much
    /// and is kept for a slow client, so that the log is complete at once.
    pub(crate) fn is_stalled(&self) -> bool {
        let room = if self.ended { MAX_LAST_BACKLOG } else { 0 };
        self.clients.iter().any(|client| client.is_waiting() && client.backlog() > room)
    }

    /// Whether there will be no more output.
    pub(crate) fn is_drained(&self) -> bool {
        self.sources.iter().all(Option::is_none)
    }

    /// Names everything to wait for.
    pub(crate) fn register<T: Copy>(&self, poll: &mut Poll<T>, token: impl Fn(Part) -> T) {
        if !self.is_stalled() {
            for (number, source) in self.sources.iter().enumerate() {
                if let Some(source) = source {
                    poll.add(token(Part::Source(number)), &*source.fd, Interest::READ);
                }
            }
        }
        if let Some(sink) = self.stdin.waiting() {
            poll.add(token(Part::Stdin), sink, Interest::WRITE);
        }
        let free = self.stdin.is_free();
        for client in &self.clients {
            if let Some(interest) = client.interest(free) {
                poll.add(token(Part::Client(client.number)), client.fd(), interest);
            }
        }
    }

    /// The next moment at which [`Streams::expire`] will do something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.deadline(self.patience)).min()
    }

    /// Drops the backlogs of clients that have not read for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        for client in &mut self.clients {
            self.dropped += client.expire(self.patience, now) as u64;
        }
    }

    /// Deals with something that has happened.
    pub(crate) fn ready(&mut self, part: Part, ready: Ready, scratch: &mut Scratch, now: Instant) {
        match part {
            Part::Source(number) => self.pump(number, scratch, now),
            Part::Stdin => self.stdin.flush(),
            Part::Client(number) => self.client_ready(number, ready, scratch, now),
        }
    }

    /// Reads what output there is and passes it on.
    fn pump(&mut self, number: usize, scratch: &mut Scratch, now: Instant) {
        // A client may have begun to wait in this very turn.
        if self.is_stalled() {
            return;
        }
        let Some(Some(source)) = self.sources.get(number) else { return };
        let stream = source.stream;
        let buffer = scratch.empty();
        match sys::stream::read(&*source.fd, buffer) {
            Ok(0) => self.close_source(number),
            Ok(_) => {
                // The kernel hands the end of a terminal's line over by itself, an instant later.
                if self.console.is_some() {
                    while buffer.len() < buffer.capacity()
                        && matches!(sys::stream::read(&*source.fd, buffer), Ok(1..))
                    {
                    }
                }
                self.active = now;
                self.dropped += self.log.write(stream, buffer) as u64;
                for client in &mut self.clients {
                    self.dropped += client.offer(stream, buffer, now) as u64;
                }
                self.clients.retain(|client| !client.is_finished());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // EIO: the last holder of a terminal's slave has gone, and all was read.
            Err(_) => self.close_source(number),
        }
    }

    fn close_source(&mut self, number: usize) {
        if let Some(Source { stream, .. }) = self.sources.get_mut(number).and_then(Option::take) {
            self.dropped += self.log.end(stream) as u64;
        }
    }

    fn client_ready(&mut self, number: u32, ready: Ready, scratch: &mut Scratch, now: Instant) {
        let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else {
            return;
        };
        client.write_ready(ready, now);
        let mut detach = false;
        if ready.readable || ready.gone {
            let has_input = client.has_input();
            if self.stdin.is_free() || !has_input {
                let buffer = scratch.empty();
                match client.read(buffer) {
                    Fed::Bytes(_) if has_input => self.stdin.write(buffer),
                    Fed::Bytes(_) | Fed::Nothing => {}
                    Fed::Ended if has_input => match self.stdin.after_end() {
                        AfterEnd::Close if ready.gone => self.orphaned = true,
                        AfterEnd::Close => self.stdin.close(),
                        AfterEnd::Detach => detach = true,
                    },
                    Fed::Ended => {}
                }
            }
        }
        let client_done =
            |client: &Client| client.is_finished() || (detach && client.number == number);
        self.clients.retain(|client| !client_done(client));
    }

    /// The process has ended: nobody reads its input any more, and its output ends.
    pub(crate) fn process_ended(&mut self) {
        self.ended = true;
        self.stdin.discard();
        if let Some(console) = &mut self.console {
            console.slave = None;
        }
        for client in &mut self.clients {
            client.end_input();
        }
    }

    /// Reads no more, writes the log to its end and lets the clients go, who may still have a
    /// backlog.
    pub(crate) fn close(&mut self) -> Vec<Client> {
        for number in 0..self.sources.len() {
            self.close_source(number);
        }
        self.dropped += self.log.close() as u64;
        self.console = None;
        self.stdin.discard();
        std::mem::take(&mut self.clients)
    }

    /// Gives back memory that is not needed now.
    pub(crate) fn release(&mut self) {
        self.log.release();
    }

    /// Hears of a child that is none of the known ones.
    pub(crate) fn child_ended(&mut self, pid: i32) {
        self.log.child_ended(pid);
    }
}

#[cfg(test)]
mod tests;
