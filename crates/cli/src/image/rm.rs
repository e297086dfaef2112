//! `rm`, known as `rmi`.

use docker_api::client::{Error, Target};
use docker_api::image::DeleteResponse;

use crate::failure::for_each;
use crate::session::Session;

/// `rm`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove it even if it has several names or a stopped container uses it
    #[arg(short, long)]
    force: bool,
    /// Keep parents without a name
    #[arg(long)]
    no_prune: bool,
    /// Remove only what is for this platform
    #[arg(long)]
    platform: Vec<String>,
    /// Images
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) async fn rm(session: &Session, args: Args) -> anyhow::Result<u8> {
    let client = session.client()?;
    let mut platforms = Vec::new();
    for platform in &args.platform {
        platforms.extend(super::history::platform(platform)?);
    }
    for_each(session, &args.images, async |name| {
        let mut target = Target::named("/images", name, "").flag("force", args.force);
        if args.no_prune {
            target = target.with("noprune", "1");
        }
        for platform in &platforms {
            target = target.with("platforms", platform);
        }
        let removed: Vec<DeleteResponse> = match client.delete_for(&target).await {
            Err(error @ Error::Status { status: 404, .. }) if args.force => {
                session.warn(&crate::failure::describe_client(&error));
                return Ok(None);
            }
            other => other?,
        };
        for item in removed {
            if item.deleted.is_empty() {
                session.line(&format!("Untagged: {}", item.untagged));
            } else {
                session.line(&format!("Deleted: {}", item.deleted));
            }
        }
        Ok(None)
    })
    .await
}
