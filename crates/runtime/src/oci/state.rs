//! A container's directory and what is in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sys::process::Stat;

use super::{Error, FileContext, Global, Result};
use crate::cgroup::{Cgroup, Driver, Layout};

/// The contents of `state.json`; the names are those that runc has for the same things.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The container's id.
    pub id: String,
    /// Specification version of `config.json`.
    pub oci_version: String,
    /// The init in the pid namespace of whoever created it.
    pub init_process_pid: i32,
    /// Its start time in clock ticks since boot: tells it from a later process of the same number.
    pub init_process_start: u64,
    /// When it was created.
    pub created: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The root file system's directory.
    pub rootfs: PathBuf,
    /// Its cgroup below each hierarchy.
    pub cgroup_path: String,
    /// systemd made it.
    pub systemd_cgroup: bool,
    /// Annotations of the specification.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container that has a directory.
#[derive(Debug)]
pub(crate) struct Container {
    dir: PathBuf,
    pub record: Record,
}

impl Container {
    /// Finds a container by its id.
    pub(crate) fn load(global: &Global, id: &str) -> Result<Container> {
        let dir = global.root.join(id);
        let path = dir.join("state.json");
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoContainer(id.to_owned()));
            }
            other => other.file(|| format!("cannot read {}", path.display()))?,
        };
        let record = serde_json::from_slice(&text)
            .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        Ok(Container { dir, record })
    }

    /// The specification as it was at `create`.
    pub(crate) fn spec(&self) -> Result<Spec> {
        read_spec(&self.dir.join("config.json"))
    }

    /// The cgroup.
    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        let driver = driver(self.record.systemd_cgroup);
        Ok(Cgroup::open(&Layout::probe()?, &self.record.cgroup_path, driver)?)
    }

    /// A pidfd of the init, if that still lives.
    pub(crate) fn init(&self) -> Option<OwnedFd> {
        let pidfd = sys::process::pidfd_open(self.record.init_process_pid).ok()?;
        // After the pidfd is open the number cannot be taken by another any more.
        let alive = start_time(self.record.init_process_pid)
            .is_some_and(|start| start == self.record.init_process_start);
        alive.then_some(pidfd)
    }

    /// What it is doing.
    pub(crate) fn status(&self) -> Status {
        if self.init().is_none() {
            return Status::Stopped;
        }
        if self.cgroup().is_ok_and(|cgroup| cgroup.frozen().unwrap_or(false)) {
            return Status::Paused;
        }
        match self.gate_path().exists() {
            true => Status::Created,
            false => Status::Running,
        }
    }

    /// What `state` prints.
    pub(crate) fn state(&self) -> Value {
        let status = self.status();
        let record = &self.record;
        let pid = if status == Status::Stopped { 0 } else { record.init_process_pid };
        let mut state = json!({
            "ociVersion": record.oci_version,
            "id": record.id,
            "pid": pid,
            "status": status.name(),
            "bundle": record.bundle,
            "rootfs": record.rootfs,
            "created": record.created,
            "owner": "",
        });
        if !record.annotations.is_empty() {
            state["annotations"] = json!(record.annotations);
        }
        state
    }

    /// Where the init waits for its start.
    pub(crate) fn gate_path(&self) -> PathBuf {
        self.dir.join("start.sock")
    }

    /// Connects to the init that waits for its start.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        // Through the directory's descriptor: the path may be longer than a socket's may.
        let dir = File::open(&self.dir)?;
        sys::socket::connect(format!("/proc/self/fd/{}/start.sock", dir.as_raw_fd()))
    }

    /// Removes the directory.
    pub(crate) fn forget(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.file(|| format!("cannot remove {}", self.dir.display())),
        }
    }
}

/// A directory for a container that is being made; it goes unless the container is.
#[derive(Debug)]
pub(crate) struct NewDir {
    path: PathBuf,
    kept: bool,
}

impl NewDir {
    /// Takes the id.
    pub(crate) fn claim(global: &Global, id: &str) -> Result<NewDir> {
        let make = |path: &Path| {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().mode(0o711).recursive(true).create(path)
        };
        make(&global.root).file(|| format!("cannot create {}", global.root.display()))?;
        let path = global.root.join(id);
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(NewDir { path, kept: false }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists(id.to_owned())),
            Err(e) => Err(e).file(|| format!("cannot create {}", path.display())),
        }
    }

    /// The socket on which the init waits for its start.
    pub(crate) fn gate(&self) -> Result<OwnedFd> {
        let listen = || {
            let dir = File::open(&self.path)?;
            sys::socket::listen(format!("/proc/self/fd/{}/start.sock", dir.as_raw_fd()))
        };
        listen().file(|| "cannot make the start socket".into())
    }

    /// Writes what is to be known about the container, and keeps the directory.
    pub(crate) fn keep(mut self, record: Record, spec: &Spec) -> Result<Container> {
        let spec = serde_json::to_vec(spec)
            .map_err(|source| Error::Json { what: "config.json".into(), source })?;
        write(&self.path, "config.json", &spec)?;
        let text = serde_json::to_vec(&record)
            .map_err(|source| Error::Json { what: "state.json".into(), source })?;
        write(&self.path, "state.json", &text)?;
        self.kept = true;
        Ok(Container { dir: self.path.clone(), record })
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// All or nothing, by rename; `/run` does not survive a crash of the host, so nothing is synced.
fn write(dir: &Path, name: &str, text: &[u8]) -> Result<()> {
    let (temporary, path) = (dir.join(format!("{name}.new")), dir.join(name));
    let write = || {
        File::create(&temporary)?.write_all(text)?;
        std::fs::rename(&temporary, &path)
    };
    write().file(|| format!("cannot write {}", path.display()))
}

/// Reads a `config.json`.
pub(crate) fn read_spec(path: &Path) -> Result<Spec> {
    let text = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Usage(format!(
                "JSON specification file {} not found",
                path.display()
            )));
        }
        other => other.file(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_slice(&text)
        .map_err(|source| Error::Json { what: path.display().to_string(), source })
}

/// The driver behind `--systemd-cgroup`.
pub(crate) fn driver(systemd: bool) -> Driver {
    if systemd { Driver::Systemd } else { Driver::Cgroupfs }
}

/// When a process started, in clock ticks since boot; none when it is gone or a zombie.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = Stat::of(pid).ok()?;
    if stat.has_ended() { None } else { stat.field(22) }
}
