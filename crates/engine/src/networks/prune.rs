//! Networks that nobody uses.

use std::collections::BTreeSet;

use types::event::Subject;
use types::filter::Filters;
use types::{Error, Timestamp};

use crate::container::remove::Pruned;
use crate::database::{Change, Table};
use crate::{Engine, blocking, to_the_end};

/// So many networks go in one step; meanwhile nobody else can change links of the host.
const TOGETHER: usize = 256;

impl Engine {
    /// Removes the networks that no container, running or not, wants to stand in.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn network_prune(&self, filters: &Filters) -> Result<Pruned, Error> {
        filters.allow(&["label", "label!", "until"])?;
        let until = crate::volumes::until(filters)?;
        let mut wanted = BTreeSet::new();
        for container in self.containers.all() {
            let record = container.record();
            for (name, settings) in &record.networks {
                wanted.insert(name.clone());
                wanted.insert(settings.network_id.clone());
            }
        }
        let mut chosen = Vec::new();
        for network in self.networks.list() {
            let created = Timestamp(i64::try_from(network.created).unwrap_or(0));
            let fits = !network.is_predefined()
                && !network.config_only
                && !wanted.contains(&network.name)
                && !wanted.contains(&network.id)
                && until.is_none_or(|until| created < until)
                && filters.labels("label", &network.labels)
                && (!filters.has("label!") || !filters.labels("label!", &network.labels));
            if fits {
                chosen.push(network.id);
            }
        }
        let mut pruned = Pruned::default();
        for ids in chosen.chunks(TOGETHER) {
            let (engine, ids) = (self.clone(), ids.to_vec());
            let work = async move { engine.remove_networks(ids).await };
            pruned.deleted.extend(to_the_end(work).await?);
        }
        self.tell(Subject::Network, "prune", "", &[("reclaimed", "0")]);
        Ok(pruned)
    }
    /// Removes what nobody stands in; returns the names.
    async fn remove_networks(&self, ids: Vec<String>) -> Result<Vec<String>, Error> {
        let engine = self.clone();
        let removed = blocking(move || Ok(engine.networks.remove_networks(&ids))).await?;
        for error in &removed.errors {
            tracing::warn!("removing unused networks: {error}");
        }
        let forgotten: Result<Vec<_>, Error> = removed
            .networks
            .iter()
            .map(|network| self.database.begin(Change::remove(Table::Networks, &network.id)))
            .collect();
        for change in forgotten? {
            change.done().await?;
        }
        for network in &removed.networks {
            self.tell(
                Subject::Network,
                "destroy",
                &network.id,
                &[("name", &network.name), ("type", network.driver.as_str())],
            );
        }
        Ok(removed.networks.into_iter().map(|network| network.name).collect())
    }
}
