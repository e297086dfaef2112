//! `prune`.

use docker_api::client::Target;
use docker_api::image::ImagesPruneReport;

use crate::options::filter;
use crate::prune::{Flags, Report};
use crate::session::Session;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) async fn command(session: &Session, args: Args) -> anyhow::Result<u8> {
    let warning = if args.all {
        "This will remove all images without at least one container associated to them."
    } else {
        "This will remove all dangling images."
    };
    args.flags.sure(session, warning)?;
    prune(session, args.all, &args.flags.filter).await?.show(session);
    Ok(0)
}

/// Removes them.
pub(crate) async fn prune(
    session: &Session,
    all: bool,
    filters: &[(String, String)],
) -> anyhow::Result<Report> {
    let mut filters = filters.to_vec();
    filters.push(("dangling".to_owned(), if all { "0" } else { "1" }.to_owned()));
    let target = Target::new("/images/prune").maybe("filters", filter::json(&filters));
    let report: ImagesPruneReport = session.client()?.post_for(&target).await?;
    let lines = report.images_deleted.into_iter().map(|item| {
        if item.untagged.is_empty() {
            format!("deleted: {}", item.deleted)
        } else {
            format!("untagged: {}", item.untagged)
        }
    });
    Ok(Report::new("Deleted Images:", lines.collect(), report.space_reclaimed))
}
