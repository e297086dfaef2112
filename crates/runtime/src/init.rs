//! `--init`: a process 1 that does what a program not made for it forgets: it reaps orphans and
//! passes signals on. It is this very image, forked; nothing is loaded for it.

use crate::channel::Channel;
use crate::error::{Context, Error, Result, Step};
use crate::process::ProcessPlan;

/// Signals that are about this process itself: job control of the terminal, and its children.
const NOT_PASSED_ON: [i32; 3] = [17 /* CHLD */, 21 /* TTIN */, 22 /* TTOU */];

/// Forks the program and looks after it, for ever; returns only on failure before the fork.
pub(crate) fn run(process: &ProcessPlan, channel: &Channel, die_with_parent: bool) -> Error {
    match start(process, channel, die_with_parent) {
        Ok(child) => look_after(child),
        Err(error) => error,
    }
}

fn start(process: &ProcessPlan, channel: &Channel, die_with_parent: bool) -> Result<i32> {
    process.drop_rights()?;
    if die_with_parent {
        sys::process::die_with_parent().context(Step::Privileges, || "PR_SET_PDEATHSIG")?;
    }
    sys::process::block_all().context(Step::Privileges, || "cannot block signals")?;
    let what = || "cannot fork below the init";
    // Not clone3, which Docker's seccomp profile answers with ENOSYS: the filter is in place.
    match sys::role::fork().context(Step::Clone, what)? {
        None => {
            // A group of its own, in the foreground: ^C is for the program, not for us.
            let _ = sys::pty::lead_foreground(std::io::stdin());
            let error = process.become_program();
            channel.fail(&error);
            sys::process::exit_now(127)
        }
        Some(pid) => Ok(pid),
    }
}

fn look_after(child: i32) -> ! {
    // What the container can see of this process it shall not look into or write to: it is a copy
    // of the monitor, and its file is the host's (CVE-2019-5736).
    let _ = sys::process::set_dumpable(false);
    let _ = sys::process::set_name(c"init");
    let _ = sys::role::set_title("init");
    // The channel among others: its closing tells the parent that the program runs.
    sys::process::close_from(3);
    loop {
        while let Ok(Some((pid, exit))) = sys::process::reap_any() {
            if pid == child {
                sys::process::exit_now(exit.status());
            }
        }
        match sys::process::signal_wait() {
            Ok(signal) if !NOT_PASSED_ON.contains(&signal) => {
                let _ = sys::process::kill(child, signal);
            }
            _ => {}
        }
    }
}
