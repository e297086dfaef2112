//! `rename`.

use docker_api::client::Target;

use crate::failure::{Failure, describe_client};
use crate::session::Session;

/// `rename`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Container and new name
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
}

pub(crate) async fn rename(session: &Session, args: Args) -> anyhow::Result<u8> {
    let [old, new] = args.names.as_slice() else {
        anyhow::bail!("a container and its new name are needed");
    };
    if old.trim().is_empty() || new.trim().is_empty() {
        anyhow::bail!("Error: Neither old nor new names may be empty");
    }
    let target = Target::named("/containers", old.trim(), "/rename").with("name", new.trim());
    let renamed = session.client()?.post_empty(&target).await;
    renamed.map_err(|error| {
        let reason = describe_client(&error);
        Failure::with(
            1,
            format!("{reason}\nError: failed to rename container named {}", old.trim()),
        )
    })?;
    Ok(0)
}
