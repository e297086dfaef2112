//! What somebody else removed or changed is put back.
//!
//! ```text
//! news from the kernel ──► Suspects ──(a moment)──► mend(): bridge, address, up, ports
//!                                           └─────► Lost: the engine knows where to plug in anew
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use sys::netlink::{
    Change, Link, LinkNews, LinkWatch, Request, Socket, Target, known_at, link_named,
};

use super::{Entry, Networks, State, lock};
use crate::bridge::{self, ENODEV, Host, at};
use crate::direct::Gateway;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::model::{Mac, Network};
use crate::options;

/// A moment for whoever changes links step by step.
const SETTLE: Duration = Duration::from_millis(100);

/// Starts the thread that listens, after it has made what was left to it. It ends with the first
/// news after the networks are gone, or with the process.
pub(super) fn start(networks: Weak<Networks>, missing: Vec<String>) -> io::Result<()> {
    let work = move || {
        if let Some(networks) = networks.upgrade() {
            missing.iter().for_each(|id| networks.mend(id));
        }
        if let Err(e) = listen(&networks) {
            tracing::warn!("changes of links by others are not noticed any more: {e}");
        }
    };
    thread::Builder::new().name("link-watch".to_owned()).stack_size(256 << 10).spawn(work)?;
    Ok(())
}

fn listen(networks: &Weak<Networks>) -> io::Result<()> {
    // Not before the missing bridges are made: thousands of them would be more news than the
    // socket keeps. Whatever happened until now is looked for.
    let mut watch = LinkWatch::open()?;
    let mut news = vec![LinkNews::Lost];
    loop {
        let Some(networks) = networks.upgrade() else { return Ok(()) };
        let Suspects { mut bridges, links, mut gone } = Suspects::of(&networks.state(), &news);
        let lost = news.contains(&LinkNews::Lost);
        if lost || !bridges.is_empty() || !links.is_empty() || !gone.is_empty() {
            thread::sleep(SETTLE);
        }
        bridges.extend(links.iter().filter_map(|link| networks.astray(link)));
        if lost {
            let (broken, without) = networks.broken();
            bridges.extend(broken);
            gone.extend(without);
        }
        gone.iter().for_each(|link| networks.tell_lost(link));
        for id in bridges {
            tracing::warn!(network = id.get(..12).unwrap_or(&id), "somebody changed its links");
            networks.mend(&id);
        }
        drop(networks);
        news = watch.wait()?;
    }
}

/// What may not be as it should be after what is told.
#[derive(Debug, Default)]
struct Suspects {
    /// Networks, by id.
    bridges: BTreeSet<String>,
    /// Links that have to be looked at once more: one that goes away with its container leaves its
    /// bridge first, and news of a bridge that is down may be from when it was made.
    links: BTreeSet<String>,
    /// Links of containers that have gone, most of them with their containers.
    gone: BTreeSet<String>,
}

impl Suspects {
    fn of(state: &State, news: &[LinkNews]) -> Suspects {
        let mut suspects = Suspects::default();
        let of_index = |index: u32| Networks::bridges(state).find(|e| e.index == Some(index));
        for one in news {
            let entry = match one {
                LinkNews::Gone(link) if link.kind == "bridge" => of_index(link.index),
                LinkNews::Gone(link) if state.links.contains_key(&link.name) => {
                    suspects.gone.insert(link.name.clone());
                    None
                }
                LinkNews::AddressGone(address) => of_index(address.link)
                    .filter(|e| e.network.subnets.iter().any(|s| s.gateway == address.addr)),
                LinkNews::Changed(link) if state.astray(link).is_some() => {
                    suspects.links.insert(link.name.clone());
                    None
                }
                _ => None,
            };
            suspects.bridges.extend(entry.map(|entry| entry.network.id.clone()));
        }
        suspects
    }
}

impl State {
    /// The network of a bridge that is down, or of a container's link that is on another bridge or
    /// on none.
    fn astray(&self, link: &Link) -> Option<&Entry> {
        if link.kind == "bridge" {
            let mut down = Networks::bridges(self).filter(|_| !link.up);
            return down.find(|entry| entry.index == Some(link.index));
        }
        let entry = self.links.get(&link.name).and_then(|id| self.networks.get(id));
        entry.filter(|entry| entry.index != link.master)
    }
}

