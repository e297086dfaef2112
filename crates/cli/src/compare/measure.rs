//! The measuring: every contestant once in each turn, so that whatever else the host does hits all
//! alike. What fails for one leaves its cells empty, and the others go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use super::container::{Maker, Running, Stay};
use super::machine;
use super::native::{self, Place};
use super::probe;
use super::processes::{self, Processes};
use super::progress::Progress;
use super::report::{Measure, Report, Wall};
use super::sizes::Sizes;
use super::work::{Computed, Filed, Task};

/// How long one measurement may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the daemon may take until it has a machine ready, if it does.
const READY: Duration = Duration::from_secs(8);
/// What such a machine's monitor is called.
const SPARE: &str = "isopod-spare";
const NOT_READY: &str = "no machine was ready when it was started";
/// How long containers are left alone before they count as idle.
const SETTLING: Duration = Duration::from_millis(300);

/// One thing that is done in turns; it gives the numbers of some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    ComputeOne,
    ComputeAll,
    Copy,
    Files,
    Network,
}

impl Step {
    /// What is done with servers that run all the while.
    const SERVED: [Self; 5] =
        [Self::ComputeOne, Self::ComputeAll, Self::Copy, Self::Files, Self::Network];

    fn measures(self) -> &'static [Measure] {
        match self {
            Self::Start => &[Measure::FirstOutput, Measure::Gone],
            Self::ComputeOne => &[Measure::ComputeOne],
            Self::ComputeAll => &[Measure::ComputeAll],
            Self::Copy => &[Measure::Copy],
            Self::Files => &[Measure::FileWrite, Measure::FileRead, Measure::FilesSmall],
            Self::Network => &[Measure::NetworkTo, Measure::NetworkFrom, Measure::RoundTrip],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::ComputeOne => "one processor",
            Self::ComputeAll => "all processors",
            Self::Copy => "memory",
            Self::Files => "files",
            Self::Network => "network",
        }
    }
}

/// Idle things are looked at from outside.
const LOOKED_AT: [Measure; 3] = [Measure::Memory, Measure::MemoryBeyond, Measure::Disk];

/// A server of one contestant.
enum Server {
    Native(native::Server),
    Container(Running),
}

/// A measuring that goes on.
pub(super) struct Measuring<'a> {
    /// What containers are made of.
    pub(super) maker: Maker<'a>,
    /// How large the pieces of work are.
    pub(super) sizes: Sizes,
    /// Turns.
    pub(super) runs: usize,
    /// The daemon's data root.
    pub(super) data_root: PathBuf,
    /// Where plain processes write.
    pub(super) place: Place,
    /// Says what is going on.
    pub(super) progress: Progress,
}

