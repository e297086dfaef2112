//! Volumes as wholes: copies, snapshots, archives.
//!
//! Everything is put together where nobody sees it and appears by one rename, so a crash leaves all
//! of a volume or none of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use image::archive::{IdMap, PutOptions};
use types::event::Subject;
use types::mount::MountKind;
use types::{ContainerId, Error, Timestamp};
use volume::{Draft, NewVolume, Volume};

use crate::container::archive::produce;
use crate::container::commit::{freeze, thaw};
use crate::container::{Container, Live};
use crate::{ByteStream, Engine, aside, blocking, from_image, from_volume, to_the_end};

/// Bytes of a tar's smallest part.
const BLOCK: u64 = 512;

/// What is to be made of a volume's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeCopy {
    /// The new volume's name; of a snapshot, chosen by the time if empty.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Take the place of an unused volume of that name.
    pub replace: bool,
    /// No process that can write to the volume runs while it is copied.
    pub pause: bool,
}

impl Engine {
    /// Makes a volume with the files of another, which may be in use.
    ///
    /// # Errors
    /// Not found; [`types::ErrorKind::Conflict`] when the name is taken, or what is to be replaced
    /// is in use.
    pub async fn volume_clone(&self, from: &str, wanted: VolumeCopy) -> Result<Volume, Error> {
        if wanted.name.is_empty() {
            return Err(Error::invalid("the new volume has no name: give it one"));
        }
        self.copy_volume(from, wanted, false).await
    }

    /// Makes a read-only volume with the files that another has now.
    ///
    /// # Errors
    /// As [`Engine::volume_clone`].
    pub async fn volume_snapshot(
        &self,
        from: &str,
        mut wanted: VolumeCopy,
    ) -> Result<Volume, Error> {
        if wanted.name.is_empty() {
            let now = Timestamp::now().to_string();
            let digits: String = now.chars().filter(char::is_ascii_digit).take(17).collect();
            wanted.name = format!("{from}-{digits}");
        }
        self.copy_volume(from, wanted, true).await
    }

    async fn copy_volume(
        &self,
        from: &str,
        wanted: VolumeCopy,
        snapshot: bool,
    ) -> Result<Volume, Error> {
        self.volumes.get(from).map_err(from_volume)?;
        self.check_free(&wanted.name, wanted.replace)?;
        let (engine, from) = (self.clone(), from.to_owned());
        // What was frozen must not stay so because a client has gone.
        to_the_end(async move {
            let frozen =
                if wanted.pause { engine.freeze_writers(&from).await? } else { Vec::new() };
            let (copier, source) = (engine.clone(), from.clone());
            let copied = blocking(move || {
                let draft = copier.volumes.draft().map_err(from_volume)?;
                copier.volumes.copy(&source, &draft).map_err(from_volume)?;
                Ok(draft)
            })
            .await;
            let thawed = thaw_all(&frozen).await;
            let draft = copied?;
            thawed?;
            blocking(move || {
                let snapshot_of = snapshot.then_some(from);
                let VolumeCopy { name, labels, replace, .. } = wanted;
                engine.publish(draft, NewVolume { name, labels, snapshot_of }, replace)
            })
            .await
        })
        .await
    }

    /// A tar of a volume's files; the volume may be in use.
    ///
    /// # Errors
    /// Not found; those of mounting it.
    pub async fn volume_export(&self, name: &str) -> Result<ByteStream, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        let tree = blocking(move || engine.volume_tree(&name, None)).await?;
        Ok(produce(move |output| image::archive::pack(tree.as_fd(), output).map_err(from_image)))
    }

    /// Makes a volume of a tar.
    ///
    /// # Errors
    /// [`types::ErrorKind::Invalid`] for what cannot be unpacked; as [`Engine::volume_clone`].
    pub async fn volume_import(
        &self,
        wanted: VolumeCopy,
        mut input: Box<dyn Read + Send>,
    ) -> Result<Volume, Error> {
        volume::check_name(&wanted.name).map_err(from_volume)?;
        self.check_free(&wanted.name, wanted.replace)?;
        let engine = self.clone();
        aside(move || {
            // As much as shows how it is compressed.
            let mut first = Vec::new();
            let read = (&mut input).take(BLOCK).read_to_end(&mut first);
            read.map_err(|error| Error::invalid(format!("invalid tar: {error}")))?;
            if first.is_empty() {
                return Err(Error::invalid("the archive is empty: nothing was sent"));
            }
            let mut input = std::io::Cursor::new(first).chain(input);
            let draft = engine.volumes.draft().map_err(from_volume)?;
            let options = PutOptions { top: true, ..PutOptions::default() };
            image::archive::put(draft.data(), "/", &mut input, &options, &IdMap::default())
                .map_err(from_image)?;
            let VolumeCopy { name, labels, replace, .. } = wanted;
            engine.publish(draft, NewVolume { name, labels, snapshot_of: None }, replace)
        })
        .await
    }

    /// Refuses early what [`Engine::publish`] would refuse after much work.
    fn check_free(&self, name: &str, replace: bool) -> Result<(), Error> {
        if self.volumes.get(name).is_err() {
            return Ok(());
        }
        if !replace {
            return Err(from_volume(volume::Error::Taken(name.to_owned())));
        }
        self.check_unused(name, &crate::lock(&self.claims))
    }

    fn check_unused(
        &self,
        name: &str,
        claims: &BTreeMap<String, Vec<ContainerId>>,
    ) -> Result<(), Error> {
        let users = self.all_users(name, claims);
        if users.is_empty() {
            return Ok(());
        }
        Err(Error::conflict(format!("replace {name}: volume is in use - [{}]", users.join(", "))))
    }

    /// Gives a draft its name. Blocks.
    fn publish(&self, draft: Draft, new: NewVolume, replace: bool) -> Result<Volume, Error> {
        let volume = self.volumes.prepare(&draft, new).map_err(from_volume)?;
        let claims = crate::lock(&self.claims);
        if replace {
            self.check_unused(&volume.name, &claims)?;
        }
        let volume = self.volumes.place(draft, volume, replace).map_err(from_volume)?;
        drop(claims);
        self.tell(Subject::Volume, "create", &volume.name, &[("driver", "local")]);
        Ok(volume)
    }

    /// Freezes all running containers that may write to a volume.
    async fn freeze_writers(&self, name: &str) -> Result<Vec<(Arc<Container>, Live)>, Error> {
        let mut frozen = Vec::new();
        for container in self.containers.all() {
            let writes = container
                .record()
                .mounts
                .iter()
                .any(|mount| mount.kind == MountKind::Volume && mount.name == name && mount.rw);
            if !writes {
                continue;
            }
            match freeze(&container).await {
                Ok(Some(live)) => frozen.push((container, live)),
                Ok(None) => {}
                Err(error) => {
                    // The first failure is the one to tell.
                    drop(thaw_all(&frozen).await);
                    return Err(error);
                }
            }
        }
        Ok(frozen)
    }
}

/// Lets all go on; returns the first failure.
async fn thaw_all(frozen: &[(Arc<Container>, Live)]) -> Result<(), Error> {
    let mut outcome = Ok(());
    for (container, live) in frozen {
        let thawed = thaw(container, live).await;
        outcome = outcome.and(thawed);
    }
    outcome
}
