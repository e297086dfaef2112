//! `--network`: a name, or `name=…,alias=…,ip=…`.

use std::collections::BTreeMap;

use types::network::{EndpointIpamConfig, EndpointSettings};

/// One `--network`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attachment {
    /// Name, id or mode.
    pub(crate) target: String,
    /// Further names in the network.
    pub(crate) aliases: Vec<String>,
    /// Legacy links.
    pub(crate) links: Vec<String>,
    /// Addresses asked for.
    pub(crate) ipv4: String,
    /// Addresses asked for.
    pub(crate) ipv6: String,
    /// Addresses asked for.
    pub(crate) link_local: Vec<String>,
    /// MAC address asked for.
    pub(crate) mac: String,
    /// Driver options.
    pub(crate) driver_opts: BTreeMap<String, String>,
    /// Which network gives the default gateway.
    pub(crate) gw_priority: i64,
}

/// Reads either form.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let mut network = Attachment::default();
    // A name holds no `=`, an option always does.
    if !text.contains('=') {
        network.target = text.to_owned();
        return Ok(network);
    }
    for field in super::words::csv(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        match key.as_str() {
            "name" => network.target = value.to_owned(),
            "alias" => network.aliases.push(value.to_owned()),
            "ip" => network.ipv4 = value.to_owned(),
            "ip6" => network.ipv6 = value.to_owned(),
            "mac-address" => network.mac = value.to_owned(),
            "link-local-ip" => network.link_local.push(value.to_owned()),
            "driver-opt" => {
                let (name, option) = value
                    .split_once('=')
                    .ok_or_else(|| "invalid key value pair format in driver options".to_owned())?;
                network
                    .driver_opts
                    .insert(name.trim().to_lowercase(), option.trim().to_lowercase());
            }
            "gw-priority" => {
                network.gw_priority = value
                    .parse()
                    .map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if network.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(network)
}

/// Networks that are no networks of the user's.
pub(crate) fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none" | "nat")
        && !name.starts_with("container:")
}

impl Attachment {
    /// What the API is asked.
    pub(crate) fn endpoint(&self) -> EndpointSettings {
        let asked = !(self.ipv4.is_empty() && self.ipv6.is_empty() && self.link_local.is_empty());
        EndpointSettings {
            ipam_config: asked.then(|| EndpointIpamConfig {
                ipv4_address: self.ipv4.clone(),
                ipv6_address: self.ipv6.clone(),
                link_local_ips: self.link_local.clone(),
            }),
            links: self.links.clone(),
            aliases: self.aliases.clone(),
            mac_address: self.mac.clone(),
            driver_opts: self.driver_opts.clone(),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        }
    }
}
