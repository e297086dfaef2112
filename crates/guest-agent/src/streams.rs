//! A process's standard streams: pipes or a terminal on its side, channels on the other.

use std::io;
use std::os::fd::OwnedFd;

use proto::guest::Streams;
use proto::launch::WindowSize;
use relay::Link;
use runtime::Stdio;

/// Our ends of a process's pipes, before the process is made.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// A process's terminal.
#[derive(Debug)]
pub(crate) struct Console {
    master: OwnedFd,
    /// Kept open as long as the process lives: while nobody has the slave open, reads from the
    /// master fail with EIO, also when somebody is about to open it again.
    slave: Option<OwnedFd>,
}

/// Makes what the process gets, and our ends of it.
pub(crate) fn make(streams: Streams) -> io::Result<(Stdio, Ends)> {
    if let Some(WindowSize { rows, cols }) = streams.terminal {
        return Ok((Stdio::Terminal { rows, cols }, Ends::default()));
    }
    let mut ends = Ends::default();
    let mut output = |wanted: Option<u32>, end: fn(&mut Ends) -> &mut Option<OwnedFd>| {
        if wanted.is_none() {
            return sys::stream::null();
        }
        let (ours, theirs) = sys::stream::pipe()?;
        *end(&mut ends) = Some(ours);
        Ok(theirs)
    };
    let stdout = output(streams.stdout, |ends| &mut ends.stdout)?;
    let stderr = output(streams.stderr, |ends| &mut ends.stderr)?;
    let stdin = match streams.stdin {
        None => sys::stream::null()?,
        Some(_) => {
            let (theirs, ours) = sys::stream::pipe()?;
            ends.stdin = Some(ours);
            theirs
        }
    };
    Ok((Stdio::Fds([stdin, stdout, stderr]), ends))
}

/// Joins our ends, or the terminal, to the channels: to all or to none.
pub(crate) fn join(
    link: &mut Link,
    streams: Streams,
    ends: Ends,
    master: Option<OwnedFd>,
) -> io::Result<Option<Console>> {
    join_each(link, streams, ends, master).inspect_err(|_| {
        for channel in [streams.stdin, streams.stdout, streams.stderr].into_iter().flatten() {
            link.forget(channel);
        }
    })
}

fn join_each(
    link: &mut Link,
    streams: Streams,
    ends: Ends,
    master: Option<OwnedFd>,
) -> io::Result<Option<Console>> {
    if let Some(master) = master {
        let slave = Some(sys::pty::peer(&master)?);
        if let Some(channel) = streams.stdout {
            link.draw(channel, master.try_clone()?)?;
        }
        if let Some(channel) = streams.stdin {
            link.pour(channel, master.try_clone()?)?;
        }
        return Ok(Some(Console { master, slave }));
    }
    for (channel, end) in [(streams.stdout, ends.stdout), (streams.stderr, ends.stderr)] {
        if let (Some(channel), Some(end)) = (channel, end) {
            link.draw(channel, end)?;
        }
    }
    if let (Some(channel), Some(end)) = (streams.stdin, ends.stdin) {
        link.pour(channel, end)?;
    }
    Ok(None)
}

impl Console {
    pub(crate) fn resize(&self, size: WindowSize) -> io::Result<()> {
        sys::pty::resize(&self.master, size.rows, size.cols)
    }

    /// The process has ended: what it wrote is read to its end.
    pub(crate) fn end(&mut self) {
        self.slave = None;
    }
}