impl Measuring<'_> {
    /// Measures everything.
    pub(super) async fn all(&self, report: &mut Report) {
        let walls: Vec<Wall> = report.columns.iter().map(|column| column.wall).collect();
        let able = self.warm(report, &walls).await;
        self.turns(report, Step::Start, &able, &[]).await;
        for (column, wall) in &able {
            self.progress.say(&format!("idle, {}", wall.name()));
            if let Err(error) = limited(self.idle(report, *column, *wall)).await {
                fail(report, *column, &LOOKED_AT, &error);
            }
        }
        fit(report);
        let mut servers = Vec::new();
        let mut serving = Vec::new();
        for (column, wall) in &able {
            match limited(self.launch(*wall, Stay::UntilRemoved)).await {
                Ok(server) => {
                    serving.push((*column, *wall));
                    servers.push(server);
                }
                Err(error) => {
                    for step in Step::SERVED {
                        fail(report, *column, step.measures(), &error);
                    }
                }
            }
        }
        for step in Step::SERVED {
            self.turns(report, step, &serving, &servers).await;
        }
        self.remarks(report);
    }

    /// Starts each once: caches are full afterwards, the template of machines is there, and it is
    /// known who can start at all.
    async fn warm(&self, report: &mut Report, walls: &[Wall]) -> Vec<(usize, Wall)> {
        let mut able = Vec::new();
        for (column, wall) in walls.iter().copied().enumerate() {
            if report.columns[column].failure.is_some() {
                continue;
            }
            self.progress.say(&format!("warming up, {}", wall.name()));
            let warmed = async {
                self.start(wall).await?;
                if wall == Wall::Vm {
                    // The first one made a template. Only after one from it is one had ready.
                    self.start(wall).await?;
                }
                anyhow::Ok(())
            };
            match limited(warmed).await {
                Ok(()) => able.push((column, wall)),
                Err(error) => {
                    report.columns[column].failure = Some(crate::failure::describe(&error));
                }
            }
        }
        able
    }

    async fn turns(
        &self,
        report: &mut Report,
        step: Step,
        contestants: &[(usize, Wall)],
        servers: &[Server],
    ) {
        let mut failed = vec![false; contestants.len()];
        for turn in 1..=self.runs {
            for (index, (column, wall)) in contestants.iter().enumerate() {
                if failed[index] {
                    continue;
                }
                let (name, runs) = (step.name(), self.runs);
                self.progress.say(&format!("{name}, {}, {turn} of {runs}", wall.name()));
                let done = limited(self.perform(report, step, *column, *wall, servers.get(index)));
                match done.await {
                    Ok(numbers) => record(report, *column, step.measures(), &numbers),
                    Err(error) => {
                        fail(report, *column, step.measures(), &error);
                        failed[index] = true;
                    }
                }
            }
        }
    }

    /// The numbers of one step, in the order of its measures.
    async fn perform(
        &self,
        report: &mut Report,
        step: Step,
        column: usize,
        wall: Wall,
        server: Option<&Server>,
    ) -> anyhow::Result<Vec<f64>> {
        let sizes = &self.sizes;
        match step {
            Step::Start => {
                // As a user has it who does not start one after the other.
                let none = report.columns[column].notes.iter().any(|note| note == NOT_READY);
                if wall == Wall::Vm && !none && !processes::appears(SPARE, READY).await {
                    report.note(column, NOT_READY.to_owned());
                }
                self.start(wall).await.map(|(first, gone)| vec![first, gone])
            }
            Step::ComputeOne | Step::ComputeAll => {
                let everywhere = step == Step::ComputeAll;
                let task = Task::Compute { rounds: sizes.rounds, everywhere };
                let computed: Computed = self.ask(server, &task).await?;
                let there = report.machine.processors;
                if computed.threads < there && everywhere {
                    let has = computed.threads;
                    report.note(column, format!("it has {has} of the host's {there} processors"));
                }
                Ok(vec![computed.seconds])
            }
            Step::Copy => {
                let (bytes, times) = (sizes.copy, sizes.copies);
                let seconds: f64 = self.ask(server, &Task::Copy { bytes, times }).await?;
                Ok(vec![(bytes * times) as f64 / seconds])
            }
            Step::Files => {
                let (bytes, count) = (sizes.file, sizes.files);
                let folder = match wall {
                    Wall::Native => self.place.path(),
                    Wall::Process | Wall::Vm => "/isopod-compare-files".to_owned(),
                };
                let filed: Filed = self.ask(server, &Task::Files { folder, bytes, count }).await?;
                let rate = |seconds: f64| bytes as f64 / seconds;
                Ok(vec![rate(filed.write), rate(filed.read), f64::from(count) / filed.small])
            }
            Step::Network => {
                let address = match server.context(NO_SERVER)? {
                    Server::Native(server) => (Ipv4Addr::LOCALHOST, server.serving.port).into(),
                    Server::Container(running) => {
                        running.address.context("the container has no IPv4 address")?
                    }
                };
                let found = self.probe(address).await?;
                Ok(vec![found.to, found.from, found.round_trip])
            }
        }
    }

    async fn start(&self, wall: Wall) -> anyhow::Result<(f64, f64)> {
        match wall {
            Wall::Native => tokio::task::spawn_blocking(native::start).await?,
            Wall::Process | Wall::Vm => self.maker.start(wall).await,
        }
    }

    async fn launch(&self, wall: Wall, stay: Stay) -> anyhow::Result<Server> {
        Ok(match wall {
            Wall::Native => Server::Native(native::Server::launch()?),
            Wall::Process | Wall::Vm => Server::Container(self.maker.launch(wall, stay).await?),
        })
    }

    async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        server: Option<&Server>,
        task: &Task,
    ) -> anyhow::Result<T> {
        match server.context(NO_SERVER)? {
            Server::Native(_) => {
                let task = task.clone();
                tokio::task::spawn_blocking(move || native::ask(&task)).await?
            }
            Server::Container(running) => self.maker.ask(running, task).await,
        }
    }

    async fn probe(&self, address: SocketAddr) -> anyhow::Result<probe::Found> {
        let (bytes, round_trips) = (self.sizes.stream, self.sizes.round_trips);
        let work = move || probe::probe(address, bytes, round_trips);
        Ok(tokio::task::spawn_blocking(work).await??)
    }

    /// Looks at some idle servers of one contestant at once, so that what they share counts once
    /// among them.
    async fn idle(&self, report: &mut Report, column: usize, wall: Wall) -> anyhow::Result<()> {
        let mut servers = Vec::new();
        for _ in 0..self.sizes.crowd {
            servers.push(self.launch(wall, Stay::UntilItEnds).await?);
        }
        tokio::time::sleep(SETTLING).await;
        for server in &servers {
            let held = held(wall, server)?;
            record(report, column, &[Measure::Memory], &[held.all as f64]);
            if let Server::Container(running) = server {
                record(report, column, &[Measure::MemoryBeyond], &[held.beyond as f64]);
                let disk = self.disk(running).await?;
                record(report, column, &[Measure::Disk], &[disk as f64]);
                if wall == Wall::Vm
                    && let Some(accelerator) = machine::accelerator(running.pid)
                {
                    report.machine.accelerator = accelerator;
                }
            }
        }
        for server in servers {
            if let Server::Container(running) = server {
                self.maker.end(running).await?;
            }
        }
        Ok(())
    }

    /// The directory that our daemon has for a container; of other daemons what they say.
    async fn disk(&self, running: &Running) -> anyhow::Result<u64> {
        let folder = self.data_root.join("containers").join(&running.id);
        match processes::on_disk(&folder) {
            Ok(bytes) if self.maker.walls => Ok(bytes),
            Err(error) if self.maker.walls => {
                Err(error).with_context(|| unreadable(&folder.display()))
            }
            _ => self.maker.size(running).await,
        }
    }

    fn remarks(&self, report: &mut Report) {
        if !self.place.same {
            let folder = self.place.folder.display();
            report.note(0, format!("its files are in {folder}, on another file system"));
        }
        if let Some(caches) = self.sizes.caches
            && caches > self.sizes.copy as u64
        {
            report.note(0, "the buffer that is copied fits into this host's caches".to_owned());
        }
    }
}

