//! Lists of containers.

use std::collections::HashSet;
use std::sync::Arc;

use types::filter::Filters;
use types::health::HealthStatus;
use types::mount::MountPoint;
use types::state::Status;
use types::{Error, Timestamp};

use super::Container;
use super::start::machine::DISK;
use crate::record::Record;
use crate::{Engine, Sizes, blocking};

/// Which containers, and how much of them.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Those that do not run too.
    pub all: bool,
    /// Only the last so many created, running or not.
    pub limit: Option<usize>,
    /// With sizes.
    pub size: bool,
    /// Which of them.
    pub filters: Filters,
}

/// One container in a list.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What is remembered of it.
    pub record: Record,
    /// The image as it was named, or its id when it has not got that name any more.
    pub image: String,
    /// Its published and exposed ports.
    pub ports: Vec<ListedPort>,
    /// Its health.
    pub health: HealthStatus,
    /// Probes that failed in a row.
    pub failing_streak: i64,
    /// How large it is, if that was asked for.
    pub sizes: Option<Sizes>,
    /// Names in other containers, of legacy links.
    pub links: Vec<String>,
}

/// A port in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedPort {
    /// The container's port.
    pub private: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The host's address and port, if it is published.
    pub host: Option<(std::net::IpAddr, u16)>,
}

impl Engine {
    /// The containers that the options choose, the newest first.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters or values.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Summary>, Error> {
        let chosen = self.choose(&options)?;
        let mut summaries = Vec::with_capacity(chosen.len());
        let names = self.link_names();
        for container in chosen {
            let sizes = if options.size { Some(self.sizes(&container).await) } else { None };
            let record = container.record().clone();
            let (health, failing_streak) = health(&container);
            let ports = self.listed_ports(&container, &record);
            let links = names.get(container.id.as_str()).cloned().unwrap_or_default();
            let image = self.image_name(&record);
            summaries.push(Summary { record, image, ports, health, failing_streak, sizes, links });
        }
        Ok(summaries)
    }

    fn image_name(&self, record: &Record) -> String {
        let named = self.images.resolve(&record.config.image);
        let moved = named.map_or(true, |id| id.to_string() != record.image);
        if moved && !record.image.is_empty() {
            record.image.clone()
        } else {
            record.config.image.clone()
        }
    }

    fn choose(&self, options: &ListOptions) -> Result<Vec<Arc<Container>>, Error> {
        let filters = &options.filters;
        filters.allow(&[
            "ancestor",
            "annotation",
            "before",
            "exited",
            "expose",
            "health",
            "id",
            "is-task",
            "isolation",
            "label",
            "machine",
            "name",
            "network",
            "publish",
            "since",
            "status",
            "volume",
        ])?;
        let wanted = Wanted::new(self, filters)?;
        let all = options.all
            || options.limit.is_some()
            || filters.has("status")
            || filters.has("exited");
        let mut chosen = Vec::new();
        for container in self.containers.all() {
            let record = container.record().clone();
            let shown = all || record.state.status.is_active();
            if shown && wanted.fits(self, &container, &record) {
                chosen.push(container);
            }
            if options.limit.is_some_and(|limit| chosen.len() >= limit) {
                break;
            }
        }
        Ok(chosen)
    }

    /// How large a container is. What cannot be measured counts as nothing.
    pub(crate) async fn sizes(&self, container: &Arc<Container>) -> Sizes {
        let engine = self.clone();
        let id = container.id.clone();
        // What a machine has written is in a file that only the machine can read.
        let (machine, whole) = {
            let record = container.record();
            (record.is_machine(), record.host.machine.is_some())
        };
        let disk = machine.then(|| self.config.container_dir(id.as_str()));
        let measured = blocking(move || {
            let rw = match disk {
                Some(directory) if whole => disk::taken(&directory).unwrap_or(0),
                Some(directory) => std::fs::metadata(directory.join(DISK))
                    .map_or(0, |disk| std::os::unix::fs::MetadataExt::blocks(&disk) * 512),
                None => engine.images.size_rw(&id).unwrap_or(0),
            };
            let below = engine.images.size_root_fs(&id).unwrap_or(0);
            Ok(Sizes { rw, root_fs: below })
        });
        measured.await.unwrap_or_default()
    }

    /// Bytes of the host's disk that its removal frees.
    pub(crate) async fn frees(&self, container: &Arc<Container>) -> u64 {
        if container.record().host.machine.is_none() {
            return self.sizes(container).await.rw;
        }
        let directory = self.config.container_dir(container.id.as_str());
        // What snapshots and clones have as well stays.
        blocking(move || disk::freed(&directory).map_err(crate::from_disk)).await.unwrap_or(0)
    }

    pub(crate) fn listed_ports(&self, container: &Container, record: &Record) -> Vec<ListedPort> {
        let mut listed = Vec::new();
        for endpoint in container.live().iter().flat_map(|live| &live.run.endpoints) {
            let each = endpoint.ports.iter().flat_map(|ports| ports.each());
            listed.extend(each.map(|port| ListedPort {
                private: port.container_port,
                protocol: port.protocol.as_str(),
                host: Some((port.host_ip, port.host_port)),
            }));
        }
        if record.state.status.is_active() {
            let published: HashSet<(u16, &str)> =
                listed.iter().map(|port| (port.private, port.protocol)).collect();
            for (private, protocol) in record.exposed() {
                let protocol = protocol.as_str();
                if !published.contains(&(private, protocol)) {
                    listed.push(ListedPort { private, protocol, host: None });
                }
            }
        }
        listed.sort();
        listed
    }
}

