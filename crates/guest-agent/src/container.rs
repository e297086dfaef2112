//! The container: made, started, signalled, frozen, counted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use proto::control::{Sample, interfaces};
use proto::guest::{self, Create, FILES, Failure, ProcessInfo, Reply, from_hex};
use proto::launch::{self, WindowSize};
use proto::seccomp::{Machine as Architecture, bounding, default_profile, kernel_version};
use runtime::cgroup::{Cgroup, Driver, Layout, OnMissing, OomEvent};
use runtime::seccomp::{self, Filter};
use runtime::{CreateOptions, Created, Place, Root, failure};
use serde::de::DeserializeOwned;
use types::{Error, Timestamp, account};

use crate::agent::{Agent, Machine, failure as plain, not_running, signalled};
use crate::streams::{self, Console};

/// /etc/passwd and /etc/group may be this long at most.
const USERS_LIMIT: u64 = 4 << 20;

/// Where the container stands.
#[derive(Debug)]
enum State {
    Created(Box<Created>),
    Running,
    Ended,
}

/// The one container of this machine.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) spec: Spec,
    pub(crate) filter: Option<Filter>,
    pub(crate) cgroup: Cgroup,
    state: State,
    pid: i32,
    pub(crate) pidfd: OwnedFd,
    console: Option<Console>,
    oom: Option<OomEvent>,
    oom_kills: u64,
    started: bool,
}

impl Agent {
    pub(crate) fn create(&mut self, create: Create) -> Result<Reply, Failure> {
        if self.container.is_some() {
            return Err(plain(Error::conflict("the machine has a container")));
        }
        let Some(root) = &self.root else {
            return Err(plain(Error::conflict("the machine has no root file system")));
        };
        let root = root.path().to_owned();
        let (container, ends, master, streams, warnings) = make(create, &root, &self.machine)?;
        let joined = streams::join(&mut self.link, streams, ends, master);
        let mut container = container;
        match joined {
            Ok(console) => container.console = console,
            Err(error) => {
                container.end();
                let error = format!("the container's streams cannot be made: {error}");
                return Err(plain(Error::system(error)));
            }
        }
        self.container = Some(container);
        Ok(Reply::Created { warnings })
    }

    pub(crate) fn start(&mut self) -> Result<Reply, Failure> {
        let container = self.container.as_mut().ok_or_else(|| plain(not_running()))?;
        match std::mem::replace(&mut container.state, State::Ended) {
            State::Created(created) => match created.start() {
                Ok(running) => {
                    container.pid = running.pid;
                    container.pidfd = running.pidfd;
                    container.state = State::Running;
                    container.started = true;
                    Ok(Reply::Started)
                }
                Err(error) => {
                    container.ended();
                    Err(Failure {
                        status: failure::status(&error),
                        error: failure::of_runtime(&error),
                    })
                }
            },
            other => {
                container.state = other;
                Err(plain(Error::conflict("the container has been started")))
            }
        }
    }

    pub(crate) fn resize(&mut self, exec: Option<&str>, size: WindowSize) -> Result<(), Error> {
        let console = match exec {
            None => self.container.as_ref().ok_or_else(not_running)?.console.as_ref(),
            Some(id) => self.find_exec(id)?.console.as_ref(),
        };
        let resized = console.map_or(Ok(()), |console| console.resize(size));
        resized.map_err(|error| Error::system(format!("cannot resize: {error}")))
    }

    pub(crate) fn signal(&mut self, exec: Option<&str>, signal: i32) -> Result<(), Error> {
        let pidfd = match exec {
            None => match &self.container {
                Some(container) if container.is_running() => container.pidfd.as_fd(),
                _ => return Err(not_running()),
            },
            Some(id) => self.find_exec(id)?.pidfd.as_fd(),
        };
        signalled(sys::process::pidfd_signal(pidfd, signal))
    }
}

type Made = (Container, streams::Ends, Option<OwnedFd>, guest::Streams, Vec<String>);

