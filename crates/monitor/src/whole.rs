//! A machine that boots a disk of its own: nobody in it is spoken to. Its console is what a
//! container's terminal is, its power button what a signal is, and its process ends when it is off.

mod files;
mod names;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use proto::control::{Reply, Request};
use proto::launch::{self, Launch, NamesAt};
use runtime::cgroup::{Cgroup, OnMissing};
use runtime::failure;
use sys::fs::OFlags;
use sys::poll::{Interest, Poll};
use sys::process::Exit;
use sys::signal::SIGKILL;
use types::stats::{BlkioEntry, BlkioStats};
use types::{Error, Timestamp};
use vm::whole::{Format, Layer, Powered};

use crate::counters;
use crate::guest::accelerator;
use crate::log::Log;
use crate::monitor::{Monitor, State, Waiting};
use crate::output::PATIENCE;
use crate::requests::not_running;
use crate::streams::{Ends, Streams};
use crate::wall::Wall;
use names::Names;

/// Signals that ask a process to end: for a machine, the power button.
const ENDING: [i32; 4] = [2, 3, 15, 30];

/// What cannot be done.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot open {}: {}", .0.display(), .1)]
    Disk(PathBuf, io::Error),
    #[error("{} has been changed, or another file put in its place: start the machine again", .0.display())]
    Another(PathBuf),
    #[error("{} is written to by another process already: no disk may be in two machines", .0.display())]
    InUse(PathBuf),
    #[error("{0}")]
    Machine(#[from] vm::Error),
    #[error("the machine has networks, but no namespace came along")]
    NoNamespace,
    #[error("cannot prepare the machine: {0}")]
    Prepare(#[from] io::Error),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Machine(vm::Error::NoProgram { .. } | vm::Error::Unsupported { .. }) => {
                Self::unavailable(error.to_string())
            }
            other => Self::system(other.to_string()),
        }
    }
}

/// The monitor's side of such a machine.
#[derive(Debug)]
pub(crate) struct Whole {
    powered: Powered,
    names: Option<Names>,
    /// Its own links: the namespace has others, by which the same packets pass.
    links: Vec<String>,
    /// What its disks were asked for when that was counted last.
    counted: vm::Stats,
    /// Why it has ended, if it should not have.
    pub(crate) failure: Option<String>,
}

/// A machine that stands still until it is started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) whole: Whole,
    pub(crate) streams: Streams,
    pub(crate) warnings: Vec<String>,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// Makes the machine. Nothing is left of it after a failure.
pub(crate) fn launch(
    launch: &Launch,
    order: &launch::Whole,
    netns: Option<OwnedFd>,
    cgroup: &Cgroup,
    log: Log,
) -> Result<Started, Error> {
    Ok(start(launch, order, netns, cgroup, log)?)
}

fn start(
    launch: &Launch,
    order: &launch::Whole,
    netns: Option<OwnedFd>,
    cgroup: &Cgroup,
    log: Log,
) -> Result<Started, StartError> {
    let inside = netns.as_ref().map(OwnedFd::try_clone).transpose()?;
    let machine = describe(order, netns)?;
    let names = match (inside, order.names) {
        (Some(inside), Some(at)) => Some(Names::open(inside, at)?),
        _ => None,
    };
    let joiner = cgroup.joiner().map_err(|error| io::Error::other(error.to_string()))?;
    let options = vm::Options {
        state: &order.state,
        templates: vm::Templates::Never,
        accelerator: accelerator(order.accelerator),
        ready: &|_| true,
        cgroup: cgroup.v2_fd(),
        enter: &|| joiner.join(),
        limit: vm::BOOT_LIMIT,
    };
    let (mut powered, console) = vm::whole::power(&machine, &options, &|arch| kernel(order, arch))?;
    let warnings: Vec<String> = powered.untried.take().into_iter().collect();
    let pid = powered.pid;
    let mut whole = Whole {
        powered,
        names,
        links: order.links.clone(),
        counted: vm::Stats::default(),
        failure: None,
    };
    let joined = whole.powered.pidfd.try_clone().and_then(|pidfd| {
        let ends = Ends::of_console(console)?;
        Ok((pidfd, Streams::new(ends, None, launch.stdin, log, Some(PATIENCE))?))
    });
    match joined {
        Ok((pidfd, streams)) => Ok(Started { whole, streams, warnings, pid, pidfd }),
        // Descriptors have run out.
        Err(error) => {
            whole.switch_off();
            Err(error.into())
        }
    }
}

