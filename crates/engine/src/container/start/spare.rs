//! Virtual machines that are ready before containers need them: of the kind that was started last, for
//! a while after that, and as many as have been missed.

mod stock;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};
use proto::frame::Decoder;
use proto::guest::{self, FILES};
use proto::launch::{Launch, Log, Machine, Order, Share, Spare, Templates};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use types::Error;
use types::container::{ContainerConfig, HostConfig, LogConfig};
use types::mount::{MountKind, MountPoint};
use types::resources::Resources;

use crate::container::names;
use crate::record::{Record, Run};
use crate::spec::{self, Surroundings, machine, users};
use crate::{Engine, blocking, from_network};
pub(crate) use stock::Spares;
pub(super) use stock::{Kind, Line, Ready};

/// What a container of no meaning runs: the agent's program, which does nothing.
const COMMAND: [&str; 2] = ["/bin/guest-agent", "nothing"];

/// Each share has a process of its own, which waits with the machine.
const MOST_SHARES: usize = 4;

/// The spare machine that a container could have: one with few directories of the host, in one network
/// at most, and no system of its own.
pub(super) fn kind_for(record: &Record, run: &Run) -> Option<Kind> {
    let shares = shares(&record.mounts)?;
    let fits = record.host.machine.is_none() && shares <= MOST_SHARES && run.endpoints.len() <= 1;
    let size = run.machine.filter(|_| fits)?;
    Some(Kind { architecture: record.architecture().to_owned(), size, shares })
}

/// How many shares these mounts are; `None`: one of them cannot be a share.
fn shares(mounts: &[MountPoint]) -> Option<usize> {
    let mut shares = BTreeSet::new();
    for mount in mounts {
        match mount.kind {
            MountKind::Bind | MountKind::Volume => {
                shares.insert((Path::new(&mount.source), mount.rw));
            }
            MountKind::Tmpfs => {}
            _ => return None,
        }
    }
    Some(shares.len())
}

fn no_connection(error: std::io::Error) -> Error {
    Error::system(format!("cannot make a connection: {error}"))
}

impl Engine {
    /// A machine of this kind has been started: has the next ones ready, soon.
    pub(super) fn prepare_spare(&self, kind: &Kind) {
        let machines = &self.config.machines;
        if machines.spares > 0 && machines.templates != Templates::Never {
            self.spares.started(kind);
            self.refill_spares();
        }
    }

    /// Where every container has a machine, has the first one ready before anybody asks: to find out what
    /// the hardware can do and to make a template takes seconds.
    pub(crate) fn prepare_first_machine(&self) {
        if self.config.isolation == machine::ISOLATION {
            self.prepare_spare(&Kind {
                architecture: image::host_architecture().0.to_owned(),
                size: machine::size(&Resources::default(), &self.config.machines),
                shares: 0,
            });
        }
    }

    /// Makes one more machine ready, and then another, for as long as there are too few.
    pub(super) fn refill_spares(&self) {
        let Some((number, kind)) = self.spares.reserve() else { return };
        let engine = self.clone();
        tokio::spawn(async move {
            let ordering = engine.clone();
            let ordered = blocking(move || ordering.order_spare(number, &kind)).await;
            let heard =
                ordered.and_then(|line| UnixStream::from_std(line.into()).map_err(no_connection));
            let mut line = match heard {
                Ok(heard) => heard,
                Err(error) => return engine.spares.hear(number, Some(Spare::Failed(error))),
            };
            let inner = std::sync::Arc::downgrade(&engine.inner);
            drop(engine);
            let mut decoder = Decoder::default();
            let mut bytes = [0; 1024];
            while let Some(until) = inner.upgrade().and_then(|inner| inner.spares.until(number)) {
                let read = tokio::time::timeout_at(until.into(), line.read(&mut bytes)).await;
                let Ok(read) = read else { continue };
                let read = read.unwrap_or(0);
                decoder.push(&bytes[..read]);
                let said = decoder.message().ok().flatten();
                let Some(inner) = inner.upgrade() else { return };
                if read == 0 || said.is_some() {
                    let made = matches!(said, Some(Spare::Ready));
                    inner.spares.hear(number, said);
                    if made {
                        Engine { inner }.refill_spares();
                    }
                }
            }
        });
    }

    /// Returns the socket by which its monitor speaks.
    fn order_spare(&self, number: u64, kind: &Kind) -> Result<OwnedFd, Error> {
        let config = ContainerConfig {
            cmd: Some(COMMAND.map(str::to_owned).to_vec().into()),
            ..ContainerConfig::default()
        };
        let host = HostConfig {
            isolation: machine::ISOLATION.to_owned(),
            auto_remove: true,
            log_config: LogConfig { kind: "none".to_owned(), ..LogConfig::default() },
            ..HostConfig::default()
        };
        let mut record = self.hidden(names::id()?, "spare", config, host)?;
        record.architecture.clone_from(&kind.architecture);
        let mut made = spec::make(
            &record,
            Surroundings {
                config: &self.config,
                available: self.available,
                joined: spec::Joined::default(),
                netns: true,
                user: users::User { uid: 0, gid: 0, groups: Vec::new(), home: String::new() },
                mounts: Vec::new(),
                links: Vec::new(),
            },
        )?;
        let machine = Machine {
            memory: kind.size.memory,
            cpus: kind.size.cpus,
            // One that comes with its disks.
            layers: vec![PathBuf::new()],
            shares: (0..kind.shares)
                .map(|n| Share { source: None, tag: machine::tag(n), read_only: false })
                .collect(),
            files: adapt(&mut made.spec)?,
            names: true,
            ..self.empty_machine(record.architecture(), &record.host.resources)
        };
        let directory = Path::new("/");
        let launch = Launch {
            log: Log::None,
            machine: Some(Box::new(machine)),
            ..self.usual_launch(&record, directory, made.spec, made.default_seccomp)
        };
        let (socket, theirs) = sys::stream::pair().map_err(no_connection)?;
        // Orders are short: one that does not fit at once goes another way.
        sys::stream::set_nonblocking(&socket).map_err(no_connection)?;
        let heard = socket.try_clone().map_err(no_connection)?;
        let sandbox = self.networks.sandbox().map_err(from_network)?;
        self.launcher.order(&Order::Spare(Box::new(launch)), &[theirs.as_fd(), sandbox.fd()])?;
        self.spares.keep(number, Ready { line: Line(socket), sandbox });
        Ok(heard)
    }

    /// A machine that is ready for this container, whose addresses are reserved.
    pub(super) fn spare_for(&self, record: &Record, run: &Run) -> Option<Ready> {
        self.spares.take(&kind_for(record, run)?, self.config.machines.spares)
    }
}

/// Makes a specification one of a machine, with the engine's files empty, which are returned.
fn adapt(spec: &mut Spec) -> Result<Vec<guest::File>, Error> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let binds: Vec<Mount> =
        mounts.extract_if(.., |mount| mount.typ().as_deref() == Some("bind")).collect();
    spec.set_mounts(Some(mounts));
    machine::adapt(spec, Path::new("/"))?;
    let mut files = Vec::new();
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mut mount in binds {
        let source = mount.source().clone().unwrap_or_default();
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        mount.set_source(Some(Path::new(FILES).join(&name)));
        mounts.push(mount);
        files.push(guest::File { name, mode: 0o644, uid: 0, gid: 0, contents: String::new() });
    }
    spec.set_mounts(Some(mounts));
    Ok(files)
}
