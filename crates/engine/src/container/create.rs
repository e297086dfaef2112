//! Creating a container: validate, resolve, remember.

mod merge;
pub(crate) mod storage;

use std::collections::BTreeMap;
use std::sync::Arc;

use types::container::{ContainerConfig, HostConfig};
use types::network::{EndpointSettings, NetworkingConfig};
use types::{ContainerId, Error, Words};

pub(crate) use merge::merge;

use merge::check_platform;

use super::{Container, names, validate, volumes, whole};
use crate::record::{IdRange, Record};
use crate::spec::machine::{self, ISOLATION};
use crate::{Engine, blocking, to_the_end};

/// Paths of /proc and /sys that containers do not see.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/firmware",
];

/// Paths of /proc that containers see but cannot change.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container is asked to be.
#[derive(Clone, Debug, Default)]
pub struct CreateSpec {
    /// The portable part.
    pub config: ContainerConfig,
    /// What this host is asked for.
    pub host: HostConfig,
    /// What is asked of the networks.
    pub networking: NetworkingConfig,
    /// `os/arch[/variant]`; the host's if `None`.
    pub platform: Option<String>,
}

/// A new container.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What was not heeded.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Creates a container.
    ///
    /// # Errors
    /// Docker's words for what does not fit: unknown image (404), taken name (409), bad values
    /// (400).
    pub async fn create(&self, name: Option<&str>, spec: CreateSpec) -> Result<Created, Error> {
        let id = names::id()?;
        let name = self.reserve_name(name, &id)?;
        let engine = self.clone();
        to_the_end(async move {
            let created = engine.create_named(&name, id.clone(), spec).await;
            if created.is_err() {
                engine.containers.release(&name, &id);
            }
            engine.unclaim(&id);
            created
        })
        .await
    }

    fn reserve_name(&self, name: Option<&str>, id: &ContainerId) -> Result<String, Error> {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let name = validate::container_name(name)?;
            self.containers.reserve(name, id)?;
            return Ok(name.to_owned());
        }
        for attempt in 0.. {
            let name = names::name(attempt)?;
            if self.containers.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        unreachable!("attempts do not end")
    }

    async fn create_named(
        &self,
        name: &str,
        id: ContainerId,
        spec: CreateSpec,
    ) -> Result<Created, Error> {
        let CreateSpec { mut config, mut host, networking, platform } = spec;
        whole::complete(name, &mut config, &mut host)?;
        validate::asked(&config, &host)?;
        let in_machine = host.machine.is_none() && self.is_in_machine(&host);
        if in_machine && let Some((_, asked)) = platform.as_deref().and_then(merge::parts) {
            machine::architecture(asked)?;
        }
        let (image, architecture) = self.base(&mut config, &host, platform.as_deref()).await?;
        let architecture = match in_machine {
            true => machine::architecture(&architecture)?.to_owned(),
            false => String::new(),
        };
        let warnings = validate::check(&mut config, &mut host, &self.config.support, self.cpus)?;
        let remapped = self.remap_of(&host);
        if remapped.is_some() {
            validate::remapped(&host)?;
        }
        self.fill_in(&id, &mut config, &mut host)?;
        let networks = self.wanted_networks(&mut host, &config, networking)?;
        let mut record = Record {
            image: image.as_ref().map(ToString::to_string).unwrap_or_default(),
            macs: chosen_macs(&networks),
            networks,
            remapped,
            architecture,
            ..Record::new(id.clone(), name.to_owned(), config, host)
        };
        let wanted = volumes::wanted(&record.config, &record.host, &self.containers)?;
        let taken = wanted.iter().map(|wanted| wanted.point.destination.clone()).collect();
        self.resolve_files(&id, &mut record.host, taken)?;
        for link in &record.host.links {
            self.link_target(link)?;
        }
        self.check_spec(&record)?;
        record.fold();
        let engine = self.clone();
        let record =
            blocking(move || match engine.make_storage(&mut record, image.as_ref(), wanted) {
                Ok(()) => Ok(record),
                Err(error) => {
                    engine.discard_storage(&record.id);
                    Err(error)
                }
            })
            .await?;
        let container = Arc::new(Container::new(record));
        let written = match self.begin_change(&container, |_| {}) {
            Ok(Some(pending)) => pending.done().await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            let engine = self.clone();
            let discarded = blocking(move || {
                engine.discard_storage(&id);
                Ok(())
            });
            // The database's error is the one to tell.
            drop(discarded.await);
            return Err(error);
        }
        self.containers.insert(Arc::clone(&container));
        self.tell_container(&container, "create", &[]);
        Ok(Created { id, warnings })
    }

    /// Finds the image and puts its defaults under the configuration. Returns its architecture, too.
    async fn base(
        &self,
        config: &mut ContainerConfig,
        host: &HostConfig,
        platform: Option<&str>,
    ) -> Result<(Option<types::digest::Digest>, String), Error> {
        if host.machine.is_some() {
            return Ok((None, String::new()));
        }
        let mut architecture = String::new();
        let image = if host.rootfs.is_empty() {
            if config.image.is_empty() {
                return Err(Error::invalid("no image specified: name one to create from"));
            }
            let digest = self.images.resolve(&config.image).map_err(crate::from_image)?;
            let base = self.images.config(&digest).map_err(crate::from_image)?;
            check_platform(&config.image, &base, platform)?;
            merge(config, &base.container());
            architecture.clone_from(&base.architecture);
            Some(digest)
        } else {
            let directory = std::path::Path::new(&host.rootfs);
            if !directory.is_absolute() || !directory.is_dir() {
                return Err(Error::invalid(format!(
                    "the root file system {:?} is no directory: give the absolute path of one",
                    host.rootfs
                )));
            }
            None
        };
        if config.entrypoint.as_ref().is_some_and(|words| words.as_slice() == [String::new()]) {
            config.entrypoint = None;
        }
        let empty = |words: &Option<Words>| words.as_ref().is_none_or(|words| words.is_empty());
        if empty(&config.entrypoint) && empty(&config.cmd) {
            return Err(Error::invalid("no command specified"));
        }
        Ok((image, architecture))
    }

    /// Whether a container is put into a virtual machine.
    fn is_in_machine(&self, host: &HostConfig) -> bool {
        match host.isolation.as_str() {
            "" | "default" => {
                let by_default = host.runtime.is_empty() && self.config.isolation == ISOLATION;
                by_default || host.runtime == ISOLATION
            }
            chosen => chosen == ISOLATION,
        }
    }

    /// Fills in what the daemon decides where the user said nothing.
    pub(crate) fn fill_in(
        &self,
        id: &ContainerId,
        config: &mut ContainerConfig,
        host: &mut HostConfig,
    ) -> Result<(), Error> {
        let default = |value: &mut String, by: &str| {
            if value.is_empty() {
                by.clone_into(value);
            }
        };
        if matches!(host.network_mode.as_str(), "" | "default") {
            let bridge = !config.network_disabled && self.networks.default_bridge().is_ok();
            let mode = if bridge { "bridge" } else { "none" };
            mode.clone_into(&mut host.network_mode);
        }
        if host.network_mode == "host" || host.uts_mode == "host" {
            let name = rustix::system::uname();
            default(&mut config.hostname, &name.nodename().to_string_lossy());
        } else if validate::joined(&host.network_mode).is_none() {
            default(&mut config.hostname, id.short());
        }
        default(&mut host.ipc_mode, &self.config.ipc_mode);
        if self.is_in_machine(host) {
            ISOLATION.clone_into(&mut host.isolation);
            machine::check(host)?;
            ISOLATION.clone_into(&mut host.runtime);
        }
        // The name that Docker's clients know the default runtime by.
        default(&mut host.runtime, "runc");
        let unified = self.config.support.unified;
        let cgroupns = match self.config.cgroupns_mode.as_str() {
            "" if unified && !host.privileged => "private",
            "" => "host",
            chosen => chosen,
        };
        default(&mut host.cgroupns_mode, cgroupns);
        if host.shm_size == 0 {
            host.shm_size = self.config.shm_size;
        }
        if host.log_config.kind.is_empty() {
            host.log_config = types::container::LogConfig {
                kind: self.config.log.kind.clone(),
                config: if host.log_config.config.is_empty() {
                    self.config.log.config.clone()
                } else {
                    host.log_config.config.clone()
                },
            };
        }
        let list = |paths: &[&str]| Some(paths.iter().map(|&path| path.to_owned()).collect());
        let unconfined = host.security_opt.iter().any(|o| o == "systempaths=unconfined");
        if host.privileged || unconfined {
            host.masked_paths.get_or_insert_default();
            host.readonly_paths.get_or_insert_default();
        }
        if host.masked_paths.is_none() {
            host.masked_paths = list(&MASKED);
        }
        if host.readonly_paths.is_none() {
            host.readonly_paths = list(&READ_ONLY);
        }
        if host.init.is_none() && self.config.init {
            host.init = Some(true);
        }
        Ok(())
    }

    /// Checks what the specification will be made of, so that a start does not fail for what
    /// could be seen here.
    fn check_spec(&self, record: &Record) -> Result<(), Error> {
        use crate::spec::{mounts, security};
        let options = security::Options::parse(&record.host.security_opt)?;
        security::privileges(&record.host, self.available)?;
        security::set_seccomp(&mut Default::default(), record, &options, &self.config)?;
        mounts::tmpfs(&record.host)?;
        crate::ports::of(record)?;
        // dockerd looks for these two already now, for their labels, and for networks at the start.
        for mode in [&record.host.ipc_mode, &record.host.pid_mode] {
            if let Some(other) = validate::joined(mode) {
                self.containers.find(other).map_err(|error| Error::invalid(error.message))?;
            }
        }
        Ok(())
    }

    /// The id range of a container whose user ids are remapped.
    pub(crate) fn remap_of(&self, host: &HostConfig) -> Option<IdRange> {
        // A machine is a wall that needs no other ids.
        if host.userns_mode == "host" || host.isolation == ISOLATION { None } else { self.remap }
    }
}

/// The MAC addresses that the user chose.
fn chosen_macs(networks: &BTreeMap<String, EndpointSettings>) -> BTreeMap<String, String> {
    let chosen = networks.iter().filter(|(_, settings)| !settings.mac_address.is_empty());
    chosen.map(|(name, settings)| (name.clone(), settings.mac_address.clone())).collect()
}

/// The attributes that events of a container carry.
pub(crate) fn attributes(record: &Record) -> BTreeMap<String, String> {
    let mut attributes = record.config.labels.clone();
    attributes.insert("image".to_owned(), record.config.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    attributes
}
