//! Changing limits and restart policies of existing containers.

use proto::control::{Reply, Request};
use types::Error;
use types::container::{RestartPolicy, RestartRule};
use types::resources::Resources;
use types::state::Status;

use super::{Container, validate};
use crate::spec::resources;
use crate::{Engine, to_the_end};

/// What to change; what is zero or empty stays.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The new limits.
    pub resources: Resources,
    /// The new restart policy.
    pub restart_policy: Option<RestartPolicy>,
}

impl Engine {
    /// Changes a container, also while it runs; returns warnings.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for limits that do not fit.
    pub async fn update(&self, reference: &str, update: Update) -> Result<Vec<String>, Error> {
        let container = self.containers.find(reference)?;
        let engine = self.clone();
        to_the_end(async move { engine.update_one(&container, update).await }).await
    }

    async fn update_one(
        &self,
        container: &Container,
        update: Update,
    ) -> Result<Vec<String>, Error> {
        let _operation = container.operation.lock().await;
        let mut record = container.record().clone();
        if matches!(record.state.status, Status::Removing | Status::Dead) {
            return Err(Error::conflict(format!(
                "cannot update container {}: container is marked for removal and cannot be \
                 \"update\"",
                container.id
            )));
        }
        let changed = overlay(&mut record.host.resources, &update.resources);
        let mut warnings =
            validate::resources(&mut record.host.resources, &self.config.support, self.cpus)?;
        if let Some(policy) = update
            .restart_policy
            .filter(|policy| policy.name != RestartRule::No || policy.maximum_retry_count == 0)
        {
            validate::restart_policy(&policy, record.host.auto_remove)?;
            record.host.restart_policy = policy;
        }
        if changed && let Ok(live) = container.running() {
            let limits = resources::limits(&record.host.resources)?;
            match live.link.ask(Request::Update(Box::new(limits)), None).await? {
                Reply::Warnings(more) => warnings.extend(more),
                other => {
                    return Err(Error::system(format!(
                        "the monitor answered an update with {other:?}"
                    )));
                }
            }
        }
        self.change(container, |now| now.host = record.host).await?;
        self.tell_container(container, "update", &[]);
        Ok(warnings)
    }
}

/// Puts what is set over what was; says whether anything was set.
fn overlay(old: &mut Resources, new: &Resources) -> bool {
    let mut changed = false;
    let mut number = |old: &mut i64, new: i64| {
        if new != 0 {
            *old = new;
            changed = true;
        }
    };
    // One way of saying "so many CPUs" replaces the other.
    if new.nano_cpus != 0 {
        old.cpu_period = 0;
        old.cpu_quota = 0;
    } else if new.cpu_period != 0 || new.cpu_quota != 0 {
        old.nano_cpus = 0;
    }
    number(&mut old.cpu_shares, new.cpu_shares);
    number(&mut old.nano_cpus, new.nano_cpus);
    number(&mut old.cpu_period, new.cpu_period);
    number(&mut old.cpu_quota, new.cpu_quota);
    number(&mut old.cpu_realtime_period, new.cpu_realtime_period);
    number(&mut old.cpu_realtime_runtime, new.cpu_realtime_runtime);
    number(&mut old.memory_reservation, new.memory_reservation);
    number(&mut old.kernel_memory, new.kernel_memory);
    number(&mut old.memory, new.memory);
    number(&mut old.memory_swap, new.memory_swap);
    for (old, new) in
        [(&mut old.cpuset_cpus, &new.cpuset_cpus), (&mut old.cpuset_mems, &new.cpuset_mems)]
    {
        if !new.is_empty() {
            old.clone_from(new);
            changed = true;
        }
    }
    if new.blkio_weight != 0 {
        old.blkio_weight = new.blkio_weight;
        changed = true;
    }
    if let Some(limit) = new.pids_limit {
        old.pids_limit = Some(limit);
        changed = true;
    }
    for (old, new) in [
        (&mut old.blkio_device_read_bps, &new.blkio_device_read_bps),
        (&mut old.blkio_device_write_bps, &new.blkio_device_write_bps),
        (&mut old.blkio_device_read_iops, &new.blkio_device_read_iops),
        (&mut old.blkio_device_write_iops, &new.blkio_device_write_iops),
    ] {
        if !new.is_empty() {
            old.clone_from(new);
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes() {
        let mut old = Resources { memory: 1 << 30, nano_cpus: 5, ..Resources::default() };
        assert!(!overlay(&mut old, &Resources::default()));
        assert!(overlay(&mut old, &Resources { cpu_quota: 1000, ..Resources::default() }));
        assert_eq!((old.memory, old.nano_cpus, old.cpu_quota), (1 << 30, 0, 1000));
    }
}
