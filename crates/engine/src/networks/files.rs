//! The files that tell a container its names and servers.

use std::net::IpAddr;
use std::sync::Arc;

use types::Error;

use crate::Engine;
use crate::container::{Container, links, validate};
use crate::record::{Record, Run};

impl Engine {
    /// Writes hosts, hostname and resolv.conf for a run.
    pub(crate) fn write_files(
        &self,
        record: &Record,
        run: &Run,
        joined: bool,
    ) -> Result<(), Error> {
        let directory = self.config.container_dir(record.id.as_str());
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .map_err(|error| Error::system(format!("cannot write {}: {error}", path.display())))
        };
        if joined && let Some(other) = validate::joined(&record.host.network_mode) {
            let other = self.containers.find(other)?;
            let from = self.config.container_dir(other.id.as_str());
            for name in ["hosts", "hostname", "resolv.conf"] {
                let text = std::fs::read_to_string(from.join(name)).unwrap_or_default();
                write(name, &text)?;
            }
            return Ok(());
        }
        write("hostname", &format!("{}\n", record.config.hostname))?;
        write("hosts", &self.hosts(record, run)?)?;
        write("resolv.conf", &self.resolv_conf(record, self.resolves(&run.endpoints))?)
    }

    fn hosts(&self, record: &Record, run: &Run) -> Result<String, Error> {
        let gateway = self.networks.host_gateway();
        let mut extra = Vec::new();
        for line in &record.host.extra_hosts {
            let entry = network::extra_host(line, gateway);
            extra.push(entry.map_err(|error| Error::invalid(error.to_string()))?);
        }
        for link in self.legacy_links(record) {
            extra.push(self.link(link)?);
        }
        if record.host.network_mode == "host" {
            let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            for entry in &extra {
                text.push_str(&format!("{}\t{}\n", entry.addr, entry.names.join(" ")));
            }
            return Ok(text);
        }
        let own: Vec<_> = run
            .endpoints
            .iter()
            .flat_map(|endpoint| [endpoint.ipv4, endpoint.ipv6])
            .flatten()
            .map(|cidr| {
                network::own_entry(cidr.addr(), &record.config.hostname, &record.config.domainname)
            })
            .collect();
        Ok(network::hosts_file(&extra, &own, true))
    }

    /// Those who stand on a network that users made, as `name:address`: for what is over before
    /// they change much, such as a step of a build.
    pub(crate) fn neighbours(&self, network: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for container in self.containers.all() {
            let record = container.record();
            for (name, settings) in &record.networks {
                if name == network || settings.network_id == network {
                    let names = settings.dns_names.iter();
                    lines.extend(names.map(|name| format!("{name}:{}", settings.ip_address)));
                }
            }
        }
        // Without an address it does not run.
        lines.retain(|line| !line.ends_with(':'));
        lines
    }

    /// The container and the alias that a legacy link `container:alias` names.
    ///
    /// # Errors
    /// Docker's words, as a bad value, when there is no such container.
    pub(crate) fn link_target<'a>(
        &self,
        link: &'a str,
    ) -> Result<(Arc<Container>, &'a str), Error> {
        let (name, alias) = link.split_once(':').unwrap_or((link, link));
        let other = self.containers.find(name).map_err(|error| {
            Error::invalid(format!("could not get container for {name}: {}", error.message))
        })?;
        Ok((other, alias))
    }

    /// The hosts line of a legacy link `container:alias`.
    fn link(&self, link: &str) -> Result<network::HostEntry, Error> {
        let (name, alias) = links::split(link);
        let (other, addr) = self.linked(name)?;
        let record = other.record();
        let names = vec![alias.to_owned(), record.id.short().to_owned(), record.name.clone()];
        Ok(network::HostEntry { addr, names })
    }

    /// The text of resolv.conf for who asks our resolver, or the host's.
    pub(crate) fn resolv_conf(&self, record: &Record, resolves: bool) -> Result<String, Error> {
        let or = |own: &Vec<String>, default: &Vec<String>| {
            if own.is_empty() { default.clone() } else { own.clone() }
        };
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let etc = read(std::path::Path::new("/etc/resolv.conf"));
        let search = or(&record.host.dns_search, &self.config.dns_search);
        let options = or(&record.host.dns_options, &self.config.dns_options);
        if resolves {
            return Ok(network::own_resolv_conf(&etc, proto::names::ADDRESS, &search, &options));
        }
        let path = network::host_resolv_conf(&etc);
        let host = if path == std::path::Path::new("/etc/resolv.conf") { etc } else { read(&path) };
        let servers = or(&record.host.dns, &self.config.dns)
            .iter()
            .map(|server| {
                server
                    .parse()
                    .map_err(|_| Error::invalid(format!("invalid IP address in dns: {server:?}")))
            })
            .collect::<Result<Vec<IpAddr>, Error>>()?;
        Ok(network::resolv_conf(
            &host,
            &network::ResolvOptions {
                servers: &servers,
                search: &search,
                options: &options,
                host_network: record.host.network_mode == "host",
                ipv6: false,
            },
        ))
    }
}
