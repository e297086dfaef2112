//! Publishing ports of containers that exist already, also while they run.
//!
//! What runs is changed first, the record last: a daemon that dies in between leaves a container
//! whose run has the new ports, as its end of the promise says (`run.json`), and whose next start
//! has the old ones. Nobody was told that it is done.

use network::{BoundPort, Endpoint, HostPort, Protocol};
use proto::control::Request;
use types::Error;
use types::network::{PortBinding, PortMap};

use super::{Container, Live, validate};
use crate::record::Record;
use crate::{Engine, blocking, from_network, ports};

/// Changes of what is published.
#[derive(Clone, Debug, Default)]
pub struct PortChanges {
    /// What is to be published; what is already stays as it is.
    pub add: PortMap,
    /// What is to be published no more: all of a port, or the bindings that are named. An empty
    /// address or port in a binding stands for any.
    pub remove: PortMap,
}

impl PortChanges {
    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

impl Engine {
    /// Changes what is published, in a run and in a record that is yet to be written.
    pub(super) async fn republish(
        &self,
        container: &Container,
        record: &mut Record,
        changes: &PortChanges,
    ) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        possible(record)?;
        record.unfold();
        let live = container.live();
        let bound: Vec<BoundPort> = live
            .iter()
            .flat_map(|live| &live.run.endpoints)
            .flat_map(|endpoint| endpoint.ports.iter().flat_map(|ports| ports.each()))
            .collect();
        let gone = remove(record, &changes.remove, &bound)?;
        let new = add(record, &changes.add)?;
        record.fold();
        let Some(live) = live else { return Ok(()) };
        let ported = live.run.endpoints.iter().find(|endpoint| !endpoint.ports.is_empty());
        let Some(endpoint) = ported.or_else(|| live.run.endpoints.first()).cloned() else {
            return Err(Error::conflict("it is on no network that ports could be published on"));
        };
        let wanted = ports::together(ports::bindings(&new)?);
        self.republish_run(container, &live, endpoint, gone, wanted).await
    }

    /// Changes which ports a running container is reached by.
    pub(crate) async fn republish_run(
        &self,
        container: &Container,
        live: &Live,
        endpoint: Endpoint,
        gone: Vec<BoundPort>,
        wanted: Vec<network::PortRequest>,
    ) -> Result<(), Error> {
        if gone.is_empty() && wanted.is_empty() {
            return Ok(());
        }
        let engine = self.clone();
        let done = blocking(move || {
            engine.networks.republish(&endpoint, &gone, &wanted).map_err(from_network)
        })
        .await?;
        let now = done.endpoint;
        self.change_run(container, live, |run| {
            for endpoint in run.endpoints.iter_mut().filter(|endpoint| endpoint.id == now.id) {
                endpoint.ports.clone_from(&now.ports);
            }
        })?;
        for socket in done.sockets {
            container.ask(Request::Hold, Some(socket)).await?;
        }
        if !done.freed.is_empty() {
            let freed = done.freed.iter().map(|port| {
                (port.protocol.number(), std::net::SocketAddr::new(port.host_ip, port.host_port))
            });
            container.ask(Request::LetGo(freed.collect()), None).await?;
        }
        Ok(())
    }
}

/// Whether a container's ports can be published at all.
fn possible(record: &Record) -> Result<(), Error> {
    let mode = record.host.network_mode.as_str();
    if validate::joined(mode).is_some() {
        return Err(Error::invalid(
            "conflicting options: port publishing and the container type network mode",
        ));
    }
    if matches!(mode, "host" | "none") {
        return Err(Error::invalid(format!(
            "conflicting options: port publishing and the network mode {mode}: connect the \
             container to a bridge network first"
        )));
    }
    Ok(())
}

/// Adds to a record what is not there yet; returns that.
fn add(record: &mut Record, wanted: &PortMap) -> Result<PortMap, Error> {
    // Nonsense is found before anything is changed.
    ports::bindings(wanted)?;
    let mut new = PortMap::new();
    for (key, bindings) in wanted {
        let (port, protocol) = ports::parse(key)?;
        let key = format!("{port}/{protocol}");
        record.config.exposed_ports.insert(key.clone(), types::container::Empty {});
        let has = record.host.port_bindings.entry(key.clone()).or_default();
        let has = has.get_or_insert_default();
        for binding in bindings.iter().flatten() {
            // One that may have any port is one more.
            if binding.host_port.is_empty() || !has.contains(binding) {
                has.push(binding.clone());
                new.entry(key.clone()).or_default().get_or_insert_default().push(binding.clone());
            }
        }
    }
    Ok(new)
}

/// Takes out of a record what is to be published no more; returns which ports of a run that are.
fn remove(
    record: &mut Record,
    unwanted: &PortMap,
    bound: &[BoundPort],
) -> Result<Vec<BoundPort>, Error> {
    let mut gone = Vec::new();
    for (key, bindings) in unwanted {
        let (port, protocol) = ports::parse(key)?;
        let key = format!("{port}/{protocol}");
        let any = PortBinding { host_ip: String::new(), host_port: String::new() };
        let named = match bindings.as_deref() {
            None | Some([]) => std::slice::from_ref(&any),
            Some(named) => named,
        };
        for binding in named {
            let wish = Wish::read(binding)?;
            let of_run =
                bound.iter().filter(|b| b.container_port == port && b.protocol == protocol);
            let of_run: Vec<BoundPort> = of_run.filter(|b| wish.means(b)).copied().collect();
            let forgotten = forget(&mut record.host.port_bindings, &key, binding, &of_run)?;
            if !forgotten && record.host.publish_all_ports {
                return Err(Error::conflict(format!(
                    "port {key} is published because all exposed ports of the container are: \
                     it cannot be left out"
                )));
            }
            if !forgotten && of_run.is_empty() {
                return Err(not_published(&key, binding, protocol));
            }
            gone.extend(of_run);
        }
    }
    gone.sort_unstable();
    gone.dedup();
    Ok(gone)
}

