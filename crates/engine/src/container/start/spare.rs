//! A virtual machine that is ready before a container needs it: one of the kind that was started last,
//! for a while after that.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use network::Sandbox;
use oci_spec::runtime::{Mount, Spec};
use proto::frame::Decoder;
use proto::guest::{self, FILES};
use proto::launch::{Launch, Log, Machine, Order, Spare, Templates};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use types::Error;
use types::container::{ContainerConfig, HostConfig, LogConfig};

use crate::container::names;
use crate::record::{MachineSize, Record, Run};
use crate::spec::{self, Surroundings, machine, users};
use crate::{Engine, blocking, from_network};

/// So long one is kept that nobody needs.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// When none could be made, nobody tries again for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// What a container of no meaning runs: the agent's program, which does nothing.
const COMMAND: [&str; 2] = ["/bin/guest-agent", "nothing"];

/// What a machine that fits a container is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// By Docker's name.
    architecture: String,
    size: MachineSize,
}

/// The machine that is ready, or is being made.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Stock>);

#[derive(Debug, Default)]
struct Stock {
    machine: Option<Waiting>,
    /// Counts them all.
    number: u64,
    /// What was started last.
    last: Option<Kind>,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    kind: Kind,
    spare: Ready,
    /// Its monitor has said so.
    ready: bool,
    until: Instant,
}

/// A machine for whoever has this.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) line: Line,
    /// The network namespace that it is in.
    pub(super) sandbox: Sandbox,
}

/// The way to its monitor, which takes a launch; without the way the machine goes.
#[derive(Debug)]
pub(super) struct Line(pub(super) OwnedFd);

impl Drop for Line {
    fn drop(&mut self) {
        // Whoever listens to it has a descriptor as well. An error: it has gone already.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

impl Spares {
    /// Takes the one of this kind, if it is ready.
    fn take(&self, kind: &Kind) -> Option<Ready> {
        let fits = |waiting: &mut Waiting| waiting.kind == *kind && waiting.ready;
        crate::lock(&self.0).machine.take_if(fits).map(|waiting| waiting.spare)
    }

    /// Whether one of this kind, which has just been started, should be made. One that there is may
    /// stay longer; for one of another kind it goes when that was started twice in a row, or kinds
    /// that take turns would have each other's thrown away.
    fn is_wanted(&self, kind: &Kind) -> bool {
        let mut stock = crate::lock(&self.0);
        let now = Instant::now();
        let again = stock.last.replace(kind.clone()).as_ref() == Some(kind);
        match &mut stock.machine {
            Some(waiting) if waiting.kind == *kind => {
                waiting.until = now + KEPT;
                false
            }
            Some(_) if !again => false,
            _ => stock.not_before.is_none_or(|at| now >= at),
        }
    }

    /// Keeps one. Returns its number.
    fn keep(&self, kind: Kind, spare: Ready) -> u64 {
        let mut stock = crate::lock(&self.0);
        stock.number += 1;
        let (number, until) = (stock.number, Instant::now() + KEPT);
        stock.machine = Some(Waiting { number, kind, spare, ready: false, until });
        number
    }

    /// Until when the one of a number stays; `None`: it has gone, or goes now.
    fn until(&self, number: u64) -> Option<Instant> {
        let mut stock = crate::lock(&self.0);
        let over =
            |waiting: &mut Waiting| waiting.number == number && waiting.until <= Instant::now();
        drop(stock.machine.take_if(over));
        stock.machine.as_ref().filter(|waiting| waiting.number == number).map(|w| w.until)
    }

    /// Hears what the one of a number has to say; `None`: nothing more.
    fn hear(&self, number: u64, said: Option<Spare>) {
        let mut stock = crate::lock(&self.0);
        let Some(waiting) = stock.machine.as_mut().filter(|waiting| waiting.number == number)
        else {
            return;
        };
        match said {
            Some(Spare::Ready) => {
                waiting.ready = true;
                return;
            }
            Some(Spare::Failed(error)) => {
                tracing::warn!("no virtual machine can be had ready: {error}");
                stock.not_before = Some(Instant::now() + PAUSE);
            }
            None => tracing::warn!("the virtual machine that was to be ready has gone"),
        }
        stock.machine = None;
    }
}

/// The spare machine that a container could have: one without directories of the host, in one network
/// at most.
pub(super) fn kind_for(record: &Record, run: &Run) -> Option<Kind> {
    let size = run.machine.filter(|_| record.mounts.is_empty() && run.endpoints.len() <= 1)?;
    Some(Kind { architecture: record.architecture().to_owned(), size })
}

fn no_connection(error: std::io::Error) -> Error {
    Error::system(format!("cannot make a connection: {error}"))
}

impl Engine {
    /// A machine of this kind has been started: has the next one ready, soon.
    pub(super) fn prepare_spare(&self, kind: Kind) {
        let machines = &self.config.machines;
        let cloned = machines.spare && machines.templates != Templates::Never;
        if !cloned || !self.spares.is_wanted(&kind) {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            let ordering = engine.clone();
            let ordered = blocking(move || ordering.order_spare(kind)).await;
            let heard = ordered.and_then(|(number, line)| {
                Ok((number, UnixStream::from_std(line.into()).map_err(no_connection)?))
            });
            let (number, mut line) = match heard {
                Ok(heard) => heard,
                Err(error) => {
                    tracing::warn!("no virtual machine can be had ready: {error}");
                    return;
                }
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
                    inner.spares.hear(number, said);
                }
            }
        });
    }

