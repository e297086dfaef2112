//! How a machine is started: which accelerator, from a template or not.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::accelerator::{self, Accelerator};
use crate::backend::{Backend, Conditions, Cpu, Places};
use crate::error::Error;
use crate::machine::Machine;
use crate::running::{Origin, Running};
use crate::template::{self, PLACES};

/// How long an agent may take until it says hello, when many start at once on a slow host.
pub const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// What to do about templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Templates {
    /// Use one; when there is none that fits, make it first.
    Make,
    /// Use one if there is one.
    Use,
    /// Boot.
    Never,
}

/// How to start a machine.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The directory `vm` of the data root.
    pub state: &'a Path,
    /// What to do about templates.
    pub templates: Templates,
    /// How the guest's processors are to be made.
    pub accelerator: Accelerator,
    /// Says whether these first bytes from the agent are all of its hello.
    pub ready: &'a dyn Fn(&[u8]) -> bool,
    /// The cgroup v2 directory that every process of the machine is born in: entering one later
    /// waits for an RCU grace period.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What every process that belongs to the machine does first of all, as root and in a session of
    /// its own: it enters the container's other cgroups.
    pub enter: &'a dyn Fn() -> std::io::Result<()>,
    /// How long the agent may take; [`BOOT_LIMIT`].
    pub limit: Duration,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("state", &self.state)
            .field("templates", &self.templates)
            .field("accelerator", &self.accelerator)
            .finish_non_exhaustive()
    }
}

impl Options<'_> {
    pub(crate) fn conditions(&self, cpu: Cpu, limit: Duration) -> Conditions<'_> {
        let limit = limit.min(self.limit);
        let deadline = Instant::now() + limit;
        Conditions {
            cpu,
            ready: self.ready,
            cgroup: self.cgroup,
            enter: self.enter,
            limit,
            deadline,
        }
    }
}

/// Starts a machine and waits until its agent is there.
///
/// # Errors
/// [`Error`]: nothing of the machine is left then.
pub fn start(machine: Machine, options: &Options<'_>) -> Result<Running, Error> {
    let backend = crate::backend(machine.arch)?;
    check(&machine, &backend)?;
    let cpu = accelerator::choose(&backend, &|| Some(machine.bare()), options)?;
    let mut why = None;
    if options.templates != Templates::Never && machine.shares.is_empty() {
        let shape = template::Shape::of(&machine, &backend, cpu);
        match template::open(&shape, &machine, &backend, options, cpu) {
            Ok(Some(found)) if found.fits(&machine) => {
                // The machine's descriptors are needed again if this fails.
                let again = machine.try_clone()?;
                match found.restore(again, &backend, &options.conditions(cpu, options.limit)) {
                    Ok(vm) => return Ok(Running::new(vm, Origin::Template)),
                    Err(error) => why = Some(error.to_string()),
                }
            }
            Ok(Some(_)) => why = Some("it has more devices than a template".to_owned()),
            Ok(None) => {}
            Err(error) => why = Some(error.to_string()),
        }
    }
    let vm = backend.boot(machine, Places::NONE, &options.conditions(cpu, options.limit))?;
    Ok(Running::new(vm, Origin::Cold { why }))
}

/// Boots a machine that gets disks ([`Running::replace_disk`]) and what is in its shares
/// ([`Running::lend`]) when it is there, and waits until its agent is. Clones have no shares: whoever
/// serves them cannot be cloned.
///
/// # Errors
/// [`Error`]: nothing of the machine is left then.
pub fn start_with_places(machine: Machine, options: &Options<'_>) -> Result<Running, Error> {
    let backend = crate::backend(machine.arch)?;
    check(&machine, &backend)?;
    let cpu = accelerator::choose(&backend, &|| Some(machine.bare()), options)?;
    let vm = backend.boot(machine, PLACES, &options.conditions(cpu, options.limit))?;
    Ok(Running::new(vm, Origin::Cold { why: None }))
}

fn check(machine: &Machine, backend: &dyn Backend) -> Result<(), Error> {
    let limits = backend.limits();
    if machine.disks.len() + machine.shares.len() > limits.disks {
        return Err(Error::TooMany { what: "disks and shared directories", max: limits.disks });
    }
    if machine.nics.len() > limits.nics {
        return Err(Error::TooMany { what: "network cards", max: limits.nics });
    }
    Ok(())
}
