//! Machines that boot a disk of their own: firmware, a boot loader and a kernel that nobody here
//! knows, no agent. They stand still until they are told to go on.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::accelerator::{self, Accelerator};
use crate::backend::{Backend, Control, Cpu, Stats};
use crate::error::Error;
use crate::machine::{Arch, KernelImage, Machine};
use crate::network::Joined;
use crate::start::Options;

/// Cards that such a machine can have.
const MAX_NICS: usize = 8;

/// How a file is a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's copy-on-write format. Files that it names are not opened.
    Qcow2,
}

/// One of the images that make up a disk.
#[derive(Debug)]
pub struct Layer {
    /// The file, open for reading, and for writing if it is the first.
    pub file: OwnedFd,
    /// How it is written.
    pub format: Format,
}

/// A machine that boots a disk.
#[derive(Debug)]
pub struct Whole {
    /// Bytes of memory; rounded up to whole MiB.
    pub memory: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// Its disk: what is not in a layer is in those after it. Only the first is written to.
    pub layers: Vec<Layer>,
    /// A second, read-only disk.
    pub seed: OwnedFd,
    /// Its network cards, with what a packet of their networks may have.
    pub nics: Vec<Joined>,
    /// The network namespace that the machine's process lives in; `None`: one without links.
    pub netns: Option<OwnedFd>,
}

impl Whole {
    /// Memory in whole MiB.
    pub(crate) fn mebibytes(&self) -> u64 {
        self.memory.div_ceil(1 << 20).max(1)
    }
}

/// What a backend has made of such a machine.
pub(crate) struct Standing {
    pub(crate) pid: i32,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) console: OwnedFd,
    pub(crate) control: Box<dyn Control>,
}

/// A machine with a disk of its own. It is killed when its parent ends.
pub struct Powered {
    /// Its process, a child of the caller, to be reaped by the caller.
    pub pid: i32,
    /// The same.
    pub pidfd: Arc<OwnedFd>,
    /// Why its processors are emulated although hardware may work; worth a warning.
    pub untried: Option<String>,
    control: Box<dyn Control>,
}

impl fmt::Debug for Powered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Powered").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Powered {
    /// Lets its processors run.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Prepare`] when its process does not answer.
    pub fn go_on(&mut self) -> Result<(), Error> {
        self.control.resume()
    }

    /// Stops its processors.
    ///
    /// # Errors
    /// As [`Powered::go_on`].
    pub fn stand_still(&mut self) -> Result<(), Error> {
        self.control.pause()
    }

    /// Presses its power button: what comes of it is up to the guest.
    ///
    /// # Errors
    /// As [`Powered::go_on`].
    pub fn press_power(&mut self) -> Result<(), Error> {
        self.control.press_power()
    }

    /// Ends it at once, as if its plug was pulled. Waits for nothing.
    ///
    /// # Errors
    /// None in practice: a machine that has ended already is no error.
    pub fn kill(&self) -> std::io::Result<()> {
        self.control.kill()
    }

    /// What its guest has asked its disks for: its own, and the one that it is told things on.
    ///
    /// # Errors
    /// As [`Powered::go_on`].
    pub fn stats(&mut self) -> Result<Stats, Error> {
        self.control.stats()
    }

    /// What it tells of itself must be read from time to time: whenever this can be read, by
    /// [`Powered::listen`]. `None`: it has nothing more to tell.
    pub fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.control.notices()
    }

    /// Reads what it tells of itself, without waiting.
    pub fn listen(&mut self) {
        self.control.listen();
    }

    /// What the machine's process has complained about so far.
    pub fn complaints(&mut self) -> String {
        self.control.complaints()
    }
}

impl AsFd for Powered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Makes a machine that stands still; its console comes along, a stream both ways that is not
/// blocking. Whether hardware makes its processors is found out with `kernel`, when that is not known
/// yet; without one they are emulated, unless only hardware will do.
///
/// # Errors
/// [`Error`]: nothing of the machine is left then.
pub fn power(
    whole: &Whole,
    options: &Options<'_>,
    kernel: &dyn Fn(Arch) -> Result<KernelImage, String>,
) -> Result<(Powered, OwnedFd), Error> {
    // PCs are all that firmware and disks are for here.
    let arch = Arch::X86_64;
    if Arch::host() != Some(arch) {
        return Err(Error::Unsupported { arch, why: "whole machines run on x86-64 hosts only" });
    }
    if whole.nics.len() > MAX_NICS {
        return Err(Error::TooMany { what: "network cards", max: MAX_NICS });
    }
    let backend = crate::backend(arch)?;
    let untried = RefCell::new(None);
    let bare = || match kernel(arch) {
        Ok(kernel) => Some(Machine::empty(arch, kernel)),
        Err(error) => {
            let why = "the machine's processors are emulated: hardware could not be tried, for ";
            untried.replace(Some(format!("{why}{error}")));
            None
        }
    };
    let cpu = match accelerator::choose(&backend, &bare, options) {
        // What it was tried with boots in no way, and this machine boots something else.
        Err(error) if error.is_the_machines() && options.accelerator == Accelerator::Auto => {
            Cpu::Emulated
        }
        other => other?,
    };
    let standing = backend.power(whole, &options.conditions(cpu, options.limit))?;
    let Standing { pid, pidfd, console, control } = standing;
    let untried = untried.into_inner().filter(|_| cpu == Cpu::Emulated);
    Ok((Powered { pid, pidfd, untried, control }, console))
}
