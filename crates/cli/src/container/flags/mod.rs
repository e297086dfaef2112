//! The options that `run` and `create` share, one file a noun, and what they ask the API for.

mod health;
mod life;
pub(crate) use life::restart_policy;
pub(crate) mod network;
mod process;
mod resources;
mod security;
mod storage;

use docker_api::container::CreateBody;
use types::container::{ContainerConfig, HostConfig};

/// Everything that describes the container.
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerFlags {
    #[command(flatten)]
    pub(crate) process: process::Flags,
    #[command(flatten)]
    resources: resources::Flags,
    #[command(flatten)]
    network: network::Flags,
    #[command(flatten)]
    storage: storage::Flags,
    #[command(flatten)]
    security: security::Flags,
    #[command(flatten)]
    health: health::Flags,
    #[command(flatten)]
    pub(crate) life: life::Flags,
}

impl ContainerFlags {
    /// The body of the create request.
    ///
    /// # Errors
    /// Docker's complaint about a value or a combination of options.
    pub(crate) fn body(&self, image: &str, command: &[String]) -> Result<CreateBody, String> {
        let mut body = CreateBody {
            config: ContainerConfig { image: image.to_owned(), ..ContainerConfig::default() },
            host_config: HostConfig::default(),
            networking_config: Default::default(),
        };
        if !command.is_empty() {
            body.config.cmd = Some(command.to_vec().into());
        }
        self.process.apply(&mut body)?;
        self.storage.apply(&mut body)?;
        self.network.apply(&mut body)?;
        self.resources.apply(&mut body.host_config)?;
        self.security.apply(&mut body.host_config)?;
        self.health.apply(&mut body.config)?;
        self.life.apply(&mut body)?;
        Ok(body)
    }
}

impl ContainerFlags {
    /// Whether a directory takes the image's place.
    pub(crate) fn has_rootfs(&self) -> bool {
        self.storage.rootfs.is_some()
    }
}
