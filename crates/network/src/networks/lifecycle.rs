//! Whole networks: made, removed, repaired.

use std::collections::BTreeMap;

use sys::netlink::{Change, Target};

use super::open::{lock_host, obstacles};
use super::{Entry, Networks, lock, now};
use crate::bridge::{self, ENODEV, at};
use crate::error::{Error, Result};
use crate::model::{Driver, Network, NetworkSpec};
use crate::plan::{self, Given};
use crate::random;

impl Networks {
    /// Makes a network: its bridge, its address, its place in the firewall.
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
        let networks = self.list();
        let own: Vec<&str> = networks.iter().map(|n| n.bridge.as_str()).collect();
        let routed = obstacles(&mut lock(&self.kernel), &own)?;
        let all: Vec<&Network> = networks.iter().collect();
        let given = Given { config: &self.config, networks: &all, routed: &routed };
        let network = plan::network(spec, &given, random::hex(32)?, now())?;
        known(&network).map_err(Error::NotKept)?;
        let index = self.build(&network)?;
        drop(guard);
        let entry = Entry::new(network.clone(), Some(index));
        self.state().networks.insert(network.id.clone(), entry);
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
    /// [`Error::Predefined`], [`Error::HasEndpoints`], that there is none; what the kernel or
    /// `nft` say, after everything was tried. The network is gone from the list then too.
    pub fn remove_network(&self, id_or_name: &str) -> Result<Network> {
        let _topology = lock(&self.topology);
        // 1. The list, so that nobody joins any more.
        let network = {
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
            state.networks.remove(&id);
            network
        };
        // 2. The bridge, 3. its rules.
        let mut errors = Vec::new();
        errors.extend(bridge::remove(&mut lock(&self.kernel), &network.bridge).err());
        errors.extend(self.firewall.as_ref().and_then(|f| f.remove_bridge(&network.bridge).err()));
        Error::all(errors).map(|()| network)
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
        let index = bridge::ensure(&mut lock(&self.kernel), network)?;
        let links: BTreeMap<String, String> = {
            let mut state = self.state();
            let entry = state.entry(&network.id)?;
            let before = entry.index.replace(index);
            if before == Some(index) {
                return Ok(index);
            }
            let plugged = entry.endpoints.values().filter(|e| !e.host_link.is_empty());
            plugged.map(|e| (e.host_link.clone(), e.container.clone())).collect()
        };
        let mut errors = Vec::new();
        for link in links.keys() {
            let change = Change::of(Target::Name(link)).master(index).up(true).request();
            match lock(&self.kernel).run(&[change]) {
                // The container ended.
                Err(e) if e.errno() == Some(ENODEV) => {}
                other => errors.extend(other.map_err(at("putting back", link)).err()),
            }
        }
        Error::all(errors).map(|()| index)
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