fn not_published(key: &str, binding: &PortBinding, protocol: Protocol) -> Error {
    let at = match (binding.host_ip.as_str(), binding.host_port.as_str()) {
        ("", "") => String::new(),
        (ip, port) => format!(" on {ip}:{port}/{protocol}"),
    };
    Error::conflict(format!("port {key} is not published{at}"))
}

/// Takes a binding out of the map; says whether there was one. What was given any port is known by
/// the port that a run got for it.
fn forget(
    map: &mut PortMap,
    key: &str,
    binding: &PortBinding,
    of_run: &[BoundPort],
) -> Result<bool, Error> {
    let Some(Some(list)) = map.get_mut(key) else { return Ok(false) };
    let before = list.len();
    let same_ip =
        |other: &PortBinding| binding.host_ip.is_empty() || binding.host_ip == other.host_ip;
    list.retain(|other| {
        let same = binding.host_port.is_empty() || binding.host_port == other.host_port;
        !(same && same_ip(other))
    });
    if list.len() == before
        && let Some(port) = of_run.first().map(|port| port.host_port)
    {
        let mut leads = None;
        for (at, other) in list.iter().enumerate().filter(|(_, other)| same_ip(other)) {
            let fits = match ports::host_port(&other.host_port)? {
                HostPort::Any => true,
                HostPort::Within(first, last) => (first..=last).contains(&port),
            };
            leads = leads.or(fits.then_some(at));
        }
        leads.map(|at| list.remove(at));
    }
    let forgotten = list.len() < before;
    if list.is_empty() {
        map.remove(key);
    }
    Ok(forgotten)
}

/// A binding that is to go, as it was named.
struct Wish {
    ip: Option<std::net::IpAddr>,
    port: HostPort,
}

impl Wish {
    fn read(binding: &PortBinding) -> Result<Wish, Error> {
        Ok(Wish {
            ip: ports::host_ip(&binding.host_ip)?,
            port: ports::host_port(&binding.host_port)?,
        })
    }

    fn means(&self, bound: &BoundPort) -> bool {
        let port = match self.port {
            HostPort::Any => true,
            HostPort::Within(first, last) => (first..=last).contains(&bound.host_port),
        };
        port && self.ip.is_none_or(|ip| ip == bound.host_ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(all: &[(&str, &str, &str)]) -> PortMap {
        let mut map = PortMap::new();
        for (key, ip, port) in all {
            let binding = PortBinding { host_ip: (*ip).to_owned(), host_port: (*port).to_owned() };
            map.entry((*key).to_owned()).or_default().get_or_insert_default().push(binding);
        }
        map
    }

    fn bound(host: u16, container: u16) -> BoundPort {
        BoundPort {
            protocol: Protocol::Tcp,
            host_ip: [0, 0, 0, 0].into(),
            host_port: host,
            container_port: container,
            count: 1,
        }
    }

    fn forgets(map: &mut PortMap, ip: &str, port: &str, of_run: &[BoundPort]) -> bool {
        let binding = PortBinding { host_ip: ip.to_owned(), host_port: port.to_owned() };
        forget(map, "80/tcp", &binding, of_run).expect("it is read")
    }

    #[test]
    fn a_binding_is_found_by_what_is_said_of_it() {
        let all = [("80/tcp", "", "8080"), ("80/tcp", "127.0.0.1", "8081"), ("80/tcp", "", "")];
        let mut ports = map(&all);
        assert!(forgets(&mut ports, "", "8080", &[]));
        assert_eq!(ports, map(&all[1..]));
        assert!(!forgets(&mut ports, "", "8080", &[]));
        // The one that may have any port got this one.
        assert!(forgets(&mut ports, "", "32768", &[bound(32768, 80)]));
        assert_eq!(ports, map(&all[1..2]));
        assert!(!forgets(&mut ports, "127.0.0.2", "", &[]));
        assert!(forgets(&mut ports, "127.0.0.1", "", &[]));
        assert!(ports.is_empty());
        assert!(!forgets(&mut ports, "", "", &[]));
        let mut ports = map(&all);
        assert!(forgets(&mut ports, "", "", &[]));
        assert!(ports.is_empty());
    }

    #[test]
    fn bound_ports_are_meant_by_their_parts() {
        let wish = |ip: &str, port: &str| {
            let binding = PortBinding { host_ip: ip.to_owned(), host_port: port.to_owned() };
            Wish::read(&binding).expect("it is read").means(&bound(8003, 80))
        };
        assert!(wish("", "") && wish("", "8003") && wish("0.0.0.0", "8000-8010"));
        assert!(!wish("", "8004") && !wish("127.0.0.1", "8003"));
    }
}
