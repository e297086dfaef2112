//! Legacy links (`--link container:alias`): variables and a hosts line that lead from one
//! container on the default bridge to another.

use std::net::IpAddr;
use std::sync::Arc;

use types::Error;

use super::Container;
use crate::Engine;
use crate::database::{Change, Table};

/// Container and alias of `container[:alias]`.
pub(crate) fn split(link: &str) -> (&str, &str) {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    (name.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias))
}

impl Engine {
    /// The address of a linked container on the network that both stand in.
    pub(crate) fn linked(&self, name: &str) -> Result<(Arc<Container>, IpAddr), Error> {
        let other = self.containers.find(name)?;
        let address =
            other.record().networks.values().find_map(|settings| settings.ip_address.parse().ok());
        match address {
            Some(address) => Ok((other, address)),
            None => Err(Error::conflict(format!("Cannot link to a non running container: {name}"))),
        }
    }

    /// The links that are a matter of `/etc/hosts` and of variables: those on the default bridge.
    /// In networks that users made, the resolver knows them.
    pub(crate) fn legacy_links<'a>(&self, record: &'a crate::Record) -> &'a [String] {
        let mode = record.host.network_mode.as_str();
        let bridge = self.networks.find(mode).is_ok_and(|network| network.is_default_bridge());
        if bridge || mode == "default" { &record.host.links } else { &[] }
    }

    /// The variables that a container's links give it.
    pub(crate) fn link_environment(&self, record: &crate::Record) -> Result<Vec<String>, Error> {
        let mut variables = Vec::new();
        for link in self.legacy_links(record) {
            let (name, alias) = split(link);
            let (other, address) = self.linked(name)?;
            let other = other.record();
            let exposed: Vec<_> =
                other.exposed().map(|(port, protocol)| (port, protocol.as_str())).collect();
            variables.extend(describe(&record.name, alias, address, &exposed, &other.config.env));
        }
        Ok(variables)
    }

    /// The names under which other containers have linked to each container, by its id.
    pub(crate) fn link_names(&self) -> std::collections::BTreeMap<String, Vec<String>> {
        let mut names = std::collections::BTreeMap::<String, Vec<String>>::new();
        for container in self.containers.all() {
            // Hardly any container has links, and every list comes by here.
            let (owner, links) = {
                let record = container.record();
                if record.host.links.is_empty() {
                    continue;
                }
                (record.name.clone(), record.host.links.clone())
            };
            for (name, alias) in links.iter().map(|link| split(link)) {
                if let Ok(other) = self.containers.find(name) {
                    let path = format!("/{owner}/{alias}");
                    names.entry(other.id.to_string()).or_default().push(path);
                }
            }
        }
        names
    }

    /// Takes the link `container/alias` away from the container's next start.
    ///
    /// # Errors
    /// Not found.
    pub async fn remove_link(&self, path: &str) -> Result<(), Error> {
        let missing = || Error::not_found(format!("No such link: {path}"));
        let (name, alias) = path.trim_start_matches('/').rsplit_once('/').ok_or_else(missing)?;
        let container = self.containers.find(name)?;
        let _operation = container.operation.lock().await;
        let mut record = container.record().clone();
        let before = record.host.links.len();
        record.host.links.retain(|link| split(link).1 != alias);
        if record.host.links.len() == before {
            return Err(missing());
        }
        self.database
            .commit(Change::put(Table::Containers, container.id.as_str(), &record)?)
            .await?;
        container.record().host.links = record.host.links;
        Ok(())
    }
}

/// Docker's variables for one link: `ALIAS_NAME`, `ALIAS_PORT…`, `ALIAS_ENV_…`.
fn describe(
    own_name: &str,
    alias: &str,
    address: IpAddr,
    exposed: &[(u16, &str)],
    environment: &[String],
) -> Vec<String> {
    let prefix = alias.to_ascii_uppercase().replace('-', "_");
    let mut variables = Vec::new();
    let mut ports = exposed.to_vec();
    // The lowest port, tcp before udp, is the one that the alias stands for.
    ports.sort_by_key(|(port, protocol)| (*protocol != "tcp", *port));
    let url = |port: u16, protocol: &str| format!("{protocol}://{address}:{port}");
    if let Some((port, protocol)) = ports.first() {
        variables.push(format!("{prefix}_PORT={}", url(*port, protocol)));
    }
    for (port, protocol) in ports {
        let key = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        variables.push(format!("{key}={}", url(port, protocol)));
        variables.push(format!("{key}_ADDR={address}"));
        variables.push(format!("{key}_PORT={port}"));
        variables.push(format!("{key}_PROTO={protocol}"));
    }
    variables.push(format!("{prefix}_NAME=/{own_name}/{alias}"));
    for variable in environment {
        let key = variable.split('=').next().unwrap_or_default();
        if variable.contains('=') && !matches!(key, "HOME" | "PATH") {
            variables.push(format!("{prefix}_ENV_{variable}"));
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_variables() {
        let environment = ["FOO=1".to_owned(), "PATH=/bin".to_owned()];
        let address = IpAddr::from([172, 17, 0, 2]);
        let found = describe("web", "my-db", address, &[(5432, "tcp")], &environment);
        assert_eq!(
            found,
            [
                "MY_DB_PORT=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_FOO=1",
            ]
        );
    }

    #[test]
    fn an_alias_defaults_to_the_name() {
        assert_eq!(split("db"), ("db", "db"));
        assert_eq!(split("/db:/web/alias"), ("db", "alias"));
    }
}
