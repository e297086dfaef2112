//! `volume clone`, `snapshot`, `export` and `import`.

use std::fs::File;

use anyhow::Context as _;
use docker_api::client::{Method, Target, next_data};
use docker_api::volume::{Volume, VolumeCopyBody};

use crate::options::words;
use crate::session::Session;
use crate::show::download;
use crate::terminal::input;

/// `clone`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct CloneArgs {
    /// Set a label
    #[arg(long, value_parser = words::label)]
    label: Vec<String>,
    /// Freeze the containers that may write to it meanwhile
    #[arg(long)]
    pause: bool,
    /// Take the place of an unused volume of that name
    #[arg(long)]
    replace: bool,
    /// Volume, and the new volume's name
    #[arg(value_name = "VOLUME")]
    words: Vec<String>,
}

pub(crate) async fn clone(session: &Session, args: CloneArgs) -> anyhow::Result<u8> {
    let body = VolumeCopyBody {
        name: args.words.get(1).cloned().unwrap_or_default(),
        labels: words::map(&args.label),
        replace: args.replace,
        pause: Some(args.pause),
    };
    copy(session, &args.words, "/clone", &body).await
}

/// `snapshot`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotArgs {
    /// Set a label
    #[arg(long, value_parser = words::label)]
    label: Vec<String>,
    /// Let the containers that may write to it go on meanwhile
    #[arg(long)]
    no_pause: bool,
    /// Volume, and a name for the snapshot
    #[arg(value_name = "VOLUME")]
    words: Vec<String>,
}

pub(crate) async fn snapshot(session: &Session, args: SnapshotArgs) -> anyhow::Result<u8> {
    let body = VolumeCopyBody {
        name: args.words.get(1).cloned().unwrap_or_default(),
        labels: words::map(&args.label),
        replace: false,
        pause: Some(!args.no_pause),
    };
    copy(session, &args.words, "/snapshot", &body).await
}

async fn copy(
    session: &Session,
    words: &[String],
    verb: &str,
    body: &VolumeCopyBody,
) -> anyhow::Result<u8> {
    let from = words.first().map_or("", String::as_str);
    let made: Volume = session.client()?.post(&Target::named("/volumes", from, verb), body).await?;
    session.line(&made.name);
    Ok(0)
}

/// `export`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Volume
    #[arg(value_name = "VOLUME")]
    volume: Vec<String>,
}

pub(crate) async fn export(session: &Session, args: ExportArgs) -> anyhow::Result<u8> {
    let name = args.volume.first().map_or("", String::as_str);
    download(session, &Target::named("/volumes", name, "/export"), args.output.as_deref(), "export")
        .await
}

/// `import`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Set a label
    #[arg(long, value_parser = words::label)]
    label: Vec<String>,
    /// Take the place of an unused volume of that name
    #[arg(long)]
    replace: bool,
    /// The new volume's name, and an archive (standard input if there is none, or '-')
    #[arg(value_name = "VOLUME")]
    words: Vec<String>,
}

pub(crate) async fn import(session: &Session, args: ImportArgs) -> anyhow::Result<u8> {
    let name = args.words.first().map_or("", String::as_str);
    let mut target = Target::named("/volumes", name, "/import").flag("replace", args.replace);
    for label in &args.label {
        target = target.with("label", label);
    }
    let body = match args.words.get(1).map(String::as_str) {
        None | Some("-") => input::stdin_body(),
        Some(file) => input::reader_body(File::open(file).with_context(|| format!("open {file}"))?),
    };
    let kind = Some("application/x-tar");
    let answer = session.client()?.stream(Method::POST, &target, kind, body).await?;
    let mut answer = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = next_data(&mut answer).await? {
        bytes.extend_from_slice(&piece);
    }
    let made: Volume = serde_json::from_slice(&bytes).context("read the daemon's answer")?;
    session.line(&made.name);
    Ok(0)
}
