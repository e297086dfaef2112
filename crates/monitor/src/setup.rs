//! From an order to a container that waits for its start: a list of steps. What fails undoes
//! those before it, and is told as one sentence.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{LinuxResources, Spec};
use proto::launch::{Launch, RootSource};
use runtime::cgroup::{self, Cgroup, Driver, Layout, OnMissing};
use runtime::seccomp::Filter;
use runtime::{Asked, CreateOptions, Created, Root, failure};
use serde::de::DeserializeOwned;
use sys::signal::{self, SignalFd};
use types::Error;

use crate::launcher::Prepared;
use crate::log::Log;
use crate::monitor::Waiting;
use crate::output::PATIENCE;
use crate::streams::{Streams, Wanted};
use crate::wall::Wall;
use crate::{filter, guest, whole};

/// The names in the monitor's directory.
pub(crate) const SOCKET: &str = "sock";
const PID: &str = "pid";

/// Everything that a monitor holds when its container stands.
#[derive(Debug)]
pub(crate) struct Stage<'p> {
    pub(crate) listener: OwnedFd,
    pub(crate) signals: SignalFd,
    pub(crate) cgroup: Cgroup,
    pub(crate) contained: Contained<'p>,
    /// Descriptors that are only kept open.
    pub(crate) held: Vec<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

/// A container that waits for its start.
#[derive(Debug)]
pub(crate) struct Contained<'p> {
    pub(crate) wall: Wall<'p>,
    pub(crate) waiting: Waiting,
    /// The container's first process, or its machine.
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) streams: Streams,
}

/// What cannot be set up.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("the container's monitor cannot detach itself: {0}")]
    Detach(io::Error),
    #[error("the order to start the container lacks a descriptor ({0})")]
    Descriptor(&'static str),
    #[error("the monitor cannot write in {}: {}", .0.display(), .1)]
    Directory(std::path::PathBuf, io::Error),
    #[error("the container's streams cannot be made: {0}")]
    Streams(io::Error),
    #[error("this container's specification is of version {0}, which this monitor does not know")]
    Version(u32),
}

impl From<SetupError> for Error {
    fn from(error: SetupError) -> Self {
        Self::system(error.to_string())
    }
}

/// Which driver makes the cgroups.
pub(crate) fn driver(systemd: bool) -> Driver {
    if systemd { Driver::Systemd } else { Driver::Cgroupfs }
}

/// Does every step.
pub(crate) fn stage<'p>(
    launch: &mut Launch,
    mut fds: impl Iterator<Item = OwnedFd>,
    prepared: &'p Prepared,
    spare: Option<guest::Spare>,
) -> Result<Stage<'p>, Error> {
    if launch.version != proto::launch::VERSION {
        return Err(SetupError::Version(launch.version).into());
    }
    let mut take = |what| fds.next().ok_or(SetupError::Descriptor(what));
    let guard = if launch.guard { Some(take("lock")?) } else { None };
    let root = match &launch.root {
        // A machine has disks.
        _ if launch.machine.is_some() || launch.whole.is_some() => Root::Path("/".into()),
        RootSource::Descriptor => Root::Detached(take("root file system")?),
        RootSource::Directory(path) => Root::Path(path.clone()),
    };
    let netns = if launch.netns { Some(take("network namespace")?) } else { None };
    let mounts = (0..launch.mounts).map(|_| take("mount")).collect::<Result<Vec<OwnedFd>, _>>()?;
    place_mounts(&mut launch.spec, &mounts);
    let held: Vec<_> = fds.collect();
    if held.len() < launch.held {
        return Err(SetupError::Descriptor("held socket").into());
    }
    keep_panics(&launch.dir);
    let signals = detach().map_err(SetupError::Detach)?;
    let listener = announce(&launch.dir)?;
    // From here on a daemon that starts finds this monitor.
    drop(guard);
    let made = contain(launch, root, netns, prepared, spare);
    // Attached, or not needed any more.
    drop(mounts);
    match made {
        Ok((contained, cgroup, warnings)) => {
            Ok(Stage { listener, signals, cgroup, contained, held, warnings })
        }
        Err(error) => {
            retract(&launch.dir);
            Err(error)
        }
    }
}

