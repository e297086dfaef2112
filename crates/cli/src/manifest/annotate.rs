//! `annotate`.

use super::reference;
use super::store::Store;
use crate::session::Session;

/// `annotate`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Architecture: amd64, arm64, …
    #[arg(long, default_value = "", hide_default_value = true)]
    arch: String,
    /// Operating system: linux, …
    #[arg(long, default_value = "", hide_default_value = true)]
    os: String,
    /// What the operating system must offer
    #[arg(long)]
    os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, default_value = "", hide_default_value = true)]
    os_version: String,
    /// Variant of the architecture: v7, v8, …
    #[arg(long, default_value = "", hide_default_value = true)]
    variant: String,
    /// List, and an image of it
    #[arg(value_name = "MANIFEST")]
    names: Vec<String>,
}

pub(crate) async fn annotate(session: &Session, args: Args) -> anyhow::Result<u8> {
    let [list, image] = args.names.as_slice() else {
        anyhow::bail!("a list and an image of it are needed");
    };
    let (list, image) = (reference(list)?, reference(image)?);
    let store = Store::of(session);
    let Some(mut entry) = store.get(&list, &image)? else {
        anyhow::bail!("manifest for image {image} does not exist in {list}");
    };
    let platform = entry.descriptor.platform.get_or_insert_default();
    for (given, field) in [
        (args.os, &mut platform.os),
        (args.arch, &mut platform.architecture),
        (args.variant, &mut platform.variant),
        (args.os_version, &mut platform.os_version),
    ] {
        if !given.is_empty() {
            *field = given;
        }
    }
    for feature in args.os_features.iter().flat_map(|text| text.split(',')) {
        if !platform.os_features.iter().any(|known| known == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    if platform.os.is_empty() || platform.architecture.is_empty() {
        anyhow::bail!(
            "manifest entry for image has unsupported os/arch combination: {}/{}: give --os and --arch",
            platform.os,
            platform.architecture
        );
    }
    store.save(&list, &entry)?;
    Ok(0)
}
