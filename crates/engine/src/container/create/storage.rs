//! What a container has on disk from its creation on: its writable layer and its volumes.
//!
//! A crash in the middle leaves a directory below `containers/` that no record speaks of. It says
//! which volumes were made for this container alone, so that they go with it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::durable;
use types::event::Subject;
use types::mount::{MountKind, MountPoint};
use types::{ContainerId, Error};

use super::names;
use crate::Engine;
use crate::container::volumes::Wanted;
use crate::record::Record;

/// The file in a container's directory that names its anonymous volumes, before they are made.
const ANONYMOUS: &str = "anonymous-volumes.json";

/// The label of volumes that nobody has named; Docker's.
pub(crate) const LABEL: &str = "com.docker.volume.anonymous";

impl Engine {
    /// Makes the writable layer, the volumes and what else must be on disk. What fails leaves
    /// something to be discarded.
    pub(super) fn make_storage(
        &self,
        record: &mut Record,
        image: Option<&types::digest::Digest>,
        mut wanted: Vec<Wanted>,
    ) -> Result<(), Error> {
        let directory = self.config.container_dir(record.id.as_str());
        match image {
            Some(image) => {
                self.images.prepare(&record.id, image).map_err(crate::from_image)?;
            }
            None => {
                std::fs::create_dir_all(&directory).map_err(|error| {
                    Error::system(format!("cannot make {}: {error}", directory.display()))
                })?;
            }
        }
        self.make_disk(&record.id, &record.host)?;
        self.name_anonymous(&directory, &mut wanted)?;
        let mut fill = Vec::new();
        for wanted in wanted {
            let point = self.make_mount(&record.id, &wanted)?;
            if wanted.copy && point.kind == MountKind::Volume {
                fill.push((point.name.clone(), point.destination.clone()));
            }
            record.mounts.push(point);
        }
        if !fill.is_empty() && image.is_some() {
            self.copy_up(record, &fill)?;
        }
        Ok(())
    }

    /// Gives names to the volumes that were given none, and writes them down.
    fn name_anonymous(&self, directory: &Path, wanted: &mut [Wanted]) -> Result<(), Error> {
        let mut anonymous = Vec::new();
        for wanted in wanted {
            if wanted.point.kind == MountKind::Volume && wanted.point.name.is_empty() {
                wanted.point.name = names::id()?.to_string();
                wanted.labels.insert(LABEL.to_owned(), String::new());
                anonymous.push(wanted.point.name.clone());
            }
        }
        if anonymous.is_empty() {
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            Error::system(format!("cannot write {}: {error}", directory.display()))
        };
        let json = serde_json::to_vec(&anonymous).map_err(|error| failed(error.into()))?;
        durable::write(directory, ANONYMOUS, &json).map_err(failed)
    }

    /// Makes the volume or the source of a mount.
    pub(crate) fn make_mount(
        &self,
        id: &ContainerId,
        wanted: &Wanted,
    ) -> Result<MountPoint, Error> {
        let mut point = wanted.point.clone();
        match point.kind {
            MountKind::Volume => {
                let options = volume::CreateOptions {
                    name: point.name.clone(),
                    driver: if wanted.driver.name.is_empty() {
                        point.driver.clone()
                    } else {
                        wanted.driver.name.clone()
                    },
                    driver_opts: wanted.driver.options.clone(),
                    labels: wanted.labels.clone(),
                };
                self.claim(&point.name, id);
                let (volume, new) = self.volumes.create(&options).map_err(crate::from_volume)?;
                if new {
                    self.tell(Subject::Volume, "create", &volume.name, &[("driver", "local")]);
                }
                point.source = volume.mountpoint;
                point.name = volume.name;
                point.driver = volume.driver;
                point.rw = point.rw && !volume.read_only;
            }
            MountKind::Bind => {
                let source = Path::new(&point.source);
                if wanted.make_source && !source.exists() {
                    std::fs::create_dir_all(source).map_err(|error| {
                        Error::system(format!(
                            "error while creating mount source path '{}': {error}",
                            point.source
                        ))
                    })?;
                }
            }
            MountKind::Image => {
                self.images.resolve(&point.source).map_err(crate::from_image)?;
            }
            _ => {}
        }
        Ok(point)
    }

    /// Fills volumes that are empty with what the image has in their places.
    fn copy_up(&self, record: &Record, fill: &[(String, String)]) -> Result<(), Error> {
        let options = image::MountOptions { read_only: true, ..Default::default() };
        let mount = self.images.mount(&record.id, options).map_err(crate::from_image)?;
        self.fill_volumes(mount, fill)
    }

    /// The same for a container that may be running. Its own layer must not be mounted twice: the
    /// kernel would clear the directory in which the running one prepares its files.
    pub(crate) fn copy_up_of_image(
        &self,
        record: &Record,
        fill: &[(String, String)],
    ) -> Result<(), Error> {
        let options = image::MountOptions { read_only: true, ..Default::default() };
        let image = self.images.resolve(&record.image).map_err(crate::from_image)?;
        let mount = self.images.mount_image(&image, options).map_err(crate::from_image)?;
        self.fill_volumes(mount, fill)
    }

    fn fill_volumes(&self, mount: OwnedFd, fill: &[(String, String)]) -> Result<(), Error> {
        let root = sys::fs::Root::from(mount);
        for (name, destination) in fill {
            match root.open_dir(destination) {
                Ok(from) => {
                    self.volumes.populate(name, from.as_fd()).map_err(crate::from_volume)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::system(format!(
                        "cannot fill volume {name} from {destination}: {error}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Removes what was made for a container that will not be. Blocks.
    pub(crate) fn discard_storage(&self, id: &ContainerId) {
        let file = self.config.container_dir(id.as_str()).join(ANONYMOUS);
        let text = std::fs::read(file).unwrap_or_default();
        let anonymous: Vec<String> = serde_json::from_slice(&text).unwrap_or_default();
        for name in anonymous.iter().filter(|name| self.volumes.get(name).is_ok()) {
            if let Err(error) = self.remove_volume_of(name, id) {
                tracing::warn!(container = id.short(), "{error}");
            }
        }
        for failure in self.remove_storage(id) {
            tracing::warn!(container = id.short(), "{failure}");
        }
    }
}
