//! Virtual machines that are ready before containers need them: of the kind that was started last, for
//! a while after that, and as many as have been missed.

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

/// So long one is kept that nobody takes.
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

/// The machines that are ready, and the one that is being made.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Stock>);

#[derive(Debug, Default)]
struct Stock {
    /// Of one kind, those made last at the end. They are made one after the other.
    machines: Vec<Waiting>,
    /// Of which kind; `None`: nobody has wanted one for long.
    kind: Option<Kind>,
    /// As many are wanted: one more whenever there was none to take, one less whenever one was for
    /// nobody.
    wanted: usize,
    /// Counts them all.
    number: u64,
    /// What was started last.
    last: Option<Kind>,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// `None`: it has not been ordered yet.
    spare: Option<Ready>,
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
    /// Takes one of this kind that is ready, if there is one: the last that was made, so that those
    /// which are too many are left over.
    fn take(&self, kind: &Kind, most: usize) -> Option<Ready> {
        let mut stock = crate::lock(&self.0);
        if stock.kind.as_ref() != Some(kind) {
            return None;
        }
        let Some(at) = stock.machines.iter().rposition(|waiting| waiting.ready) else {
            stock.wanted = (stock.wanted + 1).min(most);
            return None;
        };
        stock.machines.remove(at).spare
    }

    /// One of this kind has been started. Those of another kind go when this one was started twice in
    /// a row, or kinds that take turns would have each other's thrown away.
    fn started(&self, kind: &Kind) {
        let mut stock = crate::lock(&self.0);
        let again = stock.last.replace(kind.clone()).as_ref() == Some(kind);
        if stock.kind.as_ref() != Some(kind) && (again || stock.kind.is_none()) {
            stock.machines.clear();
            stock.kind = Some(kind.clone());
            stock.wanted = 1;
        }
    }

    /// Has a place for one more, if there are too few and none is being made: its number, and what it
    /// is to be like. Whoever asked makes it, or says that it has failed.
    fn reserve(&self) -> Option<(u64, Kind)> {
        let mut stock = crate::lock(&self.0);
        let now = Instant::now();
        let lacks = stock.machines.len() < stock.wanted
            && stock.machines.iter().all(|waiting| waiting.ready)
            && stock.not_before.is_none_or(|at| now >= at);
        let kind = stock.kind.clone().filter(|_| lacks)?;
        stock.number += 1;
        let number = stock.number;
        stock.machines.push(Waiting { number, spare: None, ready: false, until: now + KEPT });
        Some((number, kind))
    }

    /// Keeps the one of a number, unless that is for nobody any more.
    fn keep(&self, number: u64, spare: Ready) {
        let mut stock = crate::lock(&self.0);
        if let Some(waiting) = stock.find(number) {
            waiting.spare = Some(spare);
        }
    }

    /// Until when the one of a number stays; `None`: it has gone, or goes now.
    fn until(&self, number: u64) -> Option<Instant> {
        let mut stock = crate::lock(&self.0);
        let until = stock.find(number)?.until;
        if until > Instant::now() {
            return Some(until);
        }
        stock.lose(number);
        if stock.machines.is_empty() {
            stock.kind = None;
        }
        None
    }

    /// Hears what the one of a number has to say; `None`: nothing more.
    fn hear(&self, number: u64, said: Option<Spare>) {
        let mut stock = crate::lock(&self.0);
        let Some(waiting) = stock.find(number) else { return };
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
        // Where one is killed for want of memory, as many would be too many.
        stock.lose(number);
    }
}

impl Stock {
    fn find(&mut self, number: u64) -> Option<&mut Waiting> {
        self.machines.iter_mut().find(|waiting| waiting.number == number)
    }

    /// The one of a number was for nobody.
    fn lose(&mut self, number: u64) {
        self.machines.retain(|waiting| waiting.number != number);
        self.wanted = self.wanted.saturating_sub(1).max(1);
    }
}

