//! Who is called what: the networks' names, and what each container sees of them.
//!
//! Plain data: containers go in as the engine describes them, answers come out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use proto::names::{Container, Place};

use crate::wire::Kind;

/// All names of all networks.
#[derive(Debug, Default)]
pub struct Zones {
    /// By id.
    networks: HashMap<String, Network>,
    /// Who asks, by the container's id.
    askers: HashMap<String, Vec<Stand>>,
}

/// A network that somebody stands in.
#[derive(Debug, Default)]
struct Network {
    name: String,
    /// Who answers to a name, in the order in which they came.
    names: HashMap<Box<str>, Vec<Rc<Member>>>,
    addresses: HashMap<IpAddr, Rc<Member>>,
    members: usize,
}

/// A container in a network.
#[derive(Debug)]
struct Member {
    id: String,
    /// The name that stands for it.
    name: String,
    addresses: Vec<IpAddr>,
}

/// A container's place, as the one who asks.
#[derive(Debug)]
struct Stand {
    network: String,
    /// Alias to name.
    links: HashMap<String, String>,
}

/// What is known about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// This name.
    Name(String),
    /// The name exists, but has nothing of the kind.
    Nothing,
    /// Nobody here is called so.
    Unknown,
}

impl Zones {
    /// Puts a container in the place of what was known of it.
    pub fn put(&mut self, container: &Container) {
        self.remove(&container.id);
        let stands = container.places.iter().map(|place| self.put_place(&container.id, place));
        let stands = stands.collect();
        self.askers.insert(container.id.clone(), stands);
    }

    fn put_place(&mut self, id: &str, place: &Place) -> Stand {
        let network = self.networks.entry(place.network.clone()).or_default();
        network.name = place.network_name.to_ascii_lowercase();
        let member = Rc::new(Member {
            id: id.to_owned(),
            name: place.names.first().cloned().unwrap_or_default(),
            addresses: place.addresses.clone(),
        });
        network.members += 1;
        for name in &place.names {
            let members = network.names.entry(name.to_ascii_lowercase().into()).or_default();
            if !members.iter().any(|other| Rc::ptr_eq(other, &member)) {
                members.push(Rc::clone(&member));
            }
        }
        for address in &place.addresses {
            network.addresses.insert(*address, Rc::clone(&member));
        }
        let lower = |(alias, name): &(String, String)| {
            (alias.to_ascii_lowercase(), name.to_ascii_lowercase())
        };
        Stand { network: place.network.clone(), links: place.links.iter().map(lower).collect() }
    }

    /// Forgets a container.
    pub fn remove(&mut self, id: &str) {
        for stand in self.askers.remove(id).unwrap_or_default() {
            let Some(network) = self.networks.get_mut(&stand.network) else { continue };
            network.members = network.members.saturating_sub(1);
            if network.members == 0 {
                self.networks.remove(&stand.network);
                continue;
            }
            network.names.retain(|_, members| {
                members.retain(|member| member.id != id);
                !members.is_empty()
            });
            network.addresses.retain(|_, member| member.id != id);
        }
    }

    /// The ids of all containers.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.askers.keys().map(String::as_str)
    }

    /// What a container is told about a name, which is in lower case.
    pub fn find(&self, asker: &str, name: &str, kind: Kind) -> Found {
        let Some(stands) = self.askers.get(asker) else { return Found::Unknown };
        if let Some(address) = reversed(name) {
            return self.find_address(stands, address, kind);
        }
        let mut known = false;
        // The name as it is, then as NAME.NETWORK; in each case what the asker alone calls so
        // comes first.
        for (scoped, linked) in [(false, true), (false, false), (true, true), (true, false)] {
            for stand in stands {
                let Some(network) = self.networks.get(&stand.network) else { continue };
                let name = if scoped { network.own(name) } else { Some(name) };
                let target = |name| {
                    if linked { stand.links.get(name).map(String::as_str) } else { Some(name) }
                };
                let members = name.and_then(target).and_then(|name| network.names.get(name));
                let Some(members) = members else { continue };
                known = true;
                let all = members.iter().flat_map(|member| &member.addresses);
                let addresses: Vec<IpAddr> =
                    all.filter(|address| is_of(address, kind)).copied().collect();
                if !addresses.is_empty() {
                    return Found::Addresses(addresses);
                }
            }
        }
        if known { Found::Nothing } else { Found::Unknown }
    }

    fn find_address(&self, stands: &[Stand], address: IpAddr, kind: Kind) -> Found {
        for stand in stands {
            let Some(network) = self.networks.get(&stand.network) else { continue };
            let Some(member) = network.addresses.get(&address) else { continue };
            let name = format!("{}.{}", member.name, network.name);
            let writable = crate::wire::is_writable(&name);
            return match kind {
                Kind::PTR | Kind::ANY if writable => Found::Name(name),
                _ => Found::Nothing,
            };
        }
        Found::Unknown
    }
}

impl Network {
    /// The name without this network's behind it.
    fn own<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_suffix(self.name.as_str())?.strip_suffix('.')
    }
}

fn is_of(address: &IpAddr, kind: Kind) -> bool {
    match kind {
        Kind::A => address.is_ipv4(),
        Kind::AAAA => address.is_ipv6(),
        kind => kind == Kind::ANY,
    }
}

/// The address that a name such as `4.3.2.1.in-addr.arpa` stands for.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(text) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0; 4];
        let mut labels = text.split('.');
        for byte in bytes.iter_mut().rev() {
            let label = labels.next().filter(|label| label.bytes().all(|b| b.is_ascii_digit()))?;
            *byte = label.parse().ok()?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(bytes).into());
    }
    let text = name.strip_suffix(".ip6.arpa")?;
    let mut value: u128 = 0;
    let mut count = 0;
    for label in text.split('.').rev() {
        let digit = u32::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        value = value << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(value).into())
}

#[cfg(test)]
mod tests;
