//! Further processes in running containers.

pub(crate) mod probe;
mod process;
mod saved;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::control::{Attach, Exec as ExecOrder, Reply, Request};
use proto::launch::{Asked, WindowSize};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use types::state::Status;
use types::{ContainerId, Error};

use super::attach::{Attached, stream};
use super::start::machine::exec_user;
use super::{Container, names};
use crate::{Engine, to_the_end};

/// How long to wait for an exec to start that is to be resized (as dockerd).
const READY: Duration = Duration::from_secs(10);

/// Finished execs that a container remembers.
const FINISHED: usize = 64;

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecConfig {
    /// Connect standard input.
    pub attach_stdin: bool,
    /// Connect standard output.
    pub attach_stdout: bool,
    /// Connect standard error.
    pub attach_stderr: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// The command line.
    pub cmd: Vec<String>,
    /// Variables over the container's.
    pub env: Vec<String>,
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// Working directory; empty: the container's.
    pub working_dir: String,
    /// With all capabilities.
    pub privileged: bool,
    /// Keys that detach the client; only remembered.
    pub detach_keys: String,
    /// The terminal's first size: rows, columns.
    pub console_size: [u32; 2],
}

/// What is known of an exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecState {
    /// Its id.
    pub id: String,
    /// The container's id.
    pub container: ContainerId,
    /// What it runs.
    pub config: ExecConfig,
    /// It has been started and has not ended.
    pub running: bool,
    /// Its process on the host; 0 before the start.
    pub pid: i32,
    /// Its exit status, once it has one.
    pub exit_code: Option<i32>,
}

/// An exec in the engine's memory.
#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    container: ContainerId,
    config: ExecConfig,
    progress: watch::Sender<ExecProgress>,
    pub(crate) done: watch::Sender<Option<i32>>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct ExecProgress {
    started: bool,
    pid: i32,
}

impl Exec {
    /// The container's id.
    pub(crate) fn container(&self) -> &ContainerId {
        &self.container
    }
}

impl Engine {
    /// Prepares an exec in a running container.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when the container does not run or is paused.
    pub async fn exec_create(&self, reference: &str, config: ExecConfig) -> Result<String, Error> {
        let container = self.containers.find(reference)?;
        if config.cmd.is_empty() || config.cmd[0].is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        container.refuse_whole("running a command in it")?;
        check_ready(&container).await?;
        for variable in &config.env {
            if variable.is_empty() || variable.starts_with('=') {
                return Err(Error::invalid(format!("invalid environment variable: {variable}")));
            }
        }
        let exec = self.new_exec(&container, config)?;
        self.save_exec(&container, &exec, true);
        Ok(exec.id.clone())
    }

    /// Makes an exec known.
    fn new_exec(&self, container: &Container, config: ExecConfig) -> Result<Arc<Exec>, Error> {
        let id = names::id()?.to_string();
        let line = format!("exec_create: {}", line(&config));
        let exec = Arc::new(Exec {
            id: id.clone(),
            container: container.id.clone(),
            config,
            progress: watch::Sender::new(ExecProgress::default()),
            done: watch::Sender::new(None),
        });
        self.know_exec(container, &exec);
        self.tell_container(container, &line, &[("execID", &id)]);
        Ok(exec)
    }

    fn know_exec(&self, container: &Container, exec: &Arc<Exec>) {
        crate::lock(&self.execs).insert(exec.id.clone(), Arc::clone(exec));
        crate::lock(&container.execs).push(exec.id.clone());
    }

    /// Forgets an exec that nobody will ask for any more.
    fn drop_exec(&self, container: &Container, id: &str) {
        crate::lock(&container.execs).retain(|other| other != id);
        crate::lock(&self.execs).remove(id);
    }

    /// Tells that an exec starts; only one may.
    fn begin_exec(&self, container: &Container, exec: &Exec) -> Result<(), Error> {
        let first = exec.progress.send_if_modified(|progress| {
            let first = !progress.started;
            progress.started = true;
            first
        });
        if !first {
            return Err(started(exec));
        }
        let line = format!("exec_start: {}", line(&exec.config));
        self.tell_container(container, &line, &[("execID", &exec.id)]);
        Ok(())
    }

