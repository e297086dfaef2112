//! The order to the launcher: everything that a run needs, made before its monitor is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use network::Sandbox;
use oci_spec::runtime::Spec;
use proto::launch::{Asked, Launch, Log, Order, RootSource, Stdin, VERSION, WindowSize};
use types::Error;
use types::container::HostConfig;

use super::hidden::Tree;
use super::log::log;
use super::run::write_run;
use crate::container::{Container, validate};
use crate::record::{Record, Run};
use crate::spec::{self, Joined, Surroundings, mounts, users};
use crate::volumes::{Turn, take_along};
use crate::{Engine, from_image, from_network, launcher};

/// A run that has been ordered.
pub(super) struct Ordered {
    pub(super) socket: OwnedFd,
    pub(super) run: Run,
    pub(super) warnings: Vec<String>,
    /// The network is to be plugged in once the container has its own namespace.
    pub(super) plug_later: bool,
    /// Others who want the same volumes in memory wait until it runs.
    pub(super) turn: Turn,
}

impl Engine {
    /// Makes everything a run needs and gives the order. Blocks.
    pub(super) fn order(&self, container: &Container) -> Result<Ordered, Error> {
        let record = container.record().clone();
        let directory = self.config.monitor_dir(container.id.as_str());
        let cgroups_path = spec::cgroups_path(&self.config, &record);
        let mut run = Run { cgroups_path, ..Run::default() };
        let extra = std::mem::take(&mut *crate::lock(&container.trees));
        let turn = self.turn_for(crate::container::volumes::of(&record));
        let ordered = self.order_run(&record, extra, &directory, &mut run);
        if ordered.is_err() {
            self.release_run(container, &run);
            self.forget_monitor(&container.id);
        }
        let (socket, warnings, plug_later) = ordered?;
        Ok(Ordered { socket, run, warnings, plug_later, turn })
    }

    fn order_run(
        &self,
        record: &Record,
        extra: Vec<Tree>,
        directory: &Path,
        run: &mut Run,
    ) -> Result<(OwnedFd, Vec<String>, bool), Error> {
        if let Some(asked) = &record.host.machine {
            let socket = self.order_whole(record, asked, directory, run)?;
            return Ok((socket, Vec::new(), false));
        }
        if record.is_machine() {
            let (socket, warnings) = self.order_machine(record, directory, run)?;
            return Ok((socket, warnings, false));
        }
        let joined = self.joined(&record.host)?;
        let root = self.root_of(record)?;
        let user = users::resolve(root.as_fd(), &record.config.user, &record.host.group_add)?;
        let (sandbox, held, plug_later) = self.network_for(record, run, |_| None)?;
        self.write_files(record, run, joined.network.is_some())?;
        if let Some(sandbox) = &sandbox {
            self.give_names(record, run, sandbox.fd())?;
        }
        let mut trees = Vec::new();
        let mut mounts = self.resolve_mounts(record, &joined, &user, &mut trees)?;
        mounts.extend(self.file_mounts(record, &mut trees)?);
        mounts.extend(extra.into_iter().map(|tree| take_tree(tree, &mut trees)));
        let made = spec::make(
            record,
            Surroundings {
                config: &self.config,
                available: self.available,
                joined,
                netns: sandbox.is_some(),
                user,
                mounts,
                links: self.link_environment(record)?,
            },
        )?;
        write_run(directory, run)?;
        let descriptor = record.host.rootfs.is_empty();
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        if descriptor {
            descriptors.push(root.as_fd());
        }
        descriptors.extend(sandbox.as_ref().map(Sandbox::fd));
        descriptors.extend(trees.iter().map(AsFd::as_fd));
        descriptors.extend(held.iter().map(AsFd::as_fd));
        let launch = Launch {
            root: if descriptor {
                RootSource::Descriptor
            } else {
                RootSource::Directory(record.host.rootfs.clone().into())
            },
            netns: sandbox.is_some(),
            mounts: trees.len(),
            held: held.len(),
            ..self.usual_launch(record, directory, made.spec, made.default_seccomp)
        };
        Ok((self.send_launch(launch, &descriptors)?, made.warnings, plug_later))
    }

