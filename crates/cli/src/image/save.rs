//! `save`.

use docker_api::client::Target;

use crate::session::Session;
use crate::show::download;

/// `save`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// docker (which every tool reads) or oci (with every digest as in the registry)
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Save only what runs on this platform
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Images
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) async fn save(session: &Session, args: Args) -> anyhow::Result<u8> {
    let mut target = Target::new("/images/get");
    for image in &args.images {
        target = target.with("names", image);
    }
    if !matches!(args.format.as_str(), "" | "docker" | "oci") {
        anyhow::bail!("unknown format {:?}: use docker or oci", args.format);
    }
    let target = target.maybe("format", Some(&args.format).filter(|format| !format.is_empty()));
    let target = target.maybe("platform", super::history::platform(&args.platform)?);
    download(session, &target, args.output.as_deref(), "save").await
}
