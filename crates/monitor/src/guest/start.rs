//! From an order to a container that waits for its start in a machine of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use proto::guest::{
    self, Boot, Create, FromGuest, Interface, Reply, Request, VERSION, to_hex, whole_hello,
};
use proto::launch::{self, Launch};
use relay::Broken;
use runtime::cgroup::Cgroup;
use runtime::failure;
use types::{Error, Timestamp};
use vm::network::Loose;
use vm::{Disk, Nic, Share};

use super::spare::Spare;
use super::{Guest, Questions};
use crate::log::Log;
use crate::output::PATIENCE;
use crate::streams::{Streams, Wanted};

/// How long a machine may take from its first request to a container that waits.
pub(super) const CREATE: Duration = Duration::from_secs(60);

/// Random bytes that a machine is given.
const ENTROPY: usize = 64;

/// What cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("an order for a virtual machine without one")]
    NoMachine,
    #[error("virtual machines cannot have the architecture {0:?}: amd64 and arm64 are known")]
    Architecture(String),
    #[error("cannot open {}: {}", .0.display(), .1)]
    Disk(std::path::PathBuf, io::Error),
    #[error("{0}")]
    Machine(#[from] vm::Error),
    #[error("the virtual machine has networks, but no namespace came along")]
    NoNamespace,
    #[error("cannot prepare the virtual machine: {0}")]
    Prepare(#[from] io::Error),
    #[error("the virtual machine does not do what it should: {0}")]
    Broken(#[from] Broken),
    #[error("the virtual machine did not set its container up within {} s", CREATE.as_secs())]
    Late,
    #[error("a message for the virtual machine cannot be made: {0}")]
    Message(#[from] proto::frame::FrameError),
    #[error("there is no template for a spare machine: {0}")]
    NoTemplate(String),
    #[error("a container of no meaning ended with status {0}")]
    Rehearsal(i32),
    #[error("{0}")]
    Refused(Error),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Refused(error) => error,
            StartError::Machine(
                vm::Error::NoProgram { .. } | vm::Error::Kernel(vm::kernel::Error::NoAgent(_)),
            ) => Self::unavailable(error.to_string()),
            other => Self::system(other.to_string()),
        }
    }
}

impl From<guest::Violation> for StartError {
    fn from(violation: guest::Violation) -> Self {
        Self::Broken(violation.into())
    }
}

/// A machine in which a container waits.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) guest: Guest,
    pub(crate) streams: Streams,
    pub(crate) warnings: Vec<String>,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// Starts the machine, or takes the spare one, and has it make the container. Nothing is left of it
/// after a failure.
pub(crate) fn launch(
    launch: &Launch,
    netns: Option<OwnedFd>,
    cgroup: &Cgroup,
    log: Log,
    spare: Option<Spare>,
) -> Result<Started, Error> {
    Ok(start(launch, netns, cgroup, log, spare)?)
}

fn start(
    launch: &Launch,
    netns: Option<OwnedFd>,
    cgroup: &Cgroup,
    log: Log,
    spare: Option<Spare>,
) -> Result<Started, StartError> {
    let Some(machine) = &launch.machine else { return Err(StartError::NoMachine) };
    let disks = disks(machine)?;
    let (card, taken) = match spare.and_then(|spare| spare.equip(machine, &disks)) {
        Some(Spare { guest, card, .. }) => (Some(card), Some(guest)),
        None => (None, None),
    };
    let (nics, interfaces) = nics(machine, netns.as_ref(), card)?;
    let (mut guest, moved) = match taken {
        Some(guest) => (guest, true),
        None => {
            let mut wanted = without_devices(machine)?;
            (wanted.disks, wanted.nics) = (disks, nics);
            wanted.netns = netns.as_ref().map(OwnedFd::try_clone).transpose()?;
            (Guest::new(run(wanted, machine, cgroup)?)?, false)
        }
    };
    guest.questions = netns.filter(|_| machine.names).map(Questions::new);
    guest.volatile = machine.volatile;
    guest.files_only = machine.files_only;
    let (pid, pidfd) = (guest.running.pid, guest.running.pidfd.try_clone()?);
    let moving: Vec<i32> = if moved { guest.processes() } else { Vec::new() };
    let mut warnings = Vec::new();
    if let vm::Origin::Cold { why: Some(why) } = &guest.running.origin {
        warnings.push(format!("the virtual machine was booted, not cloned: {why}"));
    }
    let meanwhile = || {
        // It waits for readers of the kernel's tables; others began their lives in the cgroup.
        let add = |pid: &i32| cgroup.add(*pid);
        moving
            .iter()
            .try_for_each(add)
            .map_err(|error| StartError::Refused(failure::of_cgroup(&error)))
    };
    match introduce(&mut guest, launch, interfaces, log, meanwhile) {
        Ok((streams, more)) => {
            warnings.extend(more);
            Ok(Started { guest, streams, warnings, pid, pidfd })
        }
        Err(error) => {
            let said = guest.last_words();
            guest.switch_off();
            Err(match error {
                StartError::Broken(Broken::Ended) => {
                    let message = format!("the virtual machine ended while it started{said}");
                    StartError::Refused(Error::system(message))
                }
                other => other,
            })
        }
    }
}

/// In a freshly forked process: makes the template that a start of this machine would make, and
/// answers on the first of the descriptors. Returns the exit status.
pub(crate) fn build_template(machine: &launch::Machine, fds: &[OwnedFd]) -> i32 {
    let built: launch::Built = template(machine).map_err(Error::from);
    let code = i32::from(built.is_err());
    // Somebody who does not want to know is no failure.
    if let (Some(answer), Ok(bytes)) = (fds.first(), proto::frame::encode(&built)) {
        let _ = crate::reap::send_all(answer, &bytes);
    }
    code
}

fn template(machine: &launch::Machine) -> Result<String, StartError> {
    sys::process::setsid()?;
    // The launcher has its children reaped by the kernel.
    sys::signal::default(sys::signal::SIGCHLD)?;
    let wanted = without_devices(machine)?;
    Ok(vm::template::build(&wanted, &options(machine, None, &|| Ok(())))?)
}

/// Which kernel and which agent it has.
pub(super) fn wanted(machine: &launch::Machine) -> Result<vm::kernel::Wanted<'_>, StartError> {
    let name = &machine.architecture;
    let arch = vm::Arch::named(name).ok_or_else(|| StartError::Architecture(name.clone()))?;
    let (kernels, agents) = (&machine.kernels, &machine.agents);
    Ok(vm::kernel::Wanted { state: &machine.state, kernels, agents, arch })
}

