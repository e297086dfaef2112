//! One more process in the container.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use proto::control::{Attach, Exec, ExecState};
use proto::launch::{Stdin, WindowSize};
use sys::process::Exit;

use crate::drain::Drain;
use crate::streams::Streams;
use crate::streams::Wanted;

/// How many ended execs are remembered for a daemon that comes back.
const MAX_PAST: usize = 128;

/// The end of an exec is told when its client has got all output, or has not read for so long.
pub(crate) const CLIENT_LIMIT: Duration = Duration::from_secs(2);

/// A process that was executed in the container.
#[derive(Debug)]
pub(crate) struct ExecProcess {
    /// By which its events find it.
    pub(crate) number: u32,
    pub(crate) id: String,
    pub(crate) pid: i32,
    /// None in a virtual machine, where the process is not ours.
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) streams: Streams,
    /// How it ended, and when.
    pub(crate) ended: Option<(Exit, Instant)>,
}

/// Which streams it gets: those that a client is there for.
pub(crate) fn wanted(exec: &Exec, with_client: bool) -> Wanted {
    let attach = if with_client { exec.attach } else { Attach::default() };
    let terminal = exec.process.terminal().unwrap_or_default().then(|| {
        let size = exec.process.console_size().unwrap_or_default();
        let number = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
        WindowSize { rows: number(size.height()), cols: number(size.width()) }
    });
    let stdin = if attach.stdin { Stdin::Once } else { Stdin::Null };
    Wanted { terminal, stdin, stdout: attach.stdout, stderr: attach.stderr }
}

impl ExecProcess {
    pub(crate) fn state(&self) -> ExecState {
        ExecState {
            id: self.id.clone(),
            pid: self.pid,
            exit_code: self.ended.map(|(exit, _)| exit.status()),
        }
    }

    /// It has ended.
    pub(crate) fn end(&mut self, exit: Exit, now: Instant) {
        self.ended = Some((exit, now));
        self.streams.process_ended();
    }

    /// An exec is its client's: when that has vanished, its input ends.
    pub(crate) fn end_orphaned_input(&mut self) {
        if self.streams.take_orphaned() {
            self.streams.close_stdin();
        }
    }

    /// Until when its output is to be read on; `None` with the status when that is over.
    pub(crate) fn drain(&self, now: Instant) -> Result<Option<Instant>, Exit> {
        let Some((exit, ended)) = self.ended else { return Ok(None) };
        let drain = Drain {
            ended,
            active: self.streams.active(),
            drained: self.streams.is_drained(),
            stalled: self.streams.is_stalled(),
        };
        drain.until(now).map(Some).ok_or(exit)
    }
}

/// Ends of the last execs. They may have been told to nobody, or to a daemon that died before it
/// could make anything of it.
#[derive(Debug, Default)]
pub(crate) struct PastExecs {
    ends: VecDeque<ExecState>,
}

impl PastExecs {
    /// Remembers one more; the oldest are forgotten.
    pub(crate) fn push(&mut self, end: ExecState) {
        if self.ends.len() == MAX_PAST {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
    }

    /// Tells all.
    pub(crate) fn all(&self) -> Vec<ExecState> {
        self.ends.iter().cloned().collect()
    }
}
