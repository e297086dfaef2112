//! Machines run by QEMU: its `microvm` on x86-64, `virt` on ARM.
//!
//! ```text
//!  this process ──fork, confine, execute──► qemu-system-…
//!       │  ├── socket: QMP                     │
//!       │  ├── socket: the agent's stream ◄────┼─ virtio-serial port "agent"
//!       │  ├── socket: console            ◄────┼─ serial line
//!       │  └── pipe: complaints           ◄────┘  standard error
//!       └─ disks, taps, kernel, template: by descriptor or below the process's own root
//! ```
//!
//! A template's memory must not be writable by its clones, or one guest that broke out of QEMU
//! would own all that start later. QEMU before 8.2 opens a memory file for writing even when it
//! maps it privately. So the process may not open it at all: its `openat` waits for this process
//! (a seccomp notification), which answers with a descriptor for reading. So does its `fallocate`,
//! by which it would free memory in the template together with its own (see `freeing`).

mod arguments;
mod boot;
mod command_line;
mod devices;
mod freeing;
mod qmp;
mod snapshot;
mod whole;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backend::{Backend, Conditions, Control, DiskStats, Places, Snapshot, Stats, Vm};
use crate::confine;
use crate::error::Error;
use crate::machine::{Arch, Disk, Machine};
use crate::tail::Tail;
use crate::whole::{Standing, Whole};
use qmp::Qmp;

/// An installed QEMU.
#[derive(Debug)]
pub(crate) struct Qemu {
    program: PathBuf,
    arch: Arch,
    /// Length and time of change of the program's file: cheaper than to ask it for its version,
    /// and as good. And the processor that it emulates.
    identity: String,
}

impl Qemu {
    /// The one for guests of an architecture.
    ///
    /// # Errors
    /// [`Error::NoProgram`], which says what to install.
    pub(crate) fn find(arch: Arch) -> Result<Self, Error> {
        let (name, package) = match arch {
            Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Arch::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        };
        let missing = || Error::NoProgram { program: name, package };
        let program = confine::find(name).ok_or_else(missing)?;
        let found = std::fs::metadata(&program).map_err(|_| missing())?;
        let changed = found
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .unwrap_or_default();
        let (length, changed) = (found.len(), changed.as_nanos());
        let model = arguments::emulated(arch);
        let identity = format!("{name} {length} {changed} {model} {LAYOUT}");
        Ok(Self { program, arch, identity })
    }
}

impl Backend for Qemu {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn hardware(&self) -> Result<(), &'static str> {
        if Arch::host() != Some(self.arch) {
            return Err("the guest is of another architecture than the host");
        }
        let opened = File::options().read(true).write(true).open("/dev/kvm");
        opened.map(drop).map_err(|_| "it cannot be opened")
    }

    fn limits(&self) -> Places {
        arguments::LIMITS
    }

    fn boot(
        &self,
        machine: Machine,
        places: Places,
        conditions: &Conditions<'_>,
    ) -> Result<Vm, Error> {
        boot::boot(self, &machine, places, conditions)
    }

    fn snapshot(
        &self,
        machine: Machine,
        places: Places,
        directory: &Path,
        conditions: &Conditions<'_>,
    ) -> Result<Vec<u8>, Error> {
        snapshot::take(self, &machine, places, directory, conditions)
    }

    fn restore(
        &self,
        machine: Machine,
        from: Snapshot<'_>,
        conditions: &Conditions<'_>,
    ) -> Result<Vm, Error> {
        snapshot::restore(self, &machine, &from, conditions)
    }

    fn power(&self, whole: &Whole, conditions: &Conditions<'_>) -> Result<Standing, Error> {
        whole::power(self, whole, conditions)
    }
}

/// Counts up whenever machines get other devices: templates of before are of no use then.
const LAYOUT: u32 = 3;

/// How long a process may take to count: whoever asks does it again soon.
const COUNTED: Duration = Duration::from_millis(200);

/// Sets of descriptors that come when a machine runs already have numbers from here on.
const FIRST_GIVEN: usize = 1000;

