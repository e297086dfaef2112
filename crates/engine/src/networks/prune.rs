//! Networks that nobody uses.

use std::collections::BTreeSet;

use types::event::Subject;
use types::filter::Filters;
use types::{Error, Timestamp};

use crate::Engine;
use crate::container::remove::Pruned;

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
        let mut pruned = Pruned::default();
        for network in self.networks.list() {
            let created = Timestamp(i64::try_from(network.created).unwrap_or(0));
            let chosen = !network.is_predefined()
                && !network.config_only
                && !wanted.contains(&network.name)
                && !wanted.contains(&network.id)
                && until.is_none_or(|until| created < until)
                && filters.labels("label", &network.labels)
                && (!filters.has("label!") || !filters.labels("label!", &network.labels));
            if chosen && self.network_remove(&network.id).await.is_ok() {
                pruned.deleted.push(network.name);
            }
        }
        self.tell(Subject::Network, "prune", "", &[("reclaimed", "0")]);
        Ok(pruned)
    }
}
