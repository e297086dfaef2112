//! `load`.

use std::fs::File;
use std::io::IsTerminal as _;

use anyhow::Context as _;
use docker_api::client::{Method, Target};

use crate::session::Session;
use crate::show::progress::Progress;
use crate::terminal::{input, stdin_is_terminal};

/// `load`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from a file instead of standard input
    #[arg(short, long)]
    input: Option<String>,
    /// Load only what runs on this platform
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Do not show how it goes
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn load(session: &Session, args: Args) -> anyhow::Result<u8> {
    let body = match args.input.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => input::reader_body(File::open(path).with_context(|| format!("open {path}"))?),
        None if stdin_is_terminal() => {
            anyhow::bail!("requested load from stdin, but stdin is empty: use -i FILE, or redirect")
        }
        None => input::stdin_body(),
    };
    let target = Target::new("/images/load")
        .with("quiet", if args.quiet || !std::io::stdout().is_terminal() { "1" } else { "0" })
        .maybe("platform", super::history::platform(&args.platform)?);
    let stream = session
        .client()?
        .json_stream(Method::POST, &target, Some("application/x-tar"), body)
        .await?;
    Progress::stdout().show(stream).await?;
    Ok(0)
}
