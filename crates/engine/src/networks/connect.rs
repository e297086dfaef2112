//! Containers that join and leave networks, also while they run.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use network::{Endpoint, Network, Sandbox};
use types::Error;
use types::network::EndpointSettings;

use super::attach::{attach, clear_answers};
use super::options;
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
        options::check(&network.name, &settings)?;
        if network.config_only {
            return Err(from_network(network::Error::ConfigJoined(network.name)));
        }
        let engine = self.clone();
        to_the_end(async move { engine.connect_one(network, &container, settings).await }).await
    }

    /// What runs is plugged in first, and the record is written last: a crash in between leaves an
    /// endpoint that the record does not ask for, which `settle_endpoints` takes away.
    async fn connect_one(
        &self,
        network: Network,
        container: &Container,
        settings: EndpointSettings,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        container.still_there()?;
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
            let (live, plugged) = self.plug_in(container, &live, &record, &network.name).await?;
            if let Err(error) = self.lead(container, &live, &record).await {
                self.take_back(container, &plugged).await;
                return Err(error);
            }
            endpoint = Some(plugged);
        }
        let written = self.change(container, |record| {
            wish(record);
            self.note_endpoints(record, endpoint.as_slice());
        });
        if let Err(error) = written.await {
            if let Some(endpoint) = &endpoint {
                self.take_back(container, endpoint).await;
            }
            return Err(error);
        }
        let named = self.names_changed(container).await;
        if let Some(endpoint) = &endpoint {
            self.tell_network("connect", &endpoint.network, &container.id);
        }
        named
    }

    /// Gives a running container a place in a network. The run knows of it before the kernel does.
    async fn plug_in(
        &self,
        container: &Container,
        live: &Live,
        record: &Record,
        name: &str,
    ) -> Result<(Live, Endpoint), Error> {
        if record.is_machine() {
            return Err(Error::conflict(
                "a running container in a virtual machine cannot be given another network card: \
                 stop it first",
            ));
        }
        let reserved = self.reserve_beside(record, &live.run, name)?;
        let known = self.change_run(container, live, |run| run.endpoints.push(reserved.clone()));
        let live = match known {
            Ok(live) => live,
            Err(error) => {
                // The first error is the one to tell.
                drop(self.networks.release(&reserved));
                return Err(error);
            }
        };
        let (engine, mut endpoint, pid) = (self.clone(), reserved.clone(), record.state.pid);
        let plugged = blocking(move || {
            let mut sandbox = Sandbox::adopt(network_namespace(pid)?);
            engine.networks.plug(&mut endpoint, &mut sandbox).map_err(from_network)?;
            Ok(endpoint)
        });
        let changed = plugged.await.and_then(|endpoint| {
            let live = self.change_run(container, &live, |run| {
                let known = run.endpoints.iter_mut().find(|known| known.id == endpoint.id);
                if let Some(known) = known {
                    known.clone_from(&endpoint);
                }
            })?;
            Ok((live, endpoint))
        });
        if changed.is_err() {
            self.take_back(container, &reserved).await;
        }
        changed
    }

    fn reserve_beside(&self, record: &Record, run: &Run, name: &str) -> Result<Endpoint, Error> {
        let settings = record.networks.get(name).cloned().unwrap_or_default();
        let mut attach = attach(record, name, &settings)?;
        let mut taken = run.endpoints.iter().map(|endpoint| endpoint.interface.as_str());
        match &attach.interface {
            Some(chosen) if taken.any(|name| name == chosen) => {
                return Err(Error::invalid(format!(
                    "the container has an interface {chosen} already"
                )));
            }
            Some(_) => {}
            None => attach.interface = Some(network::next_interface(taken)),
        }
        Ok(self.networks.reserve(&attach).map_err(from_network)?.endpoint)
    }

    /// Has routes lead out and ports lead in by the network that is to have both.
    async fn lead(&self, container: &Container, live: &Live, record: &Record) -> Result<(), Error> {
        self.choose_routes(container, live, record).await?;
        match container.live() {
            Some(live) => self.choose_way_in(container, &live, record).await,
            None => Ok(()),
        }
    }

    /// Undoes [`Engine::plug_in`]; what fails of that is logged, as another error is to be told.
    async fn take_back(&self, container: &Container, endpoint: &Endpoint) {
        if let Err(error) = self.leave(container, endpoint).await {
            tracing::error!(container = container.id.short(), "{error}");
        }
    }

    /// Takes an endpoint away from a container that runs, whose record does not ask for it (any
    /// more). Everything is tried; the first error is told.
    async fn leave(&self, container: &Container, endpoint: &Endpoint) -> Result<(), Error> {
        let record = container.record().clone();
        let handed_on = match container.live() {
            Some(live) => self.hand_ports_on(container, &live, &record, endpoint).await,
            None => Ok(()),
        };
        let unplugged = self.unplug(endpoint, record.state.pid).await;
        let Some(live) = container.live() else { return handed_on.and(unplugged) };
        let changed = self.change_run(container, &live, |run| {
            run.endpoints.retain(|other| other.id != endpoint.id);
        });
        let led = match changed {
            Ok(live) => self.lead(container, &live, &record).await,
            Err(error) => Err(error),
        };
        handed_on.and(unplugged).and(led)
    }

    pub(super) async fn unplug(&self, endpoint: &Endpoint, pid: i32) -> Result<(), Error> {
        let (engine, gone) = (self.clone(), endpoint.clone());
        blocking(move || {
            // Without a process its namespace has gone, and the link with it.
            let namespace = network_namespace(pid).ok();
            let namespace = namespace.as_ref().map(AsFd::as_fd);
            engine.networks.unplug(&gone, namespace).map_err(from_network)
        })
        .await
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

    /// The record is written first: a crash after it leaves an endpoint that is not asked for.
    async fn disconnect_one(
        &self,
        network: &Network,
        container: &Container,
        force: bool,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        container.still_there()?;
        if network.name == "host" {
            return Err(Error::invalid(NOT_HOST));
        }
        let known = {
            let record = container.record();
            [&network.name, &network.id].iter().any(|name| record.networks.contains_key(*name))
        };
        let stands = |live: Live| live.run.endpoints.iter().any(|e| e.network == network.id);
        // With force also one that only the run knows of.
        let connected = known || (force && container.live().is_some_and(stands));
        if !connected {
            return Err(Error::forbidden(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        if container.record().is_machine() && container.live().is_some_and(stands) {
            return Err(Error::conflict(
                "a running container in a virtual machine cannot lose a network card: stop it first",
            ));
        }
        self.change(container, |record| {
            record.macs.remove(&network.name);
            record.last_addresses.remove(&network.name);
            record.networks.remove(&network.name);
            record.networks.remove(&network.id);
        })
        .await?;
        let Some(live) = container.live() else {
            self.tell_network("disconnect", &network.id, &container.id);
            return Ok(());
        };
        let mut endpoints = live.run.endpoints.iter();
        let Some(endpoint) = endpoints.find(|endpoint| endpoint.network == network.id).cloned()
        else {
            return Ok(());
        };
        // What fails is told at the end: the rest is done all the same.
        let left = self.leave(container, &endpoint).await;
        self.tell_network("disconnect", &endpoint.network, &container.id);
        let named = self.names_changed(container).await;
        left.and(named)
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
