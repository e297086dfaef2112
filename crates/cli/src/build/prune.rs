//! `builder prune`.

use docker_api::client::Target;
use docker_api::disk::BuildPruneReport;

use crate::options::{filter, size};
use crate::prune::{Flags, Report};
use crate::session::Session;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all of the cache, not only what no image stands on
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: Flags,
    /// Keep so many bytes of it
    #[arg(long, value_parser = size::bytes, default_value = "0", hide_default_value = true)]
    keep_storage: i64,
}

pub(crate) async fn command(session: &Session, args: Args) -> anyhow::Result<u8> {
    let warning = if args.all {
        "This will remove all build cache."
    } else {
        "This will remove all dangling build cache."
    };
    args.flags.sure(session, warning)?;
    let target = target(args.all, &args.flags.filter)
        .maybe("keep-storage", (args.keep_storage > 0).then(|| args.keep_storage.to_string()));
    let report: BuildPruneReport = session.client()?.post_for(&target).await?;
    listed(report).show(session);
    Ok(0)
}

/// Removes what of the cache nothing stands on, or all of it.
pub(crate) async fn prune(
    session: &Session,
    all: bool,
    filters: &[(String, String)],
) -> anyhow::Result<Report> {
    match session.client()?.post_for(&target(all, filters)).await {
        // A daemon that builds nothing has no cache to prune.
        Err(error) if matches!(error.status(), Some(404 | 501)) => Ok(Report::default()),
        other => Ok(listed(other?)),
    }
}

fn target(all: bool, filters: &[(String, String)]) -> Target {
    Target::new("/build/prune").flag("all", all).maybe("filters", filter::json(filters))
}

fn listed(report: BuildPruneReport) -> Report {
    Report::new("Deleted build cache objects:", report.caches_deleted, report.space_reclaimed)
}
