//! Whether hardware virtualization works here: found out once by trying, and remembered until the
//! host or the program that runs machines changes.
//!
//! That `/dev/kvm` can be opened says little: on some nested hosts it makes virtual processors that
//! hang or cannot run an unmodified kernel.
//!
//! ```text
//!  hardware boots ─────────────────────────────────────────────────► yes
//!      │ no                                                           ▲
//!      ▼                                                              │
//!  the same machine boots by emulation ──► hardware again, which boots┘
//!      │ no             │ in time, and      │ no
//!      ▼                ▼ hardware did not  ▼
//!   unknown             no                  no
//! ```

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Conditions, Cpu, Places};
use crate::durable;
use crate::error::{Error, Step};
use crate::machine::Machine;
use crate::start::{BOOT_LIMIT, Options};

/// How long a machine may take to boot when it is tried out: hardware needs a tenth of it.
const TRIAL: Duration = Duration::from_secs(6);

const FILE: &str = "accelerator";
/// Held while somebody tries: many at once would make each other late.
const LOCK: &str = "accelerator.lock";
/// Who may choose waits for as long while somebody else tries, and looks as often.
const OTHERS: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

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

/// Chooses; may boot a machine without devices to find out, of the kernel of the one that is given.
/// Without one that could be booted, hardware is only believed to work when nothing else is wanted:
/// a slow machine is better than one that hangs.
///
/// # Errors
/// [`Error::NoHardware`]; why that machine does not boot by emulation either.
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
        Ok(()) => find_out(backend, bare, options)?,
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

/// What is known, or what a trial says. `None`: it works.
fn find_out(
    backend: &dyn Backend,
    bare: &dyn Fn() -> Option<Machine>,
    options: &Options<'_>,
) -> Result<Option<String>, Error> {
    if let Some(verdict) = known(backend, options.state) {
        return Ok(verdict);
    }
    let Some(machine) = bare() else {
        let believed = options.accelerator == Accelerator::Hardware;
        return Ok((!believed).then(|| "it could not be tried".to_owned()));
    };
    std::fs::create_dir_all(options.state).file("create", options.state)?;
    let lock = File::create(options.state.join(LOCK)).file("lock", options.state)?;
    if !turn(&lock, options.accelerator).file("lock", options.state)? {
        return Ok(Some("somebody else is still trying it".to_owned()));
    }
    if let Some(verdict) = known(backend, options.state) {
        return Ok(verdict);
    }
    let failure = judge(|cpu, limit| boot(backend, &machine, options, cpu, limit))?;
    let verdict =
        Verdict { boot: boot_id(), backend: backend.identity(), failure: failure.clone() };
    let text = serde_json::to_vec(&verdict).map_err(std::io::Error::from);
    text.and_then(|text| durable::replace(options.state, FILE, &text))
        .file("write down what the hardware can do in", options.state)?;
    Ok(failure)
}

/// Takes the lock; says whether it could, when it need not wait for ever: where nothing boots, every
/// trial takes more than a minute, and there may be many.
fn turn(lock: &File, wanted: Accelerator) -> std::io::Result<bool> {
    let began = Instant::now();
    while !sys::entry::try_lock(lock)? {
        if wanted == Accelerator::Hardware {
            return sys::entry::lock(lock).map(|()| true);
        }
        if began.elapsed() > OTHERS {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// Why the hardware does not work, or nothing. An error says nothing about it, and is not to be
/// remembered. `boot` returns how long it took.
fn judge(
    mut boot: impl FnMut(Cpu, Duration) -> Result<Duration, Error>,
) -> Result<Option<String>, Error> {
    let Some(mut failure) = by_hardware(&mut boot, TRIAL)? else { return Ok(None) };
    // A kernel or an agent that is of no use boots in neither way.
    let emulated = boot(Cpu::Emulated, BOOT_LIMIT)?;
    if emulated > TRIAL || !matches!(failure, Error::Late { .. }) {
        // Everything may have been slow just then, or memory short: it has as long once more.
        let again = by_hardware(&mut boot, emulated.max(TRIAL))?;
        let Some(again) = again else { return Ok(None) };
        failure = again;
    }
    Ok(Some(failure.to_string()))
}

/// How the machine failed by hardware, if it did.
fn by_hardware(
    boot: &mut impl FnMut(Cpu, Duration) -> Result<Duration, Error>,
    limit: Duration,
) -> Result<Option<Error>, Error> {
    match boot(Cpu::Hardware, limit) {
        Ok(_) => Ok(None),
        Err(error) if error.is_the_machines() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Boots the smallest machine with a machine's kernel, where no container's limits hold.
fn boot(
    backend: &dyn Backend,
    machine: &Machine,
    options: &Options<'_>,
    cpu: Cpu,
    limit: Duration,
) -> Result<Duration, Error> {
    let begin = Instant::now();
    let conditions =
        Conditions { cgroup: None, enter: &|| Ok(()), ..options.conditions(cpu, limit) };
    let machine = Machine::empty(machine.arch, machine.kernel.clone());
    let vm = backend.boot(machine, Places::NONE, &conditions)?;
    let _ = vm.control.kill();
    let _ = sys::process::wait_pidfd(&vm.pidfd);
    Ok(begin.elapsed())
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
