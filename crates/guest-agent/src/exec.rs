//! One more process in the container.

use std::os::fd::{AsFd, OwnedFd};

use proto::guest::{Exec, Failure, Reply};
use runtime::{ExecOptions, failure};
use types::Error;

use crate::agent::{Agent, failure as plain, not_running};
use crate::container::{Container, identify, words};
use crate::streams::{self, Console};

/// A process that was executed in the container.
#[derive(Debug)]
pub(crate) struct ExecProcess {
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Dropped with this, and with it the slave that is kept open.
    pub(crate) console: Option<Console>,
}

impl Agent {
    pub(crate) fn find_exec(&self, id: &str) -> Result<&ExecProcess, Error> {
        let found = self.execs.iter().find(|exec| exec.id == id);
        found.ok_or_else(|| Error::not_found(format!("no such exec is running: {id}")))
    }

    pub(crate) fn exec(&mut self, exec: Exec) -> Result<Reply, Failure> {
        let Exec { id, mut process, user, streams, privileged, asked } = exec;
        let container = self.container.as_ref().filter(|container| container.is_running());
        let container = container.ok_or_else(|| plain(not_running()))?;
        let failed =
            |error| plain(Error::system(format!("the exec's streams cannot be made: {error}")));
        let root = sys::fs::Root::open_host(container.root_path());
        let root = root.map_err(|_| plain(not_running()))?;
        identify(&mut process, &root, &user).map_err(plain)?;
        drop(root);
        let (stdio, ends) = streams::make(streams).map_err(failed)?;
        let made = runtime::exec(options(container, &process, stdio, privileged, &asked));
        let made = made.map_err(|error| match error.errno() {
            // The container's first process has ended, and with it what an exec would join.
            Some(sys::errno::ESRCH) => plain(not_running()),
            _ => plain(failure::of_runtime(&error)),
        })?;
        let console = match streams::join(&mut self.link, streams, ends, made.console) {
            Ok(console) => console,
            Err(error) => {
                let _ = sys::process::pidfd_signal(&made.pidfd, sys::signal::SIGKILL);
                return Err(failed(error));
            }
        };
        let pid = made.pid;
        self.execs.push(ExecProcess { id, pid, pidfd: made.pidfd, console });
        Ok(Reply::ExecStarted { pid })
    }
}

fn options<'a>(
    container: &'a Container,
    process: &'a oci_spec::runtime::Process,
    stdio: runtime::Stdio,
    privileged: bool,
    asked: &proto::launch::Asked,
) -> ExecOptions<'a> {
    ExecOptions {
        container_pid: container.pid(),
        pidfd: container.pidfd.as_fd(),
        process,
        spec: &container.spec,
        stdio,
        cgroup: &container.cgroup,
        seccomp: container.filter.as_ref(),
        privileged,
        extra_fds: Vec::new(),
        asked: words(asked),
    }
}
