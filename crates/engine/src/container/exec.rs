//! Further processes in running containers.

use std::sync::{Arc, Mutex};

use oci_spec::runtime::Process;
use proto::control::{Attach, Exec as ExecOrder, Reply, Request};
use proto::launch::{Asked, WindowSize};
use tokio::sync::watch;
use types::state::Status;
use types::{ContainerId, Error};

use super::attach::{Attached, stream};
use super::{Container, names};
use crate::Engine;
use crate::spec::{process, security, users};

/// Finished execs that a container remembers.
const FINISHED: usize = 64;

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    progress: Mutex<ExecProgress>,
    pub(crate) done: watch::Sender<Option<i32>>,
}

#[derive(Clone, Copy, Debug, Default)]
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
    pub fn exec_create(&self, reference: &str, config: ExecConfig) -> Result<String, Error> {
        let container = self.containers.find(reference)?;
        if config.cmd.is_empty() || config.cmd[0].is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        for variable in &config.env {
            if variable.is_empty() || variable.starts_with('=') {
                return Err(Error::invalid(format!("invalid environment variable: {variable}")));
            }
        }
        check_ready(&container)?;
        let id = names::id()?.to_string();
        let line = format!("exec_create: {}", config.cmd.join(" "));
        let exec = Arc::new(Exec {
            id: id.clone(),
            container: container.id.clone(),
            config,
            progress: Mutex::new(ExecProgress::default()),
            done: watch::Sender::new(None),
        });
        crate::lock(&self.execs).insert(id.clone(), exec);
        crate::lock(&container.execs).push(id.clone());
        self.tell_container(&container, &line, &[("execID", &id)]);
        Ok(id)
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
        check_ready(&container)?;
        {
            let mut progress = crate::lock(&exec.progress);
            if progress.started {
                return Err(started(&exec));
            }
            progress.started = true;
        }
        let line = format!("exec_start: {}", exec.config.cmd.join(" "));
        self.tell_container(&container, &line, &[("execID", id)]);
        let attached = self.exec_run(&container, &exec, detach, console_size).await;
        if let Err(error) = &attached {
            let code =
                if error.message.contains("not found") || error.message.contains("no such file") {
                    127
                } else {
                    126
                };
            self.exec_ended(&container, id, code);
        }
        attached
    }

    async fn exec_run(
        &self,
        container: &Arc<Container>,
        exec: &Arc<Exec>,
        detach: bool,
        console_size: Option<[u32; 2]>,
    ) -> Result<Option<Attached>, Error> {
        let live = container.running()?;
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
        };
        match live.link.ask(Request::Exec(Box::new(order)), theirs).await? {
            Reply::ExecStarted { pid } => crate::lock(&exec.progress).pid = pid,
            other => {
                return Err(Error::system(format!("the monitor answered an exec with {other:?}")));
            }
        }
        Ok(ours.map(|stream| Attached { stream, tty: config.tty }))
    }

    /// The process of an exec: the container's, with what the exec says over it.
    fn exec_process(
        &self,
        container: &Container,
        config: &ExecConfig,
        size: [u32; 2],
    ) -> Result<Process, Error> {
        let record = container.record().clone();
        let path = format!("/proc/{}/root", record.state.pid);
        let root = sys::fs::Root::open_host(&path)
            .map_err(|_| Error::conflict(format!("container {} is not running", container.id)))?;
        let wanted = if config.user.is_empty() { &record.config.user } else { &config.user };
        let user = users::resolve(root.into_fd(), wanted, &record.host.group_add)?;
        let set = if config.privileged {
            self.available
        } else {
            security::privileges(&record.host, self.available)?.set
        };
        let options = security::Options::parse(&record.host.security_opt)?;
        let mut environment =
            vec![process::PATH.to_owned(), format!("HOSTNAME={}", record.config.hostname)];
        if config.tty {
            environment.push("TERM=xterm".to_owned());
        }
        let environment = process::overlay(environment, &record.config.env);
        let environment = process::with_home(process::overlay(environment, &config.env), &user);
        let directory = [&config.working_dir, &record.config.working_dir]
            .into_iter()
            .find(|directory| !directory.is_empty())
            .map_or("/", String::as_str);
        let no_new_privileges = options.no_new_privileges.unwrap_or(self.config.no_new_privileges)
            && !config.privileged;
        let mut made = Process::default();
        made.set_terminal(Some(config.tty))
            .set_console_size(process::console_size(size))
            .set_user(process::user(&user))
            .set_args(Some(config.cmd.clone()))
            .set_env(Some(environment))
            .set_cwd(directory.into())
            .set_capabilities(Some(security::capabilities(
                set,
                user.uid != 0 && !config.privileged,
                config.privileged,
            )?))
            .set_rlimits(Some(process::rlimits(
                &self.config.ulimits,
                &record.host.resources.ulimits,
            )?))
            .set_no_new_privileges(Some(no_new_privileges))
            .set_apparmor_profile(options.apparmor)
            .set_selinux_label(options.process_label);
        Ok(made)
    }

    /// Notes the end of an exec.
    pub(crate) fn exec_ended(&self, container: &Container, id: &str, exit_code: i32) {
        // A health probe's exec is not in the table.
        let Ok(exec) = self.exec(id) else { return };
        exec.done.send_replace(Some(exit_code));
        let code = exit_code.to_string();
        self.tell_container(container, "exec_die", &[("execID", id), ("exitCode", &code)]);
        let mut known = crate::lock(&container.execs);
        let finished: Vec<String> = known
            .iter()
            .filter(|id| self.exec(id).is_ok_and(|exec| exec.done.borrow().is_some()))
            .cloned()
            .collect();
        let old = finished.len().saturating_sub(FINISHED);
        for id in &finished[..old] {
            known.retain(|other| other != id);
            crate::lock(&self.execs).remove(id);
        }
    }

    /// A container's end is the end of its execs; those that ran got SIGKILL.
    pub(crate) fn forget_execs(&self, container: &Container) {
        let known = std::mem::take(&mut *crate::lock(&container.execs));
        for id in known {
            if let Some(exec) = crate::lock(&self.execs).get(&id) {
                exec.done.send_if_modified(|code| {
                    let open = code.is_none();
                    code.get_or_insert(137);
                    open
                });
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
    pub fn exec_ready(&self, id: &str) -> Result<(), Error> {
        let exec = self.exec(id)?;
        check_ready(&*self.containers.find(exec.container.as_str())?)?;
        if crate::lock(&exec.progress).started {
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
        let progress = *crate::lock(&exec.progress);
        let exit_code = *exec.done.borrow();
        Ok(ExecState {
            id: exec.id.clone(),
            container: exec.container.clone(),
            config: exec.config.clone(),
            running: progress.started && exit_code.is_none() && progress.pid != 0,
            pid: progress.pid,
            exit_code,
        })
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Conflict`] when it does not run.
    pub async fn exec_resize(&self, id: &str, rows: u16, cols: u16) -> Result<(), Error> {
        let exec = self.exec(id)?;
        let container = self.containers.find(exec.container.as_str())?;
        let request =
            Request::Resize { exec: Some(id.to_owned()), size: WindowSize { rows, cols } };
        container.running()?.link.ask(request, None).await?;
        Ok(())
    }
}

/// Why an exec cannot be started a second time.
fn started(exec: &Exec) -> Error {
    let ended = exec.done.borrow().is_some();
    let what = if ended { "has already run" } else { "is already running" };
    Error::conflict(format!("exec {} {what}", exec.id))
}

/// Whether something can be run in a container now.
fn check_ready(container: &Container) -> Result<(), Error> {
    match container.record().state.status {
        Status::Running => Ok(()),
        Status::Paused => Err(Error::conflict(format!(
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

impl Engine {
    /// Runs a probe and collects its output; an exec that clients do not see.
    pub(crate) async fn probe(
        &self,
        container: &Arc<Container>,
        cmd: Vec<String>,
        limit: usize,
    ) -> Result<Probe, Error> {
        use tokio::io::AsyncReadExt;
        let live = container.running()?;
        let config = ExecConfig { cmd, ..ExecConfig::default() };
        let process = self.exec_process(container, &config, [0, 0])?;
        let id = names::id()?.to_string();
        let exec = Arc::new(Exec {
            id: id.clone(),
            container: container.id.clone(),
            config,
            progress: Mutex::new(ExecProgress { started: true, pid: 0 }),
            done: watch::Sender::new(None),
        });
        let mut done = exec.done.subscribe();
        crate::lock(&self.execs).insert(id.clone(), exec);
        crate::lock(&container.execs).push(id.clone());
        let (mut ours, theirs) = stream()?;
        let order = ExecOrder {
            id: id.clone(),
            process,
            attach: Attach { stdin: false, stdout: true, stderr: true },
            privileged: false,
            asked: Asked::default(),
        };
        live.link.ask(Request::Exec(Box::new(order)), Some(theirs)).await?;
        let guard = ProbeGuard { engine: self.clone(), link: live.link, id, finished: false };
        let mut frames = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count) = ours.read(&mut chunk).await {
            if count == 0 {
                break;
            }
            // What is over the limit is read and thrown away, so that the probe can go on.
            if frames.len() < 4 * limit {
                frames.extend_from_slice(&chunk[..count]);
            }
        }
        let code = done.wait_for(Option::is_some).await.ok().and_then(|code| *code);
        let mut guard = guard;
        guard.finished = true;
        Ok(Probe { code: code.unwrap_or(-1), output: unframe(&frames, limit) })
    }
}

/// What a probe said.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// Kills a probe that nobody waits for any more.
struct ProbeGuard {
    engine: Engine,
    link: Arc<crate::link::Link>,
    id: String,
    finished: bool,
}

impl Drop for ProbeGuard {
    fn drop(&mut self) {
        let id = std::mem::take(&mut self.id);
        crate::lock(&self.engine.execs).remove(&id);
        if !self.finished {
            let link = Arc::clone(&self.link);
            tokio::spawn(async move {
                // It may just have ended by itself.
                drop(link.ask(Request::SignalExec { exec: id, signal: 9 }, None).await);
            });
        }
    }
}

/// The bytes of a multiplexed stream, at most `limit`.
fn unframe(mut frames: &[u8], limit: usize) -> String {
    let mut bytes = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body = &rest[..length.min(rest.len())];
        bytes.extend_from_slice(body);
        frames = &rest[body.len()..];
    }
    bytes.truncate(limit);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart() {
        let mut frames = vec![1, 0, 0, 0, 0, 0, 0, 2];
        frames.extend(b"ok");
        frames.extend([2, 0, 0, 0, 0, 0, 0, 3]);
        frames.extend(b"not");
        assert_eq!(unframe(&frames, 100), "oknot");
        assert_eq!(unframe(&frames, 3), "okn");
        assert_eq!(unframe(&frames[..9], 100), "o", "a cut stream is no reason to panic");
    }
}
