//! `start`, `state`, `kill`, `pause`, `resume`, `delete`.

use super::args::Args;
use super::state::{Container, Status};
use super::{Error, FileContext, Global, Result};
use crate::channel::{Channel, Order, Report};
use crate::{HookPlan, Stage};

/// `start`.
pub(super) fn start(args: &mut Args, global: &mut Global) -> Result<i32> {
    if let Some(option) = args.option()? {
        return Err(args.unknown(&option));
    }
    let id = args.id()?;
    args.end()?;
    let container = Container::load(global, &id)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::State("cannot start a container that has stopped".into()));
        }
        Status::Running | Status::Paused => {
            return Err(Error::State("cannot start an already running container".into()));
        }
    }
    let channel = container.connect().file(|| "cannot reach the container's init".into())?;
    let channel = Channel::from(channel);
    channel.order(Order::Go).file(|| "cannot order the start".into())?;
    loop {
        match channel.report().file(|| "cannot hear from the container's init".into())? {
            Report::Closed => break,
            Report::Failed(source) => {
                return Err(Error::Start { during: "start failed", source });
            }
            _ => {}
        }
    }
    std::fs::remove_file(container.gate_path()).file(|| "cannot remove the start socket".into())?;
    let mut hooks = hooks(&container)?;
    hooks.pid = container.record.init_process_pid;
    hooks.run(Stage::Poststart)?;
    Ok(0)
}

fn hooks(container: &Container) -> Result<HookPlan> {
    let record = &container.record;
    Ok(HookPlan::new(&container.spec()?, &record.id, Some(&record.bundle)))
}

/// `state`.
pub(super) fn state(args: &mut Args, global: &mut Global) -> Result<i32> {
    if let Some(option) = args.option()? {
        return Err(args.unknown(&option));
    }
    let id = args.id()?;
    args.end()?;
    let state = Container::load(global, &id)?.state();
    println!("{state:#}");
    Ok(0)
}

/// `kill`.
pub(super) fn kill(args: &mut Args, global: &mut Global) -> Result<i32> {
    let mut all = false;
    let mut options = |args: &mut Args| -> Result<()> {
        while let Some(option) = args.option()? {
            match option.as_str() {
                "--all" | "-a" => all = args.flag()?,
                other => return Err(args.unknown(other)),
            }
        }
        Ok(())
    };
    options(args)?;
    let id = args.id()?;
    // containerd puts the option after the id.
    options(args)?;
    let signal = args.word().map_or(Ok(15), |text| signal(&text))?;
    args.end()?;
    let container = Container::load(global, &id)?;
    if all {
        let cgroup = container.cgroup()?;
        if signal == 9 {
            cgroup.kill()?;
        } else {
            for pid in cgroup.pids()? {
                let _ = sys::process::kill(pid, signal);
            }
        }
        return Ok(0);
    }
    let Some(init) = container.init() else {
        return Err(Error::State("container not running".into()));
    };
    let private = container.spec()?.linux().as_ref().is_some_and(|l| {
        let mut list = l.namespaces().iter().flatten();
        list.any(|ns| ns.typ() == oci_spec::runtime::LinuxNamespaceType::Pid && ns.path().is_none())
    });
    if signal == 9 && !private {
        // Without a pid namespace nobody ends the init's children with it.
        container.cgroup()?.kill()?;
    }
    match sys::process::pidfd_signal(&init, signal) {
        Err(e) if e.raw_os_error() == Some(sys::errno::ESRCH) => {
            Err(Error::State("container not running".into()))
        }
        other => {
            other.file(|| format!("cannot send signal {signal}"))?;
            if signal == 9 {
                // A frozen process dies only when it is let go on.
                let _ = container.cgroup().map(|cgroup| cgroup.thaw());
            }
            Ok(0)
        }
    }
}

/// `15`, `TERM`, `SIGTERM`, in any case.
fn signal(text: &str) -> Result<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        Ok(number) => Some(number),
        Err(_) => match name.split_once(['+', '-']) {
            Some(("RTMIN", n)) => n.parse::<i32>().ok().map(|n| 34 + n),
            Some(("RTMAX", n)) => n.parse::<i32>().ok().map(|n| 64 - n),
            _ => match name {
                "RTMIN" => Some(34),
                "RTMAX" => Some(64),
                "IOT" => Some(6),
                "CLD" => Some(17),
                "POLL" => Some(29),
                _ => NAMES.iter().position(|known| *known == name).map(|at| at as i32 + 1),
            },
        },
    };
    number
        .filter(|number| (0..=64).contains(number))
        .ok_or_else(|| Error::Usage(format!("unknown signal {text:?}")))
}

/// `pause` and `resume`.
pub(super) fn freeze(args: &mut Args, global: &mut Global, freeze: bool) -> Result<i32> {
    if let Some(option) = args.option()? {
        return Err(args.unknown(&option));
    }
    let id = args.id()?;
    args.end()?;
    let container = Container::load(global, &id)?;
    match (freeze, container.status()) {
        (true, Status::Running | Status::Created) => container.cgroup()?.freeze()?,
        (true, _) => return Err(Error::State("container not running".into())),
        (false, Status::Paused) => container.cgroup()?.thaw()?,
        (false, _) => return Err(Error::State("container not paused".into())),
    }
    Ok(0)
}

/// `delete`.
pub(super) fn delete(args: &mut Args, global: &mut Global) -> Result<i32> {
    let mut force = false;
    while let Some(option) = args.option()? {
        match option.as_str() {
            "--force" | "-f" => force = args.flag()?,
            other => return Err(args.unknown(other)),
        }
    }
    let id = args.id()?;
    args.end()?;
    let container = match Container::load(global, &id) {
        Err(Error::NoContainer(_)) if force => {
            // A create that was killed half-way leaves a directory without a state.
            let _ = std::fs::remove_dir_all(global.root.join(&id));
            return Ok(0);
        }
        other => other?,
    };
    match container.status() {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => {
            return Err(Error::State(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            )));
        }
    }
    remove(&container)?;
    Ok(0)
}

/// Ends and removes everything of a container; every step is done, the first failure returned.
pub(super) fn remove(container: &Container) -> Result<()> {
    let hooks = hooks(container);
    let mut first: Result<()> = Ok(());
    if let Some(init) = container.init() {
        let _ = sys::process::pidfd_signal(&init, 9);
    }
    if let Ok(cgroup) = container.cgroup() {
        // Only then: both wait for an RCU grace period.
        if cgroup.pids().map_or(true, |pids| !pids.is_empty()) {
            if let Err(error) = cgroup.kill() {
                first = first.and(Err(error.into()));
            }
            let _ = cgroup.thaw();
        }
        if let Err(errors) = cgroup.remove()
            && let Some(error) = errors.into_iter().next()
        {
            first = first.and(Err(error.into()));
        }
    }
    first = first.and(container.forget());
    match hooks {
        Ok(hooks) => first.and(hooks.run(Stage::Poststop).map_err(Error::from)),
        Err(error) => first.and(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", 37), ("WINCH", 28), ("0", 0)]
        {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "99", "-1", "SIGFOO", "RTMAX-99"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
