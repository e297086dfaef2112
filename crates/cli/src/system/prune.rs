//! `prune`.

use crate::prune::{Flags, Report};
use crate::session::Session;

/// `prune`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: Flags,
    /// Remove anonymous volumes as well
    #[arg(long)]
    volumes: bool,
}

pub(crate) async fn prune(session: &Session, args: Args) -> anyhow::Result<u8> {
    let filters = &args.flags.filter;
    if args.volumes && filters.iter().any(|(name, _)| name == "until") {
        anyhow::bail!("the \"until\" filter is not supported with \"--volumes\"");
    }
    args.flags.sure(session, &warning(&args))?;
    let mut total = 0_u64;
    let mut add = |report: Report| {
        report.list(session);
        total = total.saturating_add(report.space());
    };
    add(crate::container::prune_all(session, filters).await?);
    add(crate::network::prune_all(session, filters).await?);
    if args.volumes {
        add(crate::volume::prune_all(session, false, filters).await?);
    }
    add(crate::image::prune_all(session, args.all, filters).await?);
    add(crate::build::prune_all(session, args.all, filters).await?);
    crate::prune::total(session, total);
    Ok(0)
}

fn warning(args: &Args) -> String {
    let mut text = String::from(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
    );
    if args.volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    if args.all {
        text.push_str("  - all images without at least one container associated to them\n  - all build cache\n");
    } else {
        text.push_str("  - all dangling images\n  - unused build cache\n");
    }
    if !args.flags.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for (name, value) in &args.flags.filter {
            text.push_str(&format!("  - {name}={value}\n"));
        }
    }
    text
}
