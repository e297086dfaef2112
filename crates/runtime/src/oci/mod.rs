//! The OCI runtime command line: `isopod oci create|start|run|state|kill|delete|exec|…`, with
//! runc's flags and output, for containerd, CRI-O, podman and conmon.
//!
//! ```text
//! <root>/<id>/
//!   state.json      what `state` and `list` show, the cgroup, the init's pid and start time
//!   config.json     the specification as it was at `create`
//!   start.sock      the init listens here between `create` and `start`; then it is removed
//! ```
//!
//! `create` leaves the init listening on `start.sock`, just before its `execve`; `start` connects,
//! orders it to go on, and hears over the same connection whether the `execve` worked.

mod args;
mod create;
mod exec;
mod features;
mod lifecycle;
mod log;
mod processes;
mod spec;
mod state;
mod time;
mod update;
mod wait;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use thiserror::Error as ThisError;

use args::Args;
use log::Log;

/// Where containers' states are kept unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/isopod/oci";

/// What a command may end with instead of success.
#[derive(Debug, ThisError)]
pub(crate) enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// There is no such container.
    #[error("container does not exist: {0}")]
    NoContainer(String),
    /// There is one already.
    #[error("container with id exists: {0}")]
    Exists(String),
    /// The container is in the wrong state for the command.
    #[error("{0}")]
    State(String),
    /// The runtime failed; `during` is runc's phrase for the command.
    #[error("{during}: unable to start container process: {source}")]
    Start {
        /// `create failed`, `exec failed`.
        during: &'static str,
        /// Why.
        source: crate::Error,
    },
    /// The runtime failed otherwise.
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    /// A cgroup operation failed.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    File {
        /// What was done to which file.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A JSON document does not say what it should.
    #[error("{what}: {source}")]
    Json {
        /// Which.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was done to which file.
pub(crate) trait FileContext<T> {
    fn file(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn file(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::File { what: what(), source })
    }
}

/// The options before the command.
#[derive(Debug)]
pub(crate) struct Global {
    /// Where the states are.
    pub root: PathBuf,
    /// Use systemd's cgroups.
    pub systemd_cgroup: bool,
    /// Where to tell what went wrong.
    pub log: Log,
}

const USAGE: &str = "usage: isopod oci [--root DIR] [--log FILE] [--log-format text|json] \
[--systemd-cgroup] COMMAND [OPTIONS] [ID] …

commands:
  create    make a container from a bundle; it waits for start
  start     execute the process of a container that was created
  run       create and start
  state     show a container's state as JSON
  kill      send a signal to a container's init
  delete    remove what a stopped container has left
  exec      run one more process in a container
  ps        show the processes of a container
  pause     freeze a container
  resume    let it go on
  update    change a container's limits
  list      show all containers
  spec      write an example config.json
  features  show what this runtime can do, as JSON
";

/// Runs a command line (without the program's name and `oci`) and returns the exit status.
pub fn main(args: Vec<OsString>) -> i32 {
    let mut args = Args::new(args);
    let mut global =
        Global { root: DEFAULT_ROOT.into(), systemd_cgroup: false, log: Log::default() };
    let outcome = run(&mut args, &mut global);
    match outcome {
        Ok(status) => status,
        Err(error) => {
            global.log.error(&error.to_string());
            eprintln!("isopod oci: {error}");
            match error {
                // What `exec` cannot execute is told by the status as well, as in a shell.
                Error::Start { during: exec::DURING, source } => exec::status_of(&source),
                _ => 1,
            }
        }
    }
}

fn run(args: &mut Args, global: &mut Global) -> Result<i32> {
    // From now on the container cannot overwrite our program through /proc (CVE-2019-5736).
    // Without the rights for it nothing of what follows will work either, and says so better.
    let _ = sys::process::reexec_read_only();
    while let Some(option) = args.option()? {
        match option.as_str() {
            "--root" => global.root = args.value()?.into(),
            "--log" => global.log.append_to(args.value()?.as_ref()),
            "--log-format" => global.log.json = args.value()? == "json",
            "--systemd-cgroup" => global.systemd_cgroup = args.flag()?,
            "--debug" => global.log.debug = args.flag()?,
            "--rootless" | "--criu" => drop(args.value()?),
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(0);
            }
            "--version" | "-v" => {
                println!("isopod version {}", env!("CARGO_PKG_VERSION"));
                println!("spec: {}", features::OCI_VERSION);
                return Ok(0);
            }
            other => return Err(args.unknown(other)),
        }
    }
    let command = args.word().ok_or_else(|| Error::Usage(USAGE.into()))?;
    match command.as_str() {
        "create" => create::create(args, global),
        "run" => create::run(args, global),
        "start" => lifecycle::start(args, global),
        "state" => lifecycle::state(args, global),
        "kill" => lifecycle::kill(args, global),
        "delete" => lifecycle::delete(args, global),
        "pause" => lifecycle::freeze(args, global, true),
        "resume" => lifecycle::freeze(args, global, false),
        "exec" => exec::exec(args, global),
        "ps" => processes::ps(args, global),
        "list" => processes::list(args, global),
        "update" => update::update(args, global),
        "features" => features::features(args),
        "spec" => spec::spec(args),
        "checkpoint" | "restore" | "events" => Err(Error::Usage(format!(
            "{command} is not supported: see `isopod oci features` for what is"
        ))),
        other => Err(Error::Usage(format!("unknown command {other:?}\n{USAGE}"))),
    }
}
