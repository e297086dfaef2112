//! The conversation with a monitor, from the order to the running process.

use std::sync::Arc;

use network::{Endpoint, Sandbox};
use proto::control::{Notice, Reply, Request};
use types::state::Status;
use types::{Error, Timestamp};

use crate::container::{Container, Live};
use crate::database::{Change, Pending, Table};
use crate::link::Notices;
use crate::networks::network_namespace;
use crate::record::Run;
use crate::{Engine, blocking, from_network};

pub(super) struct Begun {
    pub(super) pid: i32,
    pub(super) at: Timestamp,
    pub(super) warnings: Vec<String>,
    /// The endpoints, if they were plugged in only now.
    pub(super) plugged: Option<Vec<Endpoint>>,
    /// The record that says that it runs, on its way to the disk.
    pub(super) written: Pending,
}

impl Engine {
    /// From the order to the running process.
    pub(super) async fn begin(
        &self,
        container: &Arc<Container>,
        live: &Live,
        notices: &mut Notices,
        plug_later: bool,
    ) -> Result<Begun, Error> {
        let (pid, warnings) = match notices.recv().await {
            Some(Notice::Created { pid, warnings }) => (pid, warnings),
            Some(Notice::Failed(error)) => return Err(error),
            Some(_) | None => {
                return Err(Error::system("the container's monitor ended while it was created"));
            }
        };
        let publish = live.run.endpoints.iter().any(|endpoint| !endpoint.ports.is_empty());
        let mut plugged = None;
        if plug_later || publish {
            let engine = self.clone();
            let run = Arc::clone(&live.run);
            let record = container.record().clone();
            let connected = blocking(move || {
                let plugged = engine.connect(&run, plug_later.then_some(pid))?;
                if plug_later {
                    engine.give_names_late(&record, &run, pid)?;
                }
                Ok(plugged)
            });
            plugged = connected.await.map_err(|error| external(container, error))?;
        }
        let attaches = std::mem::take(&mut *crate::lock(&container.attaches));
        for (attach, stream) in attaches {
            live.link.ask(Request::Attach(attach), Some(stream)).await?;
        }
        // While the process is let go, the database learns that it runs; nobody is told before.
        let written = {
            let now = container.record();
            let mut record = now.clone();
            record.state.status = Status::Running;
            record.state.pid = pid;
            record.state.started_at = Timestamp::now();
            let change = Change::put(Table::Containers, container.id.as_str(), &record)?;
            self.database.begin(change)?
        };
        match live.link.ask(Request::Start, None).await? {
            Reply::Started { at } => Ok(Begun { pid, at, warnings, plugged, written }),
            other => Err(Error::system(format!("the monitor answered a start with {other:?}"))),
        }
    }

    /// Plugs late endpoints in, which then know their links, and publishes ports.
    pub(super) fn connect(
        &self,
        run: &Run,
        pid: Option<i32>,
    ) -> Result<Option<Vec<Endpoint>>, Error> {
        let mut plugged = None;
        if let Some(pid) = pid {
            let mut sandbox = Sandbox::adopt(network_namespace(pid)?);
            let mut endpoints = run.endpoints.clone();
            for endpoint in &mut endpoints {
                self.networks.plug(endpoint, &mut sandbox).map_err(from_network)?;
            }
            plugged = Some(endpoints);
        }
        for endpoint in run.endpoints.iter().filter(|endpoint| !endpoint.ports.is_empty()) {
            self.networks.publish(endpoint).map_err(from_network)?;
        }
        Ok(plugged)
    }
}

/// Puts Docker's words before what went wrong with ports and links.
fn external(container: &Container, error: Error) -> Error {
    let name = container.record().name.clone();
    let message = format!(
        "driver failed programming external connectivity on endpoint {name} ({}): {}",
        container.id, error.message
    );
    Error { kind: error.kind, message }
}