    /// Returns its number, and the socket by which its monitor speaks.
    fn order_spare(&self, kind: Kind) -> Result<(u64, OwnedFd), Error> {
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
        Ok((self.spares.keep(kind, Ready { line: Line(socket), sandbox }), heard))
    }

    /// The machine that is ready for this container, whose addresses are reserved.
    pub(super) fn spare_for(&self, record: &Record, run: &Run) -> Option<Ready> {
        self.spares.take(&kind_for(record, run)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(architecture: &str, cpus: u32) -> Kind {
        let size = MachineSize { memory: 512 << 20, cpus };
        Kind { architecture: architecture.to_owned(), size }
    }

    fn kept(spares: &Spares) -> (u64, OwnedFd) {
        let (socket, theirs) = sys::stream::pair().expect("pair");
        let netns = sys::stream::null().expect("any descriptor");
        let spare = Ready { line: Line(socket), sandbox: Sandbox::adopt(netns) };
        (spares.keep(kind("amd64", 1), spare), theirs)
    }

    #[test]
    fn one_is_taken_when_it_is_ready_and_fits() {
        let (spares, own) = (Spares::default(), kind("amd64", 1));
        assert!(spares.is_wanted(&own));
        let (number, _monitor) = kept(&spares);
        assert!(!spares.is_wanted(&own));
        assert!(!spares.is_wanted(&kind("amd64", 2)), "it is the first of its kind");
        assert!(spares.is_wanted(&kind("amd64", 2)), "they have changed");
        assert!(spares.take(&own).is_none(), "it is being made");
        spares.hear(number, Some(Spare::Ready));
        assert!(spares.take(&kind("amd64", 2)).is_none(), "it is of another size");
        assert!(spares.take(&kind("arm64", 1)).is_none(), "it is of another architecture");
        assert!(spares.take(&own).is_some());
        assert!(spares.take(&own).is_none(), "it has been taken");
        assert!(spares.is_wanted(&own));
    }

    #[test]
    fn one_that_failed_or_went_is_not_taken() {
        let (spares, own) = (Spares::default(), kind("amd64", 1));
        let (number, _monitor) = kept(&spares);
        spares.hear(number, Some(Spare::Ready));
        spares.hear(number, None);
        assert!(spares.take(&own).is_none());
        assert!(spares.is_wanted(&own), "another may do better");
        let (next, _monitor) = kept(&spares);
        spares.hear(number, Some(Spare::Ready));
        assert!(spares.take(&own).is_none(), "that was of another one");
        spares.hear(next, Some(Spare::Failed(Error::system("no room"))));
        assert!(spares.take(&own).is_none());
        assert!(!spares.is_wanted(&own), "nobody tries again at once");
    }

    #[test]
    fn one_that_nobody_needs_goes() {
        let spares = Spares::default();
        let (number, monitor) = kept(&spares);
        let until = spares.until(number).expect("it is there");
        assert!(until > Instant::now() + KEPT / 2);
        assert_eq!(spares.until(number + 1), None);
        if let Some(waiting) = &mut crate::lock(&spares.0).machine {
            waiting.until = Instant::now();
        }
        assert_eq!(spares.until(number), None);
        let mut end = Vec::with_capacity(8);
        assert_eq!(sys::stream::receive_now(&monitor, &mut end).expect("closed"), 0);
    }
}
