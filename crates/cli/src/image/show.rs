//! `inspect` of images.

use docker_api::client::{Client, Error, Target};

use crate::session::Session;
use crate::show::inspect::show;
use crate::template::Value;

/// `inspect`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show them: json or a template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show the image's own documents, as OCI has them, instead of what Docker says of it
    #[arg(long)]
    oci: bool,
    /// Of which platform
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Images
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

/// All that is known of an image.
pub(crate) async fn fetch(client: &Client, name: &str) -> Result<Value, Error> {
    client.get(&Target::named("/images", name, "/json")).await
}

pub(crate) async fn inspect(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    let platform = super::history::platform(&args.platform)?;
    show(session, &args.images, &args.format, async |name| {
        let about = if args.oci { "/oci" } else { "/json" };
        let target = Target::named("/images", name, about).maybe("platform", platform.as_ref());
        client.get(&target).await
    })
    .await
}
