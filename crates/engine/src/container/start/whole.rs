//! The order for a machine that boots a disk of its own.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use disk::Format;
use disk::seed::{Card, Seed};
use network::{Endpoint, Sandbox};
use proto::launch::{DiskLayer, Launch, Whole};
use types::Error;
use types::container::WholeMachine;

use super::run::write_run;
use crate::record::{MachineSize, Record, Run};
use crate::spec::{self, machine};
use crate::{Engine, durable, from_disk};

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
        let (sandbox, held, _) = self.network_for(record, run)?;
        self.check_links(&run.endpoints)?;
        if let Some(sandbox) = &sandbox {
            self.give_names(record, run, sandbox.fd())?;
        }
        let seed = self.write_seed(record, asked, &run.endpoints, &own)?;
        let limits = spec::resources::limits(&record.host.resources)?;
        let MachineSize { memory, cpus } = record.machine_size(&self.config.machines);
        let config = &self.config.machines;
        let whole = Whole {
            state: self.config.data_root.join("vm"),
            kernel: config.kernel.clone(),
            agent: config.agent.clone(),
            accelerator: config.accelerator,
            memory,
            cpus,
            layers: layers
                .into_iter()
                .map(|layer| DiskLayer { path: layer.path, qcow2: layer.format == Format::Qcow2 })
                .collect(),
            seed,
            links: run.endpoints.iter().map(|endpoint| endpoint.interface.clone()).collect(),
            limits: Some(Box::new(machine::limits(&limits, memory))),
        };
        run.machine = Some(MachineSize { memory, cpus });
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
        directory: &Path,
    ) -> Result<PathBuf, Error> {
        // Our own resolver is in the container's network namespace, out of the guest's reach.
        let resolver = self.resolv_conf(record, false)?;
        let servers = network::name_servers(&resolver);
        let search: Vec<String> = resolver
            .lines()
            .filter_map(|line| line.strip_prefix("search "))
            .flat_map(|domains| domains.split_whitespace().map(str::to_owned))
            .collect();
        let card = |endpoint: &Endpoint| card(endpoint, &servers, &search);
        let seed = Seed {
            instance: record.id.to_string(),
            hostname: record.config.hostname.clone(),
            ssh_keys: asked.ssh_keys.clone(),
            user_data: asked.user_data.clone(),
            cards: endpoints.iter().map(card).collect(),
        };
        let path = directory.join(SEED);
        // What a user has cloud-init do may have passwords in it.
        durable::write_private(directory, SEED, &seed.image())
            .map_err(|error| Error::system(format!("cannot write {}: {error}", path.display())))?;
        Ok(path)
    }
}

/// An endpoint as the machine's card.
fn card(endpoint: &Endpoint, servers: &[IpAddr], search: &[String]) -> Card {
    let seen = machine::interface(endpoint);
    Card {
        name: seen.name,
        mac: endpoint.mac.to_string(),
        addresses: seen.addresses,
        gateways: seen.gateways,
        servers: servers.to_vec(),
        search: search.to_vec(),
    }
}
