//! Networks, with the containers that stand in them, and the files that tell a container its
//! names and servers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use network::{Attach, Endpoint, Network, NetworkSpec, Sandbox};
use types::container::{ContainerConfig, HostConfig};
use types::event::Subject;
use types::filter::Filters;
use types::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
use types::{ContainerId, Error};

use crate::container::{Container, Live, links, validate};
use crate::database::{Change, Pending, Table};
use crate::record::{Record, Run};
use crate::{Engine, blocking, from_network, ports, to_the_end};

/// A network and who stands in it.
#[derive(Clone, Debug)]
pub struct NetworkDetail {
    /// The network.
    pub network: Network,
    /// Names of containers, and their places.
    pub endpoints: Vec<(String, Endpoint)>,
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

    pub(crate) fn tell_network(&self, action: &str, endpoint: &Endpoint, id: &ContainerId) {
        let name = self.networks.find(&endpoint.network).map(|n| n.name).unwrap_or_default();
        self.tell(
            Subject::Network,
            action,
            &endpoint.network,
            &[("container", id.as_str()), ("name", &name), ("type", "bridge")],
        );
    }

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
        write("resolv.conf", &self.resolv_conf(record)?)
    }

    fn hosts(&self, record: &Record, run: &Run) -> Result<String, Error> {
        let gateway = self.networks.host_gateway();
        let mut extra = Vec::new();
        for line in &record.host.extra_hosts {
            let entry = network::extra_host(line, gateway);
            extra.push(entry.map_err(|error| Error::invalid(error.to_string()))?);
        }
        for link in &record.host.links {
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

    fn resolv_conf(&self, record: &Record) -> Result<String, Error> {
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let etc = read(std::path::Path::new("/etc/resolv.conf"));
        let path = network::host_resolv_conf(&etc);
        let host = if path == std::path::Path::new("/etc/resolv.conf") { etc } else { read(&path) };
        let or = |own: &Vec<String>, default: &Vec<String>| {
            if own.is_empty() { default.clone() } else { own.clone() }
        };
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
                search: &or(&record.host.dns_search, &self.config.dns_search),
                options: &or(&record.host.dns_options, &self.config.dns_options),
                host_network: record.host.network_mode == "host",
                ipv6: false,
            },
        ))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// [`types::ErrorKind::Conflict`] for a taken name; [`types::ErrorKind::Invalid`] or
    /// [`types::ErrorKind::Forbidden`] for what does not fit.
    pub async fn network_create(&self, spec: NetworkSpec) -> Result<Network, Error> {
        let engine = self.clone();
        to_the_end(async move { engine.create_network(spec).await }).await
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<Network, Error> {
        let engine = self.clone();
        let network = blocking(move || engine.make_network(&spec)).await?;
        self.tell(
            Subject::Network,
            "create",
            &network.id,
            &[("name", &network.name), ("type", network.driver.as_str())],
        );
        Ok(network)
    }

    /// Remembers a network, then makes it. Blocks.
    fn make_network(&self, spec: &NetworkSpec) -> Result<Network, Error> {
        let mut kept = None;
        let made = self.networks.create_network_known(spec, |network| {
            kept = Some(network.id.clone());
            let written = Change::put(Table::Networks, &network.id, network)
                .and_then(|change| self.database.begin(change))
                .and_then(Pending::done_blocking);
            written.map_err(|error| error.message)
        });
        if let (Err(_), Some(id)) = (&made, kept) {
            self.database.post(Change::remove(Table::Networks, &id));
        }
        made.map_err(from_network)
    }

    /// The networks that a filter lets through.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub fn network_list(&self, filters: &Filters) -> Result<Vec<Network>, Error> {
        filters.allow(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let dangling = filters.boolean("dangling")?;
        for kind in filters.values("type") {
            if !["builtin", "custom"].contains(&kind) {
                return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        let mut list = self.networks.list();
        list.retain(|network| {
            let custom = !network.is_predefined();
            filters.any("driver", |driver| driver == network.driver.as_str())
                && filters.any("id", |id| network.id.starts_with(id))
                && filters.any("name", |name| network.name.contains(name))
                && filters.any("scope", |scope| scope == "local")
                && filters.any("type", |kind| (kind == "custom") == custom)
                && filters.labels("label", &network.labels)
                && dangling.is_none_or(|wanted| {
                    custom && (self.networks.endpoints(&network.id).is_empty() == wanted)
                })
        });
        Ok(list)
    }

    /// One network and who stands in it.
    ///
    /// # Errors
    /// Not found.
    pub fn network_inspect(&self, reference: &str) -> Result<NetworkDetail, Error> {
        let network = self.networks.find(reference).map_err(from_network)?;
        let name = |id: &str| {
            let found = self.containers.find(id);
            found.map(|container| container.record().name.clone()).unwrap_or_default()
        };
        let endpoints = self.networks.endpoints(&network.id);
        let endpoints =
            endpoints.into_iter().map(|endpoint| (name(&endpoint.container), endpoint)).collect();
        Ok(NetworkDetail { network, endpoints })
    }

    /// Whether any container, running or not, wants to stand in a network.
    pub(crate) fn network_in_use(&self, name: &str) -> bool {
        self.containers.all().iter().any(|container| container.record().networks.contains_key(name))
    }

    /// Removes a network.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Forbidden`] when it is predefined or in use.
    pub async fn network_remove(&self, reference: &str) -> Result<(), Error> {
        let (engine, reference) = (self.clone(), reference.to_owned());
        to_the_end(async move { engine.remove_network(reference).await }).await
    }

    async fn remove_network(&self, reference: String) -> Result<(), Error> {
        let engine = self.clone();
        let network = blocking(move || {
            let network = engine.networks.find(&reference).map_err(from_network)?;
            engine.networks.remove_network(&network.id).map_err(from_network)?;
            Ok(network)
        })
        .await?;
        self.database.commit(Change::remove(Table::Networks, &network.id)).await?;
        self.tell(
            Subject::Network,
            "destroy",
            &network.id,
            &[("name", &network.name), ("type", network.driver.as_str())],
        );
        Ok(())
    }

    /// Puts a container into a network, at once if it runs.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Forbidden`] when it stands there already.
    pub async fn network_connect(
        &self,
        reference: &str,
        container: &str,
        mut settings: EndpointSettings,
    ) -> Result<(), Error> {
        let network = self.networks.find(reference).map_err(from_network)?;
        let container = self.containers.find(container)?;
        clear_answers(&mut settings);
        let engine = self.clone();
        to_the_end(async move { engine.connect_one(network, &container, settings).await }).await
    }

    async fn connect_one(
        &self,
        network: Network,
        container: &Container,
        settings: EndpointSettings,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let mut record = container.record().clone();
        let own = |mode: &str| mode == "host" || validate::joined(mode).is_some();
        if own(&record.host.network_mode) || own(&network.name) {
            return Err(Error::invalid(
                "container cannot be connected to or disconnected from host or container networks",
            ));
        }
        if record.networks.contains_key(&network.name) {
            return Err(Error::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                record.name, network.name
            )));
        }
        let wish = |record: &mut Record| {
            if !settings.mac_address.is_empty() {
                record.macs.insert(network.name.clone(), settings.mac_address.clone());
            }
            record.networks.insert(network.name.clone(), settings.clone());
        };
        wish(&mut record);
        let mut endpoint = None;
        if let Some(live) = container.live() {
            let (engine, subject, name) = (self.clone(), record, network.name.clone());
            let settings = settings.clone();
            let run = Arc::clone(&live.run);
            let reserved =
                blocking(move || engine.plug_in(&subject, &run, &name, &settings)).await?;
            let all = [&*live.run.endpoints, std::slice::from_ref(&reserved)].concat();
            if let Err(error) = self.change_run(container, &live, |run| run.endpoints = all) {
                self.unplug(&reserved).await?;
                return Err(error);
            }
            self.tell_network("connect", &reserved, &container.id);
            endpoint = Some(reserved);
        }
        self.change(container, |record| {
            wish(record);
            self.note_endpoints(record, endpoint.as_slice());
        })
        .await
    }

    async fn unplug(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let (engine, gone) = (self.clone(), endpoint.clone());
        blocking(move || engine.networks.unplug(&gone).map_err(from_network)).await
    }

    /// Takes a container out of a network, at once if it runs.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Forbidden`] when it does not stand there.
    pub async fn network_disconnect(
        &self,
        reference: &str,
        container: &str,
        force: bool,
    ) -> Result<(), Error> {
        let network = self.networks.find(reference).map_err(from_network)?;
        let container = self.containers.find(container)?;
        let engine = self.clone();
        to_the_end(async move { engine.disconnect_one(&network, &container, force).await }).await
    }

    async fn disconnect_one(
        &self,
        network: &Network,
        container: &Container,
        force: bool,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let known = {
            let record = container.record();
            [&network.name, &network.id].iter().any(|name| record.networks.contains_key(*name))
        };
        if !known && !force {
            return Err(Error::forbidden(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        let mut unplugged = Ok(());
        if let Some(live) = container.live()
            && let Some(endpoint) =
                live.run.endpoints.iter().find(|endpoint| endpoint.network == network.id).cloned()
        {
            // What fails of it is told at the end: the rest is done all the same.
            unplugged = self.unplug(&endpoint).await;
            self.tell_network("disconnect", &endpoint, &container.id);
            let changed = self.change_run(container, &live, |run| {
                run.endpoints.retain(|other| other.id != endpoint.id);
            });
            match changed {
                Ok(live) if endpoint.default_route => {
                    unplugged = unplugged.and(self.route_elsewhere(container, &live).await);
                }
                Ok(_) => {}
                Err(error) => unplugged = unplugged.and(Err(error)),
            }
        }
        let written = self.change(container, |record| {
            record.macs.remove(&network.name);
            record.networks.remove(&network.name);
            record.networks.remove(&network.id);
        });
        written.await.and(unplugged)
    }

    /// Gives the default route to another endpoint, if there is one.
    async fn route_elsewhere(&self, container: &Container, live: &Live) -> Result<(), Error> {
        let record = container.record().clone();
        let priority = |endpoint: &Endpoint| {
            let name = self.networks.find(&endpoint.network).map(|n| n.name).unwrap_or_default();
            let settings = record.networks.get(&name);
            (-settings.map_or(0, |settings| settings.gw_priority), name)
        };
        let heirs = live.run.endpoints.iter().filter(|e| e.gateway4.or(e.gateway6).is_some());
        let Some(heir) = heirs.min_by_key(|endpoint| priority(endpoint)).cloned() else {
            return Ok(());
        };
        let engine = self.clone();
        let (endpoint, pid) = (heir.clone(), record.state.pid);
        blocking(move || {
            let namespace = network_namespace(pid)?;
            engine.networks.route_through(&endpoint, namespace.as_fd()).map_err(from_network)
        })
        .await?;
        self.change_run(container, live, |run| {
            for endpoint in run.endpoints.iter_mut().filter(|endpoint| endpoint.id == heir.id) {
                endpoint.default_route = true;
            }
        })?;
        Ok(())
    }

    fn plug_in(
        &self,
        record: &Record,
        run: &Run,
        name: &str,
        settings: &EndpointSettings,
    ) -> Result<Endpoint, Error> {
        let taken = run.endpoints.iter().map(|endpoint| endpoint.interface.as_str());
        let interface = network::next_interface(taken);
        let mut attach = attach(record, name, settings, interface)?;
        attach.default_route = run.endpoints.is_empty();
        let mut sandbox = Sandbox::adopt(network_namespace(record.state.pid)?);
        let mut endpoint = self.networks.reserve(&attach).map_err(from_network)?.endpoint;
        if let Err(error) = self.networks.plug(&mut endpoint, &mut sandbox) {
            // The first error is the one to tell.
            drop(self.networks.release(&endpoint));
            return Err(from_network(error));
        }
        Ok(endpoint)
    }

    /// Changes what a run holds, in memory and for the next daemon.
    pub(crate) fn change_run(
        &self,
        container: &Container,
        live: &Live,
        change: impl FnOnce(&mut Run),
    ) -> Result<Live, Error> {
        let mut run = (*live.run).clone();
        change(&mut run);
        let directory = self.config.monitor_dir(container.id.as_str());
        crate::container::start::replace_run(&directory, &run)?;
        let live = Live { link: Arc::clone(&live.link), run: Arc::new(run) };
        container.set_live(Some(live.clone()));
        Ok(live)
    }

    /// What the networks complained about when they were opened.
    pub fn network_warnings(&self) -> Vec<String> {
        self.networks.warnings().to_vec()
    }
}

/// The network namespace that a process is in.
pub(crate) fn network_namespace(pid: i32) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{pid}/ns/net");
    let file = std::fs::File::open(&path)
        .map_err(|error| Error::system(format!("cannot open {path}: {error}")))?;
    Ok(file.into())
}

/// What is said in an answer is no wish.
fn clear_answers(settings: &mut EndpointSettings) {
    let mac = std::mem::take(&mut settings.mac_address);
    clear(settings);
    settings.mac_address = mac;
    settings.network_id.clear();
    settings.dns_names.clear();
}

/// A wish for a place in a network.
fn attach(
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
