//! Opening an engine: the database and the stores; and closing it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use network::{Network, Saved};
use types::capability::CapabilitySet;
use types::{Error, Timestamp};

use crate::build::Builds;
use crate::config::Config;
use crate::database::{Change, Database, Table, read};
use crate::events::Events;
use crate::launcher::{Guard, Launcher};
use crate::names::Names;
use crate::record::Record;
use crate::recover::{names_in, read_run};
use crate::registries::Registries;
use crate::subordinate::remap;
use crate::{Engine, Inner, blocking};

impl Engine {
    /// Opens the engine below the configured directories. `launcher` is the socket to the
    /// launcher process.
    ///
    /// # Errors
    /// When a directory, the database, a store or the network cannot be used.
    pub async fn open(config: Config, launcher: OwnedFd) -> Result<Self, Error> {
        let (engine, records) = blocking(move || open(config, launcher)).await?;
        engine.adopt(records).await;
        engine.give_back_when_idle();
        engine.prepare_first_machine();
        engine.tell(types::event::Subject::Daemon, "start", &engine.id, &[]);
        Ok(engine)
    }

    /// Writes what was only posted so far, before the process ends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn close(&self) -> Result<(), Error> {
        self.tell(types::event::Subject::Daemon, "stop", &self.id, &[]);
        // An empty change goes through the same queue as everything before it.
        self.database.commit(Change::remove(Table::Containers, "")).await
    }
}

/// The part that blocks.
fn open(mut config: Config, launcher: OwnedFd) -> Result<(Engine, Vec<Record>), Error> {
    for directory in [
        config.data_root.clone(),
        config.data_root.join("containers"),
        config.exec_root.join("monitors"),
    ] {
        std::fs::create_dir_all(&directory).map_err(|error| {
            Error::system(format!("cannot make {}: {error}", directory.display()))
        })?;
    }
    let guard = Guard::take(&config.exec_root)?;
    let (mut database, file) = Database::open(&config.data_root.join("meta.redb"))?;
    let records: Vec<Record> =
        read(&file, Table::Containers)?.into_iter().map(|(_, record)| record).collect();
    let networks: Vec<Network> =
        read(&file, Table::Networks)?.into_iter().map(|(_, network)| network).collect();
    database.serve(file)?;
    let endpoints = names_in(&config.exec_root.join("monitors"))
        .iter()
        .flat_map(|name| read_run(&config.monitor_dir(name)).endpoints)
        .collect();
    let images =
        image::Store::open(&config.data_root, image_options(&config)).map_err(crate::from_image)?;
    let images = Arc::new(images);
    let builds = Builds::open(&config.data_root, &images)?;
    images.unpin();
    let disks = disk::Snapshots::new(&config.data_root);
    for error in disks.sweep() {
        // It takes room, and nothing else.
        tracing::warn!("what is left of a snapshot stays: {error}");
    }
    let volumes = volume::Volumes::open(&config.data_root).map_err(crate::from_volume)?;
    let secrets =
        crate::secrets::Store::open(&config.data_root, config.secret_key_file.as_deref())?;
    let id = engine_id(&config.data_root)?;
    let pools = &mut config.network.pools;
    if pools.iter().all(|pool| pool.base.is_v4()) {
        pools.push(network::unique_local_pool(&id));
    }
    let networks = network::Networks::open(config.network.clone(), Saved { networks, endpoints })
        .map_err(crate::from_network)?;
    keep_networks(&database, &networks)?;
    let (remap, remap_namespace) = remap(config.userns_remap.as_deref())?;
    if config.log.kind.is_empty() {
        "json-file".clone_into(&mut config.log.kind);
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let launcher = Arc::new(Launcher::new(launcher, guard));
    let inner = Inner {
        available: available()?,
        cpus,
        remap,
        remap_namespace,
        started: Timestamp::now(),
        id,
        database,
        images,
        builds,
        disks: Arc::new(disks),
        volumes: Arc::new(volumes),
        secrets,
        networks,
        names: Names::new(Arc::clone(&launcher), config.exec_root.clone()),
        launcher,
        spares: Default::default(),
        containers: Default::default(),
        execs: Default::default(),
        claims: Default::default(),
        turns: Default::default(),
        opening: true.into(),
        events: Events::new(),
        registries: Registries::new(config.registries.clone()),
        config,
    };
    Ok((Engine { inner: Arc::new(inner) }, records))
}

/// What the image store is told.
fn image_options(config: &Config) -> image::Options {
    let usual = image::Options::default();
    image::Options {
        max_layer_bytes: config.max_layer_bytes.unwrap_or(usual.max_layer_bytes),
        keep_blobs: config.keep_blobs,
        gzip_level: config.gzip_level.unwrap_or(usual.gzip_level),
        pinned: ::build::cache::pinned(&crate::build::directory(&config.data_root)),
        ..usual
    }
}

/// Remembers the networks that may have been made just now, so that they keep their ids.
fn keep_networks(database: &Database, networks: &network::Networks) -> Result<(), Error> {
    for network in networks.list().into_iter().filter(Network::is_predefined) {
        database.post(Change::put(Table::Networks, &network.id, &network)?);
    }
    Ok(())
}

/// The daemon's bounding set: what it can give away.
fn available() -> Result<CapabilitySet, Error> {
    let text = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| Error::system(format!("cannot read /proc/self/status: {error}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    bits.map(CapabilitySet::from_bits)
        .ok_or_else(|| Error::system("/proc/self/status names no capabilities"))
}

/// The engine's own id: made once for a data root.
fn engine_id(data_root: &Path) -> Result<String, Error> {
    let path = data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let bytes = crate::container::names::random::<16>()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    sys::durable::write(data_root, "engine-id", id.as_bytes())
        .map_err(|error| Error::system(format!("cannot write {}: {error}", path.display())))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_keeps_its_id() {
        let name = crate::container::names::id().expect("random").to_string();
        let directory = std::env::temp_dir().join(format!("isopod-open-{name}"));
        std::fs::create_dir_all(&directory).expect("made");
        let id = engine_id(&directory).expect("an id");
        assert_eq!(engine_id(&directory), Ok(id));
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
