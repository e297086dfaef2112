//! The child's side: from the fork to the container's own program.

use std::os::fd::OwnedFd;

use sys::fs::Root;

use crate::channel::{Channel, Order};
use crate::error::{Context, Error, Result, Step};
use crate::hooks::{HookPlan, Stage};
use crate::process::{Given, ProcessPlan, Streams};
use crate::rootfs::{RootfsPlan, Terminal, open_terminal};
use crate::sysctl::SysctlPlan;

/// Everything the child does, prepared before the fork.
#[derive(Debug)]
pub(crate) struct ChildPlan {
    pub rootfs: RootfsPlan,
    pub process: ProcessPlan,
    pub sysctls: SysctlPlan,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    /// The user namespace is new: wait for its maps.
    pub new_user: bool,
    /// The network namespace is new, and its loopback link is down.
    pub new_network: bool,
    /// There is a user namespace, new or joined.
    pub in_user: bool,
    /// Others in the pid namespace must not look into this process; its label is set already.
    pub hidden: bool,
    pub die_with_parent: bool,
    pub init: bool,
    pub hooks: HookPlan,
    pub gate: Option<OwnedFd>,
    pub given: Given,
}

/// Becomes the container. Never returns: what goes wrong is reported over the channel.
pub(crate) fn run(plan: ChildPlan, channel: Channel) -> ! {
    sys::process::set_umask(0);
    let mut plan = plan;
    let (new_channel, gate) = match set_up(&mut plan, &channel) {
        Ok(kept) => kept,
        Err(error) => leave(&channel, &error),
    };
    // Closed by number already.
    std::mem::forget(channel);
    let restricted = plan.process.restrict(&new_channel).and_then(|()| {
        new_channel.tell_ready().context(Step::Prepare, || "cannot report to the caller")
    });
    if let Err(error) = restricted {
        leave(&new_channel, &error);
    }
    let channel = match wait_for_start(gate, new_channel) {
        Ok(channel) => channel,
        // The caller has gone without starting us.
        Err(_) => sys::process::exit_now(1),
    };
    let process = &plan.process;
    let error = match plan.hooks.run(Stage::StartContainer) {
        Err(error) => error,
        Ok(()) if plan.init => crate::init::run(process, &channel, plan.die_with_parent),
        Ok(()) => finish(process, plan.die_with_parent),
    };
    leave(&channel, &error)
}

/// Runs a process in namespaces that were joined already.
pub(crate) fn run_exec(
    mut process: ProcessPlan,
    given: Given,
    terminal: Option<(u16, u16)>,
    in_user: bool,
    channel: Channel,
) -> ! {
    sys::process::set_umask(0);
    let set_up = || {
        if in_user {
            become_root()?;
        }
        sys::process::setsid().context(Step::Stdio, || "cannot begin a session")?;
        let terminal = match terminal {
            Some(size) => {
                let root = Root::open_host("/").context(Step::Root, || "cannot open the root")?;
                Some(open_terminal(&root, size)?)
            }
            None => None,
        };
        let streams = streams(terminal, given, &channel)?;
        process.take_up(streams, &channel, None)
    };
    let new_channel = match set_up() {
        Ok((new_channel, _)) => new_channel,
        Err(error) => leave(&channel, &error),
    };
    // Closed by number already.
    std::mem::forget(channel);
    let error = match process.restrict(&new_channel) {
        Ok(()) => finish(&process, false),
        Err(error) => error,
    };
    leave(&new_channel, &error)
}

fn leave(channel: &Channel, error: &Error) -> ! {
    channel.fail(error);
    // 126 and 127 as a shell would, for whoever reaps without having listened.
    sys::process::exit_now(match error {
        Error::NotInPath { .. } | Error::NoSuchProgram { .. } => 127,
        Error::NotExecutable { .. } | Error::Exec { .. } => 126,
        _ => 1,
    })
}

/// Brings `lo` up, as runc does in every network namespace that it makes. The kernel adds the
/// addresses.
fn start_loopback() -> std::io::Result<()> {
    use sys::netlink::{Change, Socket, Target};
    let up = Change::of(Target::Name("lo")).up(true).request();
    Socket::open()?.run(&[up]).map_err(|error| error.source)
}

