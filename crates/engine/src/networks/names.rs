//! What containers are called, and by whom.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use network::Endpoint;
use proto::names::{ADDRESS, Container as Asker, Place, Server};
use types::Error;
use types::network::EndpointSettings;

use crate::container::{Container, links};
use crate::names::connection::{asks, sockets};
use crate::record::{Record, Run};
use crate::{Engine, blocking, from_network};

/// The port of DNS.
const PORT: u16 = 53;

/// Every name that a container answers to in a network, the one that stands for it first.
pub(super) fn dns_names(record: &Record, settings: &EndpointSettings) -> Vec<String> {
    let own = [record.id.short(), record.config.hostname.as_str()];
    each_once(&record.name, settings.aliases.iter().map(String::as_str).chain(own))
}

fn each_once<'a>(first: &str, more: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names = vec![first.to_owned()];
    for name in more {
        if !name.is_empty() && !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

impl Engine {
    /// Whether who has these places asks our resolver: in networks that users made.
    pub(crate) fn resolves(&self, endpoints: &[Endpoint]) -> bool {
        endpoints.iter().any(|endpoint| {
            self.networks.find(&endpoint.network).is_ok_and(|network| !network.is_default_bridge())
        })
    }

    /// What the resolver is told of a container.
    fn asker(&self, record: &Record, endpoints: &[Endpoint]) -> Asker {
        let mut asker = Asker { id: record.id.to_string(), ..Asker::default() };
        for endpoint in endpoints {
            let Ok(network) = self.networks.find(&endpoint.network) else { continue };
            asker.forwards |= !network.internal;
            if network.is_default_bridge() {
                continue;
            }
            let settings = [&network.name, &network.id]
                .into_iter()
                .find_map(|name| record.networks.get(name))
                .cloned()
                .unwrap_or_default();
            let mut wanted = settings.links.clone();
            if [&network.name, &network.id].contains(&&record.host.network_mode) {
                wanted.extend(record.host.links.iter().cloned());
            }
            let addresses = [endpoint.ipv4, endpoint.ipv6].into_iter().flatten();
            asker.places.push(Place {
                names: dns_names(record, &settings),
                addresses: addresses.map(|cidr| cidr.addr()).collect(),
                links: wanted.iter().map(|link| self.linked_name(link)).collect(),
                network: network.id,
                network_name: network.name,
            });
        }
        asker.servers = self.name_servers(record);
        let chosen = [&record.host.dns_options, &self.config.dns_options];
        let chosen = chosen.into_iter().find(|options| !options.is_empty());
        asker.keeps_short = chosen.into_iter().flatten().any(|option| {
            option.strip_prefix("ndots:").is_some_and(|count| count.trim().parse() != Ok(0_u32))
        });
        asker
    }

    /// Alias and name of a link; the name is one that its container keeps.
    fn linked_name(&self, link: &str) -> (String, String) {
        let (name, alias) = links::split(link);
        let found = self.containers.find(name);
        (alias.to_owned(), found.map_or(name.to_owned(), |other| other.id.short().to_owned()))
    }

    /// Who is asked for the names of the world: those that the user chose, as the container
    /// reaches them; else the host's, as the host does. For a machine all are asked as the host
    /// does: its network namespace has its link, and no address.
    fn name_servers(&self, record: &Record) -> Vec<Server> {
        let chosen = [&record.host.dns, &self.config.dns];
        if let Some(chosen) = chosen.into_iter().find(|servers| !servers.is_empty()) {
            let parsed = chosen.iter().filter_map(|server| server.parse().ok());
            let machine = record.is_machine();
            return parsed
                // That is ourselves, and the host is not asked in place of a machine's own.
                .filter(|address: &std::net::IpAddr| {
                    *address != ADDRESS && !(machine && address.is_loopback())
                })
                .map(|address| SocketAddr::new(address, PORT))
                .map(|address| Server { address, inside: !machine })
                .collect();
        }
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = network::host_name_servers(&text).into_iter();
        servers.map(|address| Server { address, inside: false }).collect()
    }

    /// Has the names of a container that is about to run answered in its namespace. Blocks.
    pub(crate) fn give_names(
        &self,
        record: &Record,
        run: &Run,
        netns: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        if !self.resolves(&run.endpoints) {
            return Ok(());
        }
        let asker = self.asker(record, &run.endpoints);
        let sockets = network::name_sockets(netns, ADDRESS, asks(&asker)).map_err(from_network)?;
        self.names.put(asker, Some(sockets), 0);
        Ok(())
    }

    /// A container whose names are answered already runs on under a new daemon.
    pub(crate) fn adopt_names(&self, record: &Record, run: &Run) {
        if self.resolves(&run.endpoints) {
            let asker = self.asker(record, &run.endpoints);
            self.names.put(asker, None, record.state.pid);
            self.names.watch(record.id.as_str(), record.state.pid);
        }
    }

    /// Tells what a running container is called now, after that has changed. Who did not ask our
    /// resolver does from now on, if it has joined a network that a user made.
    pub(crate) async fn names_changed(&self, container: &Container) -> Result<(), Error> {
        let Some(live) = container.live() else { return Ok(()) };
        let record = container.record().clone();
        let known = self.names.knows(record.id.as_str());
        if !known && !self.resolves(&live.run.endpoints) {
            return Ok(());
        }
        let engine = self.clone();
        blocking(move || {
            let asker = engine.asker(&record, &live.run.endpoints);
            if known {
                engine.names.put(asker, None, record.state.pid);
                return Ok(());
            }
            let sockets = sockets(&asker, record.state.pid)?;
            engine.names.put(asker, Some(sockets), record.state.pid);
            engine.names.watch(record.id.as_str(), record.state.pid);
            engine.lead_to_resolver(&record)
        })
        .await
    }

    /// Has a running container ask our resolver, unless it has chosen somebody itself.
    fn lead_to_resolver(&self, record: &Record) -> Result<(), Error> {
        let path = self.config.container_dir(record.id.as_str()).join("resolv.conf");
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        if before != self.resolv_conf(record, false)? {
            return Ok(());
        }
        // In place: the file is mounted.
        std::fs::write(&path, self.resolv_conf(record, true)?)
            .map_err(|error| Error::system(format!("cannot write {}: {error}", path.display())))
    }

    /// The same for a container that was plugged in only when it had its namespace.
    pub(crate) fn give_names_late(
        &self,
        record: &Record,
        run: &Run,
        pid: i32,
    ) -> Result<(), Error> {
        let netns = super::network_namespace(pid)?;
        self.give_names(record, run, netns.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_each_name_once() {
        let more = ["web", "db", "db", "0123456789ab", "", "0123456789ab"];
        assert_eq!(each_once("web", more), ["web", "db", "0123456789ab"]);
    }
}