pub(crate) fn health(container: &Container) -> (HealthStatus, i64) {
    let health = crate::lock(&container.health);
    health.as_ref().map_or((HealthStatus::None, 0), |health| (health.status, health.failing_streak))
}

/// Filters with their references resolved.
struct Wanted<'a> {
    filters: &'a Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    statuses: Vec<Status>,
    exited: Vec<i32>,
    ancestors: Vec<String>,
}

impl<'a> Wanted<'a> {
    fn new(engine: &Engine, filters: &'a Filters) -> Result<Self, Error> {
        let created = |name: &str| -> Result<Option<Timestamp>, Error> {
            let Some(reference) = filters.values(name).last() else { return Ok(None) };
            Ok(Some(engine.containers.find(reference)?.record().created))
        };
        let statuses =
            filters.values("status").map(str::parse).collect::<Result<Vec<Status>, Error>>()?;
        let exited = filters
            .values("exited")
            .map(|code| {
                code.parse().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}'")))
            })
            .collect::<Result<Vec<i32>, Error>>()?;
        for value in filters.values("health") {
            if !["none", "starting", "healthy", "unhealthy"].contains(&value) {
                return Err(Error::invalid(format!("invalid filter 'health={value}'")));
            }
        }
        filters.boolean("is-task")?;
        filters.boolean("machine")?;
        for port in filters.values("publish").chain(filters.values("expose")) {
            port_range(port)?;
        }
        // Containers of images below the named one count too, by their layers.
        let ancestors = filters
            .values("ancestor")
            .filter_map(|name| engine.images.resolve(name).ok())
            .map(|id| id.to_string())
            .collect();
        let (before, since) = (created("before")?, created("since")?);
        Ok(Self { filters, before, since, statuses, exited, ancestors })
    }

    fn fits(&self, engine: &Engine, container: &Container, record: &Record) -> bool {
        let filters = self.filters;
        let id = record.id.as_str();
        let status = record.state.status;
        filters.any("id", |prefix| id.starts_with(prefix))
            && filters.any("name", |name| name_matches(&record.name, name))
            && filters.labels("label", &record.config.labels)
            && filters.labels("annotation", &record.host.annotations)
            && self.before.is_none_or(|time| record.created < time)
            && self.since.is_none_or(|time| record.created > time)
            && (self.statuses.is_empty() || self.statuses.contains(&status))
            && (self.exited.is_empty()
                || self.exited.contains(&record.state.exit_code)
                    && !record.state.status.is_active()
                    && status != Status::Created)
            && (!filters.has("ancestor")
                || self.ancestors.contains(&record.image)
                || filters.values("ancestor").any(|name| name == record.config.image))
            && filters.any("volume", |wanted| uses_volume(&record.mounts, wanted))
            && filters.any("network", |wanted| in_network(record, wanted))
            && filters.any("health", |wanted| health(container).0.as_str() == wanted)
            && filters
                .any("isolation", |wanted| wanted == record.host.isolation || wanted == "default")
            && filters
                .boolean("machine")
                .is_ok_and(|wanted| wanted.is_none_or(|it| it == record.host.machine.is_some()))
            && filters.boolean("is-task").is_ok_and(|task| task != Some(true))
            && self.ports_fit(engine, container, record)
    }

    fn ports_fit(&self, engine: &Engine, container: &Container, record: &Record) -> bool {
        let listed = || engine.listed_ports(container, record);
        self.filters.any("publish", |wanted| {
            port_range(wanted).is_ok_and(|(low, high, protocol)| {
                listed().iter().any(|port| {
                    port.protocol == protocol
                        && port.host.is_some_and(|(_, host)| (low..=high).contains(&host))
                })
            })
        }) && self.filters.any("expose", |wanted| {
            port_range(wanted).is_ok_and(|(low, high, protocol)| {
                record
                    .exposed()
                    .any(|(port, other)| other.as_str() == protocol && (low..=high).contains(&port))
            })
        })
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn port_range(text: &str) -> Result<(u16, u16, &str), Error> {
    let invalid = || Error::invalid(format!("invalid filter: invalid port {text:?}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    Ok((number(low)?, number(high)?, protocol))
}

/// Docker takes the filter for a regular expression. Anchors and plain text are what people
/// write; both with and without the slash.
fn name_matches(name: &str, wanted: &str) -> bool {
    let start = wanted.strip_prefix('^');
    let end = wanted.strip_suffix('$').is_some();
    let bare = start.unwrap_or(wanted);
    let bare = bare.strip_suffix('$').unwrap_or(bare);
    let bare = bare.strip_prefix('/').unwrap_or(bare);
    match (start.is_some(), end) {
        (true, true) => name == bare,
        (true, false) => name.starts_with(bare),
        (false, true) => name.ends_with(bare),
        (false, false) => name.contains(bare),
    }
}

fn uses_volume(mounts: &[MountPoint], wanted: &str) -> bool {
    mounts
        .iter()
        .any(|mount| mount.name == wanted || mount.destination == wanted || mount.source == wanted)
}

fn in_network(record: &Record, wanted: &str) -> bool {
    record
        .networks
        .iter()
        .any(|(name, settings)| name == wanted || settings.network_id.starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_like_simple_expressions() {
        assert!(name_matches("web-1", "web"));
        assert!(name_matches("web-1", "^/web-1$"));
        assert!(!name_matches("web-1", "^web$"));
        assert!(name_matches("web-1", "1$"));
    }

    #[test]
    fn port_filters_are_ranges() {
        assert_eq!(port_range("80"), Ok((80, 80, "tcp")));
        assert_eq!(port_range("80-90/udp"), Ok((80, 90, "udp")));
        assert!(port_range("x").is_err());
    }
}