    /// What a launch says of a container behind either wall.
    pub(super) fn usual_launch(
        &self,
        record: &Record,
        directory: &Path,
        spec: Spec,
        default_seccomp: bool,
    ) -> Launch {
        Launch {
            spec,
            default_seccomp,
            terminal: record.config.tty.then(|| window(record.host.console_size)),
            stdin: match (record.config.open_stdin, record.config.stdin_once) {
                (false, _) => Stdin::Null,
                (true, false) => Stdin::Open,
                (true, true) => Stdin::Once,
            },
            log: log(&self.config.container_dir(record.id.as_str()), record),
            init: record.host.init.unwrap_or(false),
            asked: asked(&record.host),
            ..self.bare_launch(record, directory)
        }
    }

    /// A launch of nothing yet.
    pub(super) fn bare_launch(&self, record: &Record, directory: &Path) -> Launch {
        Launch {
            version: VERSION,
            guard: true,
            id: record.id.to_string(),
            dir: directory.to_owned(),
            spec: Spec::default(),
            default_seccomp: false,
            root: RootSource::Directory("/".into()),
            netns: false,
            mounts: 0,
            held: 0,
            terminal: None,
            stdin: Stdin::Null,
            log: Log::None,
            init: false,
            asked: Asked::default(),
            systemd_cgroup: self.config.systemd_cgroup,
            machine: None,
            whole: None,
        }
    }

