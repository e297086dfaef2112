//! What a program that runs virtual machines must be able to do.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::machine::{Disk, Machine};
use crate::tail::Tail;
use crate::whole::{Standing, Whole};

/// How a machine's processors are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cpu {
    /// By the host's processor.
    Hardware,
    /// By translation.
    Emulated,
}

impl Cpu {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cpu::Hardware => "hardware",
            Cpu::Emulated => "emulation",
        }
    }
}

/// What a start needs to know besides the machine.
#[derive(Clone, Copy)]
pub(crate) struct Conditions<'a> {
    pub(crate) cpu: Cpu,
    /// Whether these first bytes from the agent are all of its hello.
    pub(crate) ready: &'a dyn Fn(&[u8]) -> bool,
    /// Where a new process begins its life, on cgroup v2.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// What a new process does first of all.
    pub(crate) enter: &'a dyn Fn() -> io::Result<()>,
    /// How long the agent may take.
    pub(crate) limit: Duration,
    /// When that is over.
    pub(crate) deadline: Instant,
}

impl Conditions<'_> {
    /// How long the agent may still take.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// How many devices of a kind a machine has places for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Places {
    pub(crate) disks: usize,
    pub(crate) nics: usize,
}

impl Places {
    /// For a machine that has all that it will ever have.
    pub(crate) const NONE: Self = Self { disks: 0, nics: 0 };
}

/// A machine that was booted to be cloned, as the files of its directory.
pub(crate) struct Snapshot<'a> {
    /// Its memory, as long as the machine's.
    pub(crate) ram: File,
    /// Everything else of it.
    pub(crate) state: File,
    /// What the agent had said.
    pub(crate) hello: &'a [u8],
    /// The places that it was booted with.
    pub(crate) places: Places,
}

/// What a machine's devices have been asked for since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The disks, in order.
    pub disks: Vec<DiskStats>,
}

/// What the guest has asked a disk for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes that it has read.
    pub read_bytes: u64,
    /// Bytes that it has written.
    pub written_bytes: u64,
    /// How often it has read.
    pub reads: u64,
    /// How often it has written.
    pub writes: u64,
}

/// Something that can run machines.
pub(crate) trait Backend {
    /// What it is, with its version: a snapshot of one is of no use to another.
    fn identity(&self) -> String;

    /// Whether hardware virtualization of its guests is thinkable at all on this host; why not.
    fn hardware(&self) -> Result<(), &'static str>;

    /// The most devices that a machine can have.
    fn limits(&self) -> Places;

    /// Boots a machine until its agent has said hello. What it lacks to fill the places it may be
    /// given later.
    fn boot(
        &self,
        machine: Machine,
        places: Places,
        conditions: &Conditions<'_>,
    ) -> Result<Vm, Error>;

    /// Boots a machine with empty places until its agent has said hello, and writes down what it
    /// is: `ram` and `state` in `directory`. Returns the hello.
    fn snapshot(
        &self,
        machine: Machine,
        places: Places,
        directory: &Path,
        conditions: &Conditions<'_>,
    ) -> Result<Vec<u8>, Error>;

    /// Makes a machine that goes on where the snapshot stopped, with the devices of `machine`.
    fn restore(
        &self,
        machine: Machine,
        from: Snapshot<'_>,
        conditions: &Conditions<'_>,
    ) -> Result<Vm, Error>;

    /// Makes a machine that will boot its own disk, and whose processors stand still.
    fn power(&self, whole: &Whole, conditions: &Conditions<'_>) -> Result<Standing, Error>;
}

/// A machine whose agent is there.
pub(crate) struct Vm {
    pub(crate) pid: i32,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) agent: OwnedFd,
    pub(crate) greeting: Vec<u8>,
    pub(crate) console: Tail,
    pub(crate) helpers: Vec<(i32, OwnedFd)>,
    pub(crate) control: Box<dyn Control>,
}

/// What can be done with a running machine.
pub(crate) trait Control: Send {
    /// Stops its processors.
    fn pause(&mut self) -> Result<(), Error>;

    /// Lets them go on.
    fn resume(&mut self) -> Result<(), Error>;

    /// Puts a file in the place of the n-th disk, which nobody in the guest uses.
    fn replace_disk(&mut self, n: usize, disk: &Disk) -> Result<(), Error>;

    /// Presses its power button.
    fn press_power(&mut self) -> Result<(), Error>;

    /// Ends it at once, and with it all that runs in it; waits for nothing. That it has ended
    /// already is no error.
    fn kill(&self) -> io::Result<()>;

    /// What it has used, as far as only its maker can count it: its processors' time and its memory
    /// are those of its cgroup.
    fn stats(&mut self) -> Result<Stats, Error>;

    /// What can be read when there is something to [`Control::listen`] to.
    fn notices(&self) -> Option<BorrowedFd<'_>>;

    /// Reads what its process tells, without waiting.
    fn listen(&mut self);

    /// What the machine's process has complained about so far, or nothing.
    fn complaints(&mut self) -> String;
}
