//! One more process in a running container.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use oci_spec::runtime::{Process, Spec};

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

/// How long an init takes from its last instruction until it has ended, its children with it.
const LAST_BREATH: Duration = Duration::from_millis(500);

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
    match spawn.run().map_err(|error| ended(error, options.pidfd))? {
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
fn ended(error: Error, pidfd: BorrowedFd<'_>) -> Error {
    let maybe = error.step() == Step::Clone && error.errno() == Some(errno::ENOMEM);
    if !maybe || !sys::poll::readable_within(pidfd, LAST_BREATH).unwrap_or(false) {
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
