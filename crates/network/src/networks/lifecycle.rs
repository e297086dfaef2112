//! Whole networks: made and removed.

use std::collections::HashSet;

use sys::netlink::{Socket, link_named};

use super::open::{lock_host, obstacles};
use super::{Entry, Networks, lock, now};
use crate::bridge::{self, at};
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::model::{Network, NetworkSpec};
use crate::plan::{self, Given};
use crate::{parent, random};

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
        let index = match network.driver {
            Driver::Bridge => Some(self.build(&network)?),
            _ => None,
        };
        if network.driver.is_stacked() {
            parent::ensure(&mut lock(&self.kernel), &network)?;
        }
        drop(guard);
        self.state().insert(Entry::new(network.clone(), index));
        Ok(network)
    }

    /// Decides what a network will be. Nothing is made.
    fn choose(&self, spec: &NetworkSpec) -> Result<Network> {
        let own: HashSet<u32> = Self::bridges(&self.state()).filter_map(|e| e.index).collect();
        let routed = match spec.config_only {
            true => Vec::new(),
            false => obstacles(&mut lock(&self.kernel), &own)?,
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

    fn build(&self, network: &Network) -> Result<u32> {
        let undo = |error| {
            // The first error is the one to tell; what cannot be undone either is told with it.
            let mut errors = vec![error];
            errors.extend(bridge::remove(&mut lock(&self.kernel), &network.bridge).err());
            Error::all(errors).err().unwrap_or(Error::NotABridge(network.bridge.clone()))
        };
        let before = bridge::find(&mut lock(&self.kernel), &network.bridge)?;
        // Not in the match itself: the lock would be held until its end, and `undo` needs it.
        let made = bridge::ensure(&mut lock(&self.kernel), network);
        let index = match made {
            Ok(index) => index,
            // Somebody else's bridge stays.
            Err(e) if before.is_some() => return Err(e),
            Err(e) => return Err(undo(e)),
        };
        if let Some(firewall) = &self.firewall {
            let rules = bridge::rules(network, &self.config);
            match firewall.add_bridge(&network.bridge, rules) {
                Ok(()) => {}
                Err(e) if before.is_some() => return Err(e),
                Err(e) => return Err(undo(e)),
            }
        }
        Ok(index)
    }

    /// Removes a network that no container is on.
    ///
    /// # Errors
    /// [`Error::Predefined`], [`Error::HasEndpoints`], [`Error::ConfigInUse`], that there is none;
    /// what the kernel or `nft` say, after everything was tried. The network is gone from the list
    /// then too.
    pub fn remove_network(&self, id_or_name: &str) -> Result<Network> {
        let _topology = lock(&self.topology);
        // 1. The list, so that nobody joins any more.
        let (network, parent_shared) = {
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
            let shared = others().any(|n| n.parent == network.parent);
            state.remove(&id);
            (network, shared)
        };
        // 2. The bridge, 3. its rules, 4. what was made to stand on.
        let mut errors = Vec::new();
        if network.driver == Driver::Bridge {
            // Waits for RCU: not on the socket that all starts share.
            let socket = |source| Error::Namespace { step: "opening a netlink socket", source };
            let removed = Socket::open()
                .map_err(socket)
                .and_then(|mut kernel| bridge::remove(&mut kernel, &network.bridge));
            errors.extend(removed.err());
            errors.extend(
                self.firewall.as_ref().and_then(|f| f.remove_bridge(&network.bridge).err()),
            );
        }
        if network.parent_made && !parent_shared {
            errors.extend(parent::remove(&mut lock(&self.kernel), &network.parent).err());
        }
        Error::all(errors).map(|()| network)
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
