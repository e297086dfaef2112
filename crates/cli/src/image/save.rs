//! `save`.

use docker_api::client::Target;

use crate::session::Session;
use crate::show::download;

/// `save`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
    let target = target.maybe("platform", super::history::platform(&args.platform)?);
    download(session, &target, args.output.as_deref(), "save").await
}