/// Makes mounts of the specification that mean a descriptor name it as this process sees it.
fn place_mounts(spec: &mut Spec, descriptors: &[OwnedFd]) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let wanted = |number: &usize| {
            mount.source().as_deref() == Some(&*proto::launch::mount_source(*number))
        };
        if let Some(number) = (0..descriptors.len()).find(wanted) {
            mount.set_source(Some(sys::fs::proc_fd_path(&descriptors[number])));
        }
    }
}

/// A panic ends the monitor and its container; what it said is found in the monitor's directory,
/// since there is no standard error to write it to.
fn keep_panics(dir: &Path) {
    let file = dir.join("panic");
    std::panic::set_hook(Box::new(move |panic| {
        let _ = std::fs::write(&file, panic.to_string());
    }));
}

/// Leaves the launcher's session and its ways with signals.
fn detach() -> io::Result<SignalFd> {
    sys::process::setsid()?;
    sys::process::set_name(c"isopod-monitor")?;
    // Processes of a container without a process namespace of its own become our children when
    // their parents end, not those of the host's init, and are reaped here.
    sys::process::become_subreaper()?;
    signal::default(signal::SIGCHLD)?;
    SignalFd::new(&[signal::SIGCHLD])
}

/// Makes `sock` and `pid`.
fn announce(dir: &Path) -> Result<OwnedFd, SetupError> {
    let failed = |error| SetupError::Directory(dir.to_owned(), error);
    let listener = sys::stream::listen_private(dir, SOCKET).map_err(failed)?;
    let pid = std::process::id().to_string();
    std::fs::write(dir.join(PID), pid).map_err(failed)?;
    Ok(listener)
}

/// Removes `sock` and `pid`; what is not there need not go.
pub(crate) fn retract(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(SOCKET));
    let _ = std::fs::remove_file(dir.join(PID));
}

/// Opens the log, makes the cgroup and the container.
fn contain<'p>(
    launch: &mut Launch,
    root: Root,
    netns: Option<OwnedFd>,
    prepared: &'p Prepared,
    spare: Option<guest::Spare>,
) -> Result<(Contained<'p>, Cgroup, Vec<String>), Error> {
    let log = |launch: &Launch| {
        Log::open(&launch.log)
            .map_err(|error| Error::system(format!("failed to initialize logging driver: {error}")))
    };
    if let Some(machine) = &launch.machine {
        let log = log(launch)?;
        let (cgroup, mut warnings) =
            make_cgroup(launch, machine.limits.as_deref().cloned(), prepared)?;
        let started = guest::launch(launch, netns, &cgroup, log, spare);
        launch.machine = None;
        return match started {
            Ok(started) => {
                warnings.extend(started.warnings);
                let contained = Contained {
                    wall: Wall::Machine(Box::new(started.guest)),
                    waiting: Waiting::Machine,
                    pid: started.pid,
                    pidfd: started.pidfd,
                    streams: started.streams,
                };
                settle(Ok(contained), cgroup, warnings)
            }
            Err(error) => settle(Err(error), cgroup, warnings),
        };
    }
    if let Some(order) = launch.whole.take() {
        let log = log(launch)?;
        let (cgroup, mut warnings) =
            make_cgroup(launch, order.limits.as_deref().cloned(), prepared)?;
        let made = whole::launch(launch, &order, netns, &cgroup, log).map(|started| {
            warnings.extend(started.warnings);
            Contained {
                wall: Wall::Whole(Box::new(started.whole)),
                waiting: Waiting::Machine,
                pid: started.pid,
                pidfd: started.pidfd,
                streams: started.streams,
            }
        });
        return settle(made, cgroup, warnings);
    }
    let shared = prepared.filter.as_ref();
    let filter = filter::of_container(&launch.spec, launch.default_seccomp, shared)
        .map_err(|error| failure::of_runtime(&error.into()))?;
    // It has been compiled, and is not needed in its long form any more.
    if let Some(linux) = launch.spec.linux_mut() {
        linux.set_seccomp(None);
    }
    let log = log(launch)?;
    let resources = launch.spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let (cgroup, mut warnings) = make_cgroup(launch, resources, prepared)?;
    let made = create(launch, root, netns, &cgroup, filter.as_deref(), log);
    let contained = made.and_then(|(created, streams)| {
        warnings.extend(created.warnings.iter().cloned());
        let pidfd = match created.pidfd.try_clone() {
            Ok(pidfd) => pidfd,
            // Descriptors have run out.
            Err(error) => {
                discard(created);
                return Err(SetupError::Streams(error).into());
            }
        };
        let pid = created.pid;
        let waiting = Waiting::Process(Box::new(created));
        Ok(Contained { wall: Wall::Process { filter }, waiting, pid, pidfd, streams })
    });
    settle(contained, cgroup, warnings)
}