/// Builds the container around this process; channel and gate come back under other numbers.
fn set_up(plan: &mut ChildPlan, channel: &Channel) -> Result<(Channel, Option<OwnedFd>)> {
    if plan.new_user {
        channel.wait_for(Order::Mapped).context(Step::IdMap, || "the id maps were not written")?;
    }
    if plan.in_user {
        become_root()?;
        if !plan.hidden {
            // The change of credentials has given /proc/self to the host's root, and we need it.
            sys::process::set_dumpable(true).context(Step::Privileges, || "cannot set dumpable")?;
        }
    }
    if plan.die_with_parent {
        sys::process::die_with_parent().context(Step::Privileges, || "PR_SET_PDEATHSIG")?;
    }
    sys::process::setsid().context(Step::Stdio, || "cannot begin a session")?;
    if let Some(name) = &plan.hostname {
        sys::namespace::set_hostname(name).context(Step::Hostname, || "sethostname")?;
    }
    if let Some(name) = &plan.domainname {
        sys::namespace::set_domainname(name).context(Step::Hostname, || "setdomainname")?;
    }
    if plan.new_network {
        start_loopback().context(Step::Network, || "cannot start the loopback link")?;
    }
    let built = plan.rootfs.build()?;
    plan.sysctls.write(built.proc.as_ref())?;
    drop(built.proc);
    if plan.hooks.any_of(&[Stage::Prestart, Stage::CreateRuntime]) {
        channel.tell_hooks().context(Step::Hook, || "cannot ask for the hooks")?;
        channel.wait_for(Order::HooksDone).context(Step::Hook, || "the hooks did not run")?;
    }
    plan.hooks.run(Stage::CreateContainer)?;
    if !plan.hidden {
        plan.process.label()?;
    }
    plan.rootfs.pivot()?;
    plan.rootfs.finish()?;
    let given =
        Given { stdio: plan.given.stdio.take(), extra: std::mem::take(&mut plan.given.extra) };
    let streams = streams(built.terminal, given, channel)?;
    let gate = plan.gate.take();
    plan.process.take_up(streams, channel, gate)
}

/// In a user namespace: its root, with no groups.
pub(crate) fn become_root() -> Result<()> {
    sys::process::set_groups(&[]).context(Step::User, || "setgroups in the user namespace")?;
    sys::process::set_gid(0).context(Step::User, || "setgid 0 in the user namespace")?;
    sys::process::set_uid(0).context(Step::User, || "setuid 0 in the user namespace")
}

fn streams(terminal: Option<Terminal>, given: Given, channel: &Channel) -> Result<Streams> {
    let Some(Terminal { master, slave, .. }) = terminal else { return Ok(Streams::plain(given)) };
    use std::os::fd::AsFd;
    channel
        .tell_console(master.as_fd())
        .context(Step::Console, || "cannot hand over the terminal")?;
    Ok(Streams::terminal(slave, given))
}

/// Waits for the order to start: on the channel, or from whoever connects to the gate.
fn wait_for_start(gate: Option<OwnedFd>, channel: Channel) -> std::io::Result<Channel> {
    let Some(gate) = gate else {
        channel.wait_for(Order::Go)?;
        return Ok(channel);
    };
    // The one who made us may leave now.
    drop(channel);
    loop {
        let starter = Channel::from(sys::socket::accept(&gate)?);
        if starter.wait_for(Order::Go).is_ok() {
            return Ok(starter);
        }
    }
}

/// The last steps before the program; returns only on failure.
pub(crate) fn finish(process: &ProcessPlan, die_with_parent: bool) -> Error {
    if let Err(error) = process.drop_rights() {
        return error;
    }
    if die_with_parent {
        // Again: the change of credentials has cleared it. A parent that died before this has
        // closed the channel, and then there was no order to start.
        if let Err(e) = sys::process::die_with_parent() {
            return Error::at(Step::Privileges, "PR_SET_PDEATHSIG", e);
        }
    }
    process.become_program()
}