    /// Gives the order; the monitor's connection comes back.
    pub(super) fn send_launch(
        &self,
        launch: Launch,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<OwnedFd, Error> {
        self.connected(descriptors, |all| {
            self.launcher.order(&Order::Launch(Box::new(launch)), all)
        })
    }

    /// The same to a process that has a machine ready. When it has just gone, the launcher gets it.
    pub(super) fn send_to_spare(
        &self,
        spare: &OwnedFd,
        launch: Launch,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<OwnedFd, Error> {
        let given = self.connected(descriptors, |all| launcher::give(spare, &launch, all));
        given.or_else(|_| self.send_launch(launch, descriptors))
    }

    /// Has somebody given one end of a connection and the lock, with what is needed besides.
    fn connected(
        &self,
        descriptors: &[BorrowedFd<'_>],
        give: impl FnOnce(&[BorrowedFd<'_>]) -> Result<(), Error>,
    ) -> Result<OwnedFd, Error> {
        let failed = |error| Error::system(format!("cannot make a connection: {error}"));
        let (ours, theirs) = sys::stream::pair().map_err(failed)?;
        give(&[&[theirs.as_fd(), self.launcher.guard()], descriptors].concat())?;
        Ok(ours)
    }

    /// The root file system: a detached mount, or the directory that was named.
    fn root_of(&self, record: &Record) -> Result<OwnedFd, Error> {
        if record.host.rootfs.is_empty() {
            let options = image::MountOptions {
                userns: record.remapped.and(self.remap_namespace.as_ref()).map(AsFd::as_fd),
                read_only: false,
                volatile: record.host.auto_remove,
                bare: false,
            };
            return match self.images.mount(&record.id, options) {
                // Making a writable layer is not flushed, the record is: after a power cut there
                // may be a container without one, and as it wrote nothing, it gets a fresh one.
                Err(image::Error::NoSnapshot(_)) => {
                    let image = self.images.resolve(&record.image).map_err(from_image)?;
                    self.images.prepare(&record.id, &image).map_err(from_image)?;
                    self.images.mount(&record.id, options).map_err(from_image)
                }
                mounted => mounted.map_err(from_image),
            };
        }
        let root = sys::fs::Root::open_host(&record.host.rootfs);
        root.map(sys::fs::Root::into_fd).map_err(|error| {
            Error::invalid(format!("cannot open root directory {}: {error}", record.host.rootfs))
        })
    }

    /// The processes whose namespaces this container joins.
    fn joined(&self, host: &HostConfig) -> Result<Joined, Error> {
        let mut user = None;
        let mut pid_of = |mode: &str| {
            let Some(name) = validate::joined(mode) else { return Ok(None) };
            let other = self.containers.find(name)?;
            let other = other.record();
            if other.state.pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join namespace of a non running container: container {name} is {}",
                    other.state.status.as_str()
                )));
            }
            if other.is_machine() {
                return Err(Error::conflict(format!(
                    "cannot join a namespace of container {name}: it runs in a virtual machine"
                )));
            }
            if other.remapped.is_some() {
                user = Some(other.state.pid);
            }
            Ok(Some(other.state.pid))
        };
        let network = pid_of(&host.network_mode)?;
        let ipc = pid_of(&host.ipc_mode)?;
        if let Some(name) = validate::joined(&host.ipc_mode) {
            let donor = self.containers.find(name)?;
            let donor = donor.record();
            if matches!(donor.host.ipc_mode.as_str(), "private" | "none") {
                return Err(Error::invalid(format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use \
                     IpcMode:shareable for the donor container)",
                    donor.id
                )));
            }
        }
        let pid = pid_of(&host.pid_mode)?;
        Ok(Joined { network, ipc, pid, user })
    }

    /// Reserves addresses and ports and prepares a network namespace; with the addresses there may be
    /// one that is `kept` for this.
    pub(super) fn network_for(
        &self,
        record: &Record,
        run: &mut Run,
        kept: impl FnOnce(&Run) -> Option<Sandbox>,
    ) -> Result<(Option<Sandbox>, Vec<OwnedFd>, bool), Error> {
        let mode = record.host.network_mode.as_str();
        if mode == "host" || validate::joined(mode).is_some() {
            return Ok((None, Vec::new(), false));
        }
        let late = record.remapped.is_some();
        if mode == "none" {
            let sandbox = match kept(run) {
                None if !late => Some(self.networks.bare_sandbox().map_err(from_network)?),
                kept => kept,
            };
            return Ok((sandbox, Vec::new(), false));
        }
        let mut held = Vec::new();
        for attach in self.attachments(record)? {
            let reserved = self.networks.reserve(&attach).map_err(|error| match error {
                // Only what is about ports has that preface in Docker.
                error if attach.ports.is_empty() => from_network(error),
                error => {
                    let error = from_network(error);
                    let message = format!(
                        "driver failed programming external connectivity on endpoint {} ({}): {}",
                        record.name, record.id, error.message
                    );
                    Error { kind: error.kind, message }
                }
            })?;
            run.endpoints.push(reserved.endpoint);
            held.extend(reserved.sockets);
        }
        if late {
            return Ok((None, held, true));
        }
        let mut sandbox = match kept(run) {
            Some(sandbox) => sandbox,
            None => self.networks.sandbox_for(&run.endpoints).map_err(from_network)?,
        };
        for endpoint in &mut run.endpoints {
            self.networks.plug(endpoint, &mut sandbox).map_err(from_network)?;
        }
        Ok((Some(sandbox), held, false))
    }
}

/// A mount that is sent along, in its place.
fn take_tree(tree: Tree, trees: &mut Vec<OwnedFd>) -> oci_spec::runtime::Mount {
    let mut options = vec!["rbind", "rprivate"];
    if tree.read_only {
        options.extend(["ro", "rro"]);
    }
    mounts::mount(&tree.destination, "bind", take_along(tree.tree, trees), &options)
}

pub(super) fn window([rows, cols]: [u32; 2]) -> WindowSize {
    let small = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    WindowSize { rows: small(rows), cols: small(cols) }
}

/// What the user asked for by name.
pub(crate) fn asked(host: &HostConfig) -> Asked {
    let upper = |name: &String| format!("RLIMIT_{}", name.to_ascii_uppercase());
    Asked {
        rlimits: host.resources.ulimits.iter().map(|limit| upper(&limit.name)).collect(),
        oom_score_adj: host.oom_score_adj != 0,
        capabilities: host.cap_add.clone(),
    }
}
