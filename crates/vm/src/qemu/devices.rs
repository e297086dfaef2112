//! A machine's devices on the command line, and its process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::arguments::{Arguments, INITRAMFS, KERNEL, Memory, Streams};
use super::qmp::Qmp;
use super::{Qemu, stream};
use crate::backend::{Conditions, Cpu, Places};
use crate::confine::{self, Job, Process};
use crate::error::{Error, Step};
use crate::filter::{self, Asks};
use crate::machine::Machine;
use crate::tail::Tail;

/// How a machine comes to life.
pub(super) enum Life<'a> {
    /// Its kernel is booted.
    Boot(&'a str),
    /// It goes on with this state.
    Incoming(BorrowedFd<'a>),
}

/// What a process is started for.
pub(super) struct Plan<'a> {
    pub(super) machine: &'a Machine,
    pub(super) memory: Memory,
    pub(super) life: Life<'a>,
    /// Devices beyond those of the machine that make up this number.
    pub(super) places: Places,
    /// Connections to the processes that serve the machine's shares.
    pub(super) shares: &'a [OwnedFd],
}

/// A process with the host's ends of its streams.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) qmp: Qmp,
    pub(super) agent: OwnedFd,
    pub(super) console: Tail,
    pub(super) complaints: Tail,
    /// What the process calls the state that it is to go on with.
    pub(super) incoming: String,
}

/// Starts the process.
pub(super) fn start(
    qemu: &Qemu,
    plan: &Plan<'_>,
    conditions: &Conditions<'_>,
) -> Result<Started, Error> {
    let machine = plan.machine;
    let pair = || stream().step("make a stream");
    let ((qmp, control), (agent, port), (console, line)) = (pair()?, pair()?, pair()?);
    let (complaints, stderr) = sys::stream::pipe().step("make a pipe")?;
    for end in [&complaints, &stderr] {
        // Nor must a process that complains without end wait for somebody to listen.
        sys::stream::set_nonblocking(end).step("make a pipe")?;
    }
    let streams = Streams { control: control.as_fd(), agent: port.as_fd(), console: line.as_fd() };
    let mut arguments =
        Arguments::new(&qemu.program, machine, conditions.cpu, plan.memory, &streams);
    let mut files: Vec<(&str, &Path)> = Vec::new();
    let mut incoming = String::new();
    match plan.life {
        Life::Boot(command_line) => {
            arguments.boot(command_line);
            files.push((KERNEL, &machine.kernel.vmlinux));
            files.push((INITRAMFS, &machine.kernel.initramfs));
        }
        Life::Incoming(state) => incoming = arguments.incoming(state),
    }
    add_devices(&mut arguments, plan);
    let asks = match plan.memory {
        Memory::Anonymous | Memory::Shared => Asks::Nothing,
        Memory::Written => Asks::Opening,
        Memory::Cloned => Asks::Freeing,
    };
    let process = confine::spawn(&Job {
        program: &qemu.program,
        arguments: arguments.words().step("write the machine's command line")?,
        descriptors: &arguments.descriptors,
        stderr: stderr.as_fd(),
        netns: machine.netns.as_ref().map(AsFd::as_fd),
        files: &files,
        hardware: conditions.cpu == Cpu::Hardware,
        filter: &filter::program(asks),
        listen: asks != Asks::Nothing,
        cgroup: conditions.cgroup,
        enter: conditions.enter,
    })?;
    Ok(Started {
        process,
        qmp: Qmp::new(qmp),
        agent,
        console: Tail::new(console),
        complaints: Tail::new(complaints),
        incoming,
    })
}

fn add_devices<'a>(arguments: &mut Arguments<'a>, plan: &'a Plan<'_>) {
    let machine = plan.machine;
    arguments.balloon();
    for (n, disk) in machine.disks.iter().enumerate() {
        arguments.disk(n, disk.file.as_fd(), disk.read_only);
    }
    for n in machine.disks.len()..plan.places.disks {
        arguments.empty_disk(n);
    }
    for (n, (share, socket)) in machine.shares.iter().zip(plan.shares).enumerate() {
        let disks = machine.disks.len().max(plan.places.disks);
        arguments.share(n, disks, socket.as_fd(), &share.tag);
    }
    for (n, nic) in machine.nics.iter().enumerate() {
        arguments.nic(n, nic.tap.as_fd(), nic.mac);
    }
    for n in machine.nics.len()..plan.places.nics {
        arguments.empty_nic(n);
    }
}
