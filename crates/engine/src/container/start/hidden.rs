//! Containers that nobody sees: the steps of a build, and what a spare machine runs.
//!
//! Such a container has a snapshot and a monitor, but no record in the database and no place in
//! the table, so lists, events and prunes do not know it. What a crash leaves of it is what no
//! record speaks of, and is removed as such.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use proto::control::{Attach, ExitRecord, Notice, Reply, Request};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use types::container::{ContainerConfig, HostConfig};
use types::network::NetworkingConfig;
use types::{ContainerId, Error};

use crate::container::{Container, Live, attach, validate};
use crate::link::{Link, Notices};
use crate::record::Record;
use crate::{Engine, blocking};

/// A detached mount with its place in a container.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) destination: String,
    pub(crate) read_only: bool,
    pub(crate) tree: OwnedFd,
}

/// The length of the head of an output frame.
const HEAD: usize = 8;

impl Engine {
    /// The record of such a container.
    ///
    /// # Errors
    /// What cannot be in a container.
    pub(crate) fn hidden(
        &self,
        id: ContainerId,
        kind: &str,
        mut config: ContainerConfig,
        mut host: HostConfig,
    ) -> Result<Record, Error> {
        let support = &self.config.support;
        for warning in validate::check(&mut config, &mut host, support, self.cpus)? {
            tracing::debug!(container = id.short(), "{warning}");
        }
        let remapped = self.remap_of(&host);
        if remapped.is_some() {
            validate::remapped(&host)?;
        }
        self.fill_in(&id, &mut config, &mut host)?;
        let networks = self.wanted_networks(&mut host, &config, NetworkingConfig::default())?;
        let name = format!("{kind}-{}", id.short());
        Ok(Record { networks, remapped, ..Record::new(id, name, config, host) })
    }

    /// Runs a container that nobody sees to its end. Its snapshot must be there and stays; all
    /// else of it is gone afterwards. `cancel` becoming true kills it.
    ///
    /// # Errors
    /// It cannot be started, or its monitor was killed.
    pub(crate) async fn run_hidden(
        &self,
        record: Record,
        trees: Vec<Tree>,
        cancel: watch::Receiver<bool>,
        output: mpsc::Sender<(u8, Bytes)>,
    ) -> Result<ExitRecord, Error> {
        let container = Arc::new(Container::new(record));
        *crate::lock(&container.trees) = trees;
        let engine = self.clone();
        let subject = Arc::clone(&container);
        let ordered = blocking(move || engine.order(&subject)).await?;
        let run = Arc::new(ordered.run);
        let (link, mut notices) = match Link::new(ordered.socket) {
            Ok(connected) => connected,
            Err(error) => {
                self.clean_up(&container, &run).await;
                return Err(error);
            }
        };
        for warning in &ordered.warnings {
            tracing::debug!(container = container.id.short(), "{warning}");
        }
        let live = Live { link, run };
        let stream = match self.let_run(&live, &mut notices, ordered.plug_later).await {
            Ok(stream) => stream,
            Err(error) => {
                self.undo_launch(&container, &live, notices).await;
                return Err(error);
            }
        };
        let copied = tokio::spawn(copy_output(stream, output));
        let exit = self.until_exit(&live, notices, cancel).await;
        // The monitor has closed the stream, or is gone; an error is a panic of the copying.
        drop(copied.await);
        let Some(exit) = exit else {
            self.clean_up(&container, &live.run).await;
            return Err(Error::system("the container's monitor was killed, and the step with it"));
        };
        for failure in &exit.failures {
            tracing::warn!(container = container.id.short(), "{failure}");
        }
        let engine = self.clone();
        blocking(move || {
            engine.release_run(&container, &live.run);
            engine.forget_monitor(&container.id);
            Ok(())
        })
        .await?;
        Ok(exit)
    }

    /// From the order to the running process, attached.
    async fn let_run(
        &self,
        live: &Live,
        notices: &mut Notices,
        plug_later: bool,
    ) -> Result<UnixStream, Error> {
        let pid = match notices.recv().await {
            Some(Notice::Created { pid, .. }) => pid,
            Some(Notice::Failed(error)) => return Err(error),
            Some(_) | None => {
                return Err(Error::system("the step's monitor ended while it was created"));
            }
        };
        if plug_later {
            let (engine, run) = (self.clone(), Arc::clone(&live.run));
            blocking(move || engine.connect(&run, Some(pid))).await?;
        }
        let (ours, theirs) = attach::stream()?;
        let wanted = Attach { stdin: false, stdout: true, stderr: true };
        live.link.ask(Request::Attach(wanted), Some(theirs)).await?;
        match live.link.ask(Request::Start, None).await? {
            Reply::Started { .. } => Ok(ours),
            other => Err(Error::system(format!("the monitor answered a start with {other:?}"))),
        }
    }

    /// Waits for the end, and brings it about when nobody wants it any more.
    async fn until_exit(
        &self,
        live: &Live,
        mut notices: Notices,
        mut cancel: watch::Receiver<bool>,
    ) -> Option<ExitRecord> {
        let mut killed = false;
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    Some(Notice::Exited(exit)) => return Some(exit),
                    Some(_) => {}
                    None => return None,
                },
                // An error says that whoever could cancel has gone: then nobody wants it either.
                () = cancelled(&mut cancel), if !killed => {
                    killed = true;
                    // An error says that it has just ended.
                    drop(live.link.ask(Request::KillAll, None).await);
                }
            }
        }
    }
}

/// Waits until it is cancelled, or nobody can cancel it any more.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    drop(cancel.wait_for(|cancelled| *cancelled).await);
}

/// Takes the frames of a process's output apart.
async fn copy_output(mut stream: UnixStream, output: mpsc::Sender<(u8, Bytes)>) {
    let (mut waiting, mut chunk) = (Vec::new(), vec![0; 32 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        waiting.extend_from_slice(&chunk[..count]);
        let mut start = 0;
        while let Some((head, rest)) = waiting[start..].split_first_chunk::<HEAD>() {
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let Some(payload) = rest.get(..length) else { break };
            if output.send((head[0], Bytes::copy_from_slice(payload))).await.is_err() {
                // Nobody looks any more: the process must not hang for it.
                while let Ok(1..) = stream.read(&mut chunk).await {}
                return;
            }
            start += HEAD + length;
        }
        waiting.drain(..start);
    }
}
