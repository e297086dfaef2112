//! The control connection between the engine and one monitor.
//!
//! ```text
//!  engine                                monitor
//!    │  Order::Launch (launcher, + fds)     │
//!    │ ───────────────────────────────────► │  creates the container
//!    │ ◄─────────── Notice::Created or Failed  blocked before its execve
//!    │  Attach + fd …                       │
//!    │  Start                               │
//!    │ ◄──────────────────── Reply::Started │
//!    │  Exec + fd, Resize, Signal, Stats …  │
//!    │ ◄──────────────────── Notice::Exited │  exit.json is on disk before
//! ```
//!
//! The first connection comes with the order; a daemon that starts again connects to
//! `sock` in the monitor's directory and says [`Request::Hello`]. Any number of connections
//! may be open; every one of them gets every [`Notice`].
//!
//! An attached stream is a stream socket of its own. Towards the engine it carries Docker's
//! multiplexed frames (1 byte stream number, 3 zero bytes, 4 bytes big-endian length) where
//! there is no terminal, and raw bytes where there is one; towards the monitor it carries raw
//! standard input, and its half-close is the end of standard input. The monitor closes it when
//! there will be no more output. The end of input closes the input of an exec, and of a container
//! whose input is [`crate::launch::Stdin::Once`]; otherwise, and with a terminal, it only ends
//! this session, as Docker has it. A stream that vanishes together with every connection that
//! was open is a daemon's death and ends no container's input.
//!
//! A request that a monitor does not know (it is older than its engine) is answered with an
//! error of kind `NotImplemented`.

mod interfaces;

use std::path::PathBuf;

use oci_spec::runtime::{LinuxResources, Mount, Process};
use serde::{Deserialize, Serialize};
use types::stats::Stats;
use types::{Error, Timestamp};

use crate::guest;
use crate::launch::WindowSize;

pub use interfaces::interfaces;

/// A request with the number that its reply will bear.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Chosen by the engine; unique in its connection.
    pub number: u64,
    /// What is asked.
    pub request: Request,
}

/// What the engine asks of a monitor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who are you, and how is the container? Answered with [`Reply::Hello`].
    Hello,
    /// Let the created process go. [`Reply::Started`], or an error: then the monitor writes
    /// an exit record with status 127 (not found), 126 (not executable) or 128, and ends; there
    /// is no [`Notice::Exited`]. The first two are errors of kind `Invalid`, as in Docker's API.
    Start,
    /// Give up a created container that was never started: the monitor undoes everything and
    /// ends without an exit record.
    Abandon,
    /// Copy output to, and input from, the stream that comes along as a descriptor.
    Attach(Attach),
    /// Set the size of the container's terminal, or of an exec's.
    Resize {
        /// Which exec; `None` is the container itself.
        exec: Option<String>,
        /// The new size.
        size: WindowSize,
    },
    /// Send a signal to the container's first process.
    Signal(i32),
    /// Send SIGKILL to every process in the container's cgroup. A machine that is there for files only
    /// ends, with what it has been asked for.
    KillAll,
    /// Freeze every process.
    Pause,
    /// Let them go on.
    Resume,
    /// Set new limits. [`Reply::Warnings`].
    Update(Box<LinuxResources>),
    /// How much does it use? [`Reply::Sample`].
    Stats,
    /// Which processes are in it? [`Reply::Pids`].
    Pids,
    /// Run one more process. [`Reply::ExecStarted`], and later [`Notice::ExecExited`].
    Exec(Box<Exec>),
    /// Keep the descriptor that comes along open as long as the container lives: a socket that
    /// reserves a published port, as those of [`crate::launch::Launch::held`].
    Hold,
    /// Close the sockets that reserve these ports: number of the protocol, address. One that is
    /// not there is as good.
    LetGo(Vec<(u8, std::net::SocketAddr)>),
    /// Add a bind mount to the running container. Its source is a path of the host, or
    /// [`crate::launch::mount_source`]`(0)`: the detached mount that comes along.
    Mount(Box<Mount>),
    /// Take away what is mounted at a path of the container. Nothing there is as good.
    Unmount(PathBuf),
    /// Send a signal to an exec's process.
    SignalExec {
        /// Which exec.
        exec: String,
        /// The signal's number.
        signal: i32,
    },
    /// Which processes are in it, as `ps` would show them? [`Reply::Processes`]. Only of a
    /// container in a virtual machine, whose processes the host does not see.
    Processes,
    /// Read or write files of a container in a virtual machine, whose disk the host never mounts.
    /// Data go over the stream that comes along as a descriptor; the number of their channel is the
    /// monitor's to choose. Answered when it has been done, with [`Reply::Done`] or
    /// [`Reply::Stat`].
    Files(guest::FileRequest),
}

