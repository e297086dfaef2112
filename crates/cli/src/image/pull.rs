//! `pull`, and the pull that `run` does.

use docker_api::client::{JsonStream, Method, Target, empty};
use docker_api::progress::JsonMessage;

use crate::session::Session;
use crate::show::progress::Progress;

/// `pull`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fetch every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// For which platform
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Say only what was fetched
    #[arg(short, long)]
    quiet: bool,
    /// Image
    #[arg(value_name = "NAME")]
    image: Vec<String>,
}

fn target(session: &Session, name: &str, tag: &str, platform: &str) -> anyhow::Result<Target> {
    let target = Target::new("/images/create")
        .with("fromImage", name)
        .with("tag", tag)
        .maybe("platform", Some(platform).filter(|platform| !platform.is_empty()));
    session.with_credentials(target, name)
}

pub(crate) async fn pull(session: &Session, args: Args) -> anyhow::Result<u8> {
    let image = args.image.first().map_or("", String::as_str);
    let (name, tag) = super::split_tag(image);
    let tag = super::meant_tag(session, tag, args.all_tags, args.quiet)?;
    let stream = session
        .client()?
        .json_stream(Method::POST, &target(session, name, tag, &args.platform)?, None, empty())
        .await?;
    if args.quiet {
        quietly(stream).await?;
    } else {
        Progress::stdout().show(stream).await?;
    }
    session.line(&full_name(name, tag));
    Ok(0)
}

/// Pulls what `run` lacks, and says so on standard error.
pub(crate) async fn pull_for_run(
    session: &Session,
    image: &str,
    platform: &str,
    quiet: bool,
) -> anyhow::Result<()> {
    let (name, tag) = super::split_tag(image);
    let tag = if tag.is_empty() { "latest" } else { tag };
    let stream = session
        .client()?
        .json_stream(Method::POST, &target(session, name, tag, platform)?, None, empty())
        .await?;
    if quiet { quietly(stream).await } else { Progress::stderr().show(stream).await }
}

pub(super) async fn quietly(stream: JsonStream<JsonMessage>) -> anyhow::Result<()> {
    Progress::silent().show(stream).await
}

/// The name in full: registry, repository, tag.
pub(super) fn full_name(name: &str, tag: &str) -> String {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let registry = first.contains(['.', ':']) || first == "localhost";
    let name = match (registry, first) {
        (true, _) => name.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{name}"),
    };
    match tag {
        "" => name,
        tag if tag.contains(':') => format!("{name}@{tag}"),
        tag => format!("{name}:{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        assert_eq!(full_name("busybox", "latest"), "docker.io/library/busybox:latest");
        assert_eq!(full_name("a/b", "1"), "docker.io/a/b:1");
        assert_eq!(full_name("reg:5000/a", "sha256:0"), "reg:5000/a@sha256:0");
    }
}
