//! Whether hardware virtualization works here: found out once by trying, and remembered until the
//! host or the program that runs machines changes.
//!
//! That `/dev/kvm` can be opened says little: on some nested hosts it makes virtual processors that
//! hang or cannot run an unmodified kernel.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Cpu};
use crate::durable;
use crate::error::{Error, Step};
use crate::machine::Machine;
use crate::start::Options;

/// How long a machine may take to boot when it is tried out: hardware needs a tenth of it.
const TRIAL: Duration = Duration::from_secs(6);

const FILE: &str = "accelerator";

/// How a guest's processors are to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// By hardware where that works.
    #[default]
    Auto,
    /// By hardware, or not at all.
    Hardware,
    /// By translation.
    Emulation,
}

/// What was found out.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    /// The kernel's `boot_id`: another kernel may be able to.
    boot: String,
    /// The program that tried.
    backend: String,
    /// Why it does not work; `None`: it does.
    failure: Option<String>,
}

/// Chooses; may boot a machine without devices to find out. Without one that could be booted,
/// hardware that is there is believed to work.
pub(crate) fn choose(
    backend: &dyn Backend,
    bare: &dyn Fn() -> Option<Machine>,
    options: &Options<'_>,
) -> Result<Cpu, Error> {
    let wanted = options.accelerator;
    if wanted == Accelerator::Emulation {
        return Ok(Cpu::Emulated);
    }
    let failure = match backend.hardware() {
        Ok(()) => match known(backend, options.state) {
            Some(verdict) => verdict,
            None => bare().map_or(Ok(None), |machine| try_out(backend, machine, options))?,
        },
        Err(why) => Some(why.to_owned()),
    };
    match (failure, wanted) {
        (None, _) => Ok(Cpu::Hardware),
        (Some(why), Accelerator::Hardware) => Err(Error::NoHardware(why)),
        (Some(_), _) => Ok(Cpu::Emulated),
    }
}

/// What was found out earlier under the same conditions.
fn known(backend: &dyn Backend, state: &Path) -> Option<Option<String>> {
    let text = std::fs::read(state.join(FILE)).ok()?;
    let verdict: Verdict = serde_json::from_slice(&text).ok()?;
    let same = verdict.boot == boot_id() && verdict.backend == backend.identity();
    same.then_some(verdict.failure)
}

/// Boots a machine.
fn try_out(
    backend: &dyn Backend,
    machine: Machine,
    options: &Options<'_>,
) -> Result<Option<String>, Error> {
    let conditions = options.conditions(Cpu::Hardware, TRIAL);
    let failure = match backend.boot(machine, &conditions) {
        Ok(vm) => {
            let _ = sys::process::pidfd_signal(&vm.pidfd, sys::signal::SIGKILL);
            let _ = sys::process::wait_pidfd(&vm.pidfd);
            None
        }
        Err(error @ (Error::Ended { .. } | Error::Late { .. } | Error::Refused { .. })) => {
            Some(error.to_string())
        }
        // That says nothing about the hardware.
        Err(error) => return Err(error),
    };
    let verdict =
        Verdict { boot: boot_id(), backend: backend.identity(), failure: failure.clone() };
    let text = serde_json::to_vec(&verdict).map_err(std::io::Error::from);
    text.and_then(|text| durable::replace(options.state, FILE, &text))
        .file("write down what the hardware can do in", options.state)?;
    Ok(failure)
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
