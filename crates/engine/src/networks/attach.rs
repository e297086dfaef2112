//! What a container asks of networks, and what it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use network::{Attach, Endpoint};
use types::Error;
use types::container::{ContainerConfig, HostConfig};
use types::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

use super::options::{self, LinkOptions};
use crate::container::validate;
use crate::record::Record;
use crate::{Engine, ports};

impl Engine {
    /// What a container asks of each network, by name.
    pub(crate) fn wanted_networks(
        &self,
        host: &mut HostConfig,
        config: &ContainerConfig,
        networking: NetworkingConfig,
    ) -> Result<BTreeMap<String, EndpointSettings>, Error> {
        let mode = host.network_mode.clone();
        if validate::joined(&mode).is_some() {
            return Ok(BTreeMap::new());
        }
        let mut wanted = networking.endpoints_config;
        // Clients name the default network in several ways. Without a bridge it is none.
        let default = if self.networks.default_bridge().is_ok() { "bridge" } else { "none" };
        for alias in ["default", ""] {
            if let Some(settings) = wanted.remove(alias) {
                wanted.entry(default.to_owned()).or_insert(settings);
            }
        }
        // Ids and beginnings of ids become names.
        let mut wanted: BTreeMap<String, EndpointSettings> =
            wanted.into_iter().map(|(name, settings)| (self.name_of(&name), settings)).collect();
        let own = matches!(mode.as_str(), "host" | "none");
        if own && wanted.keys().any(|name| *name != mode) {
            return Err(Error::invalid(format!(
                "conflicting options: cannot attach both to the {mode} network and to others"
            )));
        }
        let settings = wanted.entry(self.name_of(&mode)).or_default();
        if settings.mac_address.is_empty() {
            settings.mac_address.clone_from(&config.mac_address);
        } else if !config.mac_address.is_empty() && config.mac_address != settings.mac_address {
            return Err(Error::invalid(
                "conflicting MAC address: the container-wide MAC address must match the \
                 endpoint-specific MAC address for the main network, or be left empty",
            ));
        }
        for (name, settings) in &mut wanted {
            clear_answers(settings);
            options::check(name, settings)?;
        }
        Ok(wanted)
    }

    /// A network's name; what is not known stays as it is.
    fn name_of(&self, reference: &str) -> String {
        self.networks.find(reference).map_or_else(|_| reference.to_owned(), |found| found.name)
    }

    /// The places that a container's next run needs, in the order in which they are plugged in.
    pub(crate) fn attachments(&self, record: &Record) -> Result<Vec<Attach>, Error> {
        let mut order: Vec<(&String, &EndpointSettings)> = record.networks.iter().collect();
        order.sort_by_key(|(name, settings)| (-settings.gw_priority, (*name).clone()));
        let mut attachments = Vec::new();
        for (name, settings) in &order {
            attachments.push(attach(record, name, settings)?);
        }
        name_links(&mut attachments)?;
        let networks: Vec<Option<network::Network>> =
            order.iter().map(|(name, _)| self.networks.find(name).ok()).collect();
        // The first that leads out, of each family.
        let way =
            |v4: bool| networks.iter().position(|n| n.as_ref().is_some_and(|n| n.leads_out(v4)));
        let (way4, way6) = (way(true), way(false));
        for (index, attach) in attachments.iter_mut().enumerate() {
            attach.default_route = way4 == Some(index);
            attach.default_route6 = way6 == Some(index);
        }
        let ports = ports::of(record)?;
        // Answers leave by the default route, so that is where requests come in. As in Docker,
        // ports are published by bridges that lead out, and not at all by other networks.
        if let Some(index) = way4.or(way6)
            && networks[index].as_ref().is_some_and(|n| n.driver == network::Driver::Bridge)
        {
            attachments[index].ports = ports;
        } else if !ports.is_empty() {
            tracing::warn!(
                container = record.id.short(),
                "no port is published: the container is on no bridge network that leads out"
            );
        }
        Ok(attachments)
    }

