//! `inspect` of containers.

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
    /// Find out sizes
    #[arg(short, long)]
    size: bool,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// All that is known of a container.
pub(crate) async fn fetch(client: &Client, name: &str, size: bool) -> Result<Value, Error> {
    client.get(&Target::named("/containers", name, "/json").flag("size", size)).await
}

pub(crate) async fn inspect(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    show(session, &args.containers, &args.format, async |name| fetch(client, name, args.size).await)
        .await
}
