//! `exec`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

use super::args::Args;
use super::create::{preserved, send_fd, stdio, write_pid};
use super::state::{Container, Status};
use super::{Error, FileContext, Global, Result, wait};
use crate::{Asked, ExecOptions};

/// Phrase of runc's messages.
pub(super) const DURING: &str = "exec failed";

/// What a shell would end with.
pub(super) fn status_of(error: &crate::Error) -> i32 {
    match error {
        crate::Error::NotInPath { .. } | crate::Error::NoSuchProgram { .. } => 127,
        crate::Error::NotExecutable { .. } | crate::Error::Exec { .. } => 126,
        _ => 255,
    }
}

#[derive(Debug, Default)]
struct Options {
    id: String,
    args: Vec<String>,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    process: Option<PathBuf>,
    cwd: Option<String>,
    env: Vec<String>,
    tty: bool,
    user: Option<String>,
    groups: Vec<u32>,
    label: Option<String>,
    apparmor: Option<String>,
    no_new_privs: bool,
    caps: Vec<String>,
    detach: bool,
    preserved: Vec<OwnedFd>,
    ignore_paused: bool,
}

impl Options {
    fn parse(args: &mut Args) -> Result<Options> {
        let mut options = Options::default();
        let mut preserve_fds = 0;
        while let Some(option) = args.option()? {
            match option.as_str() {
                "--console-socket" => options.console_socket = Some(args.value()?.into()),
                "--pid-file" => options.pid_file = Some(args.value()?.into()),
                "--process" | "-p" => options.process = Some(args.value()?.into()),
                "--cwd" => options.cwd = Some(args.value()?),
                "--env" | "-e" => options.env.push(args.value()?),
                "--tty" | "-t" => options.tty = args.flag()?,
                "--user" | "-u" => options.user = Some(args.value()?),
                "--additional-gids" | "-g" => options.groups.push(args.number()?),
                "--process-label" => options.label = Some(args.value()?),
                "--apparmor" => options.apparmor = Some(args.value()?),
                "--no-new-privs" => options.no_new_privs = args.flag()?,
                "--cap" | "-c" => options.caps.push(args.value()?),
                "--detach" | "-d" => options.detach = args.flag()?,
                "--preserve-fds" => preserve_fds = args.number()?,
                "--ignore-paused" => options.ignore_paused = args.flag()?,
                "--no-subreaper" => drop(args.flag()?),
                "--cgroup" => {
                    return Err(Error::Usage("exec into a sub-cgroup is not supported".into()));
                }
                other => return Err(args.unknown(other)),
            }
        }
        // Now, while the numbers from 3 on are not taken by our own.
        options.preserved = preserved(preserve_fds)?;
        options.id = args.id()?;
        options.args = args.words();
        if options.args.is_empty() && options.process.is_none() {
            return Err(Error::Usage("process args cannot be empty".into()));
        }
        Ok(options)
    }

    /// The process that is meant: from a file, or the container's own with changes.
    fn process(&self, spec: &Spec) -> Result<Process> {
        let what = || "process".to_owned();
        let json_error = |source| Error::Json { what: what(), source };
        let mut process: Value = match &self.process {
            Some(path) => {
                let text =
                    std::fs::read(path).file(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&text).map_err(json_error)?
            }
            None => {
                let mut own = serde_json::to_value(spec.process()).map_err(json_error)?;
                own["args"] = json!(self.args);
                own["terminal"] = json!(false);
                own
            }
        };
        if let Some(cwd) = &self.cwd {
            process["cwd"] = json!(cwd);
        }
        if self.tty {
            process["terminal"] = json!(true);
        }
        for (key, value) in [("apparmorProfile", &self.apparmor), ("selinuxLabel", &self.label)] {
            if let Some(value) = value {
                process[key] = json!(value);
            }
        }
        if self.no_new_privs {
            process["noNewPrivileges"] = json!(true);
        }
        if !self.env.is_empty() {
            let mut env = process["env"].as_array().cloned().unwrap_or_default();
            env.extend(self.env.iter().map(|text| json!(text)));
            process["env"] = env.into();
        }
        if let Some(user) = &self.user {
            process["user"] = user_of(user)?;
        }
        if !self.groups.is_empty() {
            process["user"]["additionalGids"] = json!(self.groups);
        }
        if !self.caps.is_empty() {
            for set in ["bounding", "effective", "permitted"] {
                let mut caps = process["capabilities"][set].as_array().cloned().unwrap_or_default();
                caps.extend(self.caps.iter().map(|cap| json!(cap)));
                process["capabilities"][set] = caps.into();
            }
        }
        serde_json::from_value(process).map_err(json_error)
    }
}

/// `uid[:gid]`, numbers.
fn user_of(text: &str) -> Result<Value> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    match (uid.parse::<u32>(), gid.parse::<u32>()) {
        (Ok(uid), Ok(gid)) => Ok(json!({"uid": uid, "gid": gid})),
        _ => Err(Error::Usage(format!("user must be uid or uid:gid in numbers, not {text:?}"))),
    }
}

/// `exec`.
pub(super) fn exec(args: &mut Args, global: &mut Global) -> Result<i32> {
    use std::os::fd::AsFd;
    let mut options = Options::parse(args)?;
    let container = Container::load(global, &options.id)?;
    match container.status() {
        Status::Stopped => {
            return Err(Error::State("cannot exec in a stopped container".into()));
        }
        Status::Paused if !options.ignore_paused => {
            return Err(Error::State(
                "cannot exec in a paused container (use --ignore-paused to override)".into(),
            ));
        }
        _ => {}
    }
    let Some(init) = container.init() else {
        return Err(Error::State("cannot exec in a stopped container".into()));
    };
    let spec = container.spec()?;
    let process = options.process(&spec)?;
    let terminal = process
        .terminal()
        .unwrap_or(false)
        .then(|| process.console_size().map_or((0, 0), |s| (s.height() as u16, s.width() as u16)));
    if terminal.is_some() && options.console_socket.is_none() && options.detach {
        return Err(Error::Usage(
            "cannot allocate tty if the process is detached without setting console socket".into(),
        ));
    }
    let foreground = (!options.detach).then(wait::Foreground::new).transpose();
    let foreground = foreground.file(|| "cannot watch for signals".into())?;
    let cgroup = container.cgroup()?;
    let exec = crate::exec(ExecOptions {
        container_pid: container.record.init_process_pid,
        pidfd: init.as_fd(),
        process: &process,
        spec: &spec,
        stdio: stdio(terminal)?,
        cgroup: &cgroup,
        seccomp: None,
        privileged: false,
        extra_fds: std::mem::take(&mut options.preserved),
        asked: Asked::default(),
    })
    .map_err(|source| Error::Start { during: DURING, source })?;
    for warning in &exec.warnings {
        global.log.warning(warning);
    }
    let console = match (&options.console_socket, exec.console) {
        (Some(path), Some(master)) => {
            send_fd(path, &master)?;
            None
        }
        (_, console) => console,
    };
    if let Some(path) = &options.pid_file {
        write_pid(path, exec.pid)?;
    }
    match foreground {
        Some(foreground) => Ok(foreground.follow(&exec.pidfd, console)),
        None => Ok(0),
    }
}