    /// Writes into the record what a run was given.
    pub(crate) fn note_endpoints(&self, record: &mut Record, endpoints: &[Endpoint]) {
        for endpoint in endpoints {
            let Ok(network) = self.networks.find(&endpoint.network) else { continue };
            let name = [&network.name, &network.id]
                .into_iter()
                .find(|name| record.networks.contains_key(*name))
                .unwrap_or(&network.name)
                .clone();
            let before = record.networks.get(&name).cloned().unwrap_or_default();
            let names = super::names::dns_names(record, &before);
            let settings = record.networks.entry(name).or_default();
            settings.network_id.clone_from(&endpoint.network);
            settings.endpoint_id.clone_from(&endpoint.id);
            settings.mac_address = endpoint.mac.to_string();
            let text = |address: Option<IpAddr>| {
                address.map(|address| address.to_string()).unwrap_or_default()
            };
            settings.gateway = text(endpoint.gateway4);
            settings.ipv6_gateway = text(endpoint.gateway6);
            settings.ip_address = text(endpoint.ipv4.map(|cidr| cidr.addr()));
            settings.ip_prefix_len = endpoint.ipv4.map_or(0, |cidr| i64::from(cidr.prefix()));
            settings.global_ipv6_address = text(endpoint.ipv6.map(|cidr| cidr.addr()));
            settings.global_ipv6_prefix_len =
                endpoint.ipv6.map_or(0, |cidr| i64::from(cidr.prefix()));
            let addresses = [endpoint.ipv4, endpoint.ipv6].into_iter().flatten();
            let addresses = addresses.map(|cidr| cidr.addr()).collect();
            record.last_addresses.insert(network.name.clone(), addresses);
            if !network.is_default_bridge() {
                settings.dns_names = names;
            }
        }
        for name in ["host", "none"] {
            if let Some(settings) = record.networks.get_mut(name)
                && let Ok(network) = self.networks.find(name)
            {
                settings.network_id = network.id;
            }
        }
    }
}

/// Forgets what a run had been given; what was asked for stays.
pub(crate) fn clear(settings: &mut EndpointSettings) {
    settings.endpoint_id.clear();
    settings.gateway.clear();
    settings.ip_address.clear();
    settings.ip_prefix_len = 0;
    settings.ipv6_gateway.clear();
    settings.global_ipv6_address.clear();
    settings.global_ipv6_prefix_len = 0;
    settings.mac_address.clear();
}

/// What is said in an answer is no wish.
pub(super) fn clear_answers(settings: &mut EndpointSettings) {
    let mac = std::mem::take(&mut settings.mac_address);
    clear(settings);
    settings.mac_address = mac;
    settings.network_id.clear();
    settings.dns_names.clear();
}

/// A wish for a place in a network; its link has no name yet unless the user chose one.
pub(super) fn attach(
    record: &Record,
    network: &str,
    settings: &EndpointSettings,
) -> Result<Attach, Error> {
    let wanted = settings.ipam_config.clone().unwrap_or_default();
    let EndpointIpamConfig { ipv4_address, ipv6_address, .. } = wanted;
    let mac = record.macs.get(network).map(|mac| mac.parse()).transpose();
    let mac = mac.map_err(|error: network::MacError| Error::invalid(error.to_string()))?;
    let LinkOptions { interface, sysctls } = LinkOptions::read(&settings.driver_opts)?;
    Ok(Attach {
        network: network.to_owned(),
        container: record.id.to_string(),
        ipv4: options::address(&ipv4_address)?,
        ipv6: options::address(&ipv6_address)?,
        mac,
        interface,
        preferred: record.last_addresses.get(network).cloned().unwrap_or_default(),
        link_local: options::link_local(settings)?,
        sysctls,
        default_route: false,
        default_route6: false,
        ports: Vec::new(),
    })
}

/// Gives links a name that have none: `eth0`, `eth1`, …, past those that were chosen.
fn name_links(attachments: &mut [Attach]) -> Result<(), Error> {
    let mut taken: Vec<String> = attachments.iter().filter_map(|a| a.interface.clone()).collect();
    let chosen: BTreeSet<&String> = taken.iter().collect();
    if chosen.len() < taken.len() {
        return Err(Error::invalid("two networks of a container have the same interface name"));
    }
    for attach in attachments.iter_mut().filter(|a| a.interface.is_none()) {
        let name = network::next_interface(taken.iter().map(String::as_str));
        taken.push(name.clone());
        attach.interface = Some(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_numbered_past_the_names_that_were_chosen() {
        let named =
            |name: Option<&str>| Attach { interface: name.map(str::to_owned), ..Attach::default() };
        let mut all = [named(None), named(Some("eth0")), named(None)];
        name_links(&mut all).expect("different");
        let names: Vec<_> = all.iter().filter_map(|a| a.interface.as_deref()).collect();
        assert_eq!(names, ["eth1", "eth0", "eth2"]);
        assert!(name_links(&mut [named(Some("a")), named(Some("a"))]).is_err());
    }
}