/// The machine with its shares, and without disks and cards.
pub(super) fn without_devices(machine: &launch::Machine) -> Result<vm::Machine, StartError> {
    let wanted = wanted(machine)?;
    let kernel = vm::kernel::prepare(&wanted);
    Ok(vm::Machine {
        arch: wanted.arch,
        kernel: kernel.map_err(vm::Error::from)?,
        memory: machine.memory,
        cpus: machine.cpus,
        disks: Vec::new(),
        nics: Vec::new(),
        shares: machine.shares.iter().map(share).collect(),
        netns: None,
    })
}

/// The same in the words of what runs machines.
pub(super) fn share(wanted: &launch::Share) -> Share {
    let launch::Share { source, tag, read_only } = wanted.clone();
    Share { source, tag, read_only }
}

/// Opens the disks, the writable one first; that is made when it is not there.
fn disks(machine: &launch::Machine) -> Result<Vec<Disk>, StartError> {
    let open = |path: &Path, read_only: bool| {
        let file = File::options().read(true).write(!read_only).open(path);
        let file = file.map_err(|error| StartError::Disk(path.to_owned(), error))?;
        Ok::<_, StartError>(Disk { file: file.into(), read_only })
    };
    if !machine.disk.exists() {
        vm::disk::make_upper(&machine.state, &machine.disk, machine.disk_size)?;
    }
    let first = std::iter::once(open(&machine.disk, false));
    first.chain(machine.layers.iter().map(|layer| open(layer, true))).collect()
}

/// Joins the container's links to cards of the machine, the first to one that the machine has already.
fn nics(
    machine: &launch::Machine,
    netns: Option<&OwnedFd>,
    mut card: Option<Loose>,
) -> Result<(Vec<Nic>, Vec<Interface>), StartError> {
    let (mut nics, mut interfaces) = (Vec::new(), Vec::new());
    for interface in &machine.interfaces {
        let netns = netns.ok_or(StartError::NoNamespace)?;
        let joined = vm::network::join(netns.as_fd(), &interface.name, None, card.take())?;
        let (mac, mtu) = (joined.nic.mac, joined.mtu);
        interfaces.push(Interface { mac, mtu, ..interface.clone() });
        nics.push(joined.nic);
    }
    Ok((nics, interfaces))
}

