//! What a stage starts from.

use std::sync::Arc;

use image::{HeldLayer, ImageConfig, RootFs};
use types::container::ContainerConfig;
use types::digest::Digest;

use super::Built;
use crate::error::{Error, Result};
use crate::plan::{Base, Stage};
use crate::schedule::{Build, Meaning};

/// The search path of images whose base sets none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's builder gives every image a search path.
pub(super) fn with_path(config: &mut ContainerConfig) {
    if !config.env.iter().any(|line| line.starts_with("PATH=")) {
        config.env.push(PATH.to_owned());
    }
}

/// Finds or makes what a stage starts from.
pub(super) fn of(build: &Build<'_>, stage: &Stage, step: u32) -> Result<Built> {
    match &stage.base {
        Base::Stage(index) => Ok(build.stage(stage.index, *index)?.fork()),
        Base::Scratch => Ok(scratch(build, stage.platform.as_deref())),
        Base::Image(name) => {
            let Meaning::Image(name) = build.meaning(name) else {
                let message = format!("the build context {name:?} is no image to start from");
                return Err(Error::Invalid(message));
            };
            let platform = stage.platform.as_deref().unwrap_or(&build.request.platform);
            Ok(image(build, name, platform, step)?.fork())
        }
    }
}

fn scratch(build: &Build<'_>, platform: Option<&str>) -> Built {
    let wanted = platform.unwrap_or(&build.request.target_platform);
    let mut parts = wanted.splitn(3, '/').map(str::to_owned);
    let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
    let image = ImageConfig {
        os: os.unwrap_or_default(),
        architecture: architecture.unwrap_or_default(),
        variant: variant.unwrap_or_default(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
        docker_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..ImageConfig::default()
    };
    let key = build.root_key("scratch").with(wanted).finish();
    Built::new(Vec::new(), image, key)
}

/// An image, pulled if it must be; the same one whenever this build asks for it again.
pub(crate) fn image(
    build: &Build<'_>,
    name: &str,
    platform: &str,
    step: u32,
) -> Result<Arc<Built>> {
    build.image(name, platform, || {
        let mut tell = |part| build.progress(step, part);
        let shop = &build.shop;
        let id = shop.worker.image(name, platform, build.request.pull, &mut tell)?;
        let mut built = stored(build, &id)?;
        built.id = Some(id);
        Ok(built)
    })
}

fn stored(build: &Build<'_>, id: &Digest) -> Result<Built> {
    let store = build.shop.store;
    let mut image = (*store.config(id)?).clone();
    let layers = image.rootfs.diff_ids.iter().map(|diff_id| {
        let held = store.held_layer(diff_id).map(Arc::new);
        held.ok_or_else(|| Error::Image(image::Error::MissingLayer(diff_id.clone())))
    });
    let layers: Vec<Arc<HeldLayer>> = layers.collect::<Result<_>>()?;
    image.docker_version = env!("CARGO_PKG_VERSION").to_owned();
    image.container.clear();
    image.container_config = None;
    let key = build.root_key("image").with(id.as_str()).finish();
    Ok(Built::new(layers, image, key))
}
