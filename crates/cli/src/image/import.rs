//! `import`.

use std::fs::File;

use anyhow::Context as _;
use docker_api::client::{Method, Target, empty};

use crate::session::Session;
use crate::show::progress::Progress;
use crate::terminal::input;

/// `import`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Apply an instruction of a Dockerfile
    #[arg(short, long)]
    change: Vec<String>,
    /// What it is
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// What it runs on
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Archive, and a name for the image
    #[arg(value_name = "FILE")]
    words: Vec<String>,
}

pub(crate) async fn import(session: &Session, args: Args) -> anyhow::Result<u8> {
    let source = args.words.first().map_or("-", String::as_str);
    let (repository, tag) = args.words.get(1).map_or(("", ""), |name| super::split_tag(name));
    let remote = source.contains("://");
    let mut target = Target::new("/images/create")
        .with("fromSrc", if remote { source } else { "-" })
        .with("repo", repository)
        .maybe("tag", Some(tag).filter(|tag| !tag.is_empty()))
        .maybe("message", Some(&args.message).filter(|text| !text.is_empty()))
        .maybe("platform", Some(&args.platform).filter(|text| !text.is_empty()));
    for change in &args.change {
        target = target.with("changes", change);
    }
    let body = if remote {
        empty()
    } else if source == "-" {
        input::stdin_body()
    } else {
        input::reader_body(File::open(source).with_context(|| format!("open {source}"))?)
    };
    let kind = (!remote).then_some("application/x-tar");
    let stream = session.client()?.json_stream(Method::POST, &target, kind, body).await?;
    Progress::stdout().show(stream).await?;
    Ok(0)
}
