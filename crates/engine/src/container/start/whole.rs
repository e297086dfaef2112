//! The order for a machine that boots a disk of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use disk::seed::{Card, Seed};
use disk::{Format, Layer};
use network::{Endpoint, Sandbox};
use proto::launch::{DiskLayer, Launch, NamesAt, Seen, Whole};
use types::Error;
use types::container::WholeMachine;

use super::run::write_run;
use crate::record::{MachineSize, Record, Run};
use crate::spec::{self, machine};
use crate::{Engine, from_disk};

/// The disk that tells the machine who it is, in the container's directory.
const SEED: &str = "seed.iso";

impl Engine {
    /// Makes everything the run of such a machine needs and gives the order.
    pub(super) fn order_whole(
        &self,
        record: &Record,
        asked: &WholeMachine,
        directory: &Path,
        run: &mut Run,
    ) -> Result<OwnedFd, Error> {
        let own = self.config.container_dir(record.id.as_str());
        let layers = disk::layers(&own).map_err(from_disk)?;
        let (sandbox, held, _) = self.network_for(record, run, |_| None)?;
        self.check_links(&run.endpoints)?;
        if let Some(sandbox) = &sandbox {
            self.give_names(record, run, sandbox.fd())?;
        }
        let names = run.endpoints.first().filter(|_| self.resolves(&run.endpoints)).and_then(names);
        let seed = self.write_seed(record, asked, &run.endpoints, names, &own)?;
        let limits = spec::resources::limits(&record.host.resources)?;
        let size = record.machine_size(&self.config.machines);
        let MachineSize { memory, cpus } = size;
        let config = &self.config.machines;
        let whole = Whole {
            state: self.config.data_root.join("vm"),
            kernels: config.kernels.clone(),
            agents: config.agents(),
            accelerator: config.accelerator,
            memory,
            cpus,
            layers: layers.into_iter().map(disk_layer).collect(),
            seed,
            names,
            links: run.endpoints.iter().map(|endpoint| endpoint.interface.clone()).collect(),
            limits: Some(Box::new(machine::limits(&limits, size, 0))),
        };
        run.machine = Some(size);
        write_run(directory, run)?;
        let mut linux = oci_spec::runtime::Linux::default();
        linux.set_cgroups_path(Some(run.cgroups_path.clone().into()));
        let mut bare = oci_spec::runtime::Spec::default();
        bare.set_linux(Some(linux));
        let launch = Launch {
            netns: sandbox.is_some(),
            held: held.len(),
            whole: Some(Box::new(whole)),
            ..self.usual_launch(record, directory, bare, false)
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        descriptors.extend(sandbox.as_ref().map(Sandbox::fd));
        descriptors.extend(held.iter().map(AsFd::as_fd));
        self.send_launch(launch, &descriptors)
    }

    /// Writes what the machine is told about itself; every start does.
    fn write_seed(
        &self,
        record: &Record,
        asked: &WholeMachine,
        endpoints: &[Endpoint],
        names: Option<NamesAt>,
        directory: &Path,
    ) -> Result<PathBuf, Error> {
        let resolver = self.resolv_conf(record, false)?;
        let servers = network::name_servers(&resolver);
        let search: Vec<String> = resolver
            .lines()
            .filter_map(|line| line.strip_prefix("search "))
            .flat_map(|domains| domains.split_whitespace().map(str::to_owned))
            .collect();
        let mtu = |endpoint: &Endpoint| Some(self.networks.find(&endpoint.network).ok()?.mtu);
        let mut cards: Vec<Card> = endpoints
            .iter()
            .map(|endpoint| card(endpoint, mtu(endpoint), &servers, &search))
            .collect();
        if let (Some(names), Some((first, rest))) = (names, cards.split_first_mut()) {
            first.addresses.push((names.guest.into(), NamesAt::PREFIX));
            first.servers = vec![names.server.into()];
            // systemd-resolved asks no server for a name without a dot unless there is a domain to
            // append; ours knows every name with its network's behind it too.
            let known =
                endpoints.iter().filter_map(|endpoint| self.networks.find(&endpoint.network).ok());
            first.search.splice(0..0, known.map(|network| network.name));
            rest.iter_mut().for_each(|card| card.servers.clear());
        }
        let seed = Seed {
            instance: record.id.to_string(),
            hostname: record.config.hostname.clone(),
            ssh_keys: asked.ssh_keys.clone(),
            user_data: asked.user_data.clone(),
            cards,
        };
        let path = directory.join(SEED);
        // What a user has cloud-init do may have passwords in it.
        sys::durable::write_private(directory, SEED, &seed.image())
            .map_err(|error| Error::system(format!("cannot write {}: {error}", path.display())))?;
        Ok(path)
    }
}

/// Blocks of four addresses for names, from this on: link-local ones, which lead nowhere else.
const FIRST_BLOCK: u32 = 0xa9fe_0100;
/// How many there are, up to 169.254.253.3.
const BLOCKS: u32 = 16_129;
/// The block of 169.254.169.254, where clouds tell their machines about themselves.
const METADATA: u32 = (0xa9fe_a9fc - FIRST_BLOCK) / 4;

/// Where a machine asks for names: at addresses that no other machine of its network has, as they
/// follow from its own, unless the network has more than 16128 addresses.
fn names(endpoint: &Endpoint) -> Option<NamesAt> {
    match endpoint.ipv4?.addr() {
        IpAddr::V4(own) => Some(block(own)),
        IpAddr::V6(_) => None,
    }
}

fn block(own: Ipv4Addr) -> NamesAt {
    let block = match u32::from(own) % (BLOCKS - 1) {
        METADATA => BLOCKS - 1,
        block => block,
    };
    let base = FIRST_BLOCK + 4 * block;
    NamesAt { server: (base + 1).into(), guest: (base + 2).into() }
}

/// A layer as the monitor is told of it.
fn disk_layer(layer: Layer) -> DiskLayer {
    let disk::Seen { device, inode, length, seconds, nanoseconds } = layer.seen;
    DiskLayer {
        path: layer.path,
        qcow2: layer.format == Format::Qcow2,
        seen: Seen { device, inode, length, seconds, nanoseconds },
    }
}

/// An endpoint as the machine's card.
fn card(endpoint: &Endpoint, mtu: Option<u32>, servers: &[IpAddr], search: &[String]) -> Card {
    let seen = machine::interface(endpoint);
    Card {
        name: seen.name,
        mac: endpoint.mac.to_string(),
        mtu,
        addresses: seen.addresses,
        gateways: seen.gateways,
        servers: servers.to_vec(),
        search: search.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_ask_at_other_addresses_and_nobody_at_a_clouds() {
        let mut seen = std::collections::BTreeSet::new();
        for own in 0xac11_0000..0xac11_0000 + BLOCKS - 1 {
            let NamesAt { server, guest } = block(own.into());
            assert!(server.is_link_local() && guest.is_link_local());
            assert!(
                server != Ipv4Addr::new(169, 254, 169, 254)
                    && guest != Ipv4Addr::new(169, 254, 169, 254)
            );
            assert_eq!(u32::from(server) >> 2, u32::from(guest) >> 2);
            assert!(seen.insert(server), "{server} twice");
        }
    }
}
