//! Containers that join and leave networks, also while they run.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use network::{Endpoint, Network, Sandbox};
use types::Error;
use types::network::EndpointSettings;

use super::attach::{attach, clear_answers};
use crate::container::{Container, Live, validate};
use crate::record::{Record, Run};
use crate::{Engine, blocking, from_network, to_the_end};

impl Engine {
    /// Puts a container into a network, at once if it runs.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Forbidden`] when it stands there already.
    pub async fn network_connect(
        &self,
        reference: &str,
        container: &str,
        mut settings: EndpointSettings,
    ) -> Result<(), Error> {
        let network = self.networks.find(reference).map_err(from_network)?;
        let container = self.containers.find(container)?;
        clear_answers(&mut settings);
        let engine = self.clone();
        to_the_end(async move { engine.connect_one(network, &container, settings).await }).await
    }

    async fn connect_one(
        &self,
        network: Network,
        container: &Container,
        settings: EndpointSettings,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let mut record = container.record().clone();
        if let Some(why) = cannot_join(&record, &network.name) {
            return Err(Error::invalid(why));
        }
        if record.networks.contains_key(&network.name) {
            return Err(Error::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                record.name, network.name
            )));
        }
        let wish = |record: &mut Record| {
            if !settings.mac_address.is_empty() {
                record.macs.insert(network.name.clone(), settings.mac_address.clone());
            }
            record.networks.insert(network.name.clone(), settings.clone());
        };
        wish(&mut record);
        let mut endpoint = None;
        if let Some(live) = container.live() {
            let (engine, subject, name) = (self.clone(), record, network.name.clone());
            let settings = settings.clone();
            let run = Arc::clone(&live.run);
            let reserved =
                blocking(move || engine.plug_in(&subject, &run, &name, &settings)).await?;
            let all = [&*live.run.endpoints, std::slice::from_ref(&reserved)].concat();
            if let Err(error) = self.change_run(container, &live, |run| run.endpoints = all) {
                self.unplug(&reserved).await?;
                return Err(error);
            }
            self.tell_network("connect", &reserved, &container.id);
            endpoint = Some(reserved);
        }
        self.change(container, |record| {
            wish(record);
            self.note_endpoints(record, endpoint.as_slice());
        })
        .await
    }

    async fn unplug(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let (engine, gone) = (self.clone(), endpoint.clone());
        blocking(move || engine.networks.unplug(&gone).map_err(from_network)).await
    }

    /// Takes a container out of a network, at once if it runs.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Forbidden`] when it does not stand there.
    pub async fn network_disconnect(
        &self,
        reference: &str,
        container: &str,
        force: bool,
    ) -> Result<(), Error> {
        let network = self.networks.find(reference).map_err(from_network)?;
        let container = self.containers.find(container)?;
        let engine = self.clone();
        to_the_end(async move { engine.disconnect_one(&network, &container, force).await }).await
    }

    async fn disconnect_one(
        &self,
        network: &Network,
        container: &Container,
        force: bool,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        if network.name == "host" {
            return Err(Error::invalid(NOT_HOST));
        }
        let known = {
            let record = container.record();
            [&network.name, &network.id].iter().any(|name| record.networks.contains_key(*name))
        };
        if !known && !force {
            return Err(Error::forbidden(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        let mut unplugged = Ok(());
        if let Some(live) = container.live()
            && let Some(endpoint) =
                live.run.endpoints.iter().find(|endpoint| endpoint.network == network.id).cloned()
        {
            // What fails of it is told at the end: the rest is done all the same.
            unplugged = self.unplug(&endpoint).await;
            self.tell_network("disconnect", &endpoint, &container.id);
            let changed = self.change_run(container, &live, |run| {
                run.endpoints.retain(|other| other.id != endpoint.id);
            });
            match changed {
                Ok(live) if endpoint.default_route => {
                    unplugged = unplugged.and(self.route_elsewhere(container, &live).await);
                }
                Ok(_) => {}
                Err(error) => unplugged = unplugged.and(Err(error)),
            }
        }
        let written = self.change(container, |record| {
            record.macs.remove(&network.name);
            record.networks.remove(&network.name);
            record.networks.remove(&network.id);
        });
        written.await.and(unplugged)
    }

    /// Gives the default route to another endpoint, if there is one.
    async fn route_elsewhere(&self, container: &Container, live: &Live) -> Result<(), Error> {
        let record = container.record().clone();
        let priority = |endpoint: &Endpoint| {
            let name = self.networks.find(&endpoint.network).map(|n| n.name).unwrap_or_default();
            let settings = record.networks.get(&name);
            (-settings.map_or(0, |settings| settings.gw_priority), name)
        };
        let heirs = live.run.endpoints.iter().filter(|e| e.gateway4.or(e.gateway6).is_some());
        let Some(heir) = heirs.min_by_key(|endpoint| priority(endpoint)).cloned() else {
            return Ok(());
        };
        let engine = self.clone();
        let (endpoint, pid) = (heir.clone(), record.state.pid);
        blocking(move || {
            let namespace = network_namespace(pid)?;
            engine.networks.route_through(&endpoint, namespace.as_fd()).map_err(from_network)
        })
        .await?;
        self.change_run(container, live, |run| {
            for endpoint in run.endpoints.iter_mut().filter(|endpoint| endpoint.id == heir.id) {
                endpoint.default_route = true;
            }
        })?;
        Ok(())
    }

    fn plug_in(
        &self,
        record: &Record,
        run: &Run,
        name: &str,
        settings: &EndpointSettings,
    ) -> Result<Endpoint, Error> {
        let taken = run.endpoints.iter().map(|endpoint| endpoint.interface.as_str());
        let interface = network::next_interface(taken);
        let mut attach = attach(record, name, settings, interface)?;
        attach.default_route = run.endpoints.is_empty();
        let mut sandbox = Sandbox::adopt(network_namespace(record.state.pid)?);
        let mut endpoint = self.networks.reserve(&attach).map_err(from_network)?.endpoint;
        if let Err(error) = self.networks.plug(&mut endpoint, &mut sandbox) {
            // The first error is the one to tell.
            drop(self.networks.release(&endpoint));
            return Err(from_network(error));
        }
        Ok(endpoint)
    }

    /// Changes what a run holds, in memory and for the next daemon.
    pub(crate) fn change_run(
        &self,
        container: &Container,
        live: &Live,
        change: impl FnOnce(&mut Run),
    ) -> Result<Live, Error> {
        let mut run = (*live.run).clone();
        change(&mut run);
        let directory = self.config.monitor_dir(container.id.as_str());
        crate::container::start::replace_run(&directory, &run)?;
        let live = Live { link: Arc::clone(&live.link), run: Arc::new(run) };
        container.set_live(Some(live.clone()));
        Ok(live)
    }
}

const NOT_HOST: &str =
    "container cannot be disconnected from host network or connected to host network";

/// Why a container cannot join a further network, in Docker's words.
fn cannot_join(record: &Record, network: &str) -> Option<&'static str> {
    let mode = record.host.network_mode.as_str();
    let others = record.networks.keys().any(|name| name != network);
    if network == "host" {
        Some(NOT_HOST)
    } else if mode == "host" || validate::joined(mode).is_some() {
        Some(
            "container sharing network namespace with another container or host cannot be \
             connected to any other network",
        )
    } else if record.networks.contains_key("none") && network != "none"
        || network == "none" && others
    {
        Some(
            "container cannot be connected to multiple networks with one of the networks in \
             private (none) mode",
        )
    } else {
        None
    }
}

/// The network namespace that a process is in.
pub(crate) fn network_namespace(pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/ns/net");
    let file = std::fs::File::open(&path)
        .map_err(|error| Error::system(format!("cannot open {path}: {error}")))?;
    Ok(file.into())
}
