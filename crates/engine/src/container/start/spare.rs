//! A virtual machine that is ready before a container needs it: one of the size that was started last,
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

/// The machine that is ready, or is being made.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Stock>);

#[derive(Debug, Default)]
struct Stock {
    machine: Option<Waiting>,
    /// Counts them all.
    number: u64,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    size: MachineSize,
    spare: Ready,
    until: Instant,
}

/// A machine for whoever has this.
#[derive(Debug)]
pub(super) struct Ready {
    /// Its monitor's end takes a launch; when ours is closed the machine goes.
    pub(super) socket: OwnedFd,
    /// The network namespace that it is in.
    pub(super) sandbox: Sandbox,
}

impl Spares {
    /// Takes the one of this size, if it is ready.
    fn take(&self, size: MachineSize) -> Option<Ready> {
        let mut stock = crate::lock(&self.0);
        let waiting = stock.machine.take_if(|waiting| waiting.size == size)?;
        match state(&waiting.spare.socket) {
            Ok(Some(Spare::Ready)) => return Some(waiting.spare),
            // It is being made.
            Ok(None) => stock.machine = Some(waiting),
            Ok(Some(Spare::Failed(error))) => {
                tracing::warn!("no virtual machine can be had ready: {error}");
                stock.not_before = Some(Instant::now() + PAUSE);
            }
            Err(why) => tracing::debug!("the spare virtual machine has gone: {why}"),
        }
        None
    }

    /// Whether one of this size should be made. One that there is may stay longer.
    fn is_wanted(&self, size: MachineSize) -> bool {
        let mut stock = crate::lock(&self.0);
        let now = Instant::now();
        match &mut stock.machine {
            Some(waiting) if waiting.size == size => {
                waiting.until = now + KEPT;
                false
            }
            _ => stock.not_before.is_none_or(|at| now >= at),
        }
    }

    /// Keeps one. Returns its number.
    fn keep(&self, size: MachineSize, spare: Ready) -> u64 {
        let mut stock = crate::lock(&self.0);
        stock.number += 1;
        let number = stock.number;
        stock.machine = Some(Waiting { number, size, spare, until: Instant::now() + KEPT });
        number
    }

    /// When the one of a number goes; `None`: it has gone.
    fn until(&self, number: u64) -> Option<Instant> {
        let mut stock = crate::lock(&self.0);
        let over =
            |waiting: &mut Waiting| waiting.number == number && waiting.until <= Instant::now();
        drop(stock.machine.take_if(over));
        stock.machine.as_ref().filter(|waiting| waiting.number == number).map(|w| w.until)
    }
}

/// Whether a container could have a spare machine: one without directories of the host, in one network.
pub(super) fn fits(record: &Record, run: &Run) -> bool {
    record.mounts.is_empty() && run.endpoints.len() == 1
}

/// What there is to be known of it; `None`: nothing yet.
fn state(socket: &OwnedFd) -> Result<Option<Spare>, Error> {
    let mut bytes = Vec::with_capacity(4096);
    match sys::stream::receive_now(socket, &mut bytes) {
        Ok(0) => return Err(Error::system("it ended".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(Error::system(error.to_string())),
    }
    let mut decoder = Decoder::default();
    decoder.push(&bytes);
    decoder.message().map_err(|error| Error::system(error.to_string()))
}

impl Engine {
    /// A machine of this size has been started: has the next one ready, soon.
    pub(super) fn prepare_spare(&self, size: MachineSize) {
        let machines = &self.config.machines;
        let cloned = machines.spare && machines.templates != Templates::Never;
        if !cloned || !self.spares.is_wanted(size) {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            let ordering = engine.clone();
            let number = match blocking(move || ordering.order_spare(size)).await {
                Ok(number) => number,
                Err(error) => {
                    tracing::warn!("no virtual machine can be had ready: {error}");
                    return;
                }
            };
            let spares = std::sync::Arc::downgrade(&engine.inner);
            drop(engine);
            while let Some(until) = spares.upgrade().and_then(|inner| inner.spares.until(number)) {
                tokio::time::sleep_until(until.into()).await;
            }
        });
    }

    fn order_spare(&self, size: MachineSize) -> Result<u64, Error> {
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
        let record = self.hidden(names::id()?, "spare", config, host)?;
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
            memory: size.memory,
            cpus: size.cpus,
            // One that comes with its disks.
            layers: vec![PathBuf::new()],
            files: adapt(&mut made.spec)?,
            names: true,
            ..self.empty_machine(&record.host.resources)?
        };
        let directory = Path::new("/");
        let launch = Launch {
            log: Log::None,
            machine: Some(Box::new(machine)),
            ..self.usual_launch(&record, directory, made.spec, made.default_seccomp)
        };
        let failed = |error| Error::system(format!("cannot make a connection: {error}"));
        let (socket, theirs) = sys::stream::pair().map_err(failed)?;
        let sandbox = self.networks.sandbox().map_err(from_network)?;
        self.launcher.order(&Order::Spare(Box::new(launch)), &[theirs.as_fd(), sandbox.fd()])?;
        Ok(self.spares.keep(size, Ready { socket, sandbox }))
    }

    /// The machine that is ready for this container, whose addresses are reserved.
    pub(super) fn spare_for(&self, record: &Record, run: &Run) -> Option<Ready> {
        let size = run.machine.filter(|_| fits(record, run))?;
        self.spares.take(size)
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

    const SIZE: MachineSize = MachineSize { memory: 512 << 20, cpus: 1 };
    const OTHER: MachineSize = MachineSize { memory: 512 << 20, cpus: 2 };

    /// One that is kept, and the end of its socket that its monitor has.
    fn kept(spares: &Spares) -> (u64, OwnedFd) {
        let (socket, theirs) = sys::stream::pair().expect("pair");
        let netns = sys::stream::null().expect("any descriptor");
        (spares.keep(SIZE, Ready { socket, sandbox: Sandbox::adopt(netns) }), theirs)
    }

    fn says(socket: &OwnedFd, spare: &Spare) {
        let bytes = proto::frame::encode(spare).expect("encodes");
        assert_eq!(sys::socket::send(socket, &bytes, &[]).expect("sends"), bytes.len());
    }

    #[test]
    fn one_is_taken_when_it_is_ready_and_fits() {
        let spares = Spares::default();
        assert!(spares.is_wanted(SIZE));
        let (_, monitor) = kept(&spares);
        assert!(!spares.is_wanted(SIZE) && spares.is_wanted(OTHER));
        assert!(spares.take(SIZE).is_none(), "it is being made");
        says(&monitor, &Spare::Ready);
        assert!(spares.take(OTHER).is_none(), "it is of another size");
        assert!(spares.take(SIZE).is_some());
        assert!(spares.take(SIZE).is_none(), "it has been taken");
        assert!(spares.is_wanted(SIZE));
    }

    #[test]
    fn one_that_failed_or_went_is_not_taken() {
        let spares = Spares::default();
        let (_, monitor) = kept(&spares);
        drop(monitor);
        assert!(spares.take(SIZE).is_none());
        assert!(spares.is_wanted(SIZE), "another may do better");
        let (_, monitor) = kept(&spares);
        says(&monitor, &Spare::Failed(Error::system("no room")));
        assert!(spares.take(SIZE).is_none());
        assert!(!spares.is_wanted(SIZE), "nobody tries again at once");
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
