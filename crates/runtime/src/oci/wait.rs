//! Staying in the foreground: signals are passed on, a terminal is relayed, the exit status is
//! returned.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use sys::poll::{Interest, Poll};
use sys::pty::Raw;
use sys::signal::SignalFd;

/// Signals that are passed on.
const PASSED_ON: [i32; 8] = [1, 2, 3, 10, 12, 15, 18, WINCH];
/// The terminal's size has changed.
const WINCH: i32 = 28;

/// A caller that waits for the process. Made before the fork, so that no signal is lost.
#[derive(Debug)]
pub(super) struct Foreground {
    signals: SignalFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Process,
    Signal,
    Stdin,
    Console,
}

impl Foreground {
    pub(super) fn new() -> io::Result<Foreground> {
        Ok(Foreground { signals: SignalFd::new(&PASSED_ON)? })
    }

    /// Waits for the process, which is our child; relays the terminal meanwhile.
    pub(super) fn follow(self, pidfd: &OwnedFd, console: Option<OwnedFd>) -> i32 {
        let mut console = console.map(File::from);
        // Not a terminal on our side: then there is nothing to make raw.
        let raw = console.as_ref().and_then(|_| Raw::new(io::stdin()).ok());
        if let Some(console) = &console {
            copy_size(console);
        }
        let mut stdin_open = true;
        let mut poll = Poll::default();
        let status = loop {
            poll.clear();
            poll.add(Source::Process, pidfd, Interest::READ);
            poll.add(Source::Signal, &self.signals, Interest::READ);
            if let Some(console) = &console {
                poll.add(Source::Console, console, Interest::READ);
                if stdin_open {
                    poll.add(Source::Stdin, io::stdin(), Interest::READ);
                }
            }
            let mut ready = Vec::new();
            if poll.wait(None, &mut ready).is_err() {
                break sys::process::wait_pidfd(pidfd).map_or(1, |exit| exit.status());
            }
            let is = |source| ready.iter().any(|(s, _)| *s == source);
            if is(Source::Signal) {
                self.pass_on(pidfd, console.as_ref());
            }
            if is(Source::Stdin)
                && let Some(console) = &mut console
            {
                stdin_open = copy(&mut io::stdin(), console);
            }
            if is(Source::Console)
                && let Some(master) = &mut console
                && !copy(master, &mut io::stdout())
            {
                console = None;
            }
            // The terminal's last words come before the end.
            if is(Source::Process) && !is(Source::Console) {
                break sys::process::wait_pidfd(pidfd).map_or(1, |exit| exit.status());
            }
        };
        drop(raw);
        status
    }

    fn pass_on(&self, pidfd: &OwnedFd, console: Option<&File>) {
        while let Ok(Some(signal)) = self.signals.take() {
            match (signal, console) {
                (WINCH, Some(console)) => copy_size(console),
                (WINCH, None) => {}
                _ => drop(sys::process::pidfd_signal(pidfd, signal)),
            }
        }
    }
}

fn copy_size(console: &File) {
    if let Ok((rows, cols)) = sys::pty::size(io::stdin().as_fd()) {
        let _ = sys::pty::resize(console, rows, cols);
    }
}

/// Copies what is there; false at the end.
fn copy(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut buf = [0u8; 4096];
    match from.read(&mut buf) {
        Ok(0) | Err(_) => false,
        Ok(n) => to.write_all(&buf[..n]).and_then(|()| to.flush()).is_ok(),
    }
}
