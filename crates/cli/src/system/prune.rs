//! `prune`.

use docker_api::client::Target;
use docker_api::disk::BuildPruneReport;

use crate::options::filter;
use crate::session::Session;
use crate::show::human;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove only what fits: until=, label=, label!=
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes as well
    #[arg(long)]
    volumes: bool,
}

pub(crate) async fn prune(session: &Session, args: Args) -> anyhow::Result<u8> {
    let until = args.filter.iter().any(|(name, _)| name == "until");
    if args.volumes && until {
        anyhow::bail!("the \"until\" filter is not supported with \"--volumes\"");
    }
    if !args.force && !session.confirm(&warning(&args))? {
        anyhow::bail!("system prune has been cancelled");
    }
    let mut total = 0_i64;
    let mut add = |(text, space): (String, i64)| {
        session.text(&text);
        total = total.saturating_add(space);
    };
    add(crate::container::prune_all(session, &args.filter).await?);
    add((crate::network::prune_all(session, &args.filter).await?, 0));
    if args.volumes {
        add(crate::volume::prune_all(session, false, &args.filter).await?);
    }
    add(crate::image::prune_all(session, args.all, &args.filter).await?);
    add(build_cache(session, &args).await?);
    session.line(&format!("Total reclaimed space: {}", human::size(total, 4)));
    Ok(0)
}

async fn build_cache(session: &Session, args: &Args) -> anyhow::Result<(String, i64)> {
    let target = Target::new("/build/prune")
        .flag("all", args.all)
        .maybe("filters", filter::json(&args.filter));
    let report: BuildPruneReport = match session.client()?.post_for(&target).await {
        // A daemon that builds nothing has no cache to prune.
        Err(error) if matches!(error.status(), Some(404 | 501)) => return Ok((String::new(), 0)),
        other => other?,
    };
    let mut text = String::new();
    if !report.caches_deleted.is_empty() {
        text.push_str("Deleted build cache objects:\n");
        for id in &report.caches_deleted {
            text.push_str(id);
            text.push('\n');
        }
        text.push('\n');
    }
    Ok((text, i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX)))
}

fn warning(args: &Args) -> String {
    let mut text = String::from(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
    );
    if args.volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    if args.all {
        text.push_str("  - all images without at least one container associated to them\n  - all build cache\n");
    } else {
        text.push_str("  - all dangling images\n  - unused build cache\n");
    }
    if !args.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for (name, value) in &args.filter {
            text.push_str(&format!("  - {name}={value}\n"));
        }
    }
    text.push_str("\nAre you sure you want to continue?");
    text
}
