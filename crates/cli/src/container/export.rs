//! `export`.

use docker_api::client::Target;

use crate::session::Session;
use crate::show::download;

/// `export`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Container
    #[arg(value_name = "CONTAINER")]
    container: Vec<String>,
}

pub(crate) async fn export(session: &Session, args: Args) -> anyhow::Result<u8> {
    let name = args.container.first().map_or("", String::as_str);
    let target = Target::named("/containers", name, "/export");
    download(session, &target, args.output.as_deref(), "save").await
}
