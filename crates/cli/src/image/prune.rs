//! `prune`.

use docker_api::client::Target;
use docker_api::image::ImagesPruneReport;

use crate::options::filter;
use crate::session::Session;
use crate::show::human;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove only those that fit: until=, label=, label!=
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn command(session: &Session, args: Args) -> anyhow::Result<u8> {
    let what = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    if !args.force
        && !session.confirm(&format!(
            "WARNING! This will remove {what}.\nAre you sure you want to continue?"
        ))?
    {
        anyhow::bail!("image prune has been cancelled");
    }
    let (text, space) = prune(session, args.all, &args.filter).await?;
    session.text(&text);
    session.line(&format!("Total reclaimed space: {}", human::size(space, 4)));
    Ok(0)
}

/// Removes them; returns what to say and the bytes that are free again.
pub(crate) async fn prune(
    session: &Session,
    all: bool,
    filters: &[(String, String)],
) -> anyhow::Result<(String, i64)> {
    let mut filters = filters.to_vec();
    filters.push(("dangling".to_owned(), if all { "0" } else { "1" }.to_owned()));
    let target = Target::new("/images/prune").maybe("filters", filter::json(&filters));
    let report: ImagesPruneReport = session.client()?.post_for(&target).await?;
    let mut text = String::new();
    if !report.images_deleted.is_empty() {
        text.push_str("Deleted Images:\n");
        for item in &report.images_deleted {
            if item.untagged.is_empty() {
                text.push_str(&format!("deleted: {}\n", item.deleted));
            } else {
                text.push_str(&format!("untagged: {}\n", item.untagged));
            }
        }
        text.push('\n');
    }
    Ok((text, i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX)))
}
