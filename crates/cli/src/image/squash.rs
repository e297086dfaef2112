//! `squash`: an image with fewer layers.

use docker_api::IdResponse;
use docker_api::client::Target;

use crate::session::Session;

/// `squash`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep this image's layers, or those up to this one, as they are
    #[arg(long, default_value = "", hide_default_value = true)]
    from: String,
    /// What it is
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// A name for the new image: NAME[:TAG]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    tag: String,
    /// Image
    #[arg(value_name = "IMAGE")]
    image: Vec<String>,
}

pub(crate) async fn squash(session: &Session, args: Args) -> anyhow::Result<u8> {
    let name = args.image.first().map_or("", String::as_str);
    let (repository, tag) = super::split_tag(&args.tag);
    let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let target = Target::named("/images", name, "/squash")
        .maybe("from", word(&args.from))
        .maybe("repo", word(repository))
        .maybe("tag", word(tag))
        .maybe("comment", word(&args.message));
    let made: IdResponse = session.client()?.post_for(&target).await?;
    session.line(&made.id);
    Ok(0)
}
