//! Root file system, volumes, devices.

use docker_api::container::CreateBody;
use types::container::{Empty, FileUse};
use types::mount::Mount;
use types::resources::DeviceRequest;

use crate::options::device::{self, Device};
use crate::options::file;
use crate::options::mount::{self, Volume};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Give access to a device of the host: SOURCE[:TARGET][:rwm]
    #[arg(long)]
    device: Vec<String>,
    /// Add a rule such as 'c 13:* rwm' to the devices it may open
    #[arg(long, value_parser = device::cgroup_rule)]
    device_cgroup_rule: Vec<String>,
    /// GPUs to pass through ('all', a number, or a list of settings)
    #[arg(long, value_parser = device::gpus)]
    gpus: Vec<DeviceRequest>,
    /// Show a config as a file: NAME[,target=…,uid=…,gid=…,mode=…]
    #[arg(long, value_parser = file::file)]
    config: Vec<FileUse>,
    /// Attach a mount: type=…,source=…,target=…
    #[arg(long, value_parser = mount::mount)]
    mount: Vec<Mount>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Show a secret as a file below /run/secrets: NAME[,target=…,uid=…,gid=…,mode=…]
    #[arg(long, value_parser = file::file)]
    secret: Vec<FileUse>,
    /// Option of the storage driver: size=…
    #[arg(long)]
    storage_opt: Vec<String>,
    /// Mount a tmpfs: PATH[:OPTIONS]
    #[arg(long)]
    tmpfs: Vec<String>,
    /// Mount a path or a volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long)]
    volume: Vec<String>,
    /// Driver of the volumes
    #[arg(long, default_value = "", hide_default_value = true)]
    volume_driver: String,
    /// Take over the volumes of another container: NAME[:ro]
    #[arg(long)]
    volumes_from: Vec<String>,
    /// Use a directory of the host as the root file system; IMAGE is then left out
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<String>,
}

impl Flags {
    pub(super) fn apply(&self, body: &mut CreateBody) -> Result<(), String> {
        let host = &mut body.host_config;
        for volume in &self.volume {
            match mount::volume(volume)? {
                Volume::Anonymous(path) => {
                    body.config.volumes.insert(path, Empty {});
                }
                // The same words twice mean it once, as with docker.
                Volume::Bind(text) if host.binds.contains(&text) => {}
                Volume::Bind(text) => host.binds.push(text),
            }
        }
        for tmpfs in &self.tmpfs {
            let (path, options) = tmpfs.split_once(':').unwrap_or((tmpfs, ""));
            host.tmpfs.insert(path.to_owned(), options.to_owned());
        }
        for option in &self.storage_opt {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| format!("invalid storage option: {option}"))?;
            host.storage_opt.insert(name.to_owned(), value.to_owned());
        }
        let mut interfaces = Vec::new();
        for device in &self.device {
            match device::device(device)? {
                Device::Node(mapping) => host.resources.devices.push(mapping),
                Device::Interface(name) => interfaces.push(name),
            }
        }
        host.resources.device_requests = self.gpus.clone();
        if !interfaces.is_empty() {
            host.resources.device_requests.push(DeviceRequest {
                driver: "cdi".to_owned(),
                device_ids: interfaces,
                ..DeviceRequest::default()
            });
        }
        host.resources.device_cgroup_rules = self.device_cgroup_rule.clone();
        host.mounts = self.mount.clone();
        host.secrets = self.secret.clone();
        host.configs = self.config.clone();
        host.readonly_rootfs = self.read_only;
        host.volume_driver = self.volume_driver.clone();
        host.volumes_from = self.volumes_from.clone();
        if let Some(directory) = &self.rootfs {
            let path = std::path::absolute(directory).map_err(|error| error.to_string())?;
            host.rootfs = path.to_string_lossy().into_owned();
        }
        Ok(())
    }
}
