//! `push`: what the list's images lack in its repository goes there first, then their
//! manifests, then the list.

use std::io;

use distribution::manifest::{Descriptor, ImageIndex, media_type};
use distribution::{Chunks, Repository, Source};
use types::digest::Digest;
use types::reference::Reference;

use super::fetch::Registries;
use super::reference;
use super::store::{Entry, Store};
use crate::session::Session;

/// `push`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry need not prove who it is
    #[arg(long)]
    insecure: bool,
    /// Forget the list once it has been sent
    #[arg(short, long)]
    purge: bool,
    /// List
    #[arg(value_name = "MANIFEST_LIST")]
    list: Vec<String>,
}

pub(crate) async fn push(session: &Session, args: Args) -> anyhow::Result<u8> {
    let name = args.list.first().map_or("", String::as_str);
    let list = reference(name)?;
    let store = Store::of(session);
    let entries = store.list(&list)?.unwrap_or_default();
    if entries.is_empty() {
        anyhow::bail!("{list} not found: make it with isopod manifest create");
    }
    let document = index(&list, &entries)?;
    let registries = Registries::new(session, &list, args.insecure)?;
    let target = registries.repository(&list)?;
    for entry in &entries {
        if entry.name.path() != list.path() {
            let from = registries.repository(&entry.name)?;
            for part in entry.document()?.parts() {
                bring(&from, &entry.name, &target, part).await?;
            }
        }
        let digest = entry.descriptor.digest.as_str();
        let bytes = entry.bytes()?;
        target.put_manifest(digest, &entry.descriptor.media_type, bytes.into()).await?;
        session.line(&format!("Pushed ref {}@{digest} with digest: {digest}", list.name()));
    }
    let tag = list.tag().unwrap_or(types::reference::DEFAULT_TAG);
    let kind = kind(&entries);
    let digest = target.put_manifest(tag, kind, document.into()).await?;
    session.line(digest.as_str());
    if args.purge {
        store.remove(&list)?;
    }
    Ok(0)
}

/// Docker's media type, unless all images have OCI's.
fn kind(entries: &[Entry]) -> &'static str {
    let oci = |entry: &Entry| entry.descriptor.media_type == media_type::OCI_MANIFEST;
    if entries.iter().all(oci) { media_type::OCI_INDEX } else { media_type::DOCKER_LIST }
}

/// The list as a document.
///
/// # Errors
/// Images that cannot be in it.
pub(super) fn index(list: &Reference, entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let mut descriptors: Vec<Descriptor> = Vec::new();
    for entry in entries {
        let platform = entry.descriptor.platform.clone().unwrap_or_default();
        if entry.name.domain() != list.domain() {
            anyhow::bail!(
                "cannot use source images from a different registry than the target image: {} != {}",
                entry.name.domain(),
                list.domain()
            );
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            anyhow::bail!(
                "manifest {} must have an OS and Architecture to be pushed to a registry: use isopod manifest annotate",
                entry.name
            );
        }
        descriptors.push(entry.descriptor.clone());
    }
    Ok(match kind(entries) {
        media_type::OCI_INDEX => ImageIndex::oci(descriptors),
        _ => ImageIndex::docker(descriptors),
    }
    .to_bytes())
}

/// Brings a blob into the list's repository: it is there, it can be mounted, or it is copied.
async fn bring(
    from: &Repository,
    source: &Reference,
    target: &Repository,
    part: &Descriptor,
) -> anyhow::Result<()> {
    if media_type::is_foreign_layer(&part.media_type) && !part.urls.is_empty() {
        return Ok(());
    }
    if target.has_blob(&part.digest).await?.is_some()
        || target.mount(&part.digest, source.path()).await?
    {
        return Ok(());
    }
    let mut blob = Remote { from: from.clone(), part: part.clone() };
    target.upload(&mut blob).await?;
    Ok(())
}

/// A blob of another repository.
struct Remote {
    from: Repository,
    part: Descriptor,
}

impl Source for Remote {
    fn size(&self) -> Option<u64> {
        Some(self.part.size)
    }

    fn open(&mut self, from: u64) -> io::Result<Chunks> {
        let state = (self.from.clone(), self.part.clone(), from, None);
        Ok(Box::pin(futures_util::stream::try_unfold(
            state,
            |(repository, part, from, stream)| async move {
                let mut stream = match stream {
                    Some(stream) => stream,
                    None => repository.blob(&part, from).await.map_err(io::Error::other)?,
                };
                let chunk = stream.chunk().await.map_err(io::Error::other)?;
                Ok(chunk.map(|chunk| (chunk, (repository, part, from, Some(stream)))))
            },
        )))
    }

    fn digest(&mut self) -> io::Result<Digest> {
        Ok(self.part.digest.clone())
    }
}
