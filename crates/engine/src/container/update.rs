//! Changing limits and restart policies of existing containers.

mod devices;

use proto::control::{Reply, Request};
use types::container::{RestartPolicy, RestartRule};
use types::resources::Resources;
use types::state::Status;
use types::{Error, ErrorKind};

use super::remount::{EnvChanges, MountChanges};
use super::republish::PortChanges;
pub use devices::EmptiedDevices;

use super::validate::limits;
use super::{Container, validate};
use crate::{Engine, spec, to_the_end};

/// What to change; what is zero or empty stays.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The new limits.
    pub resources: Resources,
    /// Lists of limits of single devices that are to be empty.
    pub emptied: EmptiedDevices,
    /// The new restart policy.
    pub restart_policy: Option<RestartPolicy>,
    /// What is published and what no more.
    pub ports: PortChanges,
    /// Binds and volumes that come and go.
    pub mounts: MountChanges,
    /// The environment of its next start and of commands executed in it.
    pub env: EnvChanges,
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
        let refused = |error: Error| {
            let message = format!("Cannot update container {}: {}", container.id, error.message);
            Error { message, ..error }
        };
        let Update { mut resources, emptied, restart_policy, ports, mounts, env } = update;
        let mut warnings = limits::changes(&mut resources, &self.config.support, self.cpus)?;
        if let Some(policy) = &restart_policy {
            validate::restart_policy(policy, false)?;
            if record.host.auto_remove && policy.name != RestartRule::No {
                return Err(refused(Error::conflict(
                    "Restart policy cannot be updated because AutoRemove is enabled for the \
                     container",
                )));
            }
        }
        if mounts != MountChanges::default() || env != EnvChanges::default() {
            container.refuse_whole("a change of mounts or of an environment").map_err(refused)?;
        }
        if resources.pids_limit.is_some_and(|limit| limit > 0) {
            container.refuse_whole("a number of processes").map_err(refused)?;
        }
        conflict(&record.host.resources, &resources).map_err(refused)?;
        env.apply(&mut record.config.env)?;
        let before = record.host.resources.clone();
        let changed = overlay(&mut record.host.resources, &resources)
            | devices::replace(&mut record.host.resources, &resources, emptied);
        limits::complete(&mut record.host.resources, &self.config.support);
        record.host.restart_policy = restart_policy.unwrap_or(record.host.restart_policy);
        if changed && let Some(has) = container.live().and_then(|live| live.run.machine) {
            let wanted = record.machine_size(&self.config.machines);
            if record.host.machine.is_some() {
                if wanted.memory != has.memory || wanted.cpus > has.cpus {
                    warnings.push(
                        "The machine has the memory and the processors that it was started with: \
                         what it is to have holds from its next start."
                            .to_owned(),
                    );
                }
            } else if wanted.memory > has.memory || wanted.cpus > has.cpus {
                return Err(refused(Error::conflict(
                    "its virtual machine has no more memory or processors than it was started with: \
                     stop it first",
                )));
            }
        }
        if changed {
            let told = devices::lifting(&before, &record.host.resources);
            let all = spec::resources::limits(&told)?;
            match container.ask(Request::Update(Box::new(all)), None).await {
                Ok(Reply::Warnings(more)) => warnings.extend(more),
                Ok(other) => {
                    return Err(Error::system(format!(
                        "the monitor answered an update with {other:?}"
                    )));
                }
                // It does not run: its next start heeds it.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(refused(error)),
            }
        }
        self.remount(container, &mut record, &mounts).await.map_err(refused)?;
        self.republish(container, &mut record, &ports).await.map_err(refused)?;
        self.change(container, |now| {
            now.config.exposed_ports = record.config.exposed_ports;
            now.config.env = record.config.env;
            now.host = record.host;
            now.ranges = record.ranges;
        })
        .await?;
        self.tell_container(container, "update", &[]);
        Ok(warnings)
    }
}

/// Whether new limits go with those that stay; by dockerd's rules and in its words.
fn conflict(old: &Resources, new: &Resources) -> Result<(), Error> {
    for (conflicts, what, other) in [
        (new.nano_cpus > 0 && old.cpu_period > 0, "Nano CPUs", "CPU Period"),
        (new.nano_cpus > 0 && old.cpu_quota > 0, "Nano CPUs", "CPU Quota"),
        (new.cpu_period > 0 && old.nano_cpus > 0, "CPU Period", "NanoCPUs"),
        (new.cpu_quota > 0 && old.nano_cpus > 0, "CPU Quota", "NanoCPUs"),
    ] {
        if conflicts {
            return Err(Error::conflict(format!(
                "Conflicting options: {what} cannot be updated as {other} has already been set"
            )));
        }
    }
    // Unlike dockerd, which also takes "unlimited" and "not set" for smaller.
    if new.memory > old.memory_swap && old.memory_swap > 0 && new.memory_swap == 0 {
        return Err(Error::conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the \
             memoryswap at the same time",
        ));
    }
    Ok(())
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
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes() {
        let mut old = Resources { memory: 1 << 30, cpu_shares: 5, ..Resources::default() };
        assert!(!overlay(&mut old, &Resources::default()));
        assert!(overlay(&mut old, &Resources { cpu_quota: 1000, ..Resources::default() }));
        assert_eq!((old.memory, old.cpu_shares, old.cpu_quota), (1 << 30, 5, 1000));
    }

    #[test]
    fn changes_that_do_not_go_with_what_stays_are_refused() {
        let old = Resources { memory: 64, memory_swap: 128, nano_cpus: 5, ..Resources::default() };
        let refused = |new: Resources| conflict(&old, &new).map_err(|error| error.message);
        assert_eq!(refused(Resources { memory: 128, ..Resources::default() }), Ok(()));
        assert_eq!(
            refused(Resources { memory: 129, memory_swap: 129, ..Resources::default() }),
            Ok(())
        );
        let swap = refused(Resources { memory: 129, ..Resources::default() });
        assert!(swap.expect_err("too much").contains("already set memoryswap limit"));
        let quota = refused(Resources { cpu_quota: 1000, ..Resources::default() });
        assert_eq!(
            quota.expect_err("two ways").as_str(),
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        );
        let unlimited = Resources { memory: 64, memory_swap: -1, ..Resources::default() };
        let more = Resources { memory: 1 << 40, ..Resources::default() };
        assert_eq!(conflict(&unlimited, &more), Ok(()));
        assert_eq!(conflict(&Resources::default(), &more), Ok(()));
    }
}