const NO_SERVER: &str = "it does not run";

/// Memory in bytes, by proportional share.
struct Held {
    all: u64,
    beyond: u64,
}

/// What a server and everything that is there for it hold.
fn held(wall: Wall, server: &Server) -> anyhow::Result<Held> {
    let running = match server {
        Server::Native(server) => {
            let all = memory_of(&[server.pid()])?;
            return Ok(Held { all, beyond: 0 });
        }
        Server::Container(running) => running,
    };
    let processes = Processes::look()?;
    let pid = running.pid;
    let monitor = processes.parent(pid).context("its process is not on this host")?;
    let all = memory_of(&processes.below(monitor))?;
    let own = match wall {
        Wall::Vm => running.serving.memory,
        Wall::Native | Wall::Process => memory_of(&processes.below(pid))?,
    };
    Ok(Held { all, beyond: all.saturating_sub(own) })
}

fn memory_of(pids: &[u32]) -> anyhow::Result<u64> {
    let of = |pid: &u32| {
        processes::memory(*pid)
            .with_context(|| unreadable(&format_args!("/proc/{pid}/smaps_rollup")))
    };
    pids.iter().map(of).sum()
}

fn unreadable(path: &dyn std::fmt::Display) -> String {
    format!("{path} cannot be read (run this as root, on the daemon's host)")
}

/// Bounds one measurement.
async fn limited<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => anyhow::bail!("not done after {} s", PATIENCE.as_secs()),
    }
}

fn record(report: &mut Report, column: usize, measures: &[Measure], numbers: &[f64]) {
    for (measure, number) in measures.iter().zip(numbers) {
        if let Some(cell) = report.cell(*measure, column) {
            cell.samples.push(*number);
        }
    }
}

fn fail(report: &mut Report, column: usize, measures: &[Measure], error: &anyhow::Error) {
    let text = crate::failure::describe(error);
    for measure in measures {
        if let Some(cell) = report.cell(*measure, column) {
            cell.failure = Some(text.clone());
        }
    }
}

/// How many fit: the memory that there was at the beginning by that of one.
fn fit(report: &mut Report) {
    for column in 0..report.columns.len() {
        let one = report.median(Measure::Memory, column).filter(|one| *one > 0.0);
        if let Some(one) = one {
            let number = (report.machine.available as f64 / one).floor();
            record(report, column, &[Measure::Fit], &[number]);
        }
    }
}

/// Removes what a measuring that was broken off left in the file system.
pub(super) fn clean(data_root: &Path) -> std::io::Result<()> {
    native::clean(&Place::find(data_root))
}