/// Makes the container and its cgroup.
fn make(create: Create, root: &Path, machine: &Machine) -> Result<Made, Failure> {
    let Create { id, mut spec, default_seccomp, user, files, streams, init, asked } = create;
    let system = |what: &str, error: &dyn std::fmt::Display| {
        plain(Error::system(format!("{what}: {error}")))
    };
    write_files(&files)
        .map_err(|error| system("the container's files cannot be written", &error))?;
    if let Some(process) = spec.process_mut() {
        let root = sys::fs::Root::open_host(root)
            .map_err(|error| system("the root file system cannot be opened", &error))?;
        identify(process, &root, &user).map_err(plain)?;
    }
    let runtime_failure = |error: runtime::Error| plain(failure::of_runtime(&error));
    let filter = filter_of(&mut spec, default_seccomp).map_err(|e| runtime_failure(e.into()))?;
    let cgroup_failure = |error: runtime::cgroup::Error| plain(failure::of_cgroup(&error));
    let layout = Layout::probe().map_err(cgroup_failure)?;
    // At the top: the machine has no other.
    let (mut cgroup, warnings) =
        Cgroup::create(&layout, &id, Driver::Cgroupfs).map_err(cgroup_failure)?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let made = (|| {
        if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
        {
            let more = cgroup.apply(resources, OnMissing::Warn).map_err(cgroup_failure)?;
            warnings.extend(more.iter().map(ToString::to_string));
        }
        let (stdio, ends) = streams::make(streams)
            .map_err(|error| system("the container's streams cannot be made", &error))?;
        // The machine's network is the container's: it is joined, so that it counts as its own.
        let netns = match machine {
            Machine::Own(_) => Some(sys::netns::current().map_err(|error| {
                system("the machine's network namespace cannot be opened", &error)
            })?),
            Machine::Borrowed(_) => None,
        };
        let options = CreateOptions {
            netns,
            die_with_parent: true,
            init,
            asked: words(&asked),
            seccomp: filter.as_ref(),
            ..CreateOptions::new(&id, &spec, Root::Path(root.to_owned()), stdio, &cgroup)
        };
        let created = runtime::create(options).map_err(runtime_failure)?;
        Ok((created, ends))
    })();
    let (mut created, ends) = match made {
        Ok(made) => made,
        Err(error) => {
            // The failure that led here is the one to tell.
            let _ = cgroup.remove();
            return Err(error);
        }
    };
    cgroup.settled();
    warnings.append(&mut created.warnings);
    let master = created.console.take();
    let pidfd = created.pidfd.try_clone().map_err(|error| system("descriptors ran out", &error))?;
    let container = Container {
        spec,
        filter,
        oom_kills: cgroup.oom_kills(),
        // Without a memory controller nothing can run out.
        oom: cgroup.oom_event().ok(),
        cgroup,
        pid: created.pid,
        pidfd,
        state: State::Created(Box::new(created)),
        console: None,
        started: false,
    };
    Ok((container, ends, master, streams, warnings))
}

/// Writes the engine's small files, whose directory the specification names.
fn write_files(files: &[guest::File]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    for file in files {
        let wrong = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        if file.name.is_empty() || file.name.contains('/') || file.name.starts_with('.') {
            return Err(wrong());
        }
        std::fs::create_dir_all(FILES)?;
        let path = PathBuf::from(FILES).join(&file.name);
        let contents = from_hex(&file.contents).ok_or_else(wrong)?;
        let mut options = std::fs::OpenOptions::new();
        let mut open = options.write(true).create_new(true).mode(file.mode & 0o7777).open(&path)?;
        open.write_all(&contents)?;
        std::os::unix::fs::fchown(&open, Some(file.uid), Some(file.gid))?;
        // Not masked, and not lost by the change of the owner.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(file.mode & 0o7777);
        open.set_permissions(mode)?;
    }
    Ok(())
}

/// Fills in who runs a process, as the container's own files have it.
pub(crate) fn identify(
    process: &mut Process,
    root: &sys::fs::Root,
    user: &guest::User,
) -> Result<account::User, Error> {
    // A missing or unreadable file is an empty one: numbers still work.
    let read = |path: &str| {
        let bytes = root.read(path, USERS_LIMIT).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
    let found = account::find(&passwd, &group, &user.user, &user.groups)?;
    let mut identity = oci_spec::runtime::User::default();
    identity.set_uid(found.uid).set_gid(found.gid).set_additional_gids(Some(found.groups.clone()));
    process.set_user(identity);
    let environment = process.env_mut().get_or_insert_default();
    if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
        environment.push(format!("HOME={}", found.home));
    }
    if found.uid != 0
        && !user.keep_capabilities
        && let Some(mut capabilities) = process.capabilities().clone()
    {
        let none = oci_spec::runtime::Capabilities::new;
        capabilities.set_effective(Some(none())).set_permitted(Some(none()));
        process.set_capabilities(Some(capabilities));
    }
    Ok(found)
}

