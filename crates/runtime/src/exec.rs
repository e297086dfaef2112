//! One more process in a running container.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use oci_spec::runtime::{Process, Spec};

use sys::process::Stat;
use sys::{errno, namespace};

use crate::cgroup::Cgroup;
use crate::channel::Report;
use crate::child;
use crate::create::{Asked, Stdio};
use crate::error::{Context, Error, Result, Step};
use crate::namespaces::{Namespaces, id_maps};
use crate::process::{Given, ProcessPlan, SeccompSource};
use crate::seccomp::Filter;
use crate::spawn::{Child, Side, Spawn};

/// Everything about a process that is to join a container.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The container's init.
    pub container_pid: i32,
    /// The same, unmistakably.
    pub pidfd: BorrowedFd<'a>,
    /// What to run, as whom.
    pub process: &'a Process,
    /// The container's specification: namespaces, seccomp.
    pub spec: &'a Spec,
    /// Its standard streams.
    pub stdio: Stdio,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// A compiled seccomp filter, in place of the specification's profile.
    pub seccomp: Option<&'a Filter>,
    /// No seccomp filter (`docker exec --privileged`); capabilities are those of `process`.
    pub privileged: bool,
    /// Further descriptors, which become 3, 4, … in the process.
    pub extra_fds: Vec<OwnedFd>,
    /// What to insist on.
    pub asked: Asked,
}

/// A process that was executed in the container.
#[derive(Debug)]
pub struct Exec {
    /// In the caller's pid namespace; the caller is its parent and reaps it.
    pub pid: i32,
    /// The same, unmistakably.
    pub pidfd: OwnedFd,
    /// The master of its terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What had to be left out.
    pub warnings: Vec<String>,
}

/// Runs a process in the container and returns when `execve` has happened.
///
/// The caller must be single-threaded.
///
/// # Errors
/// The first step that failed, in the child or here; `ESRCH` when the container's first process
/// has ended, and with it what there is to join.
pub fn exec(options: ExecOptions<'_>) -> Result<Exec> {
    let linux = options.spec.linux().as_ref();
    // A network namespace that was handed in as a descriptor does not stand in the
    // specification; joining the one that one is in already changes nothing.
    let kinds = Namespaces::plan(linux)?.all() | namespace::NET;
    let keyring = format!("{}.exec", options.container_pid);
    let seccomp = SeccompSource::new(!options.privileged, options.seccomp);
    let process = ProcessPlan::new(options.process, linux, &keyring, &options.asked, seccomp)?;
    let (stdio, terminal) = match options.stdio {
        Stdio::Fds(fds) => (Some(fds), None),
        Stdio::Terminal { rows, cols } => (None, Some((rows, cols))),
    };
    if let Some(fds) = &stdio {
        process.own_streams(fds, &id_maps(linux.and_then(|l| l.uid_mappings().as_ref())));
    }
    let given = Given { stdio, extra: options.extra_fds };
    let pidfd = options.pidfd.try_clone_to_owned();
    let pidfd = pidfd.context(Step::Prepare, || "cannot keep the pidfd")?;
    let spawn = Spawn {
        new: 0,
        join: if kinds == 0 { Vec::new() } else { vec![(pidfd, kinds)] },
        cgroup: options.cgroup,
        time_offsets: None,
        hidden: true,
        before_join: &|channel| {
            process.limit(channel)?;
            process.label()
        },
    };
    match spawn.run().map_err(|error| ended(error, options.container_pid, options.pidfd))? {
        Side::Child(channel) => {
            child::run_exec(process, given, terminal, kinds & namespace::USER != 0, channel)
        }
        Side::Parent(child) => {
            drop(given);
            follow(child)
        }
    }
}

/// What an error means when the container is ending: no process can be made any more in the pid
/// namespace of an init that is on its way out, for which the kernel says `ENOMEM`
/// (pid_namespaces(7)).
///
/// It cannot be waited for: it has not ended before all others in the namespace are reaped, and
/// the caller is the parent of some.
fn ended(error: Error, pid: i32, pidfd: BorrowedFd<'_>) -> Error {
    let maybe = error.step() == Step::Clone && error.errno() == Some(errno::ENOMEM);
    let readable = || sys::poll::readable_within(pidfd, Duration::ZERO).unwrap_or(false);
    // While its descriptor says nothing, the number is still that of the same process.
    let exiting = || Stat::of(pid).is_ok_and(|stat| stat.is_exiting());
    if !maybe || !(exiting() || readable()) {
        return error;
    }
    let what = "the container's first process has ended".to_owned();
    Error::Setup { step: Step::Clone, what, errno: Some(errno::ESRCH) }
}

fn follow(child: Child) -> Result<Exec> {
    let (mut console, mut warnings) = (None, Vec::new());
    let outcome = loop {
        let report = child.channel.report();
        match report.context(Step::Prepare, || "cannot hear from the new process") {
            Ok(Report::Closed) => break Ok(()),
            Ok(Report::Console(master)) => console = Some(master),
            Ok(Report::Warning(text)) => warnings.push(text),
            Ok(Report::Failed(error)) | Err(error) => break Err(error),
            Ok(_) => {}
        }
    };
    match outcome {
        Ok(()) => Ok(Exec { pid: child.pid, pidfd: child.pidfd, console, warnings }),
        Err(error) => {
            child.destroy();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use sys::process::{CloneOptions, Forked, clone3, pidfd_signal, wait_pidfd};

    use super::*;

    fn idle(namespaces: u64) -> std::io::Result<(i32, OwnedFd)> {
        match clone3(&CloneOptions { namespaces, ..CloneOptions::default() })? {
            Forked::Child => {
                std::thread::sleep(Duration::from_secs(300));
                sys::process::exit_now(0)
            }
            Forked::Parent { pid, pidfd } => Ok((pid, pidfd)),
        }
    }

    #[test]
    fn privileged_no_memory_means_an_init_on_its_way_out() {
        let (pid, init) = idle(namespace::PID).unwrap();
        namespace::join(&init, namespace::PID).unwrap();
        let (_, unreaped) = idle(0).unwrap();
        let what = |errno| {
            let error = Error::Setup { step: Step::Clone, what: String::new(), errno: Some(errno) };
            ended(error, pid, init.as_fd()).errno()
        };
        assert_eq!(what(errno::ENOMEM), Some(errno::ENOMEM), "it lives");
        pidfd_signal(&init, 9).unwrap();
        assert!(sys::poll::readable_within(&unreaped, Duration::from_secs(60)).unwrap());
        // It waits for the other, which waits for its parent.
        assert!(!sys::poll::readable_within(&init, Duration::ZERO).unwrap());
        assert_eq!(idle(0).unwrap_err().raw_os_error(), Some(errno::ENOMEM));
        assert_eq!(what(errno::ENOMEM), Some(errno::ESRCH));
        assert_eq!(what(errno::EAGAIN), Some(errno::EAGAIN));
        wait_pidfd(&unreaped).unwrap();
        wait_pidfd(&init).unwrap();
        assert_eq!(what(errno::ENOMEM), Some(errno::ESRCH));
    }
}
