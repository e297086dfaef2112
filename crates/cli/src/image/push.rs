//! `push`, and the push that `build --push` does.

use docker_api::client::{JsonStream, Method, Target, empty};
use docker_api::progress::JsonMessage;
use docker_api::registry::PushResult;

use super::pull::{full_name, quietly};
use crate::session::Session;
use crate::show::progress::Progress;

/// `push`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Send every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Send only what is for this platform
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Say only what was sent
    #[arg(short, long)]
    quiet: bool,
    /// Image
    #[arg(value_name = "NAME")]
    image: Vec<String>,
}

pub(crate) async fn push(session: &Session, args: Args) -> anyhow::Result<u8> {
    let image = args.image.first().map_or("", String::as_str);
    let (name, tag) = super::split_tag(image);
    if image.contains('@') {
        anyhow::bail!("cannot push a digest reference");
    }
    let tag = super::meant_tag(session, tag, args.all_tags, args.quiet)?;
    let stream = request(session, name, tag, &args.platform).await?;
    if args.quiet {
        quietly(stream).await?;
        session.line(&full_name(name, tag));
    } else {
        Progress::stdout().show(stream).await?;
    }
    Ok(0)
}

/// Sends what has just been built; all that is said goes where the build's progress went. The
/// registry's name for it comes back, if the daemon tells it.
pub(crate) async fn push_for_build(
    session: &Session,
    image: &str,
    quiet: bool,
) -> anyhow::Result<Option<String>> {
    let (name, tag) = super::split_tag(image);
    let tag = if tag.is_empty() { "latest" } else { tag };
    let stream = request(session, name, tag, "").await?;
    let mut digest = None;
    let aux = |value| digest = serde_json::from_value(value).ok().map(|one: PushResult| one.digest);
    if quiet {
        Progress::silent().show_and(stream, aux).await?;
    } else {
        Progress::stderr().show_and(stream, aux).await?;
    }
    Ok(digest)
}

async fn request(
    session: &Session,
    name: &str,
    tag: &str,
    platform: &str,
) -> anyhow::Result<JsonStream<JsonMessage>> {
    let target = Target::named("/images", name, "/push")
        .maybe("tag", Some(tag).filter(|tag| !tag.is_empty()))
        .maybe("platform", super::history::platform(platform)?);
    // Docker refuses a push that says nothing of credentials, so even nobody is said.
    let target = session.with_credentials(target, name)?;
    Ok(session.client()?.json_stream(Method::POST, &target, None, empty()).await?)
}