/// The machine with everything that it needs open.
fn describe(order: &launch::Whole, netns: Option<OwnedFd>) -> Result<vm::whole::Whole, StartError> {
    let mut layers = Vec::new();
    for (n, layer) in order.layers.iter().enumerate() {
        let format = if layer.qcow2 { Format::Qcow2 } else { Format::Raw };
        layers.push(Layer { file: files::open_layer(layer, n == 0)?, format });
    }
    let mut nics = Vec::new();
    for (n, link) in order.links.iter().enumerate() {
        let netns = netns.as_ref().ok_or(StartError::NoNamespace)?;
        let own = order.names.filter(|_| n == 0).map(|at| (at.server, NamesAt::PREFIX));
        nics.push(vm::network::join(netns.as_fd(), link, own, None)?);
    }
    let seed = files::open(&order.seed, OFlags::RDONLY)?;
    let (memory, cpus) = (order.memory, order.cpus);
    Ok(vm::whole::Whole { memory, cpus, layers, seed, nics, netns })
}

/// A kernel with which it can be found out what the hardware can do, or why there is none: whole
/// machines run all the same.
fn kernel(order: &launch::Whole, arch: vm::Arch) -> Result<vm::KernelImage, String> {
    vm::kernel::prepare(&vm::kernel::Wanted {
        state: &order.state,
        kernels: &order.kernels,
        agents: &order.agents,
        arch,
    })
    .map_err(|error| error.to_string())
}

impl Whole {
    /// Names everything to wait for.
    pub(crate) fn register<T: Copy>(
        &self,
        poll: &mut Poll<T>,
        heard: T,
        question: impl Fn(u32) -> T,
    ) {
        if let Some(notices) = self.powered.notices() {
            poll.add(heard, notices, Interest::READ);
        }
        let Some(names) = &self.names else { return };
        poll.add(heard, names.socket(), Interest::READ);
        for (number, socket, write) in names.questions().sockets() {
            poll.add(question(number), socket, Interest { read: true, write });
        }
    }

    /// Reads what the machine tells of itself, none of which matters, and what it asks.
    pub(crate) fn listen(&mut self, now: Instant) {
        self.powered.listen();
        if let Some(names) = &mut self.names {
            names.listen(now);
        }
    }

    /// The resolver has something for a question of the machine's.
    pub(crate) fn question_ready(&mut self, number: u32) {
        if let Some(names) = &mut self.names {
            names.proceed(number);
        }
    }

    /// Gives up questions that take too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Some(names) = &mut self.names {
            names.expire(now);
        }
    }

    /// When to look again although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.names.as_ref().and_then(|names| names.questions().deadline())
    }

    /// Switches it off, and waits until its process has gone.
    pub(crate) fn switch_off(&mut self) {
        let _ = self.powered.kill();
        // ECHILD: it has been waited for.
        let _ = sys::process::wait_pidfd(&self.powered.pidfd);
    }

    /// The counters of its disks. When its process is busy, those of before.
    fn blkio(&mut self) -> BlkioStats {
        if let Ok(counted) = self.powered.stats() {
            self.counted = counted;
        }
        blkio(&self.counted)
    }

    /// Its process has ended: 0 is a guest that has switched itself off.
    fn ended(&mut self, exit: Exit) {
        let how = match exit {
            Exit::Code(0) | Exit::Signal { signal: SIGKILL, .. } => return,
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal { signal, .. } => format!("signal {signal}"),
        };
        let said = self.powered.complaints();
        let said = if said.is_empty() { said } else { format!("; its last words: {said}") };
        self.failure = Some(format!("the virtual machine ended unexpectedly ({how}){said}"));
    }
}

