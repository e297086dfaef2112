//! `create`.

use super::fetch::Registries;
use super::reference;
use super::store::Store;
use crate::session::Session;

/// `create`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Add to a list that there is
    #[arg(short, long)]
    amend: bool,
    /// Registries need not prove who they are
    #[arg(long)]
    insecure: bool,
    /// List, and the images in it
    #[arg(value_name = "MANIFEST")]
    names: Vec<String>,
}

pub(crate) async fn create(session: &Session, args: Args) -> anyhow::Result<u8> {
    let Some((list, images)) = args.names.split_first() else {
        anyhow::bail!("a list and its images are needed");
    };
    let list = reference(list)?;
    let store = Store::of(session);
    if store.list(&list)?.is_some() && !args.amend {
        anyhow::bail!("refusing to amend an existing manifest list with no --amend flag");
    }
    // All are looked for before the first is kept: half a list would be taken for a whole one.
    let mut entries = Vec::new();
    for image in images {
        let name = reference(image)?;
        let entry = match store.get(&list, &name)? {
            Some(entry) => entry,
            None => Registries::new(session, &name, args.insecure)?.image(&name).await?,
        };
        entries.push(entry);
    }
    for entry in &entries {
        store.save(&list, entry)?;
    }
    session.line(&format!("Created manifest list {list}"));
    Ok(0)
}
