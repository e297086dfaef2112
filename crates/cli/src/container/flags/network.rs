//! Names, addresses and ports.

use docker_api::container::CreateBody;
use types::network::EndpointSettings;

use crate::options::network::{Attachment, is_user_defined, parse};
use crate::options::{port, words};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Add a line to /etc/hosts: NAME:ADDRESS, or NAME:host-gateway
    #[arg(long, value_parser = words::extra_host)]
    add_host: Vec<String>,
    /// Set a name server
    #[arg(long, value_parser = words::ip)]
    dns: Vec<String>,
    /// Set an option of the resolver
    #[arg(long, alias = "dns-opt")]
    dns_option: Vec<String>,
    /// Set a search domain
    #[arg(long, value_parser = words::dns_search)]
    dns_search: Vec<String>,
    /// NIS domain name
    #[arg(long, default_value = "", hide_default_value = true)]
    domainname: String,
    /// Expose a port or a range of ports
    #[arg(long)]
    expose: Vec<String>,
    /// Host name
    #[arg(short = 'h', long, default_value = "", hide_default_value = true)]
    hostname: String,
    /// IPv4 address
    #[arg(long, default_value = "", hide_default_value = true)]
    ip: String,
    /// IPv6 address
    #[arg(long, default_value = "", hide_default_value = true)]
    ip6: String,
    /// Link to another container: NAME[:ALIAS]
    #[arg(long, value_parser = words::link)]
    link: Vec<String>,
    /// Link-local address
    #[arg(long)]
    link_local_ip: Vec<String>,
    /// MAC address
    #[arg(long, default_value = "", hide_default_value = true)]
    mac_address: String,
    /// Connect to a network: NAME, none, host, container:NAME, or name=…,alias=…,ip=…
    #[arg(long, alias = "net", value_parser = parse)]
    network: Vec<Attachment>,
    /// Further name in the network
    #[arg(long, alias = "net-alias")]
    network_alias: Vec<String>,
    /// Publish a port: [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]
    #[arg(short, long)]
    publish: Vec<String>,
    /// Publish every exposed port on a free host port
    #[arg(short = 'P', long)]
    publish_all: bool,
}

impl Flags {
    pub(crate) fn apply(&self, body: &mut CreateBody) -> Result<(), String> {
        let ports = port::gather(&self.publish, &self.expose)?;
        let config = &mut body.config;
        config.exposed_ports = ports.exposed;
        config.hostname = self.hostname.clone();
        config.domainname = self.domainname.clone();
        let host = &mut body.host_config;
        host.port_bindings = ports.bindings;
        host.publish_all_ports = self.publish_all;
        host.dns = self.dns.clone();
        host.dns_options = self.dns_option.clone();
        host.dns_search = self.dns_search.clone();
        host.extra_hosts = self.add_host.clone();
        host.links = self.link.clone();

        let networks = self.networks()?;
        let own = networks.iter().filter(|network| is_user_defined(&network.target)).count();
        if own != 0 && own != networks.len() {
            return Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned());
        }
        host.network_mode = networks.first().map_or("default", |n| n.target.as_str()).to_owned();
        for network in &networks {
            let endpoint = network.endpoint();
            // One network of which nothing is asked needs no entry: the mode says it all.
            let says_nothing = endpoint == EndpointSettings::default();
            if networks.len() == 1 && !self.network.is_empty() && says_nothing {
                continue;
            }
            let known =
                body.networking_config.endpoints_config.insert(network.target.clone(), endpoint);
            if known.is_some() {
                return Err(format!(
                    "conflicting options: network {:?} is specified multiple times",
                    network.target
                ));
            }
        }
        Ok(())
    }

    /// The attachments, the first with what the single options say.
    fn networks(&self) -> Result<Vec<Attachment>, String> {
        let mut networks = self.network.clone();
        if networks.is_empty() {
            networks.push(Attachment { target: "default".to_owned(), ..Attachment::default() });
        }
        let Some(first) = networks.first_mut() else { return Ok(networks) };
        if !self.network_alias.is_empty() && !first.aliases.is_empty() {
            return Err(
                "conflicting options: cannot specify both --network-alias and per-network alias"
                    .to_owned(),
            );
        }
        if !self.link.is_empty() && !first.links.is_empty() {
            return Err(
                "conflicting options: cannot specify both --link and per-network links".to_owned()
            );
        }
        if !self.ip.is_empty() && !first.ipv4.is_empty() {
            return Err(
                "conflicting options: cannot specify both --ip and per-network IPv4 address"
                    .to_owned(),
            );
        }
        if !self.ip6.is_empty() && !first.ipv6.is_empty() {
            return Err(
                "conflicting options: cannot specify both --ip6 and per-network IPv6 address"
                    .to_owned(),
            );
        }
        if !self.mac_address.is_empty() && !first.mac.is_empty() {
            return Err("conflicting options: cannot specify both --mac-address and per-network MAC address".to_owned());
        }
        if !self.network_alias.is_empty() {
            first.aliases = self.network_alias.clone();
        }
        if !self.link.is_empty() && is_user_defined(&first.target) {
            first.links = self.link.clone();
        }
        if !self.ip.is_empty() {
            first.ipv4 = self.ip.clone();
        }
        if !self.ip6.is_empty() {
            first.ipv6 = self.ip6.clone();
        }
        if !self.link_local_ip.is_empty() {
            first.link_local = self.link_local_ip.clone();
        }
        if !self.mac_address.is_empty() {
            first.mac = self.mac_address.clone();
        }
        for network in &networks {
            let user_defined = is_user_defined(&network.target);
            if !user_defined && !network.aliases.is_empty() {
                return Err("network-scoped aliases are only supported for user-defined networks"
                    .to_owned());
            }
            if !user_defined
                && network.target != "default"
                && network.target != "bridge"
                && !network.links.is_empty()
            {
                return Err("links are only supported for user-defined networks".to_owned());
            }
        }
        Ok(networks)
    }
}