/// Compiles the filter; the specification does not need its long form any more.
fn filter_of(spec: &mut Spec, default: bool) -> Result<Option<Filter>, seccomp::Error> {
    let own = spec.linux_mut().as_mut().and_then(|linux| {
        let profile = linux.seccomp().clone();
        linux.set_seccomp(None);
        profile
    });
    match own {
        Some(profile) => seccomp::compile(&profile).map(Some),
        None if default => {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let version = kernel_version(&release);
            let profile = default_profile(bounding(spec), version, Architecture::NATIVE);
            seccomp::compile(&profile).map(Some)
        }
        None => Ok(None),
    }
}

/// The same in the runtime's words. What it has no word for cannot be in a specification either.
pub(crate) fn words(asked: &launch::Asked) -> runtime::Asked {
    fn all<T: DeserializeOwned>(words: &[String]) -> Vec<T> {
        let word = |word: &String| serde_json::Value::String(word.clone());
        words.iter().filter_map(|text| serde_json::from_value(word(text)).ok()).collect()
    }
    runtime::Asked {
        rlimits: all(&asked.rlimits),
        oom_score_adj: asked.oom_score_adj,
        capabilities: all(&asked.capabilities),
    }
}

impl Container {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn is_created(&self) -> bool {
        matches!(self.state, State::Created(_))
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    pub(crate) fn oom(&self) -> Option<BorrowedFd<'_>> {
        self.oom.as_ref().map(AsFd::as_fd)
    }

    /// Whether the kernel has killed for want of memory since this was asked last.
    pub(crate) fn look_for_oom(&mut self) -> bool {
        if let Some(oom) = &self.oom {
            oom.drain();
        }
        let kills = self.cgroup.oom_kills();
        let more = kills > self.oom_kills;
        self.oom_kills = kills;
        more
    }

    /// Its process has ended. True: for want of memory, which was not known yet.
    pub(crate) fn ended(&mut self) -> bool {
        self.state = State::Ended;
        if let Some(console) = &mut self.console {
            console.end();
        }
        let out_of_memory = self.look_for_oom();
        self.oom = None;
        // With a process namespace of its own everything has gone with its first process.
        if self.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
            let _ = self.cgroup.thaw();
            let _ = self.cgroup.kill();
        }
        out_of_memory
    }

    /// Ends whatever runs, and waits for that.
    pub(crate) fn end(&mut self) {
        let _ = self.cgroup.thaw();
        let _ = self.cgroup.kill();
        let state = std::mem::replace(&mut self.state, State::Ended);
        if !matches!(state, State::Ended) {
            let _ = sys::process::pidfd_signal(&self.pidfd, sys::signal::SIGKILL);
            let _ = sys::process::wait_pidfd(&self.pidfd);
        }
        if let Some(console) = &mut self.console {
            console.end();
        }
    }

    pub(crate) fn kill_all(&mut self) -> Result<(), Error> {
        self.cgroup.kill().map_err(|error| failure::of_cgroup(&error))
    }

    pub(crate) fn pause(&mut self) -> Result<(), Error> {
        self.cgroup.freeze().map_err(|error| failure::of_cgroup(&error))
    }

    pub(crate) fn resume(&mut self) -> Result<(), Error> {
        self.cgroup.thaw().map_err(|error| failure::of_cgroup(&error))
    }

    pub(crate) fn update(&mut self, resources: &LinuxResources) -> Result<Vec<String>, Error> {
        let warnings = self.cgroup.apply(resources, OnMissing::Warn);
        let warnings = warnings.map_err(|error| failure::of_cgroup(&error))?;
        Ok(warnings.iter().map(ToString::to_string).collect())
    }

    pub(crate) fn sample(&self) -> Result<Sample, Error> {
        let stats = self.cgroup.stats().map_err(|error| failure::of_cgroup(&error))?;
        // The process may end at any moment; then there are no interfaces any more.
        let interfaces = std::fs::read_to_string(format!("/proc/{}/net/dev", self.pid))
            .map(|text| interfaces(&text))
            .unwrap_or_default();
        Ok(Sample { at: Timestamp::now(), stats, interfaces })
    }

    pub(crate) fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        let pids = self.cgroup.pids().map_err(|error| failure::of_cgroup(&error))?;
        Ok(crate::processes::list(&pids, &self.root_path()))
    }

    pub(crate) fn mount(&self, mount: &Mount) -> Result<(), Error> {
        runtime::attach(self.place(), mount).map_err(|error| failure::of_runtime(&error))
    }

    pub(crate) fn unmount(&self, path: &str) -> Result<(), Error> {
        runtime::detach(self.place(), Path::new(path)).map_err(|error| failure::of_runtime(&error))
    }

    fn place(&self) -> Place<'_> {
        Place { pidfd: self.pidfd.as_fd(), spec: &self.spec }
    }

    /// Its root as its processes see it, while it runs.
    pub(crate) fn root_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }
}