fn run(
    wanted: vm::Machine,
    machine: &launch::Machine,
    cgroup: &Cgroup,
) -> Result<vm::Running, StartError> {
    let joiner = cgroup.joiner().map_err(|error| io::Error::other(error.to_string()))?;
    let enter = || joiner.join();
    Ok(vm::start(wanted, &options(machine, cgroup.v2_fd(), &enter))?)
}

/// How it is started: `enter` is done in its process.
pub(super) fn options<'a>(
    machine: &'a launch::Machine,
    cgroup: Option<BorrowedFd<'a>>,
    enter: &'a dyn Fn() -> io::Result<()>,
) -> vm::Options<'a> {
    vm::Options {
        state: &machine.state,
        templates: match machine.templates {
            launch::Templates::Make => vm::Templates::Make,
            launch::Templates::Use => vm::Templates::Use,
            launch::Templates::Never => vm::Templates::Never,
        },
        accelerator: accelerator(machine.accelerator),
        ready: &whole_hello,
        cgroup,
        enter,
        limit: vm::BOOT_LIMIT,
    }
}

/// The same in the words of what runs machines.
pub(crate) fn accelerator(wanted: launch::Accelerator) -> vm::Accelerator {
    match wanted {
        launch::Accelerator::Auto => vm::Accelerator::Auto,
        launch::Accelerator::Hardware => vm::Accelerator::Hardware,
        launch::Accelerator::Emulation => vm::Accelerator::Emulation,
    }
}

/// The first words: who it is, and which container it has. What is to be done `meanwhile` on the host
/// is done while the machine sets itself up.
pub(super) fn introduce(
    guest: &mut Guest,
    launch: &Launch,
    interfaces: Vec<Interface>,
    log: Log,
    meanwhile: impl FnOnce() -> Result<(), StartError>,
) -> Result<(Streams, Vec<String>), StartError> {
    let Some(machine) = &launch.machine else { return Err(StartError::NoMachine) };
    let mut entropy = [0; ENTROPY];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut entropy)?;
    let boot = Boot {
        version: VERSION,
        entropy: to_hex(&entropy),
        clock: Timestamp::now(),
        hostname: launch.id.get(..12).unwrap_or(&launch.id).to_owned(),
        writable: true,
        layers: machine.layers.len(),
        interfaces,
        shares: machine.shares.iter().map(|share| share.tag.clone()).collect(),
        names: machine.names,
    };
    let mut asked = vec![guest.request(Request::Boot(Box::new(boot)))?];
    let mut wanted =
        Wanted { terminal: launch.terminal, stdin: launch.stdin, stdout: true, stderr: true };
    if machine.files_only {
        wanted =
            Wanted { terminal: None, stdin: launch::Stdin::Null, stdout: false, stderr: false };
    }
    let (far, ends) = wanted.pipes()?;
    let streams = Streams::new(ends, None, wanted.stdin, log, Some(PATIENCE))?;
    if !machine.files_only {
        let channels = guest.join(far, launch.terminal)?;
        let create = Create {
            id: launch.id.clone(),
            spec: launch.spec.clone(),
            default_seccomp: launch.default_seccomp,
            user: machine.user.clone(),
            files: machine.files.clone(),
            streams: channels,
            init: launch.init,
            asked: launch.asked.clone(),
        };
        asked.push(guest.request(Request::Create(Box::new(create)))?);
    }
    guest.link.flush()?;
    meanwhile()?;
    let warnings = answered(guest, &asked)?;
    Ok((streams, warnings))
}

/// Waits until the requests of these numbers are answered, the second with a container.
fn answered(guest: &mut Guest, asked: &[u32]) -> Result<Vec<String>, StartError> {
    let mut warnings = Vec::new();
    let mut open = asked.iter();
    let mut next = open.next();
    guest.converse(CREATE, |message| {
        match message {
            FromGuest::Hello(hello) if next == asked.first() && hello.version == VERSION => {}
            FromGuest::Hello(hello) if hello.version != VERSION => {
                return Err(guest::Violation::Version(hello.version).into());
            }
            FromGuest::Reply { number, result } if next == Some(&number) => {
                match result.map_err(|failure| StartError::Refused(failure.error))? {
                    Reply::Done if next == asked.first() => {}
                    Reply::Created { warnings: more } if next == asked.get(1) => warnings = more,
                    _ => return Err(guest::Violation::Answer(number).into()),
                }
                next = open.next();
            }
            FromGuest::Reply { number, .. } => {
                return Err(guest::Violation::Number(number).into());
            }
            _ => return Err(guest::Violation::Order("a message").into()),
        }
        Ok(next.is_none())
    })?;
    Ok(warnings)
}
