//! Making an image of a container.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sys::entry;
use sys::fs::{FileType, Root};
use types::ContainerId;
use types::container::ContainerConfig;
use types::digest::Digest;
use types::reference::Reference;
use types::time::Timestamp;

use crate::config::{History, ImageConfig, host_architecture};
use crate::error::{Error, Result, Step};
use crate::instruction;
use crate::layer::{Adopted, EMPTY_TAR, Staged};
use crate::snapshot::{HeldLayer, UpperOptions};
use crate::store::Store;

/// What `commit` makes of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The name it gets.
    pub reference: Option<Reference>,
    /// The image's `config`: what the caller wants, over the container's.
    pub config: ContainerConfig,
    /// The container's configuration, kept as a record; its `Cmd` is the history's `created_by`.
    pub container_config: ContainerConfig,
    /// Dockerfile instructions (`--change`), applied to `config`.
    pub changes: Vec<String>,
    /// Who makes it.
    pub author: String,
    /// A remark.
    pub comment: String,
}

impl Store {
    /// Makes an image of a container's files and a configuration. The image's parent is the
    /// container's image, if that is still there. The engine pauses the container meanwhile.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; [`Error::BadInstruction`]; [`Error::Io`].
    pub fn commit(&self, container: &ContainerId, options: &CommitOptions) -> Result<Digest> {
        let config = configuration(options)?;
        let record = self.record_of(container)?;
        let mut layers = record.layers.clone();
        let staged = self.stage_upper(container, &record.layers, UpperOptions::default())?;
        let empty = staged.meta.diff_id.as_str() == EMPTY_TAR;
        if !empty {
            layers.push(staged.meta.diff_id.clone());
        }
        let _hold = self.hold(layers.iter().cloned());
        if !empty {
            self.publish(vec![staged])?;
        }
        self.commit_layers(container, options, config, layers, empty)
    }

    /// As [`Store::commit`], with a layer that somebody else has made of the container's files;
    /// `None`: it has written nothing.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_layer(
        &self,
        container: &ContainerId,
        options: &CommitOptions,
        layer: Option<&HeldLayer>,
    ) -> Result<Digest> {
        let config = configuration(options)?;
        let mut layers = self.record_of(container)?.layers.clone();
        layers.extend(layer.map(|layer| layer.diff_id().clone()));
        let _hold = self.hold(layers.iter().cloned());
        self.commit_layers(container, options, config, layers, layer.is_none())
    }

    fn commit_layers(
        &self,
        container: &ContainerId,
        options: &CommitOptions,
        config: ContainerConfig,
        layers: Vec<Digest>,
        empty: bool,
    ) -> Result<Digest> {
        let record = self.record_of(container)?;
        let parent = match record.image.as_ref().map(|image| self.config(image)) {
            Some(Ok(config)) => Some(config),
            Some(Err(Error::NoSuchImage(_))) | None => None,
            Some(Err(error)) => return Err(error),
        };
        let (architecture, variant) = host_architecture();
        let base = parent.as_deref().cloned();
        let mut image = base.unwrap_or_else(|| ImageConfig {
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        });
        let now = Timestamp::now();
        let command = options.container_config.cmd.as_ref();
        image.history.push(History {
            created: Some(now),
            created_by: command.map(|words| words.join(" ")).unwrap_or_default(),
            author: options.author.clone(),
            comment: options.comment.clone(),
            empty_layer: empty,
        });
        image.created = Some(now);
        image.author.clone_from(&options.author);
        image.comment.clone_from(&options.comment);
        image.config = Some(config);
        image.container = container.as_str().to_owned();
        image.container_config = Some(options.container_config.clone());
        image.docker_version = env!("CARGO_PKG_VERSION").to_owned();
        image.rootfs.kind = "layers".to_owned();
        image.rootfs.diff_ids.clone_from(&layers);
        let text = image.to_json()?;
        let names: Vec<Reference> =
            options.reference.iter().cloned().map(Reference::or_latest).collect();
        self.add_image(&text, &layers, parent.and(record.image), &names)
    }

    /// Makes a layer of what the container has written.
    pub(super) fn stage_upper(
        &self,
        container: &ContainerId,
        layers: &[Digest],
        options: UpperOptions,
    ) -> Result<Staged> {
        let below = Root::from(self.mount_below(layers)?);
        let is_dir_below = |path: &[u8]| {
            below
                .lstat(Path::new(OsStr::from_bytes(path)))
                .is_ok_and(|stat| entry::kind(&stat) == FileType::Directory)
        };
        let parent = self.snapshots.dir.sub_root(container.as_str()).step("open a snapshot")?;
        self.layers.adopt(&Adopted {
            parent: &parent,
            name: OsStr::new("upper"),
            consume: options.consume,
            latest: options.clamp_time,
            below: &is_dir_below,
        })
    }
}

/// The new image's configuration.
fn configuration(options: &CommitOptions) -> Result<ContainerConfig> {
    let mut config = options.config.clone();
    instruction::apply_all(&mut config, &options.changes)?;
    Ok(config)
}