/// How a client attaches. The stream comes along as a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Pass on what the client writes.
    pub stdin: bool,
    /// Copy standard output (with a terminal: all output).
    pub stdout: bool,
    /// Copy standard error.
    pub stderr: bool,
}

/// One more process in the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The exec's id.
    pub id: String,
    /// What to run; `terminal` and `console_size` are heeded.
    pub process: Process,
    /// Which of its streams are connected to the descriptor that comes along (if any is);
    /// the rest is /dev/null.
    pub attach: Attach,
    /// With all capabilities and without seccomp.
    pub privileged: bool,
    /// Settings asked for by name.
    pub asked: crate::launch::Asked,
    /// Who runs it, to be looked up in the container's own files: in a virtual machine only, where
    /// the user of `process` is of no meaning.
    #[serde(default)]
    pub user: guest::User,
}

/// Everything that a monitor writes to a control connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromMonitor {
    /// The answer to the request of that number.
    Reply {
        /// [`Envelope::number`].
        number: u64,
        /// The answer, or why there is none.
        result: Result<Reply, Error>,
    },
    /// Something happened.
    Notice(Notice),
}

/// A monitor's answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// To [`Request::Hello`].
    Hello(Box<Hello>),
    /// To [`Request::Start`].
    Started {
        /// When the process began.
        at: Timestamp,
    },
    /// To [`Request::Exec`].
    ExecStarted {
        /// The process's id on the host.
        pid: i32,
    },
    /// To [`Request::Update`]: what was not heeded.
    Warnings(Vec<String>),
    /// To [`Request::Stats`].
    Sample(Box<Sample>),
    /// To [`Request::Pids`].
    Pids(Vec<i32>),
    /// To [`Request::Processes`].
    Processes(Vec<guest::ProcessInfo>),
    /// To [`guest::FileRequest::Stat`]; `None`: there is nothing.
    Stat(Option<guest::FileStat>),
}

/// One reading of a container's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// What its cgroups count.
    pub stats: Stats,
    /// What its network interfaces count (`/proc/PID/net/dev`), `lo` left out.
    pub interfaces: std::collections::BTreeMap<String, InterfaceStats>,
}

/// Counters of one network interface since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns of /proc/net/dev under their own names")]
pub struct InterfaceStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// A monitor's account of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::launch::VERSION`] of the monitor.
    pub version: u32,
    /// Where the container stands.
    pub phase: Phase,
    /// Its first process.
    pub pid: i32,
    /// When it was started. [`Timestamp::NEVER`] with [`Phase::Exited`]: this monitor has run nothing,
    /// its machine was there for files, or for a start that came to nothing.
    pub started_at: Timestamp,
    /// The kernel has killed a process of it for want of memory.
    pub oom_killed: bool,
    /// Bytes of output that could not be kept or passed on.
    pub dropped: u64,
    /// Every exec that runs, and those that ended last.
    pub execs: Vec<ExecState>,
}

/// Where a monitored container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Blocked before its execve.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended; the exit record is on disk.
    Exited,
}

/// An exec as its monitor knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its id.
    pub id: String,
    /// Its process.
    pub pid: i32,
    /// Its exit status, once it has one.
    pub exit_code: Option<i32>,
}

/// Things that a monitor tells unasked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The container stands, blocked before its execve.
    Created {
        /// Its first process on the host.
        pid: i32,
        /// What the host did not allow and nobody asked for.
        warnings: Vec<String>,
    },
    /// The container could not be created; the monitor has undone everything and ends.
    Failed(Error),
    /// The container's first process ended. The record is on disk.
    Exited(ExitRecord),
    /// The kernel killed a process of the container for want of memory.
    OutOfMemory,
    /// Output is being lost: the log's disk is full, or a client does not read.
    Dropped {
        /// How much so far.
        bytes: u64,
    },
    /// An exec's process ended.
    ExecExited {
        /// Its id.
        exec: String,
        /// Its status, or 128 plus the signal.
        exit_code: i32,
    },
}

/// How a container ended: `exit.json` in the monitor's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The container's full id.
    pub id: String,
    /// Its status, or 128 plus the signal.
    pub exit_code: i32,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Bytes of output that could not be kept or passed on.
    pub dropped: u64,
    /// What failed in the teardown, one line each.
    pub failures: Vec<String>,
}
