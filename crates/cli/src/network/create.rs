//! `create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use docker_api::client::Target;
use docker_api::network::{
    ConfigReference, Ipam, IpamConfig, NetworkCreateBody, NetworkCreateResponse,
};

use crate::options::words;
use crate::session::Session;

/// `create`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Let containers be attached by hand
    #[arg(long)]
    attachable: bool,
    /// Address that is taken by something else: NAME=ADDRESS
    #[arg(long)]
    aux_address: Vec<String>,
    /// Network to take the configuration from
    #[arg(long, default_value = "", hide_default_value = true)]
    config_from: String,
    /// Create a configuration only
    #[arg(long)]
    config_only: bool,
    /// Driver
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Gateway of the subnet
    #[arg(long, value_delimiter = ',')]
    gateway: Vec<String>,
    /// Swarm only
    #[arg(long, hide = true)]
    ingress: bool,
    /// No way out
    #[arg(long)]
    internal: bool,
    /// Range from which containers get their addresses
    #[arg(long, value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Driver of the address management
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Option for it: NAME=VALUE
    #[arg(long)]
    ipam_opt: Vec<String>,
    /// Give IPv4 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::verbs::switch)]
    ipv4: Option<bool>,
    /// Give IPv6 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::verbs::switch)]
    ipv6: Option<bool>,
    /// Set a label
    #[arg(long, value_parser = words::label)]
    label: Vec<String>,
    /// Option for the driver: NAME=VALUE
    #[arg(short, long)]
    opt: Vec<String>,
    /// Scope
    #[arg(long, default_value = "", hide_default_value = true)]
    scope: String,
    /// Subnet: ADDRESS/BITS
    #[arg(long, value_delimiter = ',')]
    subnet: Vec<String>,
    /// Name
    #[arg(value_name = "NETWORK")]
    name: Vec<String>,
}

impl Args {
    pub(crate) fn body(&self) -> Result<NetworkCreateBody, String> {
        let options = words::map(&self.ipam_opt);
        Ok(NetworkCreateBody {
            name: self.name.first().cloned().unwrap_or_default(),
            driver: self.driver.clone(),
            scope: self.scope.clone(),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam {
                driver: self.ipam_driver.clone(),
                options: Some(options),
                config: self.ranges()?,
            }),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: (!self.config_from.is_empty())
                .then(|| ConfigReference { network: self.config_from.clone() }),
            options: words::map(&self.opt),
            labels: words::map(&self.label),
            check_duplicate: None,
        })
    }

    /// Puts each range, gateway and taken address to the subnet it lies in.
    fn ranges(&self) -> Result<Vec<IpamConfig>, String> {
        if self.subnet.len() < self.ip_range.len() || self.subnet.len() < self.gateway.len() {
            return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
        }
        let mut configs: BTreeMap<String, IpamConfig> = BTreeMap::new();
        for subnet in &self.subnet {
            let range = Range::parse(subnet)?;
            for known in configs.keys() {
                let known = Range::parse(known)?;
                if known.contains(range.base) || range.contains(known.base) {
                    return Err(
                        "multiple overlapping subnet configuration is not supported".to_owned()
                    );
                }
            }
            let config = IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() };
            configs.insert(subnet.clone(), config);
        }
        let home = |address: IpAddr, configs: &BTreeMap<String, IpamConfig>| {
            configs
                .keys()
                .find(|subnet| Range::parse(subnet).is_ok_and(|range| range.contains(address)))
                .cloned()
        };
        for text in &self.ip_range {
            let range = Range::parse(text)?;
            let subnet = home(range.base, &configs)
                .ok_or_else(|| format!("no matching subnet for range {text}"))?;
            let config = configs.entry(subnet).or_default();
            if !config.ip_range.is_empty() {
                return Err(format!(
                    "cannot configure multiple ranges ({text}, {}) on the same subnet",
                    config.ip_range
                ));
            }
            config.ip_range = text.clone();
        }
        for text in &self.gateway {
            let address: IpAddr =
                text.parse().map_err(|_| format!("invalid gateway address {text}"))?;
            let subnet = home(address, &configs)
                .ok_or_else(|| format!("no matching subnet for gateway {text}"))?;
            let config = configs.entry(subnet).or_default();
            if !config.gateway.is_empty() {
                return Err(format!(
                    "cannot configure multiple gateways ({text}, {}) for the same subnet",
                    config.gateway
                ));
            }
            config.gateway = text.clone();
        }
        for (name, text) in words::map(&self.aux_address) {
            let address: IpAddr =
                text.parse().map_err(|_| format!("invalid aux-address {text}"))?;
            let subnet = home(address, &configs)
                .ok_or_else(|| format!("no matching subnet for aux-address {text}"))?;
            configs.entry(subnet).or_default().auxiliary_addresses.insert(name, text);
        }
        Ok(configs.into_values().collect())
    }
}

struct Range {
    base: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid CIDR address: {text}");
        let (base, bits) = text.split_once('/').ok_or_else(bad)?;
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let bits: u32 = bits.parse().map_err(|_| bad())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        if bits > most { Err(bad()) } else { Ok(Self { base, bits }) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - self.bits;
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - self.bits;
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

pub(crate) async fn create(session: &Session, args: Args) -> anyhow::Result<u8> {
    let body = args.body().map_err(anyhow::Error::msg)?;
    let made: NetworkCreateResponse =
        session.client()?.post(&Target::new("/networks/create"), &body).await?;
    if !made.warning.is_empty() {
        session.warn(&format!("WARNING: {}", made.warning));
    }
    session.line(&made.id);
    Ok(0)
}