    pub(crate) fn exec(&self, id: &str) -> Result<Arc<Exec>, Error> {
        let execs = crate::lock(&self.execs);
        let found = execs.get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    /// Starts an exec; unless `detach`, comes back with its stream.
    ///
    /// `console_size` overrides the size given at its creation.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] when it has been started before or the container does not
    /// run; [`types::ErrorKind::Invalid`] when the command cannot be executed.
    pub async fn exec_start(
        &self,
        id: &str,
        detach: bool,
        console_size: Option<[u32; 2]>,
    ) -> Result<Option<Attached>, Error> {
        let exec = self.exec(id)?;
        let container = self.containers.find(exec.container.as_str())?;
        check_ready(&container).await?;
        self.begin_exec(&container, &exec)?;
        self.save_exec(&container, &exec, false);
        let engine = self.clone();
        to_the_end(async move {
            let attached = engine.exec_run(&container, &exec, detach, console_size).await;
            if let Err(error) = &attached {
                let missing =
                    error.message.contains("not found") || error.message.contains("no such file");
                engine.exec_ended(&container, &exec.id, if missing { 127 } else { 126 });
            }
            attached
        })
        .await
    }

    async fn exec_run(
        &self,
        container: &Arc<Container>,
        exec: &Arc<Exec>,
        detach: bool,
        console_size: Option<[u32; 2]>,
    ) -> Result<Option<Attached>, Error> {
        let size = console_size.unwrap_or(exec.config.console_size);
        let process = self.exec_process(container, &exec.config, size)?;
        let (ours, theirs) =
            if detach { (None, None) } else { stream().map(|(a, b)| (Some(a), Some(b)))? };
        let config = &exec.config;
        let order = ExecOrder {
            id: exec.id.clone(),
            process,
            attach: Attach {
                stdin: config.attach_stdin && !detach,
                stdout: config.attach_stdout && !detach,
                stderr: config.attach_stderr && !detach,
            },
            privileged: config.privileged,
            asked: Asked::default(),
            user: exec_user(&container.record(), &config.user, config.privileged),
        };
        match container.ask(Request::Exec(Box::new(order)), theirs).await? {
            Reply::ExecStarted { pid } => exec.progress.send_modify(|now| now.pid = pid),
            other => {
                return Err(Error::system(format!("the monitor answered an exec with {other:?}")));
            }
        }
        Ok(ours.map(|stream| Attached { stream, tty: config.tty }))
    }

    /// Notes the end of an exec.
    pub(crate) fn exec_ended(&self, container: &Container, id: &str, exit_code: i32) {
        // A probe that has been given up is not in the table any more.
        let Ok(exec) = self.exec(id) else { return };
        // In the order in which they end, for the oldest end is forgotten first.
        {
            let mut execs = crate::lock(&container.execs);
            if exec.done.borrow().is_none()
                && let Some(at) = execs.iter().position(|known| known == id)
            {
                let id = execs.remove(at);
                execs.push(id);
            }
        }
        let first = exec.done.send_if_modified(|code| {
            let first = code.is_none();
            code.get_or_insert(exit_code);
            first
        });
        if !first {
            return;
        }
        self.save_exec(container, &exec, false);
        let code = exit_code.to_string();
        self.tell_container(container, "exec_die", &[("execID", id), ("exitCode", &code)]);
        let known = crate::lock(&container.execs).clone();
        let finished: Vec<&String> = known
            .iter()
            .filter(|id| self.exec(id).is_ok_and(|exec| exec.done.borrow().is_some()))
            .collect();
        let old = finished.len().saturating_sub(FINISHED);
        for id in &finished[..old] {
            self.drop_exec(container, id);
        }
        if old > 0 {
            self.shorten_exec_journal(container);
        }
    }

    /// A container's end is the end of its execs; those that ran got SIGKILL.
    pub(crate) fn forget_execs(&self, container: &Container) {
        let known = std::mem::take(&mut *crate::lock(&container.execs));
        for id in known {
            let Ok(exec) = self.exec(&id) else { continue };
            if exec.progress.borrow().started {
                self.exec_ended(container, &id, 137);
            }
            // Its status can still be asked for, until the engine ends.
            if crate::lock(&self.execs).len() > 16 * FINISHED {
                crate::lock(&self.execs).remove(&id);
            }
        }
    }

    /// Whether an exec can be started now, as far as can be known beforehand.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Conflict`] when it has been started before or the container
    /// does not run.
    pub async fn exec_ready(&self, id: &str) -> Result<(), Error> {
        let exec = self.exec(id)?;
        check_ready(&*self.containers.find(exec.container.as_str())?).await?;
        if exec.progress.borrow().started {
            return Err(started(&exec));
        }
        Ok(())
    }

    /// Waits until an exec has ended; its exit status.
    ///
    /// # Errors
    /// Not found.
    pub async fn exec_wait(&self, id: &str) -> Result<i32, Error> {
        let mut done = self.exec(id)?.done.subscribe();
        let gone = |_| Error::not_found(format!("No such exec instance: {id}"));
        let code = done.wait_for(Option::is_some).await.map_err(gone)?;
        Ok(code.unwrap_or_default())
    }

    /// What is known of an exec.
    ///
    /// # Errors
    /// Not found.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecState, Error> {
        let exec = self.exec(id)?;
        let progress = *exec.progress.borrow();
        let exit_code = *exec.done.borrow();
        Ok(ExecState {
            id: exec.id.clone(),
            container: exec.container.clone(),
            config: exec.config.clone(),
            // Also before it has a process: clients wait for the end of what does not run no more.
            running: progress.started && exit_code.is_none(),
            pid: progress.pid,
            exit_code,
        })
    }

