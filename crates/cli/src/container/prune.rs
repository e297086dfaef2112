//! `prune`.

use docker_api::client::Target;
use docker_api::container::ContainersPruneReport;

use crate::options::filter;
use crate::prune::{Flags, Report};
use crate::session::Session;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(crate) async fn command(session: &Session, args: Args) -> anyhow::Result<u8> {
    args.flags.sure(session, "This will remove all stopped containers.")?;
    prune(session, &args.flags.filter).await?.show(session);
    Ok(0)
}

/// Removes them.
pub(crate) async fn prune(
    session: &Session,
    filters: &[(String, String)],
) -> anyhow::Result<Report> {
    let target = Target::new("/containers/prune").maybe("filters", filter::json(filters));
    let report: ContainersPruneReport = session.client()?.post_for(&target).await?;
    Ok(Report::new("Deleted Containers:", report.containers_deleted, report.space_reclaimed))
}
