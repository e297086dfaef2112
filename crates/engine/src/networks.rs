//! Networks, with the containers that stand in them, and the files that tell a container its
//! names and servers.

mod attach;
mod connect;
mod files;
mod lost;
mod names;
mod options;
mod prune;
mod routes;

use network::{Endpoint, Network, NetworkSpec};
use types::event::Subject;
use types::filter::Filters;
use types::{ContainerId, Error};

use crate::database::{Change, Pending, Table};
use crate::{Engine, blocking, from_network, to_the_end};

pub(crate) use attach::clear;
pub(crate) use connect::network_namespace;

/// A network and who stands in it.
#[derive(Clone, Debug)]
pub struct NetworkDetail {
    /// The network.
    pub network: Network,
    /// Names of containers, and their places.
    pub endpoints: Vec<(String, Endpoint)>,
}

impl Engine {
    pub(crate) fn tell_network(&self, action: &str, network_id: &str, id: &ContainerId) {
        let network = self.networks.find(network_id);
        let (name, kind) =
            network.map(|n| (n.name, n.driver.as_str())).unwrap_or((String::new(), "bridge"));
        self.tell(
            Subject::Network,
            action,
            network_id,
            &[("container", id.as_str()), ("name", &name), ("type", kind)],
        );
    }

    /// Makes a network.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] for a taken name; [`types::ErrorKind::Invalid`] or
    /// [`types::ErrorKind::Forbidden`] for what does not fit.
    pub async fn network_create(&self, spec: NetworkSpec) -> Result<Network, Error> {
        let engine = self.clone();
        to_the_end(async move { engine.create_network(spec).await }).await
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<Network, Error> {
        let engine = self.clone();
        let network = blocking(move || engine.make_network(&spec)).await?;
        self.tell(
            Subject::Network,
            "create",
            &network.id,
            &[("name", &network.name), ("type", network.driver.as_str())],
        );
        Ok(network)
    }

    /// Remembers a network, then makes it. Blocks.
    fn make_network(&self, spec: &NetworkSpec) -> Result<Network, Error> {
        let mut kept = None;
        let made = self.networks.create_network_known(spec, |network| {
            kept = Some(network.id.clone());
            let written = Change::put(Table::Networks, &network.id, network)
                .and_then(|change| self.database.begin(change))
                .and_then(Pending::done_blocking);
            written.map_err(|error| error.message)
        });
        if let (Err(_), Some(id)) = (&made, kept) {
            self.database.post(Change::remove(Table::Networks, &id));
        }
        made.map_err(from_network)
    }

    /// The networks that a filter lets through.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub fn network_list(&self, filters: &Filters) -> Result<Vec<Network>, Error> {
        filters.allow(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let dangling = filters.boolean("dangling")?;
        for kind in filters.values("type") {
            if !["builtin", "custom"].contains(&kind) {
                return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        let mut list = self.networks.list();
        list.retain(|network| {
            let custom = !network.is_predefined();
            filters.any("driver", |driver| driver == network.driver.as_str())
                && filters.any("id", |id| network.id.starts_with(id))
                && filters.any("name", |name| network.name.contains(name))
                && filters.any("scope", |scope| scope == "local")
                && filters.any("type", |kind| (kind == "custom") == custom)
                && filters.labels("label", &network.labels)
                && dangling.is_none_or(|wanted| {
                    custom && ((self.networks.occupants(&network.id) == 0) == wanted)
                })
        });
        Ok(list)
    }

    /// One network and who stands in it.
    ///
    /// # Errors
    /// Not found.
    pub fn network_inspect(&self, reference: &str) -> Result<NetworkDetail, Error> {
        let network = self.networks.find(reference).map_err(from_network)?;
        let name = |id: &str| {
            let found = self.containers.find(id);
            found.map(|container| container.record().name.clone()).unwrap_or_default()
        };
        let endpoints = self.networks.endpoints(&network.id);
        let endpoints =
            endpoints.into_iter().map(|endpoint| (name(&endpoint.container), endpoint)).collect();
        Ok(NetworkDetail { network, endpoints })
    }

    /// Removes a network.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Forbidden`] when it is predefined or in use.
    pub async fn network_remove(&self, reference: &str) -> Result<(), Error> {
        let (engine, reference) = (self.clone(), reference.to_owned());
        to_the_end(async move { engine.remove_network(reference).await }).await
    }

    async fn remove_network(&self, reference: String) -> Result<(), Error> {
        let engine = self.clone();
        let network = blocking(move || {
            let network = engine.networks.find(&reference).map_err(from_network)?;
            engine.networks.remove_network(&network.id).map_err(from_network)?;
            Ok(network)
        })
        .await?;
        self.database.commit(Change::remove(Table::Networks, &network.id)).await?;
        self.tell(
            Subject::Network,
            "destroy",
            &network.id,
            &[("name", &network.name), ("type", network.driver.as_str())],
        );
        Ok(())
    }

    /// What the networks complained about when they were opened.
    pub fn network_warnings(&self) -> Vec<String> {
        self.networks.warnings().to_vec()
    }
}