    /// Sets the size of an exec's terminal, as soon as it has one: clients ask for that while
    /// their start is on its way.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Conflict`] when it does not run.
    pub async fn exec_resize(&self, id: &str, rows: u16, cols: u16) -> Result<(), Error> {
        let exec = self.exec(id)?;
        let container = self.containers.find(exec.container.as_str())?;
        let (mut progress, mut done) = (exec.progress.subscribe(), exec.done.subscribe());
        let ready = async {
            tokio::select! {
                _ = progress.wait_for(|now| now.pid != 0) => {}
                _ = done.wait_for(Option::is_some) => {}
            }
        };
        if tokio::time::timeout(READY, ready).await.is_err() {
            return Err(Error::system("timeout waiting for exec session ready"));
        }
        let request =
            Request::Resize { exec: Some(id.to_owned()), size: WindowSize { rows, cols } };
        container.ask(request, None).await?;
        Ok(())
    }
}

/// The command line in events: Docker's has a space behind a program without arguments.
fn line(config: &ExecConfig) -> String {
    let arguments = config.cmd.get(1..).unwrap_or_default().join(" ");
    format!("{} {arguments}", config.cmd.first().map_or("", String::as_str))
}

/// Why an exec cannot be started a second time.
fn started(exec: &Exec) -> Error {
    let ended = exec.done.borrow().is_some();
    let what = if ended { "has already run" } else { "is already running" };
    Error::conflict(format!("exec {} {what}", exec.id))
}

/// Whether something can be run in a container now.
async fn check_ready(container: &Container) -> Result<(), Error> {
    container.settled().await;
    let status = container.record().state.status;
    match status {
        Status::Running if !container.frozen.load(Ordering::SeqCst) => Ok(()),
        Status::Running | Status::Paused => Err(Error::conflict(format!(
            "container {} is paused, unpause the container before exec",
            container.id
        ))),
        Status::Restarting => Err(Error::conflict(format!(
            "container {} is restarting, wait until the container is running",
            container.id
        ))),
        _ => Err(Error::conflict(format!("container {} is not running", container.id))),
    }
}
