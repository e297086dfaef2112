//! `inspect`.

use distribution::manifest::Document;
use types::reference::Reference;

use super::fetch::{Found, Registries};
use super::store::{Entry, Store};
use super::{push, reference};
use crate::session::Session;
use crate::template::Value;

/// `inspect`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry need not prove who it is
    #[arg(long)]
    insecure: bool,
    /// Show where each image is and what it runs on as well
    #[arg(short, long)]
    verbose: bool,
    /// List, and an image of it
    #[arg(value_name = "MANIFEST")]
    names: Vec<String>,
}

pub(crate) async fn inspect(session: &Session, args: Args) -> anyhow::Result<u8> {
    let store = Store::of(session);
    if let [list, name] = args.names.as_slice() {
        let (list, name) = (reference(list)?, reference(name)?);
        if store.list(&list)?.is_none() {
            anyhow::bail!("No such manifest: {list}");
        }
        let Some(entry) = store.get(&list, &name)? else {
            anyhow::bail!("No such manifest: {name}")
        };
        session.line(&one(&entry, args.verbose)?);
        return Ok(0);
    }
    let name = reference(args.names.first().map_or("", String::as_str))?;
    if let Some(entries) = store.list(&name)? {
        let text = if args.verbose {
            indented(&entries, b"\t")?
        } else {
            String::from_utf8_lossy(&push::index(&name, &entries)?).into_owned()
        };
        session.line(&text);
        return Ok(0);
    }
    let registries = Registries::new(session, &name, args.insecure)?;
    let text = match registries.find(&name).await? {
        Found::Image(entry) => one(&entry, args.verbose)?,
        Found::List(_, document) if args.verbose => {
            indented(&all(&registries, &name, &document).await?, b"\t")?
        }
        Found::List(fetched, _) => as_it_came(&fetched.bytes)?,
    };
    session.line(&text);
    Ok(0)
}

fn one(entry: &Entry, verbose: bool) -> anyhow::Result<String> {
    if verbose { indented(entry, b"\t") } else { as_it_came(&entry.bytes()?) }
}

/// The images of a registry's list.
async fn all(
    registries: &Registries<'_>,
    name: &Reference,
    document: &Document,
) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for part in document.parts() {
        let image = name.with_digest(part.digest.clone());
        let mut entry = registries.image(&image).await?;
        // The list's word counts, as it is what clients choose by.
        if part.platform.is_some() {
            entry.descriptor.platform.clone_from(&part.platform);
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// A document, well indented, its members in their order.
fn as_it_came(bytes: &[u8]) -> anyhow::Result<String> {
    let value: Value = serde_json::from_slice(bytes)?;
    indented(&value, b"\t")
}

fn indented(value: &impl serde::Serialize, by: &[u8]) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(by);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    Ok(String::from_utf8(text)?)
}