/// Keeps the cgroup of what was made, or removes it.
fn settle<'p>(
    made: Result<Contained<'p>, Error>,
    mut cgroup: Cgroup,
    warnings: Vec<String>,
) -> Result<(Contained<'p>, Cgroup, Vec<String>), Error> {
    match made {
        Ok(contained) => {
            cgroup.settled();
            Ok((contained, cgroup, warnings))
        }
        Err(error) => {
            // The failure that led here is the one to tell.
            let _ = cgroup.remove();
            Err(error)
        }
    }
}

/// Makes the cgroup with its limits; returns what was left out.
fn make_cgroup(
    launch: &Launch,
    resources: Option<LinuxResources>,
    prepared: &Prepared,
) -> Result<(Cgroup, Vec<String>), Error> {
    let system = |error: cgroup::Error| failure::of_cgroup(&error);
    let layout = match &prepared.layout {
        Some(layout) => layout.clone(),
        None => Layout::probe().map_err(system)?,
    };
    let path = cgroups_path(&launch.spec, &launch.id);
    let driver = driver(launch.systemd_cgroup);
    let (cgroup, warnings) = Cgroup::create(&layout, &path, driver).map_err(system)?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    if let Some(resources) = resources {
        match cgroup.apply(&resources, OnMissing::Warn) {
            Ok(more) => warnings.extend(more.iter().map(ToString::to_string)),
            Err(error) => {
                let _ = cgroup.remove();
                return Err(system(error));
            }
        }
    }
    Ok((cgroup, warnings))
}

/// Where the container's cgroup is.
pub(crate) fn cgroups_path(spec: &Spec, id: &str) -> String {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    match path {
        Some(path) => path.to_string_lossy().into_owned(),
        None => format!("isopod/{id}"),
    }
}

fn create(
    launch: &Launch,
    root: Root,
    netns: Option<OwnedFd>,
    cgroup: &Cgroup,
    filter: Option<&Filter>,
    log: Log,
) -> Result<(Created, Streams), Error> {
    let wanted =
        Wanted { terminal: launch.terminal, stdin: launch.stdin, stdout: true, stderr: true };
    let (stdio, ends) = wanted.make().map_err(SetupError::Streams)?;
    let options = CreateOptions {
        netns,
        die_with_parent: true,
        init: launch.init,
        asked: asked(&launch.asked),
        seccomp: filter,
        ..CreateOptions::new(&launch.id, &launch.spec, root, stdio, cgroup)
    };
    let mut created = runtime::create(options).map_err(|error| failure::of_runtime(&error))?;
    let console = created.console.take();
    let streams = Streams::new(ends, console, launch.stdin, log, Some(PATIENCE));
    match streams {
        Ok(streams) => Ok((created, streams)),
        Err(error) => {
            discard(created);
            Err(SetupError::Streams(error).into())
        }
    }
}

/// Ends a container that was not started.
pub(crate) fn discard(created: Created) {
    let Created { pidfd, .. } = created;
    let _ = sys::process::pidfd_signal(&pidfd, signal::SIGKILL);
    let _ = sys::process::wait_pidfd(&pidfd);
}

/// The same in the runtime's words. What it has no word for cannot be in a specification either.
pub(crate) fn asked(asked: &proto::launch::Asked) -> Asked {
    Asked {
        rlimits: words(&asked.rlimits),
        oom_score_adj: asked.oom_score_adj,
        capabilities: words(&asked.capabilities),
    }
}

fn words<T: DeserializeOwned>(words: &[String]) -> Vec<T> {
    words
        .iter()
        .filter_map(|word| serde_json::from_value(serde_json::Value::String(word.clone())).ok())
        .collect()
}
