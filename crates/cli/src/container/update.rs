//! `update`.

use docker_api::WarningsResponse;
use docker_api::client::Target;
use docker_api::container::{UpdateBody, UpdateRestartPolicy};
use types::mount::Mount;
use types::network::PortMap;
use types::resources::Resources;

use super::flags::restart_policy;
use crate::failure::for_each;
use crate::options::port::{Ports, publish};
use crate::options::{env, mount, size};
use crate::session::Session;

/// `update`'s options; what is not given stays as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Relative weight of block I/O, 10 to 1000, or 0
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// Length of a CPU period in microseconds
    #[arg(long)]
    cpu_period: Option<i64>,
    /// CPU time within a period in microseconds
    #[arg(long)]
    cpu_quota: Option<i64>,
    /// Length of a real-time CPU period in microseconds
    #[arg(long)]
    cpu_rt_period: Option<i64>,
    /// Real-time CPU time within a period in microseconds
    #[arg(long)]
    cpu_rt_runtime: Option<i64>,
    /// Relative CPU weight
    #[arg(short, long)]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_parser = size::cpus)]
    cpus: Option<i64>,
    /// CPUs it may run on
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Set a variable for its next start and for commands executed in it: NAME=value
    #[arg(short, long, value_parser = env::variable)]
    env: Vec<String>,
    /// Remove a variable
    #[arg(long, value_name = "NAME")]
    env_rm: Vec<String>,
    /// Limit of memory
    #[arg(short, long, value_parser = size::bytes)]
    memory: Option<i64>,
    /// Memory it is pushed back to when memory is short
    #[arg(long, value_parser = size::bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together; -1 for unlimited swap
    #[arg(long, value_parser = size::bytes_or_unlimited)]
    memory_swap: Option<i64>,
    /// Publish a port of the container, at once if it runs: [[address:]host:]container[/protocol]
    #[arg(long, visible_alias = "publish-add", value_name = "PORT")]
    publish: Vec<String>,
    /// Publish a port no more: as it was published, or the container's port alone
    #[arg(long, value_name = "PORT")]
    publish_rm: Vec<String>,
    /// Add a bind mount or a volume, at once if it runs: type=…,source=…,target=…
    #[arg(long, value_name = "MOUNT", value_parser = mount::mount)]
    mount_add: Vec<Mount>,
    /// Take away the bind mount or volume at a path of the container
    #[arg(long, visible_alias = "volume-rm", value_name = "TARGET")]
    mount_rm: Vec<String>,
    /// Limit of tasks; -1 for none
    #[arg(long)]
    pids_limit: Option<i64>,
    /// When to start it again
    #[arg(long)]
    restart: Option<String>,
    /// Add a bind mount or a volume, at once if it runs: [SOURCE:]TARGET[:OPTIONS]
    #[arg(long, value_name = "VOLUME")]
    volume_add: Vec<String>,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Args {
    fn body(&self) -> Result<UpdateBody, String> {
        let nothing = self.blkio_weight.is_none()
            && self.cpu_period.is_none()
            && self.cpu_quota.is_none()
            && self.cpu_rt_period.is_none()
            && self.cpu_rt_runtime.is_none()
            && self.cpu_shares.is_none()
            && self.cpus.is_none()
            && self.cpuset_cpus.is_none()
            && self.cpuset_mems.is_none()
            && self.memory.is_none()
            && self.memory_reservation.is_none()
            && self.memory_swap.is_none()
            && self.pids_limit.is_none()
            && self.publish.is_empty()
            && self.publish_rm.is_empty()
            && self.mount_add.is_empty()
            && self.mount_rm.is_empty()
            && self.volume_add.is_empty()
            && self.env.is_empty()
            && self.env_rm.is_empty()
            && self.restart.is_none();
        if nothing {
            return Err("you must provide one or more flags when using this command".to_owned());
        }
        let restart = match &self.restart {
            None => UpdateRestartPolicy::default(),
            Some(text) => {
                let policy = restart_policy(text)?;
                UpdateRestartPolicy {
                    name: policy.name.as_str().to_owned(),
                    maximum_retry_count: policy.maximum_retry_count,
                }
            }
        };
        let binds = self.volume_add.iter().map(|text| match mount::volume(text)? {
            mount::Volume::Anonymous(text) | mount::Volume::Bind(text) => Ok(text),
        });
        let binds = binds.collect::<Result<Vec<String>, String>>()?;
        Ok(UpdateBody {
            resources: Resources {
                blkio_weight: self.blkio_weight.unwrap_or(0),
                cpu_period: self.cpu_period.unwrap_or(0),
                cpu_quota: self.cpu_quota.unwrap_or(0),
                cpu_realtime_period: self.cpu_rt_period.unwrap_or(0),
                cpu_realtime_runtime: self.cpu_rt_runtime.unwrap_or(0),
                cpu_shares: self.cpu_shares.unwrap_or(0),
                nano_cpus: self.cpus.unwrap_or(0),
                cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
                cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
                memory: self.memory.unwrap_or(0),
                memory_reservation: self.memory_reservation.unwrap_or(0),
                memory_swap: self.memory_swap.unwrap_or(0),
                pids_limit: self.pids_limit,
                ..Resources::default()
            },
            restart_policy: restart,
            publish_add: ports(&self.publish)?,
            publish_remove: ports(&self.publish_rm)?,
            mount_add: self.mount_add.clone(),
            bind_add: binds,
            mount_remove: self.mount_rm.clone(),
            env_add: self.env.clone(),
            env_remove: self.env_rm.clone(),
        })
    }
}

fn ports(all: &[String]) -> Result<PortMap, String> {
    let mut ports = Ports::default();
    for text in all {
        publish(text, &mut ports)?;
    }
    Ok(ports.bindings)
}

pub(crate) async fn update(session: &Session, args: Args) -> anyhow::Result<u8> {
    let body = args.body().map_err(anyhow::Error::msg)?;
    let client = session.client()?;
    for_each(session, &args.containers, async |name| {
        let answer: WarningsResponse =
            client.post(&Target::named("/containers", name, "/update"), &body).await?;
        for warning in answer.warnings {
            session.warn(&warning);
        }
        Ok(Some(name.to_owned()))
    })
    .await
}
