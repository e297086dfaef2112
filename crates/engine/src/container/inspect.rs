//! Everything there is to know of one container.

use std::collections::BTreeMap;

use types::Error;
use types::health::Health;
use types::network::PortBinding;

use crate::Engine;
use crate::record::Record;

/// Everything there is to know of one container.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// What is remembered of it.
    pub record: Record,
    /// What its probes said, if it has any.
    pub health: Option<Health>,
    /// Path of its resolv.conf on the host.
    pub resolv_conf_path: String,
    /// Path of its hostname file on the host.
    pub hostname_path: String,
    /// Path of its hosts file on the host.
    pub hosts_path: String,
    /// Path of its log on the host.
    pub log_path: String,
    /// Where its layers are.
    pub graph_driver: Option<image::GraphDriver>,
    /// Its execs that have not ended.
    pub exec_ids: Vec<String>,
    /// Its ports: `None` where only exposed.
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// The network namespace's path, while it runs.
    pub sandbox_key: String,
    /// How large it is, if that was asked for.
    pub sizes: Option<Sizes>,
    /// The profile that confines it.
    pub apparmor_profile: String,
}

/// How large a container is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What it has written.
    pub rw: u64,
    /// That, and its image.
    pub root_fs: u64,
}

impl Engine {
    /// Everything there is to know of one container.
    ///
    /// # Errors
    /// Not found.
    pub async fn inspect(&self, reference: &str, size: bool) -> Result<Inspect, Error> {
        let container = self.containers.find(reference)?;
        let sizes = if size { Some(self.sizes(&container).await) } else { None };
        let record = container.record().clone();
        let directory = self.config.container_dir(record.id.as_str());
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        // One that is being removed, or whose removal failed, may have none any more.
        let imageless = !record.host.rootfs.is_empty() || record.host.machine.is_some();
        let graph_driver =
            if !imageless { self.images.graph_driver(&record.id).ok() } else { None };
        let exec_ids = crate::lock(&container.execs)
            .iter()
            .filter(|id| self.exec_inspect(id).is_ok_and(|exec| exec.exit_code.is_none()))
            .cloned()
            .collect();
        let health = crate::lock(&container.health).clone();
        let sandbox_key = match record.state.pid {
            0 => String::new(),
            pid => format!("/proc/{pid}/ns/net"),
        };
        let started = !record.state.started_at.is_never();
        let file = |name: &str| if started { path(name) } else { String::new() };
        Ok(Inspect {
            health,
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: if started { self.log_path(&record) } else { String::new() },
            graph_driver,
            exec_ids,
            ports: self.port_map(&container, &record),
            sandbox_key,
            sizes,
            apparmor_profile: String::new(),
            record: {
                let mut record = record;
                record.unfold();
                record
            },
        })
    }

    fn port_map(
        &self,
        container: &super::Container,
        record: &Record,
    ) -> BTreeMap<String, Option<Vec<PortBinding>>> {
        let mut map: BTreeMap<String, Option<Vec<PortBinding>>> = BTreeMap::new();
        for port in self.listed_ports(container, record) {
            let entry = map.entry(format!("{}/{}", port.private, port.protocol)).or_default();
            if let Some((address, number)) = port.host {
                entry.get_or_insert_default().push(PortBinding {
                    host_ip: address.to_string(),
                    host_port: number.to_string(),
                });
            }
        }
        map
    }

    /// The full id of a container.
    ///
    /// # Errors
    /// Not found.
    pub fn container_id(&self, reference: &str) -> Result<types::ContainerId, Error> {
        Ok(self.containers.find(reference)?.id.clone())
    }
}
