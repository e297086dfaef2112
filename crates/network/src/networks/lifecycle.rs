//! Whole networks: made and removed.

use sys::netlink::{Link, Socket, link_named};

use super::open::lock_host;
use super::{Entry, Networks, lock, now};
use crate::bridge::{self, at};
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::model::{Network, NetworkSpec};
use crate::plan::{self, Given};
use crate::{parent, random};

/// What became of networks that were to be removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// Those that are gone.
    pub networks: Vec<Network>,
    /// What stood in the way of others, or is left of these.
    pub errors: Vec<Error>,
}

impl Networks {
    /// Makes a network: its bridge, its address, its place in the firewall; or its parent.
    ///
    /// # Errors
    /// What is wrong with the spec; what the kernel or `nft` say, and then nothing is left of it.
    pub fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        self.create_network_known(spec, |_| Ok(()))
    }

    /// The same; `known` is told of the network before anything of it is in the kernel, and can
    /// refuse with its reason. Who remembers networks does it there: then no crash leaves a bridge
    /// that nobody knows of.
    ///
    /// # Errors
    /// As above, and [`Error::NotKept`].
    pub fn create_network_known(
        &self,
        spec: &NetworkSpec,
        known: impl FnOnce(&Network) -> std::result::Result<(), String>,
    ) -> Result<Network> {
        let _topology = lock(&self.topology);
        let guard = lock_host()?;
        let network = self.choose(spec)?;
        known(&network).map_err(Error::NotKept)?;
        let bridge = match network.driver {
            Driver::Bridge => Some(self.build(&network)?),
            _ => None,
        };
        if network.driver.is_stacked() {
            parent::ensure(&mut lock(&self.kernel), &network)?;
        }
        drop(guard);
        self.state().insert(Entry::new(network.clone(), bridge.as_ref()));
        Ok(network)
    }

    /// Decides what a network will be. Nothing is made.
    fn choose(&self, spec: &NetworkSpec) -> Result<Network> {
        let routed = match spec.config_only {
            true => Vec::new(),
            false => lock(&self.reach).obstacles(&mut lock(&self.kernel))?,
        };
        let id = random::hex(32)?;
        let mut network = {
            let state = self.state();
            let networks: Vec<&Network> = state.networks.values().map(|e| &e.network).collect();
            let given = Given { config: &self.config, networks: &networks, routed: &routed };
            plan::network(spec, &given, id, now())?
        };
        if network.driver.is_stacked() {
            // The last of those that stand on what was made takes it along.
            let made = |e: &Entry| e.network.parent_made && e.network.parent == network.parent;
            let made = self.state().networks.values().any(made);
            let mut kernel = lock(&self.kernel);
            parent::check_kernel(&mut kernel, &network)?;
            let name = network.parent.as_str();
            let there = link_named(&mut kernel, name).map_err(at("looking for", name))?;
            network.parent_made = there.is_none() || made;
        }
        Ok(network)
    }

    fn build(&self, network: &Network) -> Result<Link> {
        let undo = |error| {
            // The first error is the one to tell; what cannot be undone either is told with it.
            let mut errors = vec![error];
            errors.extend(bridge::remove(&mut lock(&self.kernel), &network.bridge).err());
            Error::all(errors).err().unwrap_or(Error::NotABridge(network.bridge.clone()))
        };
        let before = bridge::find(&mut lock(&self.kernel), &network.bridge)?;
        // Not in the match itself: the lock would be held until its end, and `undo` needs it.
        let made = bridge::ensure(&mut lock(&self.kernel), network);
        let link = match made {
            Ok(link) => link,
            // Somebody else's bridge stays.
            Err(e) if before.is_some() => return Err(e),
            Err(e) => return Err(undo(e)),
        };
        self.note_bridge(network, &link);
        if let Some(firewall) = &self.firewall {
            let rules = bridge::rules(network, &self.config);
            match firewall.add_bridge(&network.bridge, rules) {
                Ok(()) => {}
                Err(e) if before.is_some() => return Err(e),
                Err(e) => return Err(undo(e)),
            }
        }
        Ok(link)
    }

    /// Removes a network that no container is on.
    ///
    /// # Errors
    /// [`Error::Predefined`], [`Error::HasEndpoints`], [`Error::ConfigInUse`], that there is none;
    /// what the kernel or `nft` say, after everything was tried. The network is gone from the list
    /// then too.
    pub fn remove_network(&self, id_or_name: &str) -> Result<Network> {
        let _topology = lock(&self.topology);
        let (network, parent_shared) = self.unlist(id_or_name)?;
        let mut removed = self.take_down(vec![(network, parent_shared)]);
        let network = removed.networks.pop();
        Error::all(removed.errors)?;
        network.ok_or_else(|| Error::NetworkNotFound(id_or_name.to_owned()))
    }

    /// Removes networks, by id, leaving out those that cannot be: hundreds of bridges go about as
    /// fast as one.
    pub fn remove_networks(&self, ids: &[String]) -> Removed {
        let _topology = lock(&self.topology);
        self.take_down(ids.iter().filter_map(|id| self.unlist(id).ok()).collect())
    }

    /// Takes a network off the list, so that nobody joins any more. Also says whether others stand
    /// on the same parent.
    fn unlist(&self, id_or_name: &str) -> Result<(Network, bool)> {
        let mut state = self.state();
        let id = state.resolve(id_or_name)?.to_owned();
        let entry = state.entry(&id)?;
        let Network { name, .. } = &entry.network;
        if entry.network.is_predefined() {
            return Err(Error::Predefined(name.clone()));
        }
        if !entry.endpoints.is_empty() {
            return Err(Error::HasEndpoints { name: name.clone(), id });
        }
        let network = entry.network.clone();
        let others = || state.networks.values().map(|e| &e.network).filter(|n| n.id != id);
        if network.config_only && others().any(|n| n.config_from == network.name) {
            return Err(Error::ConfigInUse(network.name));
        }
        let shared = network.parent_made && others().any(|n| n.parent == network.parent);
        state.remove(&id);
        Ok((network, shared))
    }

    /// Takes what is not listed any more out of the kernel.
    fn take_down(&self, networks: Vec<(Network, bool)>) -> Removed {
        let mut removed = Removed::default();
        // 1. The bridges. That waits for RCU: not on the socket that all starts share.
        let bridged = |n: &&(Network, bool)| n.0.driver == Driver::Bridge;
        let bridges: Vec<&str> =
            networks.iter().filter(bridged).map(|(n, _)| n.bridge.as_str()).collect();
        let mut gone = match Socket::open() {
            Ok(mut kernel) => bridge::remove_all(&mut kernel, &bridges),
            Err(source) => {
                let step = "opening a netlink socket";
                removed.errors.push(Error::Namespace { step, source });
                Vec::new()
            }
        }
        .into_iter();
        // 2. Their rules.
        if let Some(firewall) = &self.firewall {
            removed.errors.extend(firewall.remove_bridges(&bridges).err());
        }
        if let Some(direct) = &self.direct {
            let forgotten = networks.iter().map(|(network, _)| direct.forget(&network.id));
            removed.errors.extend(forgotten.filter_map(|result| result.err()).map(Error::Direct));
        }
        // 3. What was made to stand on.
        let mut left = Vec::new();
        for (network, shared) in &networks {
            if network.driver == Driver::Bridge {
                match gone.next() {
                    Some(Ok(())) => {}
                    Some(Err(e)) => {
                        removed.errors.push(e);
                        left.push(network.id.clone());
                    }
                    None => left.push(network.id.clone()),
                }
            } else if network.parent_made && !shared {
                let result = parent::remove(&mut lock(&self.kernel), &network.parent);
                removed.errors.extend(result.err());
            }
        }
        let networks = networks.into_iter().map(|(network, _)| network);
        removed.networks = networks.filter(|network| !left.contains(&network.id)).collect();
        removed
    }

    /// Removes every bridge and the firewall's table, for a daemon that will not come back.
    /// Containers that live lose their network.
    ///
    /// # Errors
    /// What could not be removed, after everything was tried.
    pub fn dismantle(&self) -> Result<()> {
        let _topology = lock(&self.topology);
        let mut errors = Vec::new();
        for network in self.list().iter().filter(|n| n.driver == Driver::Bridge) {
            errors.extend(bridge::remove(&mut lock(&self.kernel), &network.bridge).err());
        }
        errors.extend(self.firewall.as_ref().and_then(|f| f.remove().err()));
        Error::all(errors)
    }
}
