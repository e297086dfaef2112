//! `commit`.

use docker_api::IdResponse;
use docker_api::client::Target;

use crate::session::Session;

/// `commit`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who made it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Apply an instruction of a Dockerfile
    #[arg(short, long)]
    change: Vec<String>,
    /// What it is
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Freeze the container meanwhile
    #[arg(short, long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, value_parser = crate::verbs::switch)]
    pause: bool,
    /// Container, and a name for the image
    #[arg(value_name = "CONTAINER")]
    words: Vec<String>,
}

pub(crate) async fn commit(session: &Session, args: Args) -> anyhow::Result<u8> {
    let container = args.words.first().map_or("", String::as_str);
    let (repository, tag) = args.words.get(1).map_or(("", ""), |n| crate::image::split_tag(n));
    let mut target = Target::new("/commit")
        .with("container", container)
        .with("author", &args.author)
        .with("comment", &args.message)
        .with("repo", repository)
        .with("tag", tag);
    if !args.pause {
        target = target.with("pause", "0");
    }
    for change in &args.change {
        target = target.with("changes", change);
    }
    let made: IdResponse = session.client()?.post_for(&target).await?;
    session.line(&made.id);
    Ok(0)
}
