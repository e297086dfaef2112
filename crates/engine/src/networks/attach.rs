//! What a container asks of networks, and what it is given.

use std::collections::BTreeMap;
use std::net::IpAddr;

use network::{Attach, Endpoint};
use types::Error;
use types::container::{ContainerConfig, HostConfig};
use types::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

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
        // Clients name the default network in several ways.
        for alias in ["default", ""] {
            if let Some(settings) = wanted.remove(alias) {
                wanted.entry("bridge".to_owned()).or_insert(settings);
            }
        }
        let own = matches!(mode.as_str(), "host" | "none");
        if own && wanted.keys().any(|name| *name != mode) {
            return Err(Error::invalid(format!(
                "conflicting options: cannot attach both to the {mode} network and to others"
            )));
        }
        let named = wanted.contains_key(&mode)
            || self.networks.find(&mode).is_ok_and(|network| {
                wanted.contains_key(&network.id) || wanted.contains_key(&network.name)
            });
        if !named {
            wanted.insert(mode.clone(), EndpointSettings::default());
        }
        if !config.mac_address.is_empty()
            && let Some(settings) = wanted.get_mut(&mode)
            && settings.mac_address.is_empty()
        {
            settings.mac_address.clone_from(&config.mac_address);
        }
        for settings in wanted.values_mut() {
            clear_answers(settings);
            if !settings.mac_address.is_empty() {
                settings.mac_address.parse::<network::Mac>().map_err(|_| {
                    Error::invalid(format!("invalid MAC address: {}", settings.mac_address))
                })?;
            }
        }
        Ok(wanted)
    }

    /// The places that a container's next run needs.
    pub(crate) fn attachments(&self, record: &Record) -> Result<Vec<Attach>, Error> {
        let mut order: Vec<(&String, &EndpointSettings)> = record.networks.iter().collect();
        // The highest priority gives the default route; then the first name.
        order.sort_by_key(|(name, settings)| (-settings.gw_priority, (*name).clone()));
        let ports = ports::requests(&record.config, &record.host)?;
        let mut attachments = Vec::new();
        let mut interfaces: Vec<String> = Vec::new();
        for (name, settings) in order {
            let first = attachments.is_empty();
            let interface = network::next_interface(interfaces.iter().map(String::as_str));
            interfaces.push(interface.clone());
            let mut attach = attach(record, name, settings, interface)?;
            attach.default_route = first;
            if first {
                attach.ports.clone_from(&ports);
            }
            attachments.push(attach);
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
            if !network.is_default_bridge() {
                let mut names = vec![record.name.clone()];
                names.extend(settings.aliases.iter().cloned());
                names.push(record.id.short().to_owned());
                names.dedup();
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

/// A wish for a place in a network.
pub(super) fn attach(
    record: &Record,
    network: &str,
    settings: &EndpointSettings,
    interface: String,
) -> Result<Attach, Error> {
    let wanted = settings.ipam_config.clone().unwrap_or_default();
    let EndpointIpamConfig { ipv4_address, ipv6_address, .. } = wanted;
    let address = |text: &str| -> Result<Option<IpAddr>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
    };
    let mac = record.macs.get(network).map(|mac| mac.parse()).transpose();
    let mac = mac.map_err(|error: network::MacError| Error::invalid(error.to_string()))?;
    Ok(Attach {
        network: network.to_owned(),
        container: record.id.to_string(),
        ipv4: address(&ipv4_address)?,
        ipv6: address(&ipv6_address)?,
        mac,
        interface: Some(interface),
        default_route: false,
        ports: Vec::new(),
    })
}
