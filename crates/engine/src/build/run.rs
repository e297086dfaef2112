//! A step's process: a container that nobody sees.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use build::worker::{Run, RunMount, RunSource};
use bytes::Bytes;
use proto::control::ExitRecord;
use sys::mount::SetAttr;
use tokio::sync::{mpsc, watch};
use types::Error;
use types::container::{ContainerConfig, HostConfig, LogConfig};

use super::Worker;
use super::agent::Agent;
use super::memory;
use crate::container::start::hidden::Tree;
use crate::record::Record;
use crate::spec::machine::ISOLATION;

/// Pieces of output that may wait.
const QUEUE: usize = 64;

/// The label of the containers of builds.
const LABEL: &str = "isopod.build";

impl Worker {
    /// Runs it to its end, on this thread.
    pub(super) fn run_step(
        &self,
        run: Run,
        output: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<i32, Error> {
        if self.engine.config.isolation == ISOLATION {
            self.wall_said.call_once(|| {
                output(2, b"steps of builds run as processes on this host, not in machines\n");
            });
        }
        let mut agents = Vec::new();
        let mut trees = Vec::new();
        let mut run = run;
        for (number, mount) in std::mem::take(&mut run.mounts).into_iter().enumerate() {
            let target = mount.target.clone();
            let tree = self
                .tree(&run, number, mount, &mut agents)
                .map_err(|error| Error::invalid(format!("cannot mount {target}: {error}")))?;
            trees.push(tree);
        }
        let record = self.record(run)?;
        let id = record.id.clone();
        let (sender, mut pieces) = mpsc::channel(QUEUE);
        let (engine, cancel) = (self.engine.clone(), self.cancel.clone());
        // A task of its own: it must come to its end whatever becomes of this thread.
        let running = self.runtime.spawn(run_to_end(engine, record, trees, cancel, sender));
        while let Some((stream, bytes)) = pieces.blocking_recv() {
            output(stream, &bytes);
        }
        let exit = self.runtime.block_on(running).map_err(|error| {
            Error::system(format!("the step {} came to no end: {error}", id.short()))
        })??;
        drop(agents);
        if *self.cancel.borrow() {
            return Err(Error::system("the build was cancelled"));
        }
        if exit.oom_killed {
            output(2, b"the step was killed: it used more memory than it may\n");
        }
        Ok(exit.exit_code)
    }

    /// A mount, attached nowhere yet.
    fn tree(
        &self,
        run: &Run,
        number: usize,
        mount: RunMount,
        agents: &mut Vec<Agent>,
    ) -> io::Result<Tree> {
        let tree: OwnedFd = match mount.source {
            RunSource::Tree(tree) => tree,
            RunSource::Host(path) => of_host(&path)?,
            RunSource::Memory(size) => memory::directory(size)?,
            RunSource::Content { content, uid, gid, mode } => {
                memory::file(&content, (uid, gid, mode))?
            }
            RunSource::Ssh { id, uid, gid, mode } => {
                let session = self.session.clone();
                let session = session.ok_or_else(|| io::Error::other("the client has no agent"))?;
                let name = format!("{}-{number}", run.id.short());
                let directory = self.engine.config.exec_root.join("build").join(name);
                let agent = Agent::listen(&directory, session, &id, (uid, gid, mode))?;
                let tree = of_host(agent.path())?;
                agents.push(agent);
                tree
            }
        };
        if let Some(namespace) = &self.engine.remap_namespace {
            let userns = Some(namespace.as_fd());
            let change = SetAttr { userns, ..SetAttr::default() };
            if let Err(error) = sys::mount::set_attr(&tree, false, change) {
                // EINVAL: overlays cannot. Its files then seem to be nobody's, but can be read.
                tracing::debug!("cannot map the ids of {}: {error}", mount.target);
            }
        }
        Ok(Tree { destination: mount.target, read_only: mount.read_only, tree })
    }

    /// The container that the process runs in.
    fn record(&self, run: Run) -> Result<Record, Error> {
        let engine = &self.engine;
        let config = ContainerConfig {
            env: run.env,
            user: run.user,
            working_dir: run.working_dir,
            cmd: Some(run.command.into()),
            labels: [(LABEL.to_owned(), String::new())].into(),
            ..ContainerConfig::default()
        };
        let extra_hosts = [run.extra_hosts, engine.neighbours(&run.network)].concat();
        let host = HostConfig {
            network_mode: run.network,
            shm_size: run.shm_size,
            extra_hosts,
            privileged: run.insecure,
            resources: run.resources,
            // The layer is what the process wrote on the host, whatever wall the daemon prefers.
            isolation: "process".to_owned(),
            // Its files are flushed when they become a layer.
            auto_remove: true,
            log_config: LogConfig { kind: "none".to_owned(), ..LogConfig::default() },
            ..HostConfig::default()
        };
        engine.hidden(run.id, "build", config, host)
    }
}

async fn run_to_end(
    engine: crate::Engine,
    record: Record,
    trees: Vec<Tree>,
    cancel: watch::Receiver<bool>,
    output: mpsc::Sender<(u8, Bytes)>,
) -> Result<ExitRecord, Error> {
    engine.run_hidden(record, trees, cancel, output).await
}

/// A copy of the mount that a path of the host is on, from that path on.
fn of_host(path: &std::path::Path) -> io::Result<OwnedFd> {
    let opened = sys::fs::open_host(path, sys::fs::OFlags::PATH)?;
    sys::mount::clone_tree(&opened, false)
}
