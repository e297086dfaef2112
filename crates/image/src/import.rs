//! Making an image of one tar (`docker import`).

use std::io::Read;

use types::container::ContainerConfig;
use types::digest::Digest;
use types::reference::Reference;
use types::time::Timestamp;

use crate::config::{History, ImageConfig, RootFs};
use crate::error::Result;
use crate::instruction;
use crate::platform::Platform;
use crate::store::Store;

/// What `import` makes of a tar.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name it gets.
    pub reference: Option<Reference>,
    /// Dockerfile instructions (`--change`).
    pub changes: Vec<String>,
    /// The remark in its history; Docker's default is `Imported from -`.
    pub message: String,
    /// `os[/arch[/variant]]`, the host's if `None`.
    pub platform: Option<String>,
}

impl Store {
    /// Makes a one-layer image of a tar (compressed or not).
    ///
    /// # Errors
    /// [`Error::BadInstruction`](crate::Error::BadInstruction) before anything is read; those of the
    /// tar and the disk.
    pub fn import(&self, input: &mut (dyn Read + Send), options: &ImportOptions) -> Result<Digest> {
        let mut config = ContainerConfig::default();
        instruction::apply_all(&mut config, &options.changes)?;
        let platform = Platform::or_host(options.platform.as_deref())?;
        let staged = self.layers.stage(input, false, &self.options)?;
        let diff_id = staged.meta.diff_id.clone();
        let _hold = self.hold([diff_id.clone()]);
        self.publish(vec![staged])?;

        let now = Some(Timestamp::now());
        let comment = options.message.clone();
        let history = History { created: now, comment: comment.clone(), ..History::default() };
        let image = ImageConfig {
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            comment,
            created: now,
            docker_version: env!("CARGO_PKG_VERSION").to_owned(),
            config: Some(config),
            history: vec![history],
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id.clone()] },
            ..ImageConfig::default()
        };
        let names: Vec<Reference> =
            options.reference.iter().cloned().map(Reference::or_latest).collect();
        self.add_image(&image.to_json()?, &[diff_id], None, &names)
    }
}