impl Networks {
    /// The networks, by id, that are not as they should be, and the links that are not there, found
    /// out with one look at the host.
    fn broken(&self) -> (Vec<String>, Vec<String>) {
        // A socket of its own: with thousands of links it takes a while, and starts go first.
        let socket = |source| Error::Namespace { step: "opening a netlink socket", source };
        let host = Socket::open().map_err(socket).and_then(|mut kernel| Host::survey(&mut kernel));
        let host = match host {
            Ok(host) => host,
            Err(e) => {
                tracing::warn!("links cannot be looked over: {e}");
                return (Vec::new(), Vec::new());
            }
        };
        let state = self.state();
        let whole = |entry: &&Entry| {
            let ports = entry.endpoints.values().filter_map(|e| host.link(&e.host_link));
            host.has(&entry.network) && ports.map(|link| link.master).all(|m| m == entry.index)
        };
        let broken = Networks::bridges(&state).filter(|entry| !whole(entry));
        let broken = broken.map(|entry| entry.network.id.clone()).collect();
        let without = state.links.keys().filter(|link| host.link(link).is_none());
        (broken, without.cloned().collect())
    }

    /// Tells of an endpoint that has lost its link; not of one that has been released, as is usual
    /// when links go.
    fn tell_lost(&self, link: &str) {
        if !matches!(link_named(&mut lock(&self.kernel), link), Ok(None)) {
            return;
        }
        let state = self.state();
        let entry = state.links.get(link).and_then(|id| state.networks.get(id));
        let endpoint = entry.and_then(|e| e.endpoints.values().find(|e| e.host_link == link));
        if let Some(endpoint) = endpoint {
            // Nobody listens in programs that only make networks.
            let _ = self.lost.0.send(endpoint.clone());
        }
    }

    /// The network, by id, of a link that is there and not as it should be.
    fn astray(&self, name: &str) -> Option<String> {
        let link = link_named(&mut lock(&self.kernel), name).ok()??;
        self.state().astray(&link).map(|entry| entry.network.id.clone())
    }

    /// Puts a network back; what fails is logged, as nobody asked for it. A network that has been
    /// removed meanwhile is left alone.
    fn mend(&self, id: &str) {
        let _topology = lock(&self.topology);
        let Some(network) = self.state().networks.get(id).map(|e| e.network.clone()) else {
            return;
        };
        if let Err(e) = self.rebuild(&network) {
            tracing::error!("network {} cannot be repaired: {e}", network.name);
        }
    }

    /// Puts back what somebody else removed: bridges with their addresses, the links of
    /// containers on them, the firewall's table.
    ///
    /// # Errors
    /// What could not be put back, after everything was tried.
    pub fn repair(&self) -> Result<()> {
        let _topology = lock(&self.topology);
        let networks: Vec<Network> =
            self.list().into_iter().filter(|n| n.driver == Driver::Bridge).collect();
        let mut errors = Vec::new();
        for network in networks {
            match self.rebuild(&network) {
                Ok(_) => {}
                Err(e) => errors.push(e),
            }
        }
        errors.extend(self.firewall.as_ref().and_then(|f| f.write().err()));
        Error::all(errors)
    }

    /// Makes a network's bridge again if it is gone, and puts its containers back on it.
    pub(super) fn rebuild(&self, network: &Network) -> Result<u32> {
        let bridge = bridge::ensure(&mut lock(&self.kernel), network)?;
        let index = bridge.index;
        self.note_bridge(network, &bridge);
        let links: BTreeMap<String, Mac> = {
            let mut state = self.state();
            let entry = state.entry(&network.id)?;
            (entry.index, entry.mac) = (Some(index), bridge.mac);
            let links = entry.endpoints.values().filter(|e| !e.host_link.is_empty());
            links.map(|e| (e.host_link.clone(), e.mac)).collect()
        };
        let known = self.direct.is_some() && options::direct(&network.options, &self.config);
        let put = links.iter().map(|(link, mac)| {
            let mac = Some(*mac).filter(|_| known);
            self.put_back(link, mac, index)
        });
        Error::all(put.filter_map(Result::err).collect()).map(|()| index)
    }

    /// Changes of the bridge are our own from now on, and the host is reached there.
    pub(super) fn note_bridge(&self, network: &Network, bridge: &Link) {
        lock(&self.reach).note(bridge.index);
        if let Some(direct) = &self.direct
            && let Some(mac) = bridge.mac
            && options::direct(&network.options, &self.config)
        {
            direct.lead(&Gateway { network: &network.id, bridge: bridge.index, mac });
        }
    }

    fn put_back(&self, name: &str, known: Option<Mac>, bridge: u32) -> Result<()> {
        let mut kernel = lock(&self.kernel);
        let link = link_named(&mut kernel, name).map_err(at("looking for", name))?;
        // Without one the container has ended.
        let Some(link) = link.filter(|l| l.master != Some(bridge) || !l.up) else { return Ok(()) };
        let change = Change::of(Target::Index(link.index)).master(bridge).up(true).request();
        let who = known.map(|mac| known_at(link.index, mac.0));
        let requests: Vec<Request> = [Some(change), who].into_iter().flatten().collect();
        match kernel.run(&requests) {
            Err(e) if e.errno() == Some(ENODEV) => Ok(()),
            other => other.map_err(at("putting back", name)),
        }
    }
}
