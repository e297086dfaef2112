//! `inspect` of anything.

use docker_api::client::{Client, Error};

use crate::failure::Failure;
use crate::session::Session;
use crate::show::inspect::show;
use crate::template::Value;

/// `inspect`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show them: json or a template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Find out sizes of containers
    #[arg(short, long)]
    size: bool,
    /// Look only among these: container, image, network, volume
    #[arg(long = "type", default_value = "", hide_default_value = true)]
    kind: String,
    /// Names or ids
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

const KINDS: &[&str] = &["container", "image", "network", "volume"];

async fn fetch(client: &Client, kind: &str, name: &str, size: bool) -> Result<Value, Error> {
    match kind {
        "container" => crate::container::fetch_inspect(client, name, size).await,
        "image" => crate::image::fetch_inspect(client, name).await,
        "network" => crate::network::fetch_inspect(client, name).await,
        _ => crate::volume::fetch_inspect(client, name).await,
    }
}

pub(crate) async fn inspect(session: &Session, args: Args) -> anyhow::Result<u8> {
    let kinds: Vec<&str> = match args.kind.as_str() {
        "" => KINDS.to_vec(),
        kind if KINDS.contains(&kind) => vec![kind],
        other => return Err(Failure::with(1, format!("unknown type: {other:?}"))),
    };
    let client = session.client()?;
    show(session, &args.names, &args.format, async |name| {
        for kind in &kinds {
            match fetch(client, kind, name, args.size).await {
                Err(error) if error.is_not_found() && args.kind.is_empty() => {}
                other => return other,
            }
        }
        Err(Error::NotFound(name.to_owned()))
    })
    .await
}