/// The spare machine that a container could have: one without directories of the host, in one network
/// at most, and no system of its own.
pub(super) fn kind_for(record: &Record, run: &Run) -> Option<Kind> {
    let fits =
        record.host.machine.is_none() && record.mounts.is_empty() && run.endpoints.len() <= 1;
    let size = run.machine.filter(|_| fits)?;
    Some(Kind { architecture: record.architecture().to_owned(), size })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(architecture: &str, cpus: u32) -> Kind {
        let size = MachineSize { memory: 512 << 20, cpus };
        Kind { architecture: architecture.to_owned(), size }
    }

    /// One that is being made.
    fn kept(spares: &Spares) -> (u64, OwnedFd) {
        let (number, _) = spares.reserve().expect("one is lacking");
        let (socket, theirs) = sys::stream::pair().expect("pair");
        let netns = sys::stream::null().expect("any descriptor");
        spares.keep(number, Ready { line: Line(socket), sandbox: Sandbox::adopt(netns) });
        (number, theirs)
    }

    /// One that is ready.
    fn made(spares: &Spares) -> (u64, OwnedFd) {
        let (number, monitor) = kept(spares);
        spares.hear(number, Some(Spare::Ready));
        (number, monitor)
    }

    /// Whether there is one for a container of a kind.
    fn taken(spares: &Spares, kind: &Kind) -> bool {
        spares.take(kind, 3).is_some()
    }

    fn lacks(spares: &Spares) -> bool {
        let lacking = spares.reserve();
        if let Some((number, _)) = &lacking {
            crate::lock(&spares.0).machines.retain(|waiting| waiting.number != *number);
        }
        lacking.is_some()
    }

    /// The one of a number has been there for as long as it may.
    fn expire(spares: &Spares, number: u64) {
        crate::lock(&spares.0).find(number).expect("it is there").until = Instant::now();
        assert_eq!(spares.until(number), None);
    }

    fn for_one(kind: &Kind) -> Spares {
        let spares = Spares::default();
        assert!(!taken(&spares, kind), "there was none before");
        spares.started(kind);
        spares
    }

    #[test]
    fn one_is_taken_when_it_is_ready_and_fits() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let (number, _monitor) = kept(&spares);
        assert!(spares.reserve().is_none(), "it has a place already");
        assert!(!taken(&spares, &kind("amd64", 2)) && !taken(&spares, &kind("arm64", 1)));
        spares.hear(number, Some(Spare::Ready));
        assert!(!lacks(&spares));
        assert!(!taken(&spares, &kind("amd64", 2)), "it is of another size");
        assert!(!taken(&spares, &kind("arm64", 1)), "it is of another architecture");
        assert!(taken(&spares, &own));
        assert!(!taken(&spares, &own), "it has been taken");
        assert!(lacks(&spares));
    }

    #[test]
    fn one_that_is_being_made_is_for_nobody_yet() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let (number, _) = spares.reserve().expect("a place");
        assert!(spares.reserve().is_none(), "one after the other");
        assert!(!taken(&spares, &own));
        spares.hear(number, Some(Spare::Ready));
        assert!(!taken(&spares, &own), "it was never ordered");
    }

    #[test]
    fn those_of_another_kind_go_when_that_is_started_twice() {
        let (own, other) = (kind("amd64", 1), kind("amd64", 2));
        let spares = for_one(&own);
        let (number, _monitor) = made(&spares);
        assert!(taken(&spares, &own));
        // It is not replaced yet, and stays what is wanted.
        spares.started(&other);
        assert_eq!(spares.reserve().expect("one is lacking").1, own);
        spares.started(&own);
        spares.started(&other);
        assert!(!lacks(&spares), "they take turns");
        spares.started(&other);
        let (next, kind) = spares.reserve().expect("they have changed");
        assert_eq!(kind, other);
        // What was being made of the other kind meanwhile is for nobody.
        let (socket, theirs) = sys::stream::pair().expect("pair");
        let netns = sys::stream::null().expect("any descriptor");
        spares.keep(next - 1, Ready { line: Line(socket), sandbox: Sandbox::adopt(netns) });
        let mut end = Vec::with_capacity(8);
        assert_eq!(sys::stream::receive_now(&theirs, &mut end).expect("closed"), 0);
        assert_eq!(spares.until(number), None);
    }

    #[test]
    fn there_are_as_many_as_were_missed_and_less_when_they_are_for_nobody() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let first = kept(&spares);
        for _ in 0..5 {
            assert!(!taken(&spares, &own));
            spares.started(&own);
        }
        spares.hear(first.0, Some(Spare::Ready));
        let mut monitors = vec![first];
        while lacks(&spares) {
            monitors.push(made(&spares));
        }
        assert_eq!(monitors.len(), 3, "as many as are allowed");
        assert!(taken(&spares, &own));
        assert_eq!(spares.until(monitors[2].0), None, "the last one is taken first");
        monitors.push(made(&spares));
        expire(&spares, monitors[0].0);
        expire(&spares, monitors[1].0);
        assert!(!lacks(&spares), "one is enough again");
        assert!(taken(&spares, &own) && lacks(&spares));
        // Whoever comes when there has been none for long has not missed one.
        let last = made(&spares);
        expire(&spares, last.0);
        assert!(!taken(&spares, &own) && !lacks(&spares));
        spares.started(&own);
        let _last = made(&spares);
        assert!(!lacks(&spares));
    }

    #[test]
    fn one_that_failed_or_went_is_not_taken() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let (number, _monitor) = made(&spares);
        assert!(taken(&spares, &own) && !taken(&spares, &own), "one is missed");
        let (next, _monitor) = made(&spares);
        spares.hear(number, Some(Spare::Ready));
        spares.hear(next, None);
        assert!(!taken(&spares, &own));
        let (next, _monitor) = kept(&spares);
        spares.hear(next, Some(Spare::Failed(Error::system("no room"))));
        assert!(!taken(&spares, &own));
        assert!(!lacks(&spares), "nobody tries again at once");
    }

    #[test]
    fn where_those_that_are_ready_die_fewer_are_wanted() {
        let own = kind("amd64", 1);
        let spares = for_one(&own);
        let first = kept(&spares);
        assert!(!taken(&spares, &own));
        spares.hear(first.0, Some(Spare::Ready));
        let second = kept(&spares);
        spares.hear(first.0, None);
        spares.hear(second.0, Some(Spare::Ready));
        assert!(!lacks(&spares), "the first would be killed again");
    }

    #[test]
    fn one_that_nobody_needs_goes() {
        let spares = for_one(&kind("amd64", 1));
        let (number, monitor) = kept(&spares);
        let until = spares.until(number).expect("it is there");
        assert!(until > Instant::now() + KEPT / 2);
        assert_eq!(spares.until(number + 1), None);
        expire(&spares, number);
        let mut end = Vec::with_capacity(8);
        assert_eq!(sys::stream::receive_now(&monitor, &mut end).expect("closed"), 0);
    }
}