impl Monitor<'_> {
    /// Does what is asked of a machine with a system of its own.
    pub(crate) fn answer_of_whole(
        &mut self,
        request: Request,
        now: Instant,
    ) -> Result<Reply, Error> {
        match request {
            Request::Start => self.start_whole(now),
            Request::Resize { .. } => Ok(Reply::Done),
            _ if !matches!(self.state, State::Running | State::Paused) => Err(not_running()),
            Request::Signal(signal) => self.signal_whole(signal).map(|()| Reply::Done),
            Request::KillAll => self.signal_whole(SIGKILL).map(|()| Reply::Done),
            Request::Pause => {
                if matches!(self.state, State::Paused) {
                    return Err(Error::conflict("the container is already paused"));
                }
                self.powered()?.stand_still().map_err(refused)?;
                self.state = State::Paused;
                Ok(Reply::Done)
            }
            Request::Resume => {
                if matches!(self.state, State::Running) {
                    return Err(Error::conflict("the container is not paused"));
                }
                self.powered()?.go_on().map_err(refused)?;
                self.state = State::Running;
                Ok(Reply::Done)
            }
            Request::Update(resources) => {
                let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
                let limits = crate::wall::of_host(&resources);
                let warnings = cgroup
                    .apply(&limits, OnMissing::Warn)
                    .map_err(|error| failure::of_cgroup(&error))?;
                Ok(Reply::Warnings(warnings.iter().map(ToString::to_string).collect()))
            }
            Request::Stats => {
                let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
                let mut sample = counters::sample(cgroup, self.pid)
                    .map_err(|error| failure::of_cgroup(&error))?;
                if let Wall::Whole(whole) = &mut self.wall {
                    sample.interfaces.retain(|name, _| whole.links.contains(name));
                    sample.stats.blkio = whole.blkio();
                }
                Ok(Reply::Sample(Box::new(sample)))
            }
            Request::Pids => {
                let cgroup = self.cgroup.as_ref().ok_or_else(not_running)?;
                cgroup.pids().map(Reply::Pids).map_err(|error| failure::of_cgroup(&error))
            }
            _ => Err(Error::not_implemented(
                "a machine that boots a disk of its own has nobody in it who could do this",
            )),
        }
    }

    fn powered(&mut self) -> Result<&mut Powered, Error> {
        match &mut self.wall {
            Wall::Whole(whole) => Ok(&mut whole.powered),
            _ => Err(not_running()),
        }
    }

    /// Switches it on.
    fn start_whole(&mut self, now: Instant) -> Result<Reply, Error> {
        if !matches!(self.state, State::Created(Waiting::Machine)) {
            return Err(Error::conflict("the container has been started"));
        }
        self.powered()?.go_on().map_err(refused)?;
        let at = Timestamp::now();
        self.started_at = at;
        self.state = State::Running;
        self.trim_soon(now);
        Ok(Reply::Started { at })
    }

    /// SIGKILL ends its process; what asks a process to end presses the power button.
    fn signal_whole(&mut self, signal: i32) -> Result<(), Error> {
        if signal == SIGKILL {
            return self.powered()?.kill().map_err(|_| not_running());
        }
        if !ENDING.contains(&signal) {
            return Err(Error::invalid(format!(
                "a machine that boots a disk of its own knows no signal {signal}: SIGTERM, SIGINT, \
                 SIGQUIT and SIGPWR press its power button, and SIGKILL ends it"
            )));
        }
        self.powered()?.press_power().map_err(refused)
    }

    /// The process of a machine has ended, wanted or not.
    pub(crate) fn whole_ended(&mut self, exit: Exit, now: Instant) {
        if let Wall::Whole(whole) = &mut self.wall {
            whole.ended(exit);
        }
        match self.state {
            State::Running | State::Paused => self.container_ended(exit, now),
            // Whoever waits for it sees the connection close.
            State::Created(_) => self.abandoned = true,
            _ => {}
        }
    }
}

/// The counters of its disks, as a container's cgroup would have them. The numbers are their places:
/// only the guest knows what it calls them.
fn blkio(stats: &vm::Stats) -> BlkioStats {
    let mut rows = BlkioStats::default();
    for (minor, disk) in (0..).zip(&stats.disks) {
        let mut add = |op: &str, bytes, times| {
            let row = |value| BlkioEntry { major: 0, minor, op: op.to_owned(), value };
            rows.service_bytes.push(row(bytes));
            rows.serviced.push(row(times));
        };
        add("read", disk.read_bytes, disk.reads);
        add("write", disk.written_bytes, disk.writes);
    }
    rows
}

fn refused(error: vm::Error) -> Error {
    Error::system(error.to_string())
}
