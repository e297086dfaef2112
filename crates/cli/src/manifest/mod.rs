//! Commands about manifests and lists of them. Lists are kept below the configuration's
//! directory, as Docker's client keeps them, until they are pushed; the daemon has no part in it.

mod annotate;
mod create;
mod fetch;
mod inspect;
mod push;
mod store;

use anyhow::Context as _;
use types::reference::Reference;

use crate::failure::for_each;
use crate::session::Session;
use crate::verbs::{MANY, Verb, verb};
use store::Store;

/// The commands.
pub(crate) static VERBS: &[Verb] = &[
    verb!("annotate", [], 2..=2, "[OPTIONS] MANIFEST_LIST MANIFEST", "Say what an image of a list runs on",
        annotate::Args => annotate::annotate),
    verb!("create", [], 2..=MANY, "[OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]", "Make a list of images for several platforms",
        create::Args => create::create),
    verb!("inspect", [], 1..=2, "[OPTIONS] [MANIFEST_LIST] MANIFEST", "Show a manifest, or a list of them",
        inspect::Args => inspect::inspect),
    verb!("push", [], 1..=1, "[OPTIONS] MANIFEST_LIST", "Send a list to its registry",
        push::Args => push::push),
    verb!("rm", [], 1..=MANY, "MANIFEST_LIST [MANIFEST_LIST...]", "Forget lists that were made here",
        RmArgs => rm),
];

/// A name with the tag that is meant when none is given.
fn reference(text: &str) -> anyhow::Result<Reference> {
    let reference = Reference::parse(text)
        .with_context(|| format!("error parsing name for manifest list {text}"))?;
    Ok(reference.or_latest())
}

/// `rm`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Lists
    #[arg(value_name = "MANIFEST_LIST")]
    lists: Vec<String>,
}

async fn rm(session: &Session, args: RmArgs) -> anyhow::Result<u8> {
    let store = Store::of(session);
    for_each(session, &args.lists, async |name| {
        let list = reference(name)?;
        anyhow::ensure!(store.remove(&list)?, "No such manifest: {list}");
        Ok(None)
    })
    .await
}
