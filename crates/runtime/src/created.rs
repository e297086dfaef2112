//! A container that waits for its start, seen from its parent.

use std::os::fd::OwnedFd;

use sys::process::Exit;

use crate::channel::{Channel, Order, Report};
use crate::create::IdMaps;
use crate::error::{Context, Error, Result, Step};
use crate::hooks::{HookPlan, Stage};
use crate::spawn::Child;

/// A container that waits just before `execve`. Dropping it lets the process see the closed
/// channel and end.
#[derive(Debug)]
pub struct Created {
    channel: Channel,
    hooks: HookPlan,
    /// The init process, in the caller's pid namespace.
    pub pid: i32,
    /// The same, unmistakably. The caller is its parent and reaps it.
    pub pidfd: OwnedFd,
    /// The master of the terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What had to be left out.
    pub warnings: Vec<String>,
}

/// A container whose process has been executed.
#[derive(Debug)]
pub struct Running {
    /// The init process, in the caller's pid namespace.
    pub pid: i32,
    /// The same, unmistakably. The caller is its parent and reaps it.
    pub pidfd: OwnedFd,
}

impl Created {
    /// Lets the process go on to `execve` and waits until it has happened.
    ///
    /// # Errors
    /// [`Error::Exec`] and what else could only fail now; the process has been reaped then.
    pub fn start(self) -> Result<Running> {
        let Created { channel, hooks, pid, pidfd, .. } = self;
        let child = Child { pid, pidfd, channel };
        if let Err(error) = await_exec(&child).and_then(|()| hooks.run(Stage::Poststart)) {
            child.destroy();
            return Err(error);
        }
        Ok(Running { pid, pidfd: child.pidfd })
    }
}

/// Orders the `execve` and waits for the channel to close by it.
fn await_exec(child: &Child) -> Result<()> {
    child
        .channel
        .order(Order::Go)
        .context(Step::Exec, || "the container's process has gone before its start")?;
    loop {
        let report = child.channel.report();
        match report.context(Step::Exec, || "cannot hear from the container's process")? {
            Report::Closed => return Ok(()),
            Report::Failed(error) => return Err(error),
            _ => {}
        }
    }
}

/// The parent's side of the set-up.
pub(crate) fn follow(child: Child, maps: Option<&IdMaps>, mut hooks: HookPlan) -> Result<Created> {
    let outcome = wait_until_ready(&child, maps, &mut hooks);
    match outcome {
        Ok((console, warnings)) => {
            let Child { pid, pidfd, channel } = child;
            Ok(Created { channel, hooks, pid, pidfd, console, warnings })
        }
        Err(error) => {
            child.destroy();
            Err(error)
        }
    }
}

fn wait_until_ready(
    child: &Child,
    maps: Option<&IdMaps>,
    hooks: &mut HookPlan,
) -> Result<(Option<OwnedFd>, Vec<String>)> {
    hooks.pid = child.pid;
    if let Some(maps) = maps {
        sys::process::write_maps(child.pid, &maps.uids, &maps.gids)
            .context(Step::IdMap, || "cannot write the id maps of the user namespace")?;
        // A child that has failed already has said so; that is read below.
        let _ = child.channel.order(Order::Mapped);
    }
    let (mut console, mut warnings) = (None, Vec::new());
    loop {
        let report = child.channel.report();
        match report.context(Step::Prepare, || "cannot hear from the container's process")? {
            Report::Ready => return Ok((console, warnings)),
            Report::Console(master) => console = Some(master),
            Report::Warning(text) => warnings.push(text),
            Report::Hooks => {
                hooks.run(Stage::Prestart)?;
                hooks.run(Stage::CreateRuntime)?;
                let _ = child.channel.order(Order::HooksDone);
            }
            Report::Failed(error) => return Err(error),
            Report::Pid(_) | Report::Closed => return Err(died(child)),
        }
    }
}

fn died(child: &Child) -> Error {
    let _ = sys::process::pidfd_signal(&child.pidfd, 9);
    match sys::process::wait_pidfd(&child.pidfd) {
        Ok(Exit::Code(code)) => Error::Died(format!("exit status {code}")),
        Ok(Exit::Signal { signal, .. }) => Error::Died(format!("signal {signal}")),
        Err(e) => Error::Died(e.to_string()),
    }
}
