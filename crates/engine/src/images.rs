//! Images, with the containers that use them.

use std::io::Read;

use distribution::manifest::Platform;
use image::{ContainerUse, ListFilter, PruneFilter, Removal};
use tokio::sync::mpsc;
use types::Error;
use types::digest::Digest;
use types::event::Subject;
use types::filter::Filters;

use crate::container::archive::produce;
use crate::container::commit::name_of;
use crate::{ByteStream, Engine, aside, blocking, from_image};

impl Engine {
    /// The images that a filter lets through.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn images(
        &self,
        all: bool,
        filters: &Filters,
        shared_size: bool,
    ) -> Result<Vec<image::Summary>, Error> {
        filters.allow(&["before", "dangling", "label", "reference", "since", "until"])?;
        let one = |name: &str| filters.values(name).last().map(str::to_owned);
        let filter = ListFilter {
            all,
            dangling: filters.boolean("dangling")?,
            labels: filters.values("label").map(str::to_owned).collect(),
            before: one("before"),
            since: one("since"),
            until: crate::volumes::until(filters)?,
            references: filters.values("reference").map(str::to_owned).collect(),
            shared_size,
        };
        let engine = self.clone();
        let mut images = blocking(move || engine.images.list(&filter).map_err(from_image)).await?;
        let uses = self.image_uses();
        for image in &mut images {
            let users = uses.iter().filter(|user| user.image == image.id).count();
            image.containers = i64::try_from(users).unwrap_or(-1);
        }
        Ok(images)
    }

    /// Which containers use which images.
    pub(crate) fn image_uses(&self) -> Vec<ContainerUse> {
        let mut uses = Vec::new();
        for container in self.containers.all() {
            let record = container.record();
            if let Ok(image) = record.image.parse() {
                uses.push(ContainerUse {
                    container: record.id.to_string(),
                    image,
                    running: record.state.status.is_active(),
                });
            }
        }
        uses
    }

    /// Everything there is to know of an image.
    ///
    /// # Errors
    /// Not found.
    pub async fn image_inspect(&self, name: &str) -> Result<image::Inspect, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        blocking(move || engine.images.inspect(&name).map_err(from_image)).await
    }

    /// What the names of images stood for in the registries that they were last pulled from.
    ///
    /// # Errors
    /// Those of running it.
    pub async fn image_targets(
        &self,
        ids: Vec<Digest>,
    ) -> Result<Vec<Option<crate::Descriptor>>, Error> {
        let engine = self.clone();
        blocking(move || Ok(ids.iter().map(|id| engine.images.target(id)).collect())).await
    }

    /// The manifests that an image came by, and the containers that use it.
    ///
    /// # Errors
    /// Not found.
    pub async fn image_origin(
        &self,
        id: &str,
    ) -> Result<(Option<image::Origin>, Vec<String>), Error> {
        let (engine, id) = (self.clone(), id.to_owned());
        let uses = self.image_uses();
        blocking(move || {
            let id = engine.images.resolve(&id).map_err(from_image)?;
            let users = uses.into_iter().filter(|user| user.image == id);
            let users = users.map(|user| user.container).collect();
            Ok((engine.images.origin(&id).map_err(from_image)?, users))
        })
        .await
    }

    /// Insists that an image is for a platform, written `os/arch[/variant]`.
    ///
    /// # Errors
    /// Not found, also when the image is for another platform.
    pub async fn insist_on_platform(&self, name: &str, platform: &str) -> Result<(), Error> {
        let (engine, name, platform) = (self.clone(), name.to_owned(), platform.to_owned());
        blocking(move || {
            let id = engine.images.resolve(&name).map_err(from_image)?;
            let config = engine.images.config(&id).map_err(from_image)?;
            provides(&name, &config, &platform)
        })
        .await
    }

    /// How an image was made.
    ///
    /// # Errors
    /// Not found.
    pub async fn image_history(&self, name: &str) -> Result<Vec<image::HistoryItem>, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        blocking(move || engine.images.history(&name).map_err(from_image)).await
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Invalid`] for a bad name.
    pub async fn image_tag(&self, name: &str, repository: &str, tag: &str) -> Result<(), Error> {
        let target = name_of(repository, tag)?
            .ok_or_else(|| Error::invalid("repository name must have at least one component"))?;
        let (engine, name) = (self.clone(), name.to_owned());
        let familiar = target.familiar();
        let id = blocking(move || engine.images.tag(&name, &target).map_err(from_image)).await?;
        self.tell(Subject::Image, "tag", id.as_ref(), &[("name", &familiar)]);
        Ok(())
    }

    /// Removes a name, or an image.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Conflict`] in Docker's words when it is in use.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        no_prune: bool,
    ) -> Result<Vec<Removal>, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        let uses = self.image_uses();
        let removed = blocking(move || {
            let options = image::RemoveOptions { force, no_prune };
            engine.images.remove(&name, options, &uses).map_err(from_image)
        })
        .await?;
        self.tell_removals(&removed);
        Ok(removed)
    }

    pub(crate) fn tell_removals(&self, removed: &[Removal]) {
        for removal in removed {
            match removal {
                Removal::Untagged { reference, image } => {
                    self.tell(Subject::Image, "untag", image.as_ref(), &[("name", reference)]);
                }
                Removal::DeletedImage(id) => {
                    let id = id.to_string();
                    self.tell(Subject::Image, "delete", &id, &[("name", &id)]);
                }
                Removal::DeletedLayer { .. } => {}
            }
        }
    }

    /// Removes images that nobody uses.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for unknown filters.
    pub async fn image_prune(&self, filters: &Filters) -> Result<(Vec<Removal>, u64), Error> {
        filters.allow(&["dangling", "label", "label!", "until"])?;
        let words = |name: &str| filters.values(name).map(str::to_owned).collect();
        let filter = PruneFilter {
            dangling: filters.boolean("dangling")?.unwrap_or(true),
            until: crate::volumes::until(filters)?,
            labels: words("label"),
            not_labels: words("label!"),
        };
        let engine = self.clone();
        let uses = self.image_uses();
        let pruned =
            blocking(move || engine.images.prune(&filter, &uses).map_err(from_image)).await?;
        self.tell_removals(&pruned.removed);
        let space = pruned.reclaimed.to_string();
        self.tell(Subject::Image, "prune", "", &[("reclaimed", &space)]);
        Ok((pruned.removed, pruned.reclaimed))
    }

    /// Takes an archive in; tells how far it has come on `progress`.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for what is no archive of images.
    pub async fn load(
        &self,
        mut input: Box<dyn Read + Send>,
        platform: Option<String>,
        progress: Option<mpsc::Sender<image::Progress>>,
    ) -> Result<Vec<image::Loaded>, Error> {
        let engine = self.clone();
        let loaded = aside(move || {
            let options = image::LoadOptions { platform };
            let mut tell = |step| {
                if let Some(progress) = &progress {
                    // Progress is for those who look: nobody waits for a slow reader.
                    drop(progress.try_send(step));
                }
            };
            engine.images.load(&mut *input, &options, &mut tell).map_err(from_image)
        })
        .await?;
        for image in &loaded {
            for name in &image.names {
                self.tell(Subject::Image, "load", image.id.as_ref(), &[("name", name)]);
            }
        }
        Ok(loaded)
    }

    /// One archive of several images: Docker's, or with `oci` an image layout that has every digest
    /// as in a registry.
    ///
    /// # Errors
    /// Not found, also when one is for another than the given platform.
    pub async fn save(
        &self,
        names: Vec<String>,
        platform: Option<String>,
        oci: bool,
    ) -> Result<ByteStream, Error> {
        let mut found = Vec::new();
        for name in &names {
            for id in self.images.saved_for(name).map_err(from_image)? {
                if let Some(platform) = &platform {
                    let config = self.images.config(&id).map_err(from_image)?;
                    provides(name, &config, platform)?;
                }
                found.push((name, id));
            }
        }
        for (name, id) in found {
            self.tell(Subject::Image, "save", id.as_ref(), &[("name", name)]);
        }
        let engine = self.clone();
        Ok(produce(move |output| {
            let saved = match oci {
                true => engine.images.save_oci(&names, output),
                false => engine.images.save(&names, output),
            };
            saved.map_err(from_image)
        }))
    }

    /// Makes a one-layer image of a tar; returns its id.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for what is no tar, and for bad names and changes.
    pub async fn import(
        &self,
        mut input: Box<dyn Read + Send>,
        repository: &str,
        tag: &str,
        changes: Vec<String>,
        message: String,
        platform: Option<String>,
    ) -> Result<String, Error> {
        let reference = name_of(repository, tag)?;
        let name = reference.as_ref().map(types::reference::Reference::familiar);
        let options = image::ImportOptions { reference, changes, message, platform };
        let engine = self.clone();
        let id = aside(move || engine.images.import(&mut *input, &options).map_err(from_image))
            .await?
            .to_string();
        self.tell(Subject::Image, "import", &id, &[("name", name.as_deref().unwrap_or(&id))]);
        Ok(id)
    }
}

/// Whether an image is for a platform; an image is here for one only.
pub(crate) fn provides(
    name: &str,
    config: &image::ImageConfig,
    platform: &str,
) -> Result<(), Error> {
    let wanted = platform.parse::<Platform>().map_err(|error| Error::invalid(error.to_string()))?;
    let actual = Platform::new(&config.os, &config.architecture, &config.variant);
    if actual.serves(&wanted) == Some(0) {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "image with reference {name} was found but does not provide the specified platform \
         ({wanted})"
    )))
}
