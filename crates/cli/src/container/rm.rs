//! `rm`.

use docker_api::client::{Error, Target};

use crate::failure::for_each;
use crate::session::Session;

/// `rm`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kill it first if it runs
    #[arg(short, long)]
    force: bool,
    /// Remove a legacy link
    #[arg(short, long)]
    link: bool,
    /// Remove its anonymous volumes
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) async fn rm(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    for_each(session, &args.containers, async |name| {
        let name = name.trim_matches('/');
        if name.is_empty() {
            anyhow::bail!("container name cannot be empty");
        }
        let target = Target::named("/containers", name, "")
            .flag("force", args.force)
            .flag("link", args.link)
            .flag("v", args.volumes);
        match client.delete(&target).await {
            Err(error @ Error::Status { status: 404, .. }) if args.force => {
                session.warn(&crate::failure::describe_client(&error));
                Ok(None)
            }
            other => other.map(|()| Some(name.to_owned())).map_err(Into::into),
        }
    })
    .await
}
