//! `prune`.

use docker_api::client::Target;
use docker_api::container::ContainersPruneReport;

use crate::options::filter;
use crate::session::Session;
use crate::show::human;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove only those that fit: until=, label=, label!=
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn command(session: &Session, args: Args) -> anyhow::Result<u8> {
    if !args.force
        && !session.confirm(
            "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?",
        )?
    {
        anyhow::bail!("container prune has been cancelled");
    }
    let (text, space) = prune(session, &args.filter).await?;
    session.text(&text);
    session.line(&format!("Total reclaimed space: {}", human::size(space, 4)));
    Ok(0)
}

/// Removes them; returns what to say and the bytes that are free again.
pub(crate) async fn prune(
    session: &Session,
    filters: &[(String, String)],
) -> anyhow::Result<(String, i64)> {
    let target = Target::new("/containers/prune").maybe("filters", filter::json(filters));
    let report: ContainersPruneReport = session.client()?.post_for(&target).await?;
    let mut text = String::new();
    if !report.containers_deleted.is_empty() {
        text.push_str("Deleted Containers:\n");
        for id in &report.containers_deleted {
            text.push_str(id);
            text.push('\n');
        }
        text.push('\n');
    }
    Ok((text, i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX)))
}