/// What can be asked of a running QEMU.
struct Asked {
    process: Arc<OwnedFd>,
    qmp: Qmp,
    complaints: Tail,
    /// How long it may take to answer.
    patience: Duration,
    /// The files that disks were given, by the disk's number and theirs.
    given: Vec<(usize, usize)>,
}

impl Asked {
    fn new(process: Arc<OwnedFd>, qmp: Qmp, complaints: Tail, patience: Duration) -> Self {
        Self { process, qmp, complaints, patience, given: Vec::new() }
    }

    fn ask(&mut self, what: &'static str, command: &str) -> Result<(), Error> {
        let deadline = Instant::now() + self.patience;
        self.qmp.command(what, &json!({"execute": command}), deadline).map(drop)
    }
}

impl Control for Asked {
    fn pause(&mut self) -> Result<(), Error> {
        self.ask("stop", "stop")
    }

    fn resume(&mut self) -> Result<(), Error> {
        self.ask("go on", "cont")
    }

    fn replace_disk(&mut self, n: usize, disk: &Disk) -> Result<(), Error> {
        let what = "change a disk";
        let deadline = Instant::now() + self.patience;
        let set = FIRST_GIVEN + self.given.len();
        let command = json!({"execute": "add-fd", "arguments": {"fdset-id": set}});
        self.qmp.command_with(what, &command, &[disk.file.as_fd()], deadline)?;
        let (node, given) = (format!("disk{n}"), format!("given{set}"));
        let mut file = json!({
            "driver": "file", "node-name": given, "filename": format!("/dev/fdset/{set}"),
            "locking": "off", "read-only": disk.read_only, "auto-read-only": false,
        });
        let mut raw = json!({
            "driver": "raw", "node-name": node, "file": given,
            "read-only": disk.read_only, "auto-read-only": false,
        });
        if !disk.read_only {
            (file["discard"], raw["discard"]) = (json!("unmap"), json!("unmap"));
        }
        let options = json!({"options": [raw]});
        for (execute, arguments) in [("blockdev-add", file), ("blockdev-reopen", options)] {
            let command = json!({"execute": execute, "arguments": arguments});
            self.qmp.command(what, &command, deadline)?;
        }
        // What it had before is not kept open.
        let before = self.given.iter().rev().find(|(disk, _)| *disk == n).map(|(_, set)| *set);
        self.given.push((n, set));
        let Some(before) = before else { return Ok(()) };
        for (execute, arguments) in [
            ("blockdev-del", json!({"node-name": format!("given{before}")})),
            ("remove-fd", json!({"fdset-id": before})),
        ] {
            let command = json!({"execute": execute, "arguments": arguments});
            self.qmp.command(what, &command, deadline)?;
        }
        Ok(())
    }

    fn press_power(&mut self) -> Result<(), Error> {
        self.ask("press its power button", "system_powerdown")
    }

    fn kill(&self) -> io::Result<()> {
        match sys::process::pidfd_signal(&self.process, sys::signal::SIGKILL) {
            Err(error) if error.raw_os_error() == Some(sys::errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    fn stats(&mut self) -> Result<Stats, Error> {
        let deadline = Instant::now() + COUNTED;
        let asked = json!({"execute": "query-blockstats"});
        let answer = self.qmp.command("count what its disks do", &asked, deadline)?;
        let disks = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Stats { disks: disks.iter().map(|disk| counted(&disk["stats"])).collect() })
    }

    fn notices(&self) -> Option<BorrowedFd<'_>> {
        (!self.qmp.ended()).then(|| self.qmp.as_fd())
    }

    fn listen(&mut self) {
        self.qmp.listen();
    }

    fn complaints(&mut self) -> String {
        self.complaints.text()
    }
}

/// The counters of a disk (QEMU's `BlockDeviceStats`).
fn counted(stats: &Value) -> DiskStats {
    let count = |name: &str| stats[name].as_u64().unwrap_or_default();
    DiskStats {
        read_bytes: count("rd_bytes"),
        written_bytes: count("wr_bytes"),
        reads: count("rd_operations"),
        writes: count("wr_operations"),
    }
}

/// A pair of connected streams: ours does not block.
fn stream() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = sys::stream::pair()?;
    sys::stream::set_nonblocking(&ours)?;
    Ok((ours, theirs))
}
