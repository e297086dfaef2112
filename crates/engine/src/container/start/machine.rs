//! The order for a container in a virtual machine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use network::Sandbox;
use oci_spec::runtime::LinuxResources;
use proto::guest;
use proto::launch::{Launch, Machine};
use types::Error;
use types::resources::Resources;

use super::run::write_run;
use super::spare::Ready;
use crate::record::{MachineSize, Record, Run};
use crate::spec::machine::{self, Lent};
use crate::spec::{self, Surroundings, users};
use crate::{Engine, blocking, from_image};

/// The writable disk's file in the container's directory.
pub(crate) const DISK: &str = "disk.ext4";

/// What the processes of a machine may use of the host.
fn limits(resources: &LinuxResources, machine: &Machine) -> Box<LinuxResources> {
    let size = MachineSize { memory: machine.memory, cpus: machine.cpus };
    Box::new(machine::limits(resources, size, machine.shares.len()))
}

impl Engine {
    /// Makes everything the run of a machine needs and gives the order.
    pub(super) fn order_machine(
        &self,
        record: &Record,
        directory: &Path,
        run: &mut Run,
    ) -> Result<(OwnedFd, Vec<String>), Error> {
        run.machine = Some(machine::size(&record.host.resources, &self.config.machines));
        let mut spare = None;
        let (sandbox, held, _) = self.network_for(record, run, |run| {
            let Ready { line, sandbox } = self.spare_for(record, run)?;
            spare = Some(line);
            Some(sandbox)
        })?;
        self.check_links(&run.endpoints)?;
        self.write_files(record, run, false)?;
        if let Some(sandbox) = &sandbox {
            self.give_names(record, run, sandbox.fd())?;
        }
        let mut trees = Vec::new();
        // Its home says that it is not known yet: the machine's agent looks it up.
        let user = users::User { uid: 0, gid: 0, groups: Vec::new(), home: String::new() };
        let joined = spec::Joined::default();
        let mounts = self.resolve_mounts(record, &joined, &user, &mut trees)?;
        let mut made = spec::make(
            record,
            Surroundings {
                config: &self.config,
                available: self.available,
                joined,
                netns: sandbox.is_some(),
                user,
                mounts,
                links: self.link_environment(record)?,
            },
        )?;
        let linux = made.spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
        let cgroups_path = linux.and_then(|linux| linux.cgroups_path().clone());
        let own = self.config.container_dir(record.id.as_str());
        let mut lent = machine::adapt(&mut made.spec, &own)?;
        machine::show(&mut made.spec, &mut lent, self.plain_files(record)?);
        // Where the machine's process is on the host; the agent has a place of its own.
        if let Some(linux) = made.spec.linux_mut() {
            linux.set_cgroups_path(cgroups_path);
        }
        let mut machine = self.machine_of(record, lent)?;
        machine.interfaces = run.endpoints.iter().map(machine::interface).collect();
        machine.names = sandbox.is_some() && self.resolves(&run.endpoints);
        machine.limits = Some(limits(&resources, &machine));
        write_run(directory, run)?;
        let launch = Launch {
            netns: sandbox.is_some(),
            held: held.len(),
            machine: Some(Box::new(machine)),
            ..self.usual_launch(record, directory, made.spec, made.default_seccomp)
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        descriptors.extend(sandbox.as_ref().map(Sandbox::fd));
        descriptors.extend(held.iter().map(AsFd::as_fd));
        let socket = match spare {
            Some(spare) => self.send_to_spare(&spare.0, launch, &descriptors)?,
            None => self.send_launch(launch, &descriptors)?,
        };
        Ok((socket, made.warnings))
    }

    /// Refuses networks whose links cannot be a machine's.
    pub(super) fn check_links(&self, endpoints: &[network::Endpoint]) -> Result<(), Error> {
        for endpoint in endpoints {
            let network = self.networks.find(&endpoint.network).map_err(crate::from_network)?;
            if network.driver.is_stacked() {
                return Err(Error::invalid(format!(
                    "network {} cannot be used with --isolation vm: its driver {} gives links that \
                     no machine can be joined to; use a bridge network",
                    network.name,
                    network.driver.as_str()
                )));
            }
        }
        Ok(())
    }

    /// Orders a machine with the disks of a container that does not run, for its files. Blocks.
    pub(crate) fn order_files(&self, record: &Record) -> Result<(OwnedFd, Run), Error> {
        let directory = self.config.monitor_dir(record.id.as_str());
        let cgroups_path = spec::cgroups_path(&self.config, record);
        let run = Run { cgroups_path, ..Run::default() };
        let mut machine = self.machine_of(record, Lent::default())?;
        machine.limits = Some(limits(&LinuxResources::default(), &machine));
        machine.files_only = true;
        machine.volatile = false;
        write_run(&directory, &run)?;
        let mut launch = self.bare_launch(record, &directory);
        launch.machine = Some(Box::new(machine));
        let mut linux = oci_spec::runtime::Linux::default();
        linux.set_cgroups_path(Some(run.cgroups_path.clone().into()));
        launch.spec.set_linux(Some(linux));
        Ok((self.send_launch(launch, &[])?, run))
    }

    /// Has the template that a container of an architecture (by Docker's name; empty: the host's) with
    /// these limits would be cloned from, made if there is none. Returns its name.
    ///
    /// # Errors
    /// Without an agent or a kernel; what is wrong with the machine.
    pub async fn build_template(
        &self,
        architecture: &str,
        limits: Resources,
    ) -> Result<String, Error> {
        let engine = self.clone();
        let architecture = machine::architecture(architecture)?;
        blocking(move || {
            engine.launcher.build_template(engine.empty_machine(architecture, &limits))
        })
        .await
    }

    /// The machine of a container: its size and its disks.
    fn machine_of(&self, record: &Record, lent: Lent) -> Result<Machine, Error> {
        Ok(Machine {
            layers: self.images.disks(&record.id).map_err(from_image)?,
            disk: self.config.container_dir(record.id.as_str()).join(DISK),
            volatile: record.host.auto_remove,
            shares: lent.shares,
            files: lent.files,
            user: record.guest_user(),
            ..self.empty_machine(record.architecture(), &record.host.resources)
        })
    }

    /// A machine for these limits, of nobody yet.
    pub(super) fn empty_machine(&self, architecture: &str, limits: &Resources) -> Machine {
        let config = &self.config.machines;
        let MachineSize { memory, cpus } = machine::size(limits, config);
        Machine {
            state: self.config.data_root.join("vm"),
            architecture: architecture.to_owned(),
            kernels: config.kernels.clone(),
            agents: config.agents(),
            accelerator: config.accelerator,
            templates: config.templates,
            memory,
            cpus,
            layers: Vec::new(),
            disk: PathBuf::new(),
            disk_size: config.disk_size,
            volatile: true,
            interfaces: Vec::new(),
            shares: Vec::new(),
            files: Vec::new(),
            names: false,
            user: guest::User::default(),
            limits: None,
            files_only: false,
        }
    }
}

/// The command of an exec in a machine: who runs it is looked up there.
pub(crate) fn exec_user(record: &Record, wanted: &str, privileged: bool) -> guest::User {
    let mut user = record.guest_user();
    if !wanted.is_empty() {
        wanted.clone_into(&mut user.user);
    }
    user.keep_capabilities = privileged;
    user
}
